"""Short scripts that run, and that the benchmarks import."""
