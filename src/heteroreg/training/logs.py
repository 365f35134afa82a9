"""The history of a run: metrics.csv and TensorBoard events."""

from __future__ import annotations

import csv
import io
import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from heteroreg.system.files import append, flush, write_text
from heteroreg.system.run_files import METRICS

_FILES = itertools.count()


class Log:
    """Writes a row of figures per logged step.

    Args:
        folder: Of the run.
        columns: Of `metrics.csv`, beside `step`.
        step: The step that the run goes on from; rows of later steps, which a killed run may have left, go.

    Attributes:
        seconds: The time of training up to the row that the run goes on from.
    """

    def __init__(self, folder: Path, columns: Sequence[str], step: int) -> None:
        self._path = folder / METRICS
        self._columns = ["step", *columns]
        rows = self._rows(step)
        at = self._columns.index("seconds") if "seconds" in columns else None
        self.seconds = float(rows[-1][at]) if rows and at is not None and rows[-1][at] else 0.0
        write_text(self._path, "\n".join(",".join(row) for row in [self._columns, *rows]) + "\n")
        self._events = Events(folder, step)

    def _rows(self, step: int) -> list[list[str]]:
        if not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))[1:]
        # A row that the kill cut short has fewer cells.
        return [row for row in rows if len(row) == len(self._columns) and int(row[0]) <= step]

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds the row of a step; columns without a figure stay empty."""
        cells = [str(step), *(f"{figures[name]:.6g}" if name in figures else "" for name in self._columns[1:])]
        append(self._path, (",".join(cells) + "\n").encode())
        self._events.write(step, {name.replace("val_", "validation/", 1): value for name, value in figures.items()})

    def flush(self) -> None:
        """Brings the rows to the disk, so that a checkpoint is never ahead of them."""
        flush(self._path)


class Events:
    """A file of TensorBoard events.

    TensorBoard's own writer leaves the writing to a thread. On a full disk that thread dies with a traceback
    while the training goes on, and when it flushes depends on the clock. Here a row is on its way to the disk
    when `write` returns, and a fault is raised where it happens.

    Args:
        folder: Of the run.
        step: The step that the run goes on from; TensorBoard then leaves out later steps of earlier files.
    """

    def __init__(self, folder: Path, step: int) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_FILES)}"
        self._path = folder / name
        first = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if step:
            start = SessionLog(status=SessionLog.START)
            first.append(Event(wall_time=time.time(), step=step + 1, session_log=start))
        self._add(first)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds the figures of a step."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add([Event(wall_time=time.time(), step=step, summary=Summary(value=values))])

    def _add(self, events: Sequence[Event]) -> None:
        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        append(self._path, records.getvalue())
