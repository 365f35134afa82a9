"""What a person sees of a long piece of work: what is being done, how far it is, and the time left."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

PATIENCE = 2.0  # seconds: what is over by then is done in silence
Item = TypeVar("Item")

# Whether to show what does not say so itself; none of it is shown inside of work that is shown as a whole.
_SHOW: ContextVar[bool] = ContextVar("show", default=False)


class Report(Protocol):
    """Tells how far the work is."""

    def __call__(self, done: int, note: str = "", left: float | None = None) -> None:
        """`done` units are done; `note` is shown beside.

        `left` are the seconds left where they are known better than from the pace so far; infinite: unknown.
        """
        ...


@contextmanager
def showing(show: bool) -> Iterator[None]:
    """Whether work within the block shows its progress where it is not told so itself."""
    token = _SHOW.set(show)
    try:
        yield
    finally:
        _SHOW.reset(token)


def is_shown() -> bool:
    """Return True if work shows its progress by default, see `showing`."""
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
    """A bar on a terminal, a plain line for every tenth of the work elsewhere, both on stderr.

    Work inside of this work, which is part of a unit, shows nothing unless it is told to.

    Args:
        title: What is being done.
        total: Units of work; None where nobody knows, which shows that it goes on, and no more.
        start: Units that were done before.
        show: Whether to show anything; as `showing` says if left out.
        after: Seconds to say nothing; `PATIENCE` if left out.
        lines: Whether there are lines where there is no terminal; without, the caller has said enough.

    Yields:
        The function to call with the units done.
    """
    show = _SHOW.get() if show is None else show
    after = PATIENCE if after is None else after
    if total is not None and total - start == 1:
        total = None  # a single unit is either to come or over
    with showing(False):
        if not show or (total is not None and total <= start):
            yield silent
        elif _terminal():
            with _bar(title, total, start, after) as report:
                yield report
        elif lines:
            with _lines(title, total, start, after) as report:
                yield report
        else:
            yield silent


def reported(items: Iterable[Item], report: Report) -> Iterator[Item]:
    """The items as they are, each reported as done when the next is asked for."""
    for done, item in enumerate(items, start=1):
        yield item
        report(done)


def duration(seconds: float) -> str:
    """A time as people say it."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _terminal() -> bool:
    """Whether stderr is one that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def silent(done: int, note: str = "", left: float | None = None) -> None:
    """Shows nothing."""


class _Clock:
    """The time that is left, from the time that the units took so far.

    Args:
        start: Units that were done before.
        total: Units of work.
    """

    def __init__(self, start: int, total: int | None) -> None:
        self.began = time.monotonic()
        self._start, self._total = start, total
        self._end: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.began

    def note(self, done: int, left: float | None) -> None:
        """Units are done; unless it is known better, those to come take as long as those that were."""
        if left is None and self._total is not None and done > self._start:
            left = self.elapsed / (done - self._start) * (self._total - done)
        self._end = None if left is None or math.isinf(left) else time.monotonic() + left

    @property
    def left(self) -> float | None:
        """Seconds left; None before anything is done."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class _Amount(ProgressColumn):
    """The units done, and the time left; the time taken where the units are not known."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        """Of the only task."""
        if task.total is None:
            return Text(duration(self._clock.elapsed))
        left = "" if self._clock.left is None else f", {duration(self._clock.left)} left"
        return Text(f"{task.completed:.0f}/{task.total:.0f}{left}")


@contextmanager
def _bar(title: str, total: int | None, start: int, after: float) -> Iterator[Report]:
    clock = _Clock(start, total)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Amount(clock),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        # What is printed meanwhile appears above the bar; but what goes to a file or a pipe must arrive there.
        redirect_stdout=sys.stdout.isatty(),
    )
    task: TaskID = bar.add_task(title, total=total, completed=start, note="")

    def report(done: int, note: str = "", left: float | None = None) -> None:
        clock.note(done, left)
        bar.update(task, completed=done)
        if note:
            bar.update(task, note=note)
        if clock.elapsed >= after:
            bar.start()  # does nothing once it has

    with _later(bar.start, after):
        try:
            yield report
        finally:
            if bar.live.is_started:
                bar.stop()


@contextmanager
def _lines(title: str, total: int | None, start: int, after: float) -> Iterator[Report]:
    clock, shown = _Clock(start, total), 0 if total is None else start * 10 // total

    def report(done: int, note: str = "", left: float | None = None) -> None:
        nonlocal shown
        clock.note(done, left)
        tenth = 0 if total is None else done * 10 // total
        if tenth > shown and clock.elapsed >= after:
            shown = tenth
            rest = "" if clock.left is None else f", {duration(clock.left)} left"
            _print(f"{title}: {done}/{total}{rest}{', ' + note if note else ''}")

    if total is None:
        with _later(lambda: _print(f"{title} …"), after):
            yield report
    else:
        yield report


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _later(act: Callable[[], None], after: float) -> Iterator[None]:
    """Does something once the block has taken so many seconds, if it takes them."""
    if not after:
        act()
    timer = threading.Timer(after, act)
    timer.daemon = True
    if after:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.is_alive():  # it may be acting right now
            timer.join()
