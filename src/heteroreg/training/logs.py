"""The history of a run: metrics.csv and TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from heteroreg.files import write_text
from heteroreg.training.run import METRICS


class Log:
    """Writes a row of figures per logged step.

    Args:
        folder: Of the run.
        columns: Of `metrics.csv`, beside `step`.
        step: The step that the run goes on from; rows of later steps, which a killed run may have left, go.
    """

    def __init__(self, folder: Path, columns: Sequence[str], step: int) -> None:
        self._path = folder / METRICS
        self._columns = ["step", *columns]
        rows = self._rows(step)
        write_text(self._path, "\n".join([",".join(self._columns), *rows]) + "\n")
        self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def _rows(self, step: int) -> list[str]:
        if not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))[1:]
        # A row that the kill cut short has fewer cells.
        return [",".join(row) for row in rows if len(row) == len(self._columns) and int(row[0]) <= step]

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds the row of a step; columns without a figure stay empty."""
        cells = [str(step), *(f"{figures[name]:.6g}" if name in figures else "" for name in self._columns[1:])]
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(",".join(cells) + "\n")
        for name, value in figures.items():
            self._events.add_scalar(name.replace("val_", "validation/", 1), value, step)

    def close(self) -> None:
        """Flushes the events."""
        self._events.close()
