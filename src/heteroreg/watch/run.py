"""How far a run is, read from its folder; nothing in it is touched."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CHECKPOINTS, CONFIG, METRICS, STATE
from heteroreg.system.text import read_json, read_yaml

RECENT = 20  # rows that tell the pace
# Silence that says nothing yet, in seconds, before the first row and after it; and in units of the longest gap.
AT_FIRST, USUAL, GAPS = 900.0, 60.0, 5.0


class Phase(StrEnum):
    """What a run is doing."""

    absent = "not begun"
    preparing = "preparing"
    training = "training"
    quiet = "seems to have stopped"
    finished = "finished"


@dataclass(frozen=True)
class Series:
    """A figure over the steps.

    Attributes:
        name: For people.
        steps: The steps that have it.
        values: As many.
        higher_is_better: Whether the best value is the highest.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    higher_is_better: bool = False

    @property
    def best(self) -> tuple[int, float]:
        """The step with the best value, and that value; there must be one."""
        pairs = list(zip(self.steps, self.values, strict=True))
        return max(pairs, key=lambda pair: pair[1] if self.higher_is_better else -pair[1])


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        folder: Its folder.
        about: Method and network.
        steps: All that it is to do; 0 while there is no configuration.
        step: Those that are in `metrics.csv` or in a checkpoint.
        saved: The step of the last checkpoint; None without one.
        loss: Of the training; None before the first row.
        validation: Dice, or the loss where there are no labels; None before the first validation.
        rate: Steps per second of late; None where nothing tells.
        age: Seconds since anything was written.
        patience: After so many the run seems to have stopped.
    """

    folder: Path
    about: str = ""
    steps: int = 0
    step: int = 0
    saved: int | None = None
    loss: Series | None = None
    validation: Series | None = None
    rate: float | None = None
    age: float = 0.0
    patience: float = math.inf

    @property
    def phase(self) -> Phase:
        """What it is doing, as far as files can tell."""
        if not self.steps:
            return Phase.absent
        if self.saved is not None and self.saved >= self.steps:
            return Phase.finished
        if self.age > self.patience:
            return Phase.quiet
        return Phase.training if self.step else Phase.preparing

    @property
    def left(self) -> float | None:
        """Seconds left at the pace of late; None where it does not train or has no pace."""
        if self.phase is not Phase.training or self.rate is None:
            return None
        return max(0.0, (self.steps - self.step) / self.rate - self.age)


def read_run(folder: Path, now: float | None = None) -> RunState:
    """Reads how far a run is.

    Args:
        folder: Its folder, which need not be there yet.
        now: The time in seconds since 1970, to compare times of files with.

    Raises:
        UserError: Its configuration or the state of a checkpoint is damaged.
    """
    now = time.time() if now is None else now
    config_file = folder / CONFIG
    if not config_file.is_file():
        return RunState(folder)
    config = read_yaml(config_file)
    steps = config.get("steps") if isinstance(config, dict) else None
    if type(steps) is not int or steps < 1:
        raise UserError(f"{config_file}: says no number of steps, which that of a run does; name another folder")
    rows = read_rows(folder / METRICS)
    state_file = folder / CHECKPOINTS / "last" / STATE
    saved = _saved(state_file)
    written = [path.stat().st_mtime for path in (config_file, folder / METRICS, state_file) if path.is_file()]
    gaps = [later["seconds"] - row["seconds"] for row, later in _pairs(rows)]
    return RunState(
        folder,
        about=" · ".join(str(config[name]) for name in ("method", "network") if name in config),
        steps=steps,
        step=max(int(rows[-1]["step"]) if rows else 0, saved or 0),
        saved=saved,
        loss=_series(rows, "loss", "loss"),
        validation=_series(rows, "val_dice", "validation Dice", higher_is_better=True)
        or _series(rows, "val_loss", "validation loss"),
        rate=_rate(rows),
        age=max(0.0, now - max(written)),
        patience=max(USUAL, GAPS * max(gaps)) if gaps else AT_FIRST,
    )


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv`: column → figure, without the cells that are empty.

    A row that is being written, or that a crash cut short, is left out.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = csv.reader(text[: text.rfind("\n") + 1].splitlines())
    columns = next(lines, [])
    rows = (_row(columns, cells) for cells in lines)
    return [row for row in rows if row is not None and row.get("step", math.nan) >= 0]


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, float] | None:
    """A row, or None if it is not whole."""
    if len(cells) != len(columns):
        return None
    try:
        return {name: float(cell) for name, cell in zip(columns, cells, strict=True) if cell}
    except ValueError:
        return None


def _saved(path: Path) -> int | None:
    if not path.is_file():
        return None
    state: Any = read_json(path)
    step = state.get("step") if isinstance(state, dict) else None
    if type(step) is not int:
        raise UserError(f"{path}: is damaged (no step); use the run's other checkpoint or train again")
    return step


def _series(
    rows: Sequence[Mapping[str, float]], column: str, name: str, higher_is_better: bool = False
) -> Series | None:
    found = [(int(row["step"]), row[column]) for row in rows if math.isfinite(row.get(column, math.nan))]
    if not found:
        return None
    return Series(name, [step for step, _ in found], [value for _, value in found], higher_is_better)


def _pairs(rows: Sequence[Mapping[str, float]]) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """The last rows that have a time, each with the one after it."""
    timed = [row for row in rows if "seconds" in row][-RECENT:]
    return list(pairwise(timed))


def _rate(rows: Sequence[Mapping[str, float]]) -> float | None:
    pairs = _pairs(rows)
    if pairs:
        first, last = pairs[0][0], pairs[-1][1]
        steps, seconds = last["step"] - first["step"], last["seconds"] - first["seconds"]
    elif rows and "seconds" in rows[-1]:
        steps, seconds = rows[-1]["step"], rows[-1]["seconds"]
    else:
        return None
    return steps / seconds if steps > 0 and seconds > 0 else None
