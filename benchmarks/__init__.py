"""Benchmarks: one question a file, each writes JSON and a picture into `benchmarks/results/`."""
