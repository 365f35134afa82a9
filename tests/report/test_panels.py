"""Pictures: where a pixel lands, in which proportion, and where contours and grid lines run."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from heteroreg.report.drawing import label_colours, percentile_limits
from heteroreg.report.panels import grid_panel, image_panel, map_panel


def pixels(figure: Figure) -> np.ndarray:
    """The picture [row, column, RGB] in 0 to 1."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255.0


def centroid(mask: np.ndarray) -> tuple[float, float]:
    """Column and row, as a share of the width and the height."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height


def test_the_first_axis_runs_to_the_right_and_the_second_down() -> None:
    image = np.zeros((16, 10))
    image[12, 2] = 1.0
    shown = pixels(image_panel(image, (1.0, 1.0), (0.0, 1.0)))[..., 0] > 0.5
    # The centre of pixel 12 of 16 lies at 12.5 / 16, that of pixel 2 of 10 at 2.5 / 10.
    assert centroid(shown) == pytest.approx((12.5 / 16, 2.5 / 10), abs=0.01)


@pytest.mark.parametrize(
    ("shape", "spacing", "ratio"),
    [
        ((32, 32), (1.0, 1.0), 1.0),
        ((40, 20), (1.0, 1.0), 2.0),
        ((32, 32), (1.0, 3.0), 1 / 3),
        ((20, 40), (2.0, 1.0), 1),
    ],
)
def test_true_proportions(shape: tuple[int, int], spacing: tuple[float, float], ratio: float) -> None:
    height, width = pixels(image_panel(np.eye(*shape), spacing)).shape[:2]
    assert width / height == pytest.approx(ratio, rel=0.02)


def test_outlines_lie_on_the_border_of_a_label() -> None:
    labels = np.zeros((20, 20), dtype=int)
    labels[8:16, 2:10] = 5
    shown = pixels(image_panel(np.zeros((20, 20)), (1.0, 1.0), (0.0, 1.0), labels=labels, colours={5: "#ff0000"}))
    red = (shown[..., 0] > 0.6) & (shown[..., 1] < 0.4)
    rows, columns = np.nonzero(red)
    scale = shown.shape[0] / 20
    # The label's pixels cover 8 to 16 and 2 to 10; the half level runs between pixel centres, on that border.
    assert columns.min() / scale == pytest.approx(8, abs=0.2)
    assert columns.max() / scale == pytest.approx(16, abs=0.2)
    assert rows.min() / scale == pytest.approx(2, abs=0.2)
    assert rows.max() / scale == pytest.approx(10, abs=0.2)


def test_the_true_outline_is_dashed() -> None:
    labels = np.zeros((20, 20), dtype=int)
    labels[4:16, 4:16] = 1
    empty, colours = np.zeros((20, 20)), {1: "#ff0000"}
    solid = pixels(image_panel(empty, (1.0, 1.0), (0.0, 1.0), labels=labels, colours=colours))
    dashed = pixels(image_panel(empty, (1.0, 1.0), (0.0, 1.0), true_labels=labels, colours=colours))
    drawn, gaps = (int((shown[..., 0] > 0.5).sum()) for shown in (solid, dashed))
    assert 0.4 * drawn < gaps < 0.8 * drawn  # dashes of 3 and gaps of 2: three fifths


def test_grid_lines_are_the_level_sets_of_the_moving_position() -> None:
    # u = -3 along x: the line at moving position p is seen at fixed x = p + 3.
    displacement = np.stack([np.full((40, 40), -3.0), np.zeros((40, 40))])
    still = pixels(grid_panel(np.zeros((40, 40)), np.zeros((2, 40, 40)), (1.0, 1.0), (0.0, 1.0), lines=4))
    moved = pixels(grid_panel(np.zeros((40, 40)), displacement, (1.0, 1.0), (0.0, 1.0), lines=4))

    def columns(shown: np.ndarray) -> np.ndarray:
        bright = np.nonzero(shown[..., 2].mean(axis=0) > 0.5)[0] * 40 / shown.shape[1]
        return np.array([run.mean() for run in np.split(bright, np.nonzero(np.diff(bright) > 1)[0] + 1)])

    # A line every 10 pixels; pixel centre p lies at p + 0.5 from the left edge.
    assert columns(still) == pytest.approx([10.5, 20.5, 30.5], abs=0.2)
    assert columns(moved) == pytest.approx([3.5, 13.5, 23.5, 33.5], abs=0.2)


def test_a_map_with_a_colour_bar_is_higher_by_it() -> None:
    values = np.indices((30, 30))[0].astype(float)
    bare = pixels(map_panel(values, (1.0, 1.0), (0.0, 29.0)))
    barred = map_panel(values, (1.0, 1.0), (0.0, 29.0), label="noise (intensity units)")
    assert pixels(barred).shape[0] > bare.shape[0]
    assert barred.axes[1].get_xlabel() == "noise (intensity units)"
    # viridis: dark violet at the low end on the left, yellow at the high end on the right
    assert bare[5, 5] == pytest.approx((0.267, 0.005, 0.329), abs=0.01)
    assert bare[5, -5] == pytest.approx((0.993, 0.906, 0.144), abs=0.01)


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
