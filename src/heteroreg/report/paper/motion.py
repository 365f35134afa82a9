"""Where each method is sure of its displacement, and where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.report.drawing import (
    UNCERTAINTY,
    Limits,
    draw_uncertain_grid,
    from_zero,
    percentile_limits,
    uncertainty_limits,
)
from heteroreg.report.gallery import case_title
from heteroreg.report.paper.layout import Bar, Line, Panel
from heteroreg.report.paper.material import Pairs
from heteroreg.report.paper.pictures import height_over_width, image_of, images_of, maps_figure
from heteroreg.report.paper.printing import LINE

ERROR_MAP = "cividis"
LINES = 16


def displacement_uncertainty(pairs: Pairs, names: Sequence[str]) -> Figure | None:
    """For each pair the warped grid, red where σ̂_z is large and blue where it is small, and the true error.

    The grid is that of `panels.grid_panel`. Below it, where the true displacement is known, the length of the
    displacement's error. The pictures of a row share one scale in mm.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations, in order; those without an uncertainty of the displacement are left out.

    Returns:
        The figure; None where no evaluation has one.
    """
    return maps_figure(pairs, names, lambda case: case.displacement_sd is not None, "Moving, fixed", _rows)


def _rows(pair: Mapping[str, Case], names: Sequence[str]) -> list[Line]:
    cases = [pair.get(name) for name in names]
    found = [case for case in cases if case is not None]
    first = found[0]
    ratio = height_over_width(first)
    grey = percentile_limits([first.fixed, first.moving])
    certain = uncertainty_limits([case.displacement_sd for case in found if case.displacement_sd is not None])
    grids = [
        None if case is None or case.displacement_sd is None else Panel(partial(_draw_grid, case, grey, certain))
        for case in cases
    ]
    moving, fixed = (
        image_of(first, first.moving, grey, note="moving"),
        image_of(first, first.fixed, grey, note="fixed"),
    )
    bar = Bar(UNCERTAINTY, certain, "σ̂z (mm)")
    lines = [Line(f"{case_title(first)}\ndisplacement", [moving, *grids], ratio, bar)]
    errors = [case.end_point_error for case in found if case.end_point_error is not None]
    if errors:
        limits = from_zero(errors)
        maps = images_of(cases, lambda case: case.end_point_error, limits, ERROR_MAP)
        lines.append(Line(" \nits true error", [fixed, *maps], ratio, Bar(ERROR_MAP, limits, "error (mm)")))
    return lines


def _draw_grid(case: Case, grey: Limits, certain: Limits, axes: Axes) -> None:
    assert case.displacement_sd is not None
    draw_uncertain_grid(
        axes,
        case.moved,
        case.displacement,
        case.displacement_sd,
        case.spacing,
        grey,
        certain,
        lines=LINES,
        width=LINE,
        interpolation="none",
    )
