"""What each method takes for noise, beside the residual that it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.report.drawing import from_zero, percentile_limits
from heteroreg.report.gallery import NOISE_MAP, WEIGHT_MAP, case_title
from heteroreg.report.paper.layout import Bar, Line, Panel
from heteroreg.report.paper.material import Pairs
from heteroreg.report.paper.pictures import empty, height_over_width, image_of, images_of, maps_figure
from heteroreg.system.arrays import Floats

RESIDUAL_MAP = "cividis"
UNIT = "intensity"


def noise_maps(pairs: Pairs, names: Sequence[str]) -> Figure | None:
    """For each pair four rows: moved image, residual |fixed - moved|, predicted noise σ̂, weight.

    The first column holds what they are to be held against: the fixed image, the residual before registration,
    and the true noise where it is known. The maps of a row share one scale; weights are relative to their mean.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations, in order; those without noise and weight are left out.

    Returns:
        The figure; None where no evaluation has either.
    """
    return maps_figure(pairs, names, _has_map, "Reference", _rows)


def _rows(pair: Mapping[str, Case], names: Sequence[str]) -> list[Line]:
    cases = [pair.get(name) for name in names]
    found = [case for case in cases if case is not None]
    first = found[0]
    ratio = height_over_width(first)
    grey = percentile_limits([first.fixed, first.moving])
    before = residual(first.fixed, first.moving)
    true = next((case.true_noise_sd for case in found if case.true_noise_sd is not None), None)
    moved = images_of(cases, lambda case: case.moved, grey)
    lines = [Line(f"{case_title(first)}\nmoved", [image_of(first, first.fixed, grey, note="fixed"), *moved], ratio)]
    for row in (
        _Row("residual", lambda case: residual(case.fixed, case.moved), RESIDUAL_MAP, UNIT, before, "before"),
        _Row("noise σ̂", lambda case: case.noise_sd, NOISE_MAP, UNIT, true, "true σ"),
        _Row("weight", relative_weight, WEIGHT_MAP, "× its mean"),
    ):
        maps = [values for case in found if (values := row.get(case)) is not None]
        if maps:
            limits = from_zero(maps if row.lead is None else [*maps, row.lead])
            lead = Panel(empty) if row.lead is None else image_of(first, row.lead, limits, row.look, row.note)
            panels = [lead, *images_of(cases, row.get, limits, row.look)]
            lines.append(Line(f" \n{row.label}", panels, ratio, Bar(row.look, limits, row.unit)))
    return lines


@dataclass(frozen=True)
class _Row:
    """A kind of map: what it is called and shows, and what stands before it in the first column."""

    label: str
    get: Callable[[Case], Floats | None]
    look: str
    unit: str
    lead: Floats | None = None
    note: str = ""


def relative_weight(case: Case) -> Floats | None:
    """The weight over its mean: a common factor only exchanges the data term for smoothness."""
    if case.weight is None:
        return None
    weight = np.asarray(case.weight, dtype=float)
    mean = float(weight.mean())
    return np.asarray(weight / mean) if mean > 0 else weight


def residual(fixed: Floats, moved: Floats) -> Floats:
    """|fixed - moved|."""
    return np.asarray(np.abs(np.asarray(fixed, dtype=float) - np.asarray(moved, dtype=float)))


def _has_map(case: Case) -> bool:
    return case.noise_sd is not None or case.weight is not None
