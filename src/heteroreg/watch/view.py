"""What is seen of a run or a study, as lines and as something for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from heteroreg.system.progress import duration
from heteroreg.watch.place import Place
from heteroreg.watch.run import Phase, RunState, Series

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"
WIDTH = 48  # values in a plot, where there is room for them and 54 characters beside
FIGURES = 64  # characters of a table beside the names
EDGE = 6  # lines of a terminal that are not for the table


def line(run: RunState) -> str:
    """A run in one line."""
    return f"{run.folder.name or run.folder}: {', '.join([_state(run), *_figures(run)])}"


def summary(place: Place) -> str:
    """A study, or a folder of runs, in one line."""
    parts = [f"{place.trained}/{place.wanted} trained"]
    counts = {phase: sum(run.phase is phase for run in place.runs) for phase in Phase}
    parts += [
        f"{counts[phase]} {phase.value}"
        for phase in (Phase.training, Phase.preparing, Phase.quiet)
        if counts[phase]
    ]
    if place.to_score:
        parts.append(f"{place.scored}/{place.to_score} scored")
        parts.append("finished" if place.finished else "the report is to come")
    return f"{place.folder.resolve().name}: {', '.join(parts)}"


def view(place: Place) -> RenderableType:
    """A run with the course of its figures, or a table of runs."""
    return _run(place.runs[0]) if place.alone else _Runs(place)


def sparkline(values: Sequence[float], characters: str = BLOCKS, width: int = WIDTH) -> str:
    """The last values as a row of characters, from the lowest to the highest of them."""
    shown = values[-width:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if low == high:
        return characters[0] * len(shown)
    top = len(characters) - 1
    return "".join(characters[round((value - low) / (high - low) * top)] for value in shown)


def _state(run: RunState) -> str:
    amount = f"{run.step}/{run.steps}" if run.steps else ""
    if run.phase is Phase.training:
        return amount
    return f"{amount}, {_phase(run)}" if amount else _phase(run)


def _phase(run: RunState) -> str:
    if run.phase is Phase.quiet:
        return f"{run.phase.value} (nothing written for {duration(run.age)})"
    return run.phase.value


def _figures(run: RunState) -> list[str]:
    parts = [] if run.loss is None else [f"loss {run.loss.values[-1]:.4g}"]
    if run.validation is not None:
        step, best = run.validation.best
        parts.append(f"{run.validation.name} {run.validation.values[-1]:.4g} (best {best:.4g} at {step})")
    if run.phase is Phase.training and run.rate is not None:
        parts.append(_pace(run.rate))
    if run.left is not None:
        parts.append(f"{duration(run.left)} left")
    return parts


def _pace(rate: float) -> str:
    return f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s a step"


def _run(run: RunState) -> RenderableType:
    title = " · ".join(part for part in (str(run.folder), run.about, _phase(run)) if part)
    parts: list[RenderableType] = [Text(title, style="bold")]
    if not run.steps:
        return Group(*parts, Text("waiting for its configuration, which comes when its images are prepared"))
    moving = [] if run.rate is None or run.phase is not Phase.training else [_pace(run.rate)]
    moving += [] if run.left is None else [f"{duration(run.left)} left"]
    amount = Table.grid(padding=(0, 1))
    text = ", ".join([f"{run.step}/{run.steps}", *moving])
    amount.add_row(ProgressBar(total=run.steps, completed=run.step, width=WIDTH // 2), text)
    parts.append(amount)
    parts += [_Course(series) for series in (run.loss, run.validation) if series is not None]
    saved = "no checkpoint yet" if run.saved is None else f"checkpoint of step {run.saved}"
    parts.append(Text(f"written {duration(run.age)} ago, {saved}", style="dim"))
    return Group(*parts)


class _Course:
    """A figure: the last value, its course of late, the best."""

    def __init__(self, series: Series) -> None:
        self._series = series

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        series, (step, best) = self._series, self._series.best
        width = min(WIDTH, max(8, options.max_width - 54))
        plot = sparkline(series.values, ASCII if options.ascii_only else BLOCKS, width)
        yield Text(f"{series.name:16} {series.values[-1]:<9.4g} {plot}  best {best:.4g} at step {step}")


class _Runs:
    """A table of runs, as many as the terminal has room for, those at work first."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        runs = self._place.runs
        room = max(1, options.size.height - EDGE) if console.is_terminal else len(runs)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for heading in ("run", "state", "steps", "loss", "validation", "best", "left"):
            table.add_column(heading, no_wrap=True)
        for run in runs[:room]:
            name, *cells = _cells(run)
            longest = max(16, options.max_width - FIGURES)
            table.add_row(*map(Text, [name if len(name) <= longest else f"…{name[1 - longest :]}", *cells]))
        yield Text(summary(self._place), style="bold")
        yield table
        if len(runs) > room:
            yield Text(f"and {len(runs) - room} more", style="dim")


def _cells(run: RunState) -> tuple[str, ...]:
    validation = ("", "")
    if run.validation is not None:
        validation = (f"{run.validation.values[-1]:.4g}", f"{run.validation.best[1]:.4g}")
    state = f"silent for {duration(run.age)}" if run.phase is Phase.quiet else run.phase.value
    return (
        run.folder.name,
        state,
        f"{run.step}/{run.steps}",
        "" if run.loss is None else f"{run.loss.values[-1]:.4g}",
        *validation,
        "" if run.left is None else duration(run.left),
    )
