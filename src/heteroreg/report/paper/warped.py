"""Figure of the warped and the true labels of every method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.registration.plot.drawing import draw_image, draw_outline, height_over_width, percentile_limits
from heteroreg.report.pairs import case_title
from heteroreg.report.paper.layout import PanelRow, PrintPanel
from heteroreg.report.paper.material import CasePairs, case_dice
from heteroreg.report.paper.pictures import pairs_figure
from heteroreg.report.paper.printing import LINE
from heteroreg.system.arrays import Floats, Labels

# Orange and sky blue of Okabe and Ito: distinct with colour blindness, and bright over a grey image.
WARPED_COLOUR, TRUE_COLOUR = "#E69F00", "#56B4E9"
FILL_OPACITY = 0.3


def warped_labels(pairs: CasePairs, scores: Mapping[str, Scores], labels: Sequence[int]) -> Figure | None:
    """Draw one row for each pair: moving, fixed, and the fixed image with the warped labels of each method.

    Args:
        pairs: The pairs to choose from.
        scores: Name of the evaluation → its scores, for the Dice in the corner.
        labels: The labels to show.

    Returns:
        The figure, or None where no pair has a warped label map.
    """
    usable = [pair for pair in pairs if any(_complete(case) for case in pair.values())]
    if not usable or not labels:
        return None
    legend = [_patch(WARPED_COLOUR, "moving label, warped"), _patch(TRUE_COLOUR, "true label; number: Dice (%)")]
    return pairs_figure(usable, ["Moving", "Fixed", *scores], lambda pair: [_row(pair, scores, labels)], legend)


def _row(pair: Mapping[str, Case], scores: Mapping[str, Scores], labels: Sequence[int]) -> PanelRow:
    first = next(case for case in pair.values() if _complete(case))
    grey = percentile_limits([first.fixed, first.moving])
    panels: list[PrintPanel | None] = [
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
    return PanelRow(
        case_title(first).replace(", ", "\n"), panels, height_over_width(first.fixed.shape, first.spacing)
    )


def _panel(
    case: Case,
    grey: tuple[float, float],
    labels: Sequence[int],
    image: Floats,
    *,
    warped: Labels | None = None,
    true: Labels | None = None,
    note: str = "",
) -> PrintPanel:
    def draw(axes: Axes) -> None:
        draw_image(axes, image, case.spacing, grey, "gray", "none")
        if warped is not None:
            draw_outline(
                axes, warped, case.spacing, dict.fromkeys(labels, WARPED_COLOUR), width=LINE, fill=FILL_OPACITY
            )
        if true is not None:
            draw_outline(axes, true, case.spacing, dict.fromkeys(labels, TRUE_COLOUR), width=LINE)

    return PrintPanel(draw, note)


def _complete(case: Case) -> bool:
    return case.moved_labels is not None and case.fixed_labels is not None


def _patch(hue: str, label: str) -> Patch:
    return Patch(facecolor=hue, edgecolor=hue, label=label)
