"""Names of the files of a run and a study, readable without PyTorch."""

from __future__ import annotations

CONFIG = "config.yaml"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
STATE = "state.json"  # of a checkpoint
STUDY = "study.yaml"
