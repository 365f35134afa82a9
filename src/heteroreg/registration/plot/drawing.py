"""Draw images, outlines of labels and warped grids into axes.

Arrays are [x, y], shown with x to the right and y down, as in radiology. Axes are in mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from scipy.ndimage import map_coordinates

from heteroreg.registration.plot.style import label_colour
from heteroreg.system.arrays import Floats, Labels
from heteroreg.uncertainty.contours import signed_distance

ColourLimits = tuple[float, float]
VoxelSpacing = Sequence[float] | Floats

SOLID = "solid"
DASHED = (0, (3, 2))
# Blue is certain, red is uncertain. The ends of RdBu are too dark over an image.
UNCERTAINTY_COLOURS = ListedColormap(mpl.colormaps["RdBu_r"](np.linspace(0.17, 0.83, 256)), name="uncertainty")
BAND_OPACITY = 0.3  # of the error bars around an outline
DIMMED = 0.4  # grey level of white under a coloured grid
LONGEST_PANEL = 4.0  # longer images leave a part of their panel empty
GRID_PIECES = 48  # changes of colour along a grid line


def draw_image(
    axes: Axes,
    image: Floats,
    spacing: VoxelSpacing,
    limits: ColourLimits,
    colour_map: str | Colormap,
    interpolation: str = "nearest",
) -> Any:
    """Draw an image that fills its axes; their aspect ratio must be that of the image."""
    left, top = -0.5 * spacing[0], -0.5 * spacing[1]
    right, bottom = (image.shape[0] - 0.5) * spacing[0], (image.shape[1] - 0.5) * spacing[1]
    return axes.imshow(
        np.asarray(image, dtype=float).T,
        origin="upper",
        extent=(left, right, bottom, top),
        aspect="auto",
        cmap=colour_map,
        norm=Normalize(*limits),
        interpolation=interpolation,
    )


def draw_outline(
    axes: Axes,
    labels: Labels,
    spacing: VoxelSpacing,
    colours: Mapping[int, str],
    style: Any = SOLID,
    *,
    width: float = 1.5,
    fill: float = 0.0,
) -> None:
    """Draw the outline of each label in its colour.

    Args:
        axes: Where to draw.
        labels: The label map.
        spacing: Size of a pixel in mm.
        colours: Label → colour; other labels are not drawn.
        style: Matplotlib's line style.
        width: Width of the line in points.
        fill: Opacity of the inside, in the same colour.
    """
    x, y = (spacing[axis] * np.arange(-1, size + 1) for axis, size in enumerate(labels.shape))
    padded = np.pad(labels, 1)  # closes the outline of a label at the border
    for label, hue in colours.items():
        mask = (padded == label).T.astype(float)
        if mask.any():
            if fill:
                axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[hue], alpha=fill)
            axes.contour(x, y, mask, levels=[0.5], colors=hue, linewidths=width, linestyles=[style])
    _frame(axes, labels.shape, spacing)


def draw_band(
    axes: Axes,
    labels: Labels,
    half_width: Floats,
    spacing: VoxelSpacing,
    colours: Mapping[int, str],
    widths: Mapping[str, float] | None = None,
) -> None:
    """Draw the band around the outline of each label in which the true outline lies.

    Args:
        axes: Where to draw.
        labels: The label map.
        half_width: Half-width of the interval of the error in mm, in each pixel.
        spacing: Size of a pixel in mm.
        colours: Label → colour; other labels are not drawn.
        widths: Label → factor of its half-width; 1 by default.
    """
    x, y = (spacing[axis] * np.arange(size) for axis, size in enumerate(labels.shape))
    for label, hue in colours.items():
        mask = labels == label
        if mask.any() and not mask.all() and min(labels.shape) > 1:
            width = (widths or {}).get(str(label), 1.0) * half_width
            left = width - np.abs(signed_distance(mask, [float(step) for step in spacing]))
            if left.max() > 0:
                axes.contourf(x, y, left.T, levels=[0, float(left.max())], colors=[hue], alpha=BAND_OPACITY)


def draw_grid(
    axes: Axes, displacement: Floats, spacing: VoxelSpacing, *, lines: int = 20, width: float = 0.9
) -> None:
    """Draw a straight grid on the moving image as it lies on the moved image.

    The lines are level sets of φ(x) = x + u(x): along each line, the moving image is read along a straight line.
    Lines that cross show folding.

    Args:
        axes: Where to draw.
        displacement: u (2, x, y) in voxels.
        spacing: Size of a pixel in mm along x and y.
        lines: Number of lines along the longer side.
        width: Width of the lines in points.
    """
    for x, y, position, levels in _level_sets(displacement, spacing, lines):
        axes.contour(x, y, position, levels=levels, colors="#56B4E9", linewidths=width, alpha=0.9)
    _frame(axes, displacement.shape[1:], spacing)


def draw_uncertain_grid(
    axes: Axes,
    image: Floats,
    displacement: Floats,
    sd: Floats,
    spacing: VoxelSpacing,
    grey: ColourLimits,
    limits: ColourLimits,
    *,
    lines: int = 20,
    width: float = 1.4,
    interpolation: str = "nearest",
) -> None:
    """Draw the warped grid over a dimmed image, coloured by the uncertainty of the displacement.

    Args:
        axes: Where to draw.
        image: The moved image [x, y].
        displacement: u (2, x, y) in voxels.
        sd: σ̂_z [x, y] in mm.
        spacing: Size of a pixel in mm.
        grey: Intensities shown as black and white where nothing is dimmed.
        limits: σ̂_z shown in the most certain blue and in the most uncertain red.
        lines: Number of lines along the longer side.
        width: Width of the lines in points.
        interpolation: Interpolation of the image.
    """
    dimmed = (grey[0], grey[0] + (grey[1] - grey[0]) / DIMMED)
    draw_image(axes, image, spacing, dimmed, "gray", interpolation)
    pieces: list[Floats] = []
    stride = max(max(sd.shape) // GRID_PIECES, 1)
    for x, y, position, levels in _level_sets(displacement, spacing, lines):
        contours = axes.contour(x, y, position, levels=levels, linewidths=0)
        for level in contours.allsegs:
            for line in level:
                points = np.asarray(line, dtype=float)
                pieces += [points[k : k + stride + 1] for k in range(0, len(points) - 1, stride)]
        contours.remove()
    if pieces:
        middles = np.array([piece[len(piece) // 2] for piece in pieces]).T / np.reshape(spacing, (2, 1))
        values = map_coordinates(np.asarray(sd, dtype=float), middles, order=1, mode="nearest")
        grid = LineCollection(pieces, cmap=UNCERTAINTY_COLOURS, norm=Normalize(*limits), linewidths=width)
        grid.set_array(values)
        grid.set_capstyle("round")
        axes.add_collection(grid, autolim=False)
    _frame(axes, sd.shape, spacing)


def percentile_limits(images: Sequence[Floats], low: float = 0.5, high: float = 99.5) -> ColourLimits:
    """Return limits of intensity for several images together, robust to a few extreme voxels."""
    values = np.concatenate([np.asarray(image, dtype=float).ravel() for image in images])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(values, [low, high]))
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)


def from_zero(maps: Sequence[Floats]) -> ColourLimits:
    """Return 0 and the 99.5th percentile of all maps together."""
    high = percentile_limits(maps)[1]
    return (0.0, high) if high > 0 else (0.0, 1.0)


def uncertainty_limits(maps: Sequence[Floats]) -> ColourLimits:
    """Return the 0.5th and 99.5th percentiles of all maps together.

    Where these differ by less than 1 %, the scale begins at 0: so small a difference in certainty is not shown.
    """
    low, high = percentile_limits(maps)
    if low < 0.99 * high:
        return max(low, 0.0), high
    middle = float(np.mean([np.mean(values) for values in maps]))
    return (0.0, 2 * middle) if middle > 0 else (0.0, 1.0)


def label_colours(maps: Sequence[Labels]) -> dict[int, str]:
    """Return a colour for each label in any of the maps; 0 is background."""
    found = sorted({int(label) for array in maps for label in np.unique(array)} - {0})
    return {label: label_colour(index) for index, label in enumerate(found)}


def height_over_width(shape: Sequence[int], spacing: VoxelSpacing) -> float:
    """Return the aspect ratio of an image's panel, at most LONGEST_PANEL to 1."""
    ratio = float(shape[1] * spacing[1] / (shape[0] * spacing[0]))
    return min(max(ratio, 1 / LONGEST_PANEL), LONGEST_PANEL)


def _level_sets(
    displacement: Floats, spacing: VoxelSpacing, lines: int
) -> list[tuple[Floats, Floats, Floats, Floats]]:
    """Return for each axis the coordinates x and y in mm, φ(x) = x + u(x) transposed, and the levels to draw."""
    shape = displacement.shape[1:]
    if min(shape) < 2:
        return []  # a single line of pixels has no contours
    step = max(max(shape) / lines, 1.0)
    x, y = (spacing[axis] * np.arange(size, dtype=float) for axis, size in enumerate(shape))
    found = []
    for position in np.indices(shape) + displacement:
        low, high = float(position.min()), float(position.max())
        levels = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        levels = levels[(levels > low) & (levels < high)]
        if len(levels):
            found.append((x, y, position.T, levels))
    return found


def _frame(axes: Axes, shape: Sequence[int], spacing: VoxelSpacing) -> None:
    axes.set_xlim(-0.5 * spacing[0], (shape[0] - 0.5) * spacing[0])
    axes.set_ylim((shape[1] - 0.5) * spacing[1], -0.5 * spacing[1])
