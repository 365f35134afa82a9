"""What a person sees of a long piece of work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Report(Protocol):
    """Tells how far the work is."""

    def __call__(self, done: int, note: str = "") -> None:
        """`done` units are done; `note` is shown beside."""
        ...


@contextmanager
def progress(title: str, total: int, *, start: int = 0, show: bool = True) -> Iterator[Report]:
    """A progress bar on a terminal, a plain line for every tenth of the work elsewhere.

    Args:
        title: What is being done.
        total: Units of work.
        start: Units that were done before.
        show: Whether to show anything.

    Yields:
        The function to call with the units done.
    """
    console = Console(stderr=True)
    if not show:
        yield _silent
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
            task = bar.add_task(title, total=total, completed=start, note="")
            yield lambda done, note="": bar.update(task, completed=done, **({"note": note} if note else {}))
    else:
        yield _lines(title, total, start)


def _silent(done: int, note: str = "") -> None:
    """Shows nothing."""


def _lines(title: str, total: int, start: int) -> Report:
    began, shown = time.monotonic(), start * 10 // max(total, 1)

    def report(done: int, note: str = "") -> None:
        nonlocal shown
        tenth = done * 10 // max(total, 1)
        if tenth > shown:
            shown = tenth
            left = (time.monotonic() - began) / max(done - start, 1) * (total - done)
            print(
                f"{title}: {done}/{total}, {left:.0f} s left{', ' + note if note else ''}",
                file=sys.stderr,
                flush=True,
            )

    return report
