"""Pictures of one pair: images with contours, the warped grid, maps. Each function returns a Matplotlib figure.

Arrays are [x, y] and shown as is usual in radiology: x to the right, y down, pixels in their true proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heteroreg.report.style import label_colour

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Limits = tuple[float, float]
Spacing = Sequence[float] | Floats

DPI = 100
BAR = 0.7  # inches below a map for its colour bar
PIXELS = 384  # the longer side of a panel, so that contours are smooth on a phone's dense screen too
SOLID = "solid"
DASHED = (0, (3, 2))


def image_panel(
    image: Floats,
    spacing: Spacing,
    limits: Limits | None = None,
    *,
    labels: Labels | None = None,
    true_labels: Labels | None = None,
    colours: Mapping[int, str] | None = None,
) -> Figure:
    """A grey image, with the outline of labels over it: solid, and dashed for the truth.

    Args:
        image: Intensities [x, y].
        spacing: Size of a pixel in mm along x and y.
        limits: Intensities shown as black and white; the 0.5th and 99.5th percentile if not given.
        labels: A label map whose outlines are solid; 0 is background.
        true_labels: A label map whose outlines are dashed.
        colours: Label → colour; by the order of the labels if not given.
    """
    figure, axes = _canvas(image.shape, spacing)
    _show(axes, image, spacing, limits or percentile_limits([image]), "gray")
    present = [array for array in (labels, true_labels) if array is not None]
    colours = colours if colours is not None else label_colours(present)
    if true_labels is not None:
        _outline(axes, true_labels, spacing, colours, DASHED)
    if labels is not None:
        _outline(axes, labels, spacing, colours, SOLID)
    return figure


def grid_panel(
    image: Floats,
    displacement: Floats,
    spacing: Spacing,
    limits: Limits | None = None,
    *,
    lines: int = 20,
) -> Figure:
    """The moved image with the grid that a straight grid on the moving image becomes.

    Its lines are the level sets of φ(x) = x + u(x): along each, the moving image is read along a straight
    line. So the picture holds for the moved image as it lies there, and lines that cross show folding.

    Args:
        image: The moved image [x, y].
        displacement: u (2, x, y) in voxels.
        spacing: Size of a pixel in mm along x and y.
        limits: Intensities shown as black and white.
        lines: How many lines to draw along the longer side.
    """
    figure, axes = _canvas(image.shape, spacing)
    _show(axes, image, spacing, limits or percentile_limits([image]), "gray")
    step = max(max(image.shape) / lines, 1.0)
    x, y = (spacing[axis] * np.arange(size) for axis, size in enumerate(image.shape))
    for position in np.indices(image.shape) + displacement:
        low, high = float(position.min()), float(position.max())
        levels = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        levels = levels[(levels > low) & (levels < high)]
        if len(levels):
            axes.contour(x, y, position.T, levels=levels, colors="#56B4E9", linewidths=0.9, alpha=0.9)
    _frame(axes, image.shape, spacing)
    return figure


def map_panel(
    values: Floats, spacing: Spacing, limits: Limits, colour_map: str = "viridis", label: str = ""
) -> Figure:
    """A map in colours, with a colour bar if a label for it is given.

    Args:
        values: The map [x, y].
        spacing: Size of a pixel in mm along x and y.
        limits: Values at the two ends of the colour map.
        colour_map: Name of a Matplotlib colour map.
        label: What the colour bar shows, with its unit.
    """
    figure, axes = _canvas(values.shape, spacing)
    shown = _show(axes, values, spacing, limits, colour_map)
    if label:
        width, height = figure.get_size_inches()
        whole = height + BAR
        figure.set_size_inches(width, whole)
        axes.set_position((0.0, BAR / whole, 1.0, height / whole))
        bar = figure.add_axes((0.06, 0.65 * BAR / whole, 0.88, 0.2 * BAR / whole))
        figure.colorbar(shown, cax=bar, orientation="horizontal", label=label)
    return figure


def percentile_limits(images: Sequence[Floats], low: float = 0.5, high: float = 99.5) -> Limits:
    """Limits of intensity that hold for several images together, blind to a few extreme voxels."""
    values = np.concatenate([np.asarray(image, dtype=float).ravel() for image in images])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(values, [low, high]))
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)


def label_colours(maps: Sequence[Labels]) -> dict[int, str]:
    """A colour for each label that occurs in any of the maps; 0 is background."""
    found = sorted({int(label) for array in maps for label in np.unique(array)} - {0})
    return {label: label_colour(index) for index, label in enumerate(found)}


def _canvas(shape: Sequence[int], spacing: Spacing) -> tuple[Figure, Axes]:
    """A figure that is nothing but its image. A whole number of dots per pixel keeps the pixels even."""
    extent = np.array([shape[0] * spacing[0], shape[1] * spacing[1]], dtype=float)
    extent /= min(spacing[0], spacing[1])  # in pixels of the finer axis
    dots = max(round(PIXELS / extent.max()), 1)
    figure = Figure(figsize=tuple(np.maximum(extent * dots, 1) / DPI), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def _show(axes: Axes, image: Floats, spacing: Spacing, limits: Limits, colour_map: str) -> Any:
    left, top = -0.5 * spacing[0], -0.5 * spacing[1]
    right, bottom = (image.shape[0] - 0.5) * spacing[0], (image.shape[1] - 0.5) * spacing[1]
    return axes.imshow(
        np.asarray(image, dtype=float).T,
        origin="upper",
        extent=(left, right, bottom, top),
        aspect="auto",  # the canvas has the true proportion already
        cmap=colour_map,
        norm=Normalize(*limits),
        interpolation="nearest",
    )


def _outline(axes: Axes, labels: Labels, spacing: Spacing, colours: Mapping[int, str], style: Any) -> None:
    x, y = (spacing[axis] * np.arange(-1, size + 1) for axis, size in enumerate(labels.shape))
    padded = np.pad(labels, 1)  # so that a label that touches the border has a closed outline
    for label, hue in colours.items():
        mask = padded == label
        if mask.any():
            axes.contour(x, y, mask.T.astype(float), levels=[0.5], colors=hue, linewidths=1.5, linestyles=[style])
    _frame(axes, labels.shape, spacing)


def _frame(axes: Axes, shape: Sequence[int], spacing: Spacing) -> None:
    axes.set_xlim(-0.5 * spacing[0], (shape[0] - 0.5) * spacing[0])
    axes.set_ylim((shape[1] - 0.5) * spacing[1], -0.5 * spacing[1])
