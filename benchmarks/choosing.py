"""Show the effect of λ and γ in numbers and figures, for `hetero` on a phantom with artefacts.

    python -m benchmarks.choosing --work choosing

Trains each value once, scores it on the validation pairs, and writes the table to stdout and the pictures of
docs/studies.md. What is in the working folder already is not trained again.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroreg import Cohort, Registration, evaluate, load, train
from heteroreg.data.phantom import write_phantom
from heteroreg.registration.plot.drawing import draw_grid, draw_image, draw_outline, from_zero, percentile_limits
from heteroreg.registration.plot.style import PALETTE, styled

SMOOTHNESS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
GAMMA = (0.0, 0.25, 0.5, 1.0)
USUAL = (0.01, 0.25)
SHOWN = {"smoothness": (0.0001, 0.1, 1.0), "gamma": (0.25, 0.5, 1.0)}
SYMBOLS = {"smoothness": "λ", "gamma": "γ"}
MYOCARDIUM = 2
PAPER = "white"  # the guide has a dark dress too, in which dark letters on nothing cannot be read
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
# What a row says of its run: the column of the scores, its heading, a factor, digits.
COLUMNS = (
    (f"dice_{MYOCARDIUM}", "Dice of the myocardium (%)", 100.0, 1),
    ("epe", "end-point error (mm)", 1.0, 2),
    ("sd_log_jacobian", "sd of log det J", 1.0, 3),
    ("folding_percent", "folding (%)", 1.0, 3),
)
DRAWN = 3  # of them; folding is what the standard deviation ends in


@dataclass(frozen=True)
class Point:
    """One run of `hetero`.

    Attributes:
        smoothness: λ.
        gamma: γ.
        means: The columns of `COLUMNS`, means over the validation pairs in the units of their headings.
        registration: Registration of the pair in the figures.
    """

    smoothness: float
    gamma: float
    means: tuple[float, ...]
    registration: Registration


def measure(work: Path, *, pairs: int, size: int, steps: int, shown: int = 0) -> dict[tuple[float, float], Point]:
    """Trains and scores every point of the two rows through the usual one.

    Args:
        work: Folder of the cohort and the runs.
        pairs: Pairs of the phantom.
        size: Its voxels along each axis.
        steps: Training steps.
        shown: The validation pair that is kept for the pictures.
    """
    if not (work / "cohort").exists():
        write_phantom(work / "cohort", pairs=pairs, size=size, artefacts=True, seed=5)
    cohort = Cohort.read(work / "cohort")
    wanted = dict.fromkeys([*((s, USUAL[1]) for s in SMOOTHNESS), *((USUAL[0], g) for g in GAMMA)])
    return {values: _point(work, cohort, values, steps, shown) for values in wanted}


def _point(work: Path, cohort: Cohort, values: tuple[float, float], steps: int, shown: int) -> Point:
    smoothness, gamma = values
    out = work / f"hetero-{smoothness}-{gamma}"
    settings = {"method": "hetero", "network": "voxelmorph-half", "steps": steps}
    train(cohort, out, config=settings, resume=True, smoothness=smoothness, gamma=gamma)
    validation = cohort.split("val")
    registrar = load(out)
    scores = evaluate(registrar, validation)
    per_patient = scores.per_patient()
    means = tuple(float(factor * per_patient[name].mean()) for name, _, factor, _ in COLUMNS)
    pair = validation.pairs[shown]
    return Point(smoothness, gamma, means, registrar.register(pair.moving, pair.fixed, pair.moving_labels))


def row_of(points: dict[tuple[float, float], Point], setting: str) -> list[Point]:
    """Return the points along one setting, with the other at its default."""
    values = [(s, USUAL[1]) for s in SMOOTHNESS] if setting == "smoothness" else [(USUAL[0], g) for g in GAMMA]
    return [points[pair] for pair in values]


def table(row: Sequence[Point], setting: str) -> str:
    """A Markdown table of one row of points."""
    lines = [f"| {SYMBOLS[setting]} | " + " | ".join(heading for _, heading, _, _ in COLUMNS) + " |"]
    lines.append("|---:" * (len(COLUMNS) + 1) + "|")
    for point in row:
        figures = [f"{mean:.{digits}f}" for mean, (_, _, _, digits) in zip(point.means, COLUMNS, strict=True)]
        lines.append(f"| {getattr(point, setting):g} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def curves(rows: dict[str, list[Point]]) -> Figure:
    """Dice, end-point error and roughness against each setting, one under the other."""
    figure = Figure(figsize=(8.2, 6.4), layout="constrained")
    axes = figure.subplots(DRAWN, len(rows), sharey="row", sharex="col", squeeze=False)
    for column, (setting, row) in enumerate(rows.items()):
        values = [getattr(point, setting) for point in row]
        for index, (_, heading, _, _) in enumerate(COLUMNS[:DRAWN]):
            axis = axes[index, column]
            axis.plot(values, [point.means[index] for point in row], "o-", color=PALETTE[index])
            axis.axvline(USUAL[column], color="#7a848e", linewidth=0.9, linestyle=(0, (4, 3)))
            if column == 0:
                axis.set_ylabel(textwrap.fill(heading, 16))
            if setting == "smoothness":
                axis.set_xscale("log")
            axis.set_xticks(values, [f"{value:g}" for value in values], fontsize=8.5)
            axis.minorticks_off()
        axes[-1, column].set_xlabel(SYMBOLS[setting])
    return figure


def grids(points: Sequence[Point], window: slice) -> Figure:
    """For each λ the moved image with its outlines, and the warped grid over it."""
    figure, axes = _panels(points, rows=2)
    for column, point in enumerate(points):
        registration = point.registration
        spacing = registration.grid.spacing
        image = registration.moved.array[window, window]
        limits = percentile_limits([image])
        displacement = _cropped(registration, window)
        for axis in axes[:, column]:
            draw_image(axis, image, spacing, limits, "gray")
        assert registration.moved_labels is not None
        outlines = registration.moved_labels.array[window, window].astype(int)
        draw_outline(axes[0, column], outlines, spacing, {MYOCARDIUM: PALETTE[4]})
        draw_grid(axes[1, column], displacement, spacing)
        _title(axes[0, column], point, "smoothness")
    return figure


def weights(points: Sequence[Point], window: slice) -> Figure:
    """Draw the fixed image and, for each γ, the weight map of the loss, on one scale from 0."""
    maps = [point.registration.weight for point in points]
    arrays = [weight.array[window, window] for weight in maps if weight is not None]
    limits = from_zero(arrays)
    figure, axes = _panels([points[0], *points], rows=1)
    fixed = points[0].registration.fixed
    image = fixed.array[window, window]
    draw_image(axes[0, 0], image, fixed.grid.spacing, percentile_limits([image]), "gray")
    axes[0, 0].set_title("fixed image", fontsize=9)
    for axis, point, array in zip(axes[0, 1:], points, arrays, strict=True):
        shown = draw_image(axis, array, fixed.grid.spacing, limits, "viridis")
        _title(axis, point, "gamma")
    figure.colorbar(shown, ax=axes, shrink=0.85, label="weight")
    return figure


def _panels(points: Sequence[Any], rows: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(2.3 * len(points), 2.35 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(points), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
        axis.set_box_aspect(1)
    return figure, axes


def _title(axis: Axes, point: Point, setting: str) -> None:
    axis.set_title(f"{SYMBOLS[setting]} = {getattr(point, setting):g}", fontsize=9)


def _cropped(registration: Registration, window: slice) -> Any:
    return np.asarray(registration.displacement)[:, window, window]


def draw(points: dict[tuple[float, float], Point], out: Path, size: int) -> None:
    """Writes the three pictures."""
    window = slice(size // 8, size - size // 8)
    by_smoothness = [points[value, USUAL[1]] for value in SHOWN["smoothness"]]
    by_gamma = [points[USUAL[0], value] for value in SHOWN["gamma"]]
    out.mkdir(parents=True, exist_ok=True)
    with styled():
        rows = {setting: row_of(points, setting) for setting in SYMBOLS}
        curves(rows).savefig(
            out / "choosing-curves.svg",
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
            facecolor=PAPER,
        )
        _save(grids(by_smoothness, window), out / "choosing-grids.png")
        _save(weights(by_gamma, window), out / "choosing-weights.png")


def _save(figure: Figure, path: Path) -> None:
    """A PNG of 96 colours: a quarter of the bytes of all colours, and none of it is seen."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor=PAPER)
    PIL.Image.open(buffer).convert("RGB").quantize(96).save(path, optimize=True)


def main() -> None:
    """Trains, prints the tables, draws."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.choosing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the cohort and the runs")
    parser.add_argument("--out", type=Path, default=PICTURES, help="of the pictures (default: docs/pictures)")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of the phantom (default: 100)")
    parser.add_argument("--size", type=int, default=64, help="its voxels along each axis (default: 64)")
    parser.add_argument("--steps", type=int, default=400, help="of each training (default: 400)")
    options = parser.parse_args()
    mpl.use("Agg")
    points = measure(options.work, pairs=options.pairs, size=options.size, steps=options.steps)
    draw(points, options.out, options.size)
    for setting in SYMBOLS:
        print(table(row_of(points, setting), setting), end="\n\n")


if __name__ == "__main__":
    main()
