"""A run handed on: its best checkpoint, its settings and its scores, without what says where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from heteroreg.evaluation.scores import MARKER, Scores, over_patients
from heteroreg.hub.card import card
from heteroreg.hub.place import BEST, CARD, SCORES, LocalFolder, Repository, names, place_of
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.run_files import CONFIG
from heteroreg.training import checkpoint
from heteroreg.training.config import Config
from heteroreg.training.run import Run

# Of the state of a checkpoint and the summary of an evaluation, what is of the model and not of the machine.
STATE = ("step", "score")
SUMMARY = ("kind", "method", "split", "mode", "slicewise", "counts", "labels")


def push(
    folder: str | Path,
    place: str,
    *,
    scores: str | Path | None = None,
    data: str | None = None,
    licence: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Hands a run on: to a repository of Hugging Face, or to a folder that then holds the same files.

    The best checkpoint, `config.yaml` without the path of the cohort, the scores without the ids of pairs and
    patients and without further columns of the cohort, and a model card. The rest of the run stays.

    Args:
        folder: The run.
        place: `owner/name`, or a folder: what begins with `./` or `/`, or exists.
        scores: What `evaluate` wrote of this run.
        data: What the images are, for the card: modality, organ, where they come from.
        licence: Of the model, such as `cc-by-4.0`; without one the card says that there is none.
        private: Makes a new repository private.
        message: Of the commit.

    Returns:
        Where it is.

    Raises:
        UserError: The folder is no run or has no best checkpoint; the scores are of another run; the place is no
            name, not empty, or cannot be reached.
    """
    run, target = Run.read(folder), place_of(place)
    state = checkpoint.read_state(_best(run))
    judged = None if scores is None else _of_run(Scores.read(scores), run, scores)
    with TemporaryDirectory() as temporary:
        staged = Path(temporary) / "model"
        stage(run, staged, judged)
        write_text(staged / CARD, card(run, state["step"], judged, _repository(target), data, licence))
        if isinstance(target, LocalFolder):
            target.send(staged)
            return str(target.path)
        return target.send(staged, private, message or f"Add a {run.config.method} model of heteroreg")


def stage(run: Run, folder: Path, scores: Scores | None) -> list[str]:
    """Writes what is handed on, but for the card.

    Returns:
        The names of the files.
    """
    run.modules("best")  # whole, and of this configuration
    tensors, state = checkpoint.load(_best(run))
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(("network.", "objective."))}
    checkpoint.save(folder / BEST, kept, {name: state[name] for name in STATE if name in state})
    write_text(folder / CONFIG, without_cohort(run.config).yaml())
    if scores is not None:
        table = without_names(scores)
        write_text(folder / SCORES / MARKER, table.to_csv(index=False, lineterminator="\n"))
        summary: dict[str, Any] = {name: scores.summary[name] for name in SUMMARY if name in scores.summary}
        summary["metrics"] = over_patients(table, scores.metrics)
        write_text(folder / SCORES / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return list(names(folder))


def without_cohort(config: Config) -> Config:
    """The configuration without the one path that it holds."""
    return config.model_copy(update={"cohort": None})


def without_names(scores: Scores) -> pd.DataFrame:
    """The table of scores with numbers for pairs and patients, and without the cohort's further columns."""
    numbered = {name: pd.factorize(scores.table[name])[0] + 1 for name in ("id", "patient")}
    return pd.DataFrame({**numbered, "slice": scores.table["slice"], **scores.table[scores.metrics]})


def _best(run: Run) -> Path:
    folder = run.checkpoint("best")
    if not (folder / checkpoint.STATE).is_file():
        raise UserError(
            f"{run.folder}: has no best checkpoint, which only a training with validation pairs leaves; train with "
            "a cohort that has the split 'val'"
        )
    return folder


def _of_run(scores: Scores, run: Run, where: str | Path) -> Scores:
    """The scores, if they may be those of the run."""
    info = scores.summary.get("info")
    told = {name: info.get(name) if isinstance(info, dict) else None for name in ("method", "network", "seed")}
    asked = {name: getattr(run.config, name) for name in told}
    if told != asked:
        differing = next(name for name in told if told[name] != asked[name])
        raise UserError(
            f"--scores {where}: are not of this run ({differing} {told[differing]}, not {asked[differing]}); name "
            f"what `heteroreg evaluate --model {run.folder}` wrote"
        )
    return scores


def _repository(target: LocalFolder | Repository) -> str:
    return target.name if isinstance(target, Repository) else "OWNER/NAME"
