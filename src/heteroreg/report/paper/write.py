"""Draw and write the figures of a comparison for print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from heteroreg.comparison import Comparison
from heteroreg.report.paper.curves import sparsification_figure
from heteroreg.report.paper.dice import dice_plots
from heteroreg.report.paper.material import MYOCARDIUM, pictured_pairs, shown_labels
from heteroreg.report.paper.motion import displacement_uncertainty
from heteroreg.report.paper.noise import noise_maps
from heteroreg.report.paper.printing import save_figure
from heteroreg.report.paper.warped import warped_labels
from heteroreg.system.progress import progress, reported


def figures_of(comparison: Comparison) -> dict[str, Figure]:
    """Draw the figures of a comparison, by file name.

    These are `warped-myocardium` (`warped-labels` where the labels are not those of a heart), `noise-maps`,
    `sparsification`, `displacement-uncertainty` and `dice`. Figures without data are left out.
    """
    scores = comparison.scores
    pairs, labels = pictured_pairs(scores), shown_labels(comparison)
    makers: dict[str, Callable[[], Figure | None]] = {
        "warped-myocardium" if labels == [MYOCARDIUM] else "warped-labels": lambda: warped_labels(
            pairs, scores, labels
        ),
        "noise-maps": lambda: noise_maps(pairs, list(scores)),
        "sparsification": lambda: sparsification_figure(scores),
        "displacement-uncertainty": lambda: displacement_uncertainty(pairs, list(scores)),
        "dice": lambda: dice_plots(comparison, labels),
    }
    with progress("drawing the figures for print", len(makers)) as report:
        figures = {name: make() for name, make in reported(makers.items(), report)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def write_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures as vector PDF and as PNG with 300 dpi.

    Args:
        figures: File name without its ending → figure.
        folder: Folder of the files. It is created only if there are figures.

    Returns:
        The files. The same figures give the same bytes.
    """
    with progress("writing the figures for print", len(figures)) as report:
        drawn = reported(figures.items(), report)
        return [path for name, figure in drawn for path in save_figure(figure, folder, name)]
