"""The database layer: tables, engine, error translation and schema management."""
