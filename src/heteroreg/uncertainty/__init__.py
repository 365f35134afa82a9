"""Uncertainty of the displacement, and of what is computed from it."""
