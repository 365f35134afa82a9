"""Looks again and again, until there is nothing more to see."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.live import Live

from heteroreg.system.errors import UserError
from heteroreg.watch.place import Place, look
from heteroreg.watch.run import Phase, RunState
from heteroreg.watch.view import line, summary, view

WIDE = 200  # characters of a line in a file


def follow(folder: str | Path, *, once: bool = False, every: float = 2.0) -> None:
    """Shows on stdout how far a run, or the runs of a study, are, until they are finished.

    On a terminal what is shown changes in place; elsewhere a line comes with each change. The folder is only
    read.

    Args:
        folder: That of a run or a study, which need not be there yet, or a folder of runs.
        once: Show what there is and end.
        every: Seconds between looks.

    Raises:
        UserError: The folder holds something else, or a file of it is damaged; with `once`, it is not there.
    """
    folder, console = Path(folder), Console(highlight=False)
    if once:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name that of a run or a study")
        if not console.is_terminal:
            console = Console(highlight=False, width=WIDE)
        console.print(view(look(folder)))
    elif console.is_terminal and not console.is_dumb_terminal:
        _show(console, folder, every)
    else:
        _tell(folder, every)


def _show(console: Console, folder: Path, every: float) -> None:
    clock = _Changes()
    place = clock.aged(look(folder))
    with Live(view(place), console=console, auto_refresh=False) as live:
        while not place.finished:
            time.sleep(every)
            place = clock.aged(look(folder))
            live.update(view(place), refresh=True)


def _tell(folder: Path, every: float) -> None:
    clock, told = _Changes(), dict[Path | None, str]()
    while True:
        place = clock.aged(look(folder))
        for key, mark, text in _lines(place):
            if told.get(key) != mark:
                told[key] = mark
                print(text, flush=True)
        if place.finished:
            return
        time.sleep(every)


def _lines(place: Place) -> Iterable[tuple[Path | None, str, str]]:
    """What the line is about, what tells whether it is another one than before, and the line."""
    if not place.alone:
        yield None, summary(place), summary(place)
    for run in place.runs:
        if place.alone or run.phase is not Phase.finished:
            yield run.folder, f"{run.phase} {run.step} {run.saved}", line(run)


class _Changes:
    """Knows by its own clock when a run changed: that of the machine that writes may be another time."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, int | None], float | None]] = {}

    def aged(self, place: Place) -> Place:
        """The place, with no run silent for longer than since it was seen to change."""
        return replace(place, runs=tuple(self._aged(run) for run in place.runs))

    def _aged(self, run: RunState) -> RunState:
        mark, now = (run.step, run.saved), time.monotonic()
        before, since = self._seen.get(run.folder, (mark, None))
        since = now if mark != before else since
        self._seen[run.folder] = mark, since
        return run if since is None else replace(run, age=min(run.age, now - since))
