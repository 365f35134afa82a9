"""What a person sees of a long piece of work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Report(Protocol):
    """Tells how far the work is."""

    def __call__(self, done: int, note: str = "") -> None:
        """`done` units are done; `note` is shown beside."""
        ...


@contextmanager
def progress(title: str, total: int, *, start: int = 0, show: bool = True, after: float = 0.0) -> Iterator[Report]:
    """A progress bar on a terminal, a plain line for every tenth of the work elsewhere.

    Args:
        title: What is being done.
        total: Units of work.
        start: Units that were done before.
        show: Whether to show anything.
        after: Seconds to say nothing, for work that is often over by then.

    Yields:
        The function to call with the units done.
    """
    console = Console(stderr=True)
    if not show:
        yield _silent
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=console)
        task = bar.add_task(title, total=total, completed=start, note="")
        try:
            yield _bar(bar, task, after)
        finally:
            bar.stop()
    else:
        yield _lines(title, total, start, after)


def _silent(done: int, note: str = "") -> None:
    """Shows nothing."""


def _bar(bar: Progress, task: TaskID, after: float) -> Report:
    began = time.monotonic()

    def report(done: int, note: str = "") -> None:
        bar.update(task, completed=done)
        if note:
            bar.update(task, note=note)
        if time.monotonic() - began >= after:
            bar.start()  # does nothing once it has

    if not after:
        bar.start()
    return report


def _lines(title: str, total: int, start: int, after: float) -> Report:
    began, shown = time.monotonic(), start * 10 // max(total, 1)

    def report(done: int, note: str = "") -> None:
        nonlocal shown
        tenth = done * 10 // max(total, 1)
        if tenth > shown and time.monotonic() - began >= after:
            shown = tenth
            left = (time.monotonic() - began) / max(done - start, 1) * (total - done)
            print(
                f"{title}: {done}/{total}, {left:.0f} s left{', ' + note if note else ''}",
                file=sys.stderr,
                flush=True,
            )

    return report
