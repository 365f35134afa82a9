"""The history of a run: metrics.csv and TensorBoard events."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from heteroreg.system.files import append, flush, write_text
from heteroreg.system.memory import THREAD_BYTES, require_memory
from heteroreg.system.run_files import METRICS


class Log:
    """Writer of the figures of each logged step.

    TensorBoard writes in a thread of its own, which `flush` waits for. A fault of that thread is raised by the
    next `write` or `flush`.

    Args:
        folder: Folder of the run.
        columns: Columns of `metrics.csv`, beside `step`.
        step: The step that the run goes on from. Rows of later steps, which a killed run may have left, are
            removed, and TensorBoard leaves them out.

    Attributes:
        seconds: Time of training up to the row that the run goes on from.
    """

    def __init__(self, folder: Path, columns: Sequence[str], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second, which only a training needs

        self._path = folder / METRICS
        self._columns = ["step", *columns]
        rows = self._rows(step)
        at = self._columns.index("seconds") if "seconds" in columns else None
        self.seconds = float(rows[-1][at]) if rows and at is not None and rows[-1][at] else 0.0
        write_text(self._path, "\n".join(",".join(row) for row in [self._columns, *rows]) + "\n")
        require_memory(THREAD_BYTES)  # TensorBoard starts a thread, see `start_thread`
        with _named(folder):
            self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, columns: Sequence[str], step: int) -> Iterator[Self]:
        """Open a log for the time of a block; see the class."""
        with _quiet_writer_thread():
            log = cls(folder, columns, step)
            yield log
            with _named(folder):  # after a fault there is nothing more to write
                log._events.close()

    def _rows(self, step: int) -> list[list[str]]:
        if not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as handle:
            header, *rows = list(csv.reader(handle)) or [[]]
        # A row that the kill cut short has fewer cells. Another version may have had other columns.
        whole = [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]
        return [
            [row.get(name, "") for name in self._columns] for row in whole if int(row.get("step", step + 1)) <= step
        ]

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the row of a step; columns without a figure stay empty."""
        cells = [str(step), *(f"{figures[name]:.6g}" if name in figures else "" for name in self._columns[1:])]
        append(self._path, (",".join(cells) + "\n").encode())
        with _named(self._path.parent):
            for name, value in figures.items():
                self._events.add_scalar(name.replace("val_", "validation/", 1), value, step)

    def flush(self) -> None:
        """Bring the rows and events to the disk, so that a checkpoint is never ahead of them."""
        flush(self._path)
        with _named(self._path.parent):
            self._events.flush()


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Name the folder in an error that does not name its file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error


@contextmanager
def _quiet_writer_thread() -> Iterator[None]:
    """Print no traceback of TensorBoard's thread within the block, as the main thread raises the same error."""
    before, others = threading.excepthook, set(threading.enumerate())

    def is_writer(thread: threading.Thread | None) -> bool:
        return thread not in others and type(thread).__module__.startswith("tensorboard.")

    def report(fault: threading.ExceptHookArgs) -> None:
        if not is_writer(fault.thread):
            before(fault)

    threading.excepthook = report
    try:
        yield
    finally:
        for thread in filter(is_writer, threading.enumerate()):
            thread.join(timeout=1)  # it may have failed and be about to report
        threading.excepthook = before
