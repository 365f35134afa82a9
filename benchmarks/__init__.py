"""Measurements. `python -m benchmarks` is the short one; others are `python -m benchmarks.<name> --help`."""
