"""Names of the files of a run and a study, readable without PyTorch."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.csv"
COHORT_RECORD = "cohort.json"  # fingerprints of the images that a run is trained on
CHECKPOINTS = "checkpoints"
STATE = "state.json"  # of a checkpoint
STUDY = "study.yaml"
MODELS = Path(__file__).parents[1] / "registration" / "models"
BUNDLED = {name: MODELS / name for name in ("phantom", "phantom-3d")}  # the runs of the bundled models


def has_last_checkpoint(run: Path) -> bool:
    """Return True if a run can go on from a checkpoint."""
    return (run / CHECKPOINTS / "last" / STATE).is_file()
