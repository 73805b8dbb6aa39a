"""What the tests and the benchmarks are built with."""
