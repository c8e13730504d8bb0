"""Runnable comparisons: `python -m benchmarks.throughput`. Each prints ratios first."""
