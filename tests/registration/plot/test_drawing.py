"""Where pixels, contours and grid lines are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from heteroreg.registration.plot.drawing import (
    DASHED,
    SOLID,
    draw_band,
    draw_grid,
    draw_image,
    draw_outline,
    height_over_width,
    label_colours,
    percentile_limits,
)


def pixels(figure: Figure) -> np.ndarray:
    """The picture [row, column, RGB] in 0 to 1."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255.0


def canvas(draw: Callable[..., Any], *arguments: Any, **settings: Any) -> np.ndarray:
    """The pixels of square axes that are filled by one drawing."""
    figure = Figure(figsize=(4, 4), dpi=100, facecolor="black")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    draw(axes, *arguments, **settings)
    return pixels(figure)


def centroid(mask: np.ndarray) -> tuple[float, float]:
    """Column and row, as a share of the width and the height."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height


def test_the_first_axis_runs_to_the_right_and_the_second_down() -> None:
    image = np.zeros((16, 10))
    image[12, 2] = 1.0
    shown = canvas(draw_image, image, (1.0, 1.0), (0.0, 1.0), "gray")[..., 0] > 0.5
    # The centre of pixel 12 of 16 lies at 12.5 / 16, that of pixel 2 of 10 at 2.5 / 10.
    assert centroid(shown) == pytest.approx((12.5 / 16, 2.5 / 10), abs=0.01)


@pytest.mark.parametrize(
    ("shape", "spacing", "ratio"),
    [
        ((32, 32), (1.0, 1.0), 1.0),
        ((40, 20), (1.0, 1.0), 2.0),
        ((32, 32), (1.0, 3.0), 1 / 3),
        ((20, 40), (2.0, 1.0), 1),
        ((10, 200), (1.0, 1.0), 1 / 4),  # longer images leave a part of their panel empty
    ],
)
def test_true_proportions(shape: tuple[int, int], spacing: tuple[float, float], ratio: float) -> None:
    assert 1 / height_over_width(shape, spacing) == pytest.approx(ratio)


def test_outlines_lie_on_the_border_of_a_label() -> None:
    labels = np.zeros((20, 20), dtype=int)
    labels[8:16, 2:10] = 5
    shown = canvas(draw_outline, labels, (1.0, 1.0), {5: "#ff0000"})
    red = (shown[..., 0] > 0.6) & (shown[..., 1] < 0.4)
    rows, columns = np.nonzero(red)
    scale = shown.shape[0] / 20
    # The label's pixels cover 8 to 16 and 2 to 10; the half level runs between pixel centres, on that border.
    assert columns.min() / scale == pytest.approx(8, abs=0.2)
    assert columns.max() / scale == pytest.approx(16, abs=0.2)
    assert rows.min() / scale == pytest.approx(2, abs=0.2)
    assert rows.max() / scale == pytest.approx(10, abs=0.2)


def test_a_dashed_outline() -> None:
    labels = np.zeros((20, 20), dtype=int)
    labels[4:16, 4:16] = 1
    solid, dashed = (canvas(draw_outline, labels, (1.0, 1.0), {1: "#ff0000"}, style) for style in (SOLID, DASHED))
    drawn, gaps = (int((shown[..., 0] > 0.5).sum()) for shown in (solid, dashed))
    assert 0.4 * drawn < gaps < 0.8 * drawn  # dashes of 3 and gaps of 2: three fifths


def test_grid_lines_are_the_level_sets_of_the_moving_position() -> None:
    # u = -3 along x: the line at moving position p is seen at fixed x = p + 3.
    displacement = np.stack([np.full((40, 40), -3.0), np.zeros((40, 40))])
    still = canvas(draw_grid, np.zeros((2, 40, 40)), (1.0, 1.0), lines=4)
    moved = canvas(draw_grid, displacement, (1.0, 1.0), lines=4)

    def columns(shown: np.ndarray) -> np.ndarray:
        bright = np.nonzero(shown[..., 2].mean(axis=0) > 0.5)[0] * 40 / shown.shape[1]
        return np.array([run.mean() for run in np.split(bright, np.nonzero(np.diff(bright) > 1)[0] + 1)])

    # A line every 10 pixels; pixel centre p lies at p + 0.5 from the left edge.
    assert columns(still) == pytest.approx([10.5, 20.5, 30.5], abs=0.2)
    assert columns(moved) == pytest.approx([3.5, 13.5, 23.5, 33.5], abs=0.2)


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0.0, 1.0], (0.0, 1.0)), ([7.0, 7.0], (6.5, 7.5)), ([np.nan, np.nan], (0.0, 1.0))],
    ids=["plain", "constant", "nothing finite"],
)
def test_limits(values: list[float], limits: tuple[float, float]) -> None:
    assert percentile_limits([np.array(values)], 0, 100) == limits


def test_each_label_has_a_colour_and_background_none() -> None:
    colours = label_colours([np.array([0, 3, 1]), np.array([0, 7])])
    assert list(colours) == [1, 3, 7]
    assert len(set(colours.values())) == 3


def test_the_band_reaches_as_far_as_the_error_bars():
    labels = np.zeros((40, 40), dtype=int)
    labels[10:20, 12:22] = 1
    axes = Figure().subplots()
    draw_band(axes, labels, np.full((40, 40), 3.0), (2.0, 2.0), {1: "red", 2: "blue"})
    points = np.concatenate([path.vertices for one in axes.collections for path in one.get_paths()])
    # Faces at 9.5 and 19.5 voxels of 2 mm along x, 11.5 and 21.5 along y; 3 mm beyond them.
    assert points.min(axis=0) == pytest.approx([19 - 3, 23 - 3], abs=1e-6)
    axes = Figure().subplots()
    draw_band(axes, labels, np.full((40, 40), 3.0), (2.0, 2.0), {1: "red", 2: "blue"}, {"1": 2.0})
    wide = np.concatenate([path.vertices for one in axes.collections for path in one.get_paths()])
    assert wide.min(axis=0) == pytest.approx([19 - 6, 23 - 6], abs=1e-6)
    assert points.max(axis=0) == pytest.approx([39 + 3, 43 + 3], abs=1e-6)
