"""Comparison of evaluations of one cohort."""

from heteroreg.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
