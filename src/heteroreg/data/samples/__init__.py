"""Training samples: a cohort as tensors."""
