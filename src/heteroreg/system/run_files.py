"""Names of the files of a run and a study, readable without PyTorch."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
STATE = "state.json"  # of a checkpoint
STUDY = "study.yaml"
BUNDLED = Path(__file__).parents[1] / "registration" / "models" / "phantom"  # the run of the bundled model


def has_last_checkpoint(run: Path) -> bool:
    """Return True if a run can go on from a checkpoint."""
    return (run / CHECKPOINTS / "last" / STATE).is_file()
