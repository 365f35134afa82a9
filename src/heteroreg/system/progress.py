"""Progress of long work: a bar on a terminal, lines elsewhere, with the time left."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from heteroreg.system.errors import one_line
from heteroreg.system.memory import start_thread

SILENT_SECONDS = 2.0  # shorter work shows nothing
_Item = TypeVar("_Item")

# Default for `show=None`; nested work is silent.
_SHOW: ContextVar[bool] = ContextVar("show", default=False)


class Report(Protocol):
    """Reports how far the work is."""

    def __call__(self, done: int, note: str = "") -> None:
        """Report `done` units; `note` is shown beside them."""
        ...


@contextmanager
def showing(show: bool) -> Iterator[None]:
    """Set the default for work within the block that is not told itself whether to show its progress."""
    token = _SHOW.set(show)
    try:
        yield
    finally:
        _SHOW.reset(token)


def is_shown() -> bool:
    """Return True if work shows its progress by default; see `showing`."""
    return _SHOW.get()


@contextmanager
def progress(
    title: str,
    total: int | None,
    *,
    start: int = 0,
    show: bool | None = None,
    after: float | None = None,
    lines: bool = True,
) -> Iterator[Report]:
    """Show progress on stderr: a bar on a terminal, elsewhere a line for every tenth of the work.

    Nested work shows nothing unless it is told to.

    Args:
        title: Name of the work.
        total: Units of work; None if unknown, which shows only that the work goes on.
        start: Units that were done before.
        show: Show anything; the default is set by `showing`.
        after: Seconds of silence at the beginning; `SILENT_SECONDS` by default.
        lines: Print lines where there is no terminal.

    Yields:
        The function to call with the units done.
    """
    title = one_line(title)  # it may name a folder
    show = _SHOW.get() if show is None else show
    after = SILENT_SECONDS if after is None else after
    if total is not None and total - start == 1:
        total = None  # a single unit is either to come or over
    with showing(False):
        if not show or (total is not None and total <= start):
            yield no_report
        elif _terminal():
            with _bar(title, total, start, after) as report:
                yield report
        elif lines:
            with _lines(title, total, start, after) as report:
                yield report
        else:
            yield no_report


def reported(items: Iterable[_Item], report: Report) -> Iterator[_Item]:
    """Yield the items, and report each as done when the next is asked for."""
    for done, item in enumerate(items, start=1):
        yield item
        report(done)


def duration(seconds: float) -> str:
    """Return a time in words."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _terminal() -> bool:
    """Return True if stderr can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def no_report(done: int, note: str = "") -> None:
    """Show nothing."""


@contextmanager
def _bar(title: str, total: int | None, start: int, after: float) -> Iterator[Report]:
    known = (MofNCompleteColumn(), TimeRemainingColumn())
    bar, task = _measured(
        title,
        total,
        start,
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *(known if total is not None else (TimeElapsedColumn(),)),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        # What is printed meanwhile appears above the bar; but what goes to a file or a pipe must arrive there.
        redirect_stdout=sys.stdout.isatty(),
    )

    def report(done: int, note: str = "") -> None:
        bar.update(task.id, completed=done, note=note or task.fields["note"])
        if (task.elapsed or 0.0) >= after:
            bar.start()  # does nothing once it has

    with _later(bar.start, after):
        try:
            yield report
        finally:
            if bar.live.is_started:
                bar.stop()


@contextmanager
def _lines(title: str, total: int | None, start: int, after: float) -> Iterator[Report]:
    bar, task = _measured(title, total, start, disable=True)
    shown = 0 if total is None else start * 10 // total

    def report(done: int, note: str = "") -> None:
        nonlocal shown
        bar.update(task.id, completed=done)
        tenth = 0 if total is None else done * 10 // total
        if tenth > shown and (task.elapsed or 0.0) >= after:
            shown = tenth
            left = "" if task.time_remaining is None else f", {duration(task.time_remaining)} left"
            _print(f"{title}: {done}/{total}{left}{', ' + note if note else ''}")

    if total is None:
        with _later(lambda: _print(f"{title} …"), after):
            yield report
    else:
        yield report


def _measured(title: str, total: int | None, start: int, *columns: Any, **options: Any) -> tuple[Progress, Task]:
    """Return rich's progress of one task, which measures the pace over the whole work."""
    bar = Progress(*columns, get_time=time.monotonic, speed_estimate_period=math.inf, **options)
    bar.add_task(title, total=total, completed=start, note="")
    return bar, bar.tasks[0]


def _print(line: str) -> None:
    print(one_line(line), file=sys.stderr, flush=True)


@contextmanager
def _later(act: Callable[[], None], after: float) -> Iterator[None]:
    """Call a function once the block has taken so many seconds, if it takes them."""
    if not after:
        act()
    timer = threading.Timer(after, act)
    timer.daemon = True
    if after:
        start_thread(timer)
    try:
        yield
    finally:
        timer.cancel()
        if timer.is_alive():  # it may be acting right now
            timer.join()
