"""The tests: promises of the program, on SQLite and on PostgreSQL."""
