"""Benchmarks: the figures behind design decisions."""
