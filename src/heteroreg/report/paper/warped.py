"""The warped label beside the true one, for every method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.report.drawing import draw_image, draw_outline, percentile_limits
from heteroreg.report.gallery import case_title
from heteroreg.report.paper.layout import Line, Panel
from heteroreg.report.paper.material import Pairs, case_dice
from heteroreg.report.paper.pictures import height_over_width, pairs_figure
from heteroreg.report.paper.printing import LINE
from heteroreg.system.arrays import Floats, Labels

# Okabe and Ito's orange and sky blue: apart for every eye, and bright enough over a grey image.
WARPED, TRUE = "#E69F00", "#56B4E9"
FILL = 0.3


def warped_labels(pairs: Pairs, scores: Mapping[str, Scores], labels: Sequence[int]) -> Figure | None:
    """One row for each pair: moving, fixed, and the fixed image under each method's warped label.

    Args:
        pairs: The pairs to choose from.
        scores: Name of the evaluation → its scores, for the Dice in the corner.
        labels: The labels to show.

    Returns:
        The figure; None where no pair has a warped label map.
    """
    usable = [pair for pair in pairs if any(_complete(case) for case in pair.values())]
    if not usable or not labels:
        return None
    legend = [_patch(WARPED, "moving label, warped"), _patch(TRUE, "true label; number: Dice (%)")]
    return pairs_figure(usable, ["Moving", "Fixed", *scores], lambda pair: [_row(pair, scores, labels)], legend)


def _row(pair: Mapping[str, Case], scores: Mapping[str, Scores], labels: Sequence[int]) -> Line:
    first = next(case for case in pair.values() if _complete(case))
    grey = percentile_limits([first.fixed, first.moving])
    panels: list[Panel | None] = [
        _panel(first, grey, labels, first.moving, warped=first.moving_labels),
        _panel(first, grey, labels, first.fixed, true=first.fixed_labels),
    ]
    for name, one in scores.items():
        case = pair.get(name)
        if case is None or not _complete(case):
            panels.append(None)
            continue
        dice = case_dice(one, case, labels)
        note = metric("dice_1").format(dice) if math.isfinite(dice) else ""
        panels.append(
            _panel(case, grey, labels, case.fixed, warped=case.moved_labels, true=case.fixed_labels, note=note)
        )
    return Line(case_title(first).replace(", ", "\n"), panels, height_over_width(first))


def _panel(
    case: Case,
    grey: tuple[float, float],
    labels: Sequence[int],
    image: Floats,
    *,
    warped: Labels | None = None,
    true: Labels | None = None,
    note: str = "",
) -> Panel:
    def draw(axes: Axes) -> None:
        draw_image(axes, image, case.spacing, grey, "gray", "none")
        if warped is not None:
            draw_outline(axes, warped, case.spacing, dict.fromkeys(labels, WARPED), width=LINE, fill=FILL)
        if true is not None:
            draw_outline(axes, true, case.spacing, dict.fromkeys(labels, TRUE), width=LINE)

    return Panel(draw, note)


def _complete(case: Case) -> bool:
    return case.moved_labels is not None and case.fixed_labels is not None


def _patch(hue: str, label: str) -> Patch:
    return Patch(facecolor=hue, edgecolor=hue, label=label)
