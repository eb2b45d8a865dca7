"""Rows of the benchmarks, by what they measure; benchmarks/run lists them."""
