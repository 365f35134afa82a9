"""Figure of the predicted noise of every method, with the residual after its registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from heteroreg.evaluation.gallery import Case
from heteroreg.registration.plot.drawing import height_over_width, percentile_limits
from heteroreg.registration.plot.kinds import MAP_KINDS
from heteroreg.report.pairs import case_title
from heteroreg.report.paper.layout import ColourBar, PanelRow, PrintPanel
from heteroreg.report.paper.material import CasePairs
from heteroreg.report.paper.pictures import empty, image_of, images_of, maps_figure

# Key of the kind of map, label of its row, note on its reference.
NOISE_ROWS = (("difference", "residual", "before"), ("noise_sd", "noise σ̂", "true σ"), ("weight", "weight", ""))


def noise_maps(pairs: CasePairs, names: Sequence[str]) -> Figure | None:
    """Draw four rows for each pair: moved image, residual |fixed - moved|, predicted noise σ̂, weight.

    The first column holds the references: the fixed image, the residual before registration, and the true noise
    where it is known. All maps of a row share one scale. Weights are relative to their mean.

    Args:
        pairs: The pairs to choose from.
        names: The evaluations in order. Those without noise and weight are left out.

    Returns:
        The figure, or None where no evaluation has either.
    """
    return maps_figure(pairs, names, _has_map, "Reference", _rows)


def _rows(pair: Mapping[str, Case], names: Sequence[str]) -> list[PanelRow]:
    cases = [pair.get(name) for name in names]
    found = [case for case in cases if case is not None]
    first = found[0]
    ratio = height_over_width(first.fixed.shape, first.spacing)
    grey = percentile_limits([first.fixed, first.moving])
    moved = images_of(cases, lambda case: case.moved, grey)
    fixed = image_of(first, first.fixed, grey, note="fixed")
    rows = [PanelRow(f"{case_title(first)}\nmoved", [fixed, *moved], ratio)]
    for key, label, note in NOISE_ROWS:
        kind = MAP_KINDS[key]
        limits = kind.scale(found)
        if limits is None:
            continue
        known = [values for case in found if (values := kind.get_reference(case)) is not None]
        lead = image_of(first, known[0], limits, kind.colours, note) if known else PrintPanel(empty)
        panels = [lead, *images_of(cases, kind.get, limits, kind.colours)]
        rows.append(PanelRow(f" \n{label}", panels, ratio, ColourBar(kind.colours, limits, kind.unit)))
    return rows


def _has_map(case: Case) -> bool:
    return case.noise_sd is not None or case.weight is not None
