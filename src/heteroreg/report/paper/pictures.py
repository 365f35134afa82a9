"""Panels that several figures have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes

from heteroreg.evaluation.gallery import Case
from heteroreg.report.drawing import Floats, Limits, draw_image
from heteroreg.report.paper.layout import Panel

STRETCHED = 4.0  # a picture that is longer still gets a place of this proportion, and leaves some of it empty


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
