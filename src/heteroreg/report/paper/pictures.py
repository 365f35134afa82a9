"""Panels that several figures have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.report.drawing import Limits, draw_image
from heteroreg.report.paper.layout import Line, Panel, largest, picture_grid
from heteroreg.report.paper.material import MOST_PAIRS, Pairs, some
from heteroreg.system.arrays import Floats

STRETCHED = 4.0  # a picture that is longer still gets a place of this proportion, and leaves some of it empty


def maps_figure(
    pairs: Pairs,
    names: Sequence[str],
    has: Callable[[Case], bool],
    lead: str,
    lines: Callable[[Mapping[str, Case], Sequence[str]], list[Line]],
) -> Figure | None:
    """A figure of maps: a column for each evaluation that has any, and some lines for each of a few pairs.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations, in order.
        has: Whether a case has such a map.
        lead: Heading of the first column.
        lines: The lines of one pair, with the columns of the named evaluations.

    Returns:
        The figure; None where no evaluation has a map.
    """
    usable = [pair for pair in pairs if any(has(case) for case in pair.values())]
    chosen = [name for name in names if any(has(pair[name]) for pair in usable if name in pair)]
    if not chosen:
        return None
    return pairs_figure(usable, [lead, *chosen], lambda pair: lines(pair, chosen))


def pairs_figure(
    pairs: Pairs,
    headings: Sequence[str],
    lines: Callable[[Mapping[str, Case]], list[Line]],
    legend: Sequence[Any] = (),
) -> Figure:
    """A figure of some lines for each of as many pairs as a page holds, four at most.

    Args:
        pairs: The pairs to choose from, one or more.
        headings: One for each column.
        lines: The lines of one pair.
        legend: Handles of a legend below.
    """

    def make(count: int) -> list[Line]:
        return [line for pair in some(pairs, count) for line in lines(pair)]

    fitting = largest(make, headings, min(MOST_PAIRS, len(pairs)), legend=bool(legend))
    return picture_grid(headings, fitting, legend)


def image_of(case: Case, values: Floats, limits: Limits, look: str = "gray", note: str = "") -> Panel:
    """An image or a map on a case's grid.

    Args:
        case: The case.
        values: What to show [x, y].
        limits: Values at the ends of the colour map.
        look: Name of the colour map.
        note: Text in the corner.
    """
    return Panel(partial(_draw, case, values, limits, look), note)


def images_of(
    cases: Sequence[Case | None], get: Callable[[Case], Floats | None], limits: Limits, look: str = "gray"
) -> list[Panel | None]:
    """The same map of several cases; None where a case lacks it."""
    panels: list[Panel | None] = []
    for case in cases:
        values = None if case is None else get(case)
        panels.append(None if case is None or values is None else image_of(case, values, limits, look))
    return panels


def empty(axes: Axes) -> None:
    """Draws nothing: a place that is not meant to hold anything."""


def height_over_width(case: Case) -> float:
    """The proportion of a case's pictures, within what a page can hold."""
    width, height = (size * step for size, step in zip(case.fixed.shape, case.spacing, strict=True))
    return min(max(float(height / width), 1 / STRETCHED), STRETCHED)


def _draw(case: Case, values: Floats, limits: Limits, look: str, axes: Axes) -> None:
    # "none": the file keeps the pixels as they are, and prints them without smoothing.
    draw_image(axes, values, case.spacing, limits, look, "none")
