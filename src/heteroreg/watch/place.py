"""A folder that is watched: a run, the runs of a study, or a folder of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CONFIG, STUDY
from heteroreg.system.text import read_yaml
from heteroreg.watch.run import Phase, RunState, read_run

RUNS, SCORES, REPORT = "runs", "scores/*/scores.csv", "report/index.html"


@dataclass(frozen=True)
class Place:
    """What is seen in a folder.

    Attributes:
        folder: The folder.
        runs: Its runs, those that are at work first; one, of the folder itself, where it is that of a run.
        alone: Whether it is that of a run.
        wanted: How many runs there are to be.
        scored: Evaluations of a study that are there.
        to_score: How many there are to be.
        reported: Whether a study has its report.
    """

    folder: Path
    runs: tuple[RunState, ...]
    alone: bool = False
    wanted: int = 0
    scored: int = 0
    to_score: int = 0
    reported: bool = True

    @property
    def trained(self) -> int:
        """How many runs are finished."""
        return sum(run.phase is Phase.finished for run in self.runs)

    @property
    def finished(self) -> bool:
        """Whether nothing is to be expected any more."""
        done = self.trained >= max(1, self.wanted) and self.trained == len(self.runs)
        return done and self.scored >= self.to_score and self.reported


def look(folder: Path, now: float | None = None) -> Place:
    """Reads what is in a folder.

    Args:
        folder: That of a run or a study, which need not be there yet, or one that holds folders of runs.
        now: As in `read_run`.

    Raises:
        UserError: It holds something else, or a file of it is damaged.
    """
    if folder.is_file():
        raise UserError(f"{folder}: is a file; name the folder of a run or a study")
    if (folder / STUDY).is_file():
        return _study(folder, now)
    content = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    if not content or (folder / CONFIG).is_file():
        return Place(folder, (read_run(folder, now),), alone=True, wanted=1)
    runs = _read([path.parent for path in folder.glob(f"*/{CONFIG}")], now)
    if not runs:
        raise UserError(f"{folder}: is no run (no {CONFIG}) and no study (no {STUDY}), and holds no runs")
    return Place(folder, runs, wanted=len(runs))


def _study(folder: Path, now: float | None) -> Place:
    record = read_yaml(folder / STUDY)
    try:
        rows = [row for cohort in record["cohorts"].values() for row in cohort["rows"].values()]
        wanted = sum(_points(row) + len(row["seeds"]) - 1 for row in rows)
        to_score = sum(len(row["seeds"]) for row in rows) + len(record["registrars"]) * len(record["cohorts"])
        cohorts = len(record["cohorts"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / STUDY}: is not that of a study ({error!r}); name another folder") from error
    configs = [*folder.glob(f"{RUNS}/*/{CONFIG}"), *folder.glob(f"*/{RUNS}/*/{CONFIG}")]
    scores = [*folder.glob(SCORES), *folder.glob(f"*/{SCORES}")]
    reports = [*folder.glob(REPORT), *folder.glob(f"*/{REPORT}")]
    newest = max((path.stat().st_mtime for path in scores), default=-math.inf)
    current = [path for path in reports if path.stat().st_mtime >= newest]  # an older one is of fewer rows
    return Place(
        folder,
        _read([path.parent for path in configs], now),
        wanted=wanted,
        scored=len(scores),
        to_score=to_score,
        reported=len(reports) >= cohorts and bool(current),
    )


def _points(row: Mapping[str, Any]) -> int:
    return math.prod(len(values) for values in row["grid"].values())


def _read(folders: list[Path], now: float | None) -> tuple[RunState, ...]:
    order = [Phase.training, Phase.preparing, Phase.quiet, Phase.absent, Phase.finished]
    runs = [read_run(folder, now) for folder in folders]
    return tuple(sorted(runs, key=lambda run: (order.index(run.phase), run.folder.name)))
