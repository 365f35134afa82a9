"""Pictures of one pair: images with contours, the warped grid, maps. Each function returns a Matplotlib figure.

Arrays are [x, y] and shown as is usual in radiology: x to the right, y down, pixels in their true proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from heteroreg.report.drawing import (
    DASHED,
    SOLID,
    Limits,
    Spacing,
    draw_grid,
    draw_image,
    draw_outline,
    draw_uncertain_grid,
    label_colours,
    percentile_limits,
)
from heteroreg.system.arrays import Floats, Labels

DPI = 100
BAR = 0.7  # inches below a map for its colour bar
PIXELS = 384  # the longer side of a panel, so that contours are smooth on a phone's dense screen too


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
    draw_image(axes, image, spacing, limits or percentile_limits([image]), "gray")
    present = [array for array in (labels, true_labels) if array is not None]
    colours = colours if colours is not None else label_colours(present)
    if true_labels is not None:
        draw_outline(axes, true_labels, spacing, colours, DASHED)
    if labels is not None:
        draw_outline(axes, labels, spacing, colours, SOLID)
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
    draw_image(axes, image, spacing, limits or percentile_limits([image]), "gray")
    draw_grid(axes, displacement, spacing, lines=lines)
    return figure


def uncertainty_panel(
    image: Floats, displacement: Floats, sd: Floats, spacing: Spacing, grey: Limits, limits: Limits
) -> Figure:
    """The warped grid of `grid_panel` in the colours of the displacement's uncertainty, over a dimmed image.

    Args:
        image: The moved image [x, y].
        displacement: u (2, x, y) in voxels.
        sd: σ̂_z [x, y] in mm.
        spacing: Size of a pixel in mm along x and y.
        grey: Intensities shown as black and white.
        limits: The σ̂_z of the most certain blue and of the most uncertain red.
    """
    figure, axes = _canvas(image.shape, spacing)
    draw_uncertain_grid(axes, image, displacement, sd, spacing, grey, limits)
    return figure


def map_panel(
    values: Floats, spacing: Spacing, limits: Limits, colour_map: str | Colormap = "viridis", label: str = ""
) -> Figure:
    """A map in colours, with a colour bar if a label for it is given.

    Args:
        values: The map [x, y].
        spacing: Size of a pixel in mm along x and y.
        limits: Values at the two ends of the colour map.
        colour_map: A Matplotlib colour map, or its name.
        label: What the colour bar shows, with its unit.
    """
    figure, axes = _canvas(values.shape, spacing)
    shown = draw_image(axes, values, spacing, limits, colour_map)
    if label:
        width, height = figure.get_size_inches()
        whole = height + BAR
        figure.set_size_inches(width, whole)
        axes.set_position((0.0, BAR / whole, 1.0, height / whole))
        bar = figure.add_axes((0.06, 0.65 * BAR / whole, 0.88, 0.2 * BAR / whole))
        figure.colorbar(shown, cax=bar, orientation="horizontal", label=label)
    return figure


def _canvas(shape: Sequence[int], spacing: Spacing) -> tuple[Figure, Axes]:
    """A figure that is nothing but its image. A whole number of dots per pixel keeps the pixels even."""
    extent = np.array([shape[0] * spacing[0], shape[1] * spacing[1]], dtype=float)
    extent /= min(spacing[0], spacing[1])  # in pixels of the finer axis
    dots = max(round(PIXELS / extent.max()), 1)
    figure = Figure(figsize=tuple(np.maximum(extent * dots, 1) / DPI), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes
