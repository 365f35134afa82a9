"""Figure of the displacement uncertainty of every method, with the true error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.registration.plot.drawing import (
    ColourLimits,
    draw_uncertain_grid,
    height_over_width,
    percentile_limits,
)
from heteroreg.registration.plot.kinds import MAP_KINDS
from heteroreg.report.pairs import case_title
from heteroreg.report.paper.layout import ColourBar, PanelRow, PrintPanel
from heteroreg.report.paper.material import CasePairs
from heteroreg.report.paper.pictures import image_of, images_of, maps_figure
from heteroreg.report.paper.printing import LINE

GRID_LINES = 16


def displacement_uncertainty(pairs: CasePairs, names: Sequence[str]) -> Figure | None:
    """Draw the warped grid of each pair, red where σ̂_z is large and blue where it is small.

    Where the true displacement is known, the length of its error is shown below. All pictures of a row share one
    scale in mm.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations in order. Those without a displacement uncertainty are left out.

    Returns:
        The figure, or None where no evaluation has one.
    """
    return maps_figure(pairs, names, lambda case: case.displacement_sd is not None, "Moving, fixed", _rows)


def _rows(pair: Mapping[str, Case], names: Sequence[str]) -> list[PanelRow]:
    cases = [pair.get(name) for name in names]
    found = [case for case in cases if case is not None]
    first = found[0]
    ratio = height_over_width(first.fixed.shape, first.spacing)
    grey = percentile_limits([first.fixed, first.moving])
    kind, errors = MAP_KINDS["displacement_sd"], MAP_KINDS["end_point_error"]
    certain = kind.scale(found)
    assert certain is not None  # the pairs have a map
    grids = [
        None
        if case is None or case.displacement_sd is None
        else PrintPanel(partial(_draw_grid, case, grey, certain))
        for case in cases
    ]
    moving, fixed = (
        image_of(first, first.moving, grey, note="moving"),
        image_of(first, first.fixed, grey, note="fixed"),
    )
    bar = ColourBar(kind.colours, certain, "σ̂z (mm)")
    lines = [PanelRow(f"{case_title(first)}\ndisplacement", [moving, *grids], ratio, bar)]
    limits = errors.scale(found)
    if limits is not None:
        maps = images_of(cases, errors.get, limits, errors.colours)
        lines.append(
            PanelRow(" \ntrue error", [fixed, *maps], ratio, ColourBar(errors.colours, limits, "error (mm)"))
        )
    return lines


def _draw_grid(case: Case, grey: ColourLimits, certain: ColourLimits, axes: Axes) -> None:
    assert case.displacement_sd is not None
    draw_uncertain_grid(
        axes,
        case.moved,
        case.displacement,
        case.displacement_sd,
        case.spacing,
        grey,
        certain,
        lines=GRID_LINES,
        width=LINE,
        interpolation="none",
    )
