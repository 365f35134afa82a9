"""The files of a shared model: a run without paths, names of patients and the state of its training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from heteroreg.evaluation.scores import Scores, over_patients
from heteroreg.registration.shared import BEST_CHECKPOINT, SHARED_SCORES
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import MARKER_FILE
from heteroreg.system.run_files import CONFIG
from heteroreg.training import checkpoint
from heteroreg.training.run import Run

# Entries without paths and names of a checkpoint's state and an evaluation's summary.
SHARED_STATE = ("step", "score")
SHARED_SUMMARY = ("kind", "method", "split", "mode", "slicewise", "counts", "labels")


def stage(run: Run, folder: Path, scores: Scores | None) -> None:
    """Write the files of a shared model, but for the card.

    Raises:
        UserError: The best checkpoint is damaged or not that of this configuration.
    """
    run.modules("best")  # loads, so it is whole and fits the configuration
    tensors, state = checkpoint.read(run.checkpoint("best"))
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(("network.", "objective."))}
    checkpoint.save(folder / BEST_CHECKPOINT, kept, {name: state[name] for name in SHARED_STATE if name in state})
    write_text(folder / CONFIG, run.config.without_paths().yaml())
    if scores is not None:
        anonymous(scores).save(folder / SHARED_SCORES)
        (folder / SHARED_SCORES / MARKER_FILE).unlink()  # the folder of the model has its own


def anonymous(scores: Scores) -> Scores:
    """Return the scores with numbers for pairs and patients, and without the cohort's further columns."""
    numbers = {name: pd.factorize(scores.table[name])[0] + 1 for name in ("id", "patient")}
    table = pd.DataFrame({**numbers, "slice": scores.table["slice"], **scores.table[scores.metrics]})
    summary = {name: scores.summary[name] for name in SHARED_SUMMARY if name in scores.summary}
    return Scores(table, {**summary, "metrics": over_patients(table, scores.metrics)})


def require_empty(folder: Path) -> None:
    """Check that a folder may be written to.

    Raises:
        UserError: It is a file, or holds something.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder; choose another")
