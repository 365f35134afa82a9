"""Runs of a study: their configuration, progress and validation score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.methods import from_outside
from heteroreg.study.jobs import Job
from heteroreg.study.matrix import StudyRow
from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CHECKPOINTS, CONFIG
from heteroreg.training import checkpoint
from heteroreg.training.cohort_record import CohortRecord
from heteroreg.training.config import Config
from heteroreg.training.resolve import resolve
from heteroreg.training.run import Run

# Found from the cohort and the network, unless given.
RESOLVED = (
    "dims", "size", "spacing", "validate_every", "checkpoint_every", "batch_size", "learning_rate", "kernel",
    "init",
)  # fmt: skip
RUN_NAMES = ("method", "network", "seed")


@dataclass(frozen=True)
class Trained:
    """One run of the matrix.

    Attributes:
        row: Its row.
        point: Its point of the row's grid.
        seed: Its seed.
        folder: Where it is, or will be.
    """

    row: StudyRow
    point: Mapping[str, Any]
    seed: int
    folder: Path

    @property
    def config(self) -> Config:
        """Configuration, as far as it does not depend on the cohort."""
        return self.row.config(self.point, self.seed)

    @property
    def own_parts(self) -> dict[str, str]:
        """Method and network of the run, as far as they are a user's own: import paths of the study's file."""
        parts = {name: getattr(self.config, name) for name in ("method", "network")}
        return {name: path for name, path in parts.items() if from_outside(path)}

    @property
    def finished(self) -> bool:
        """True if the last checkpoint is of the last step."""
        return _step(self.folder, "last") == self.config.steps

    def job(self, name: str, cohort: Path, *, confine: bool = False) -> Job:
        """Return the job that begins the run, or resumes it."""
        names = {key: getattr(self.config, key) for key in RUN_NAMES}
        config = {**self.row.settings, **self.point, **names}
        places = {"cohort": str(cohort), "confine": confine, "out": str(self.folder)}
        return Job(name, "train", {**places, "config": config, "parts": self.own_parts})

    def validation(self, metric: str) -> tuple[int, float]:
        """Return the step of the best checkpoint, and its score on the validation pairs.

        Raises:
            UserError: The run has no such score.
        """
        step = _step(self.folder, "best")
        metrics = Run.read(self.folder).metrics
        if step is None or metric not in metrics:
            raise UserError(
                f"{self.folder}: has no {metric} to choose by; the cohort needs a split 'val' with label maps"
            )
        found = metrics.loc[metrics["step"] == step, metric].dropna()
        if len(found) != 1:
            raise UserError(f"{self.folder}: metrics.csv has no {metric} of step {step}; remove the run")
        return step, float(found.iloc[0])


@dataclass
class Agreement:
    """Check that runs that exist are those that the matrix wants.

    Attributes:
        cohort: What they are trained on.
        prints: Fingerprints of its images.
    """

    cohort: Cohort
    prints: Fingerprints = field(default_factory=Fingerprints)
    _found: dict[tuple[Any, ...], Config] = field(default_factory=dict)
    _records: dict[int | None, CohortRecord] = field(default_factory=dict)

    def require(self, run: Trained) -> None:
        """Check a run that is there already, whoever has trained it.

        Raises:
            UserError: Its configuration is another one, and the message names the first setting that differs; or
                it was trained on other images.
        """
        if not (run.folder / CONFIG).is_file():
            return
        has = Run.read(run.folder).config
        wanted = self._resolved(run.config)
        trained_on = CohortRecord.read(run.folder)
        if trained_on is not None:
            self._require_same_images(run, trained_on, wanted.centre_label)
        known = trained_on is not None and trained_on.complete
        for name in Config.model_fields:
            ours, theirs = getattr(wanted, name), getattr(has, name)
            if name == "cohort":
                if known:  # wherever it lies
                    continue
                ours, theirs = (Path(value or "").resolve() for value in (ours, theirs))
            if ours != theirs:
                raise UserError(
                    f"{run.folder}: was trained with {name}={theirs}, and the study wants {ours}; "
                    "move it away, or change the study"
                )

    def _require_same_images(self, run: Trained, trained_on: CohortRecord, centre_label: int | None) -> None:
        if centre_label not in self._records:
            learn, check = self.cohort.split("train"), self.cohort.split("val")
            self._records[centre_label] = CohortRecord.of(
                learn, check, centre_label=centre_label, prints=self.prints
            )
        if odd := trained_on.difference(self._records[centre_label]):
            raise UserError(
                f"{run.folder}: was trained on other images than those of {self.cohort.name} (first difference: "
                f"{odd}); move it away, or choose another folder for the study"
            )

    def _resolved(self, config: Config) -> Config:
        """The configuration as training would resolve it; the headers are read once for all runs alike."""
        key = (config.steps, config.network, *(getattr(config, name) for name in RESOLVED))
        if key not in self._found:
            learn = self.cohort.split("train") if self.cohort.splits else self.cohort
            self._found[key] = resolve(config, learn)
        found = self._found[key].model_dump(include={*RESOLVED, "cohort"})
        return Config.build(config.model_dump(), found)


def _step(folder: Path, name: str) -> int | None:
    """Return the step of a checkpoint; None if it is missing."""
    path = folder / CHECKPOINTS / name
    return int(checkpoint.read_state(path)["step"]) if (path / checkpoint.STATE).is_file() else None
