"""Evaluations of one cohort side by side."""

from heteroreg.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
