"""What the files of a run and of a study are called; apart from what writes them, which needs PyTorch."""

from __future__ import annotations

CONFIG = "config.yaml"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
STATE = "state.json"  # of a checkpoint
STUDY = "study.yaml"
