"""Where panels lie: on a page, wide enough to be read, wrapped where there are many."""

from __future__ import annotations

import numpy as np
import pytest

from heteroreg.report.paper.layout import (
    ColourBar,
    PanelRow,
    PrintPanel,
    arrange_panels,
    largest,
    picture_grid,
    wrap,
)
from heteroreg.report.paper.printing import HEIGHT


def rows(count: int, columns: int, ratio: float = 1.0, *, bar: bool = False) -> list[PanelRow]:
    panel = PrintPanel(lambda axes: axes.imshow(np.eye(4)), "1")
    return [
        PanelRow(f"case {k}", [panel] * columns, ratio, ColourBar("viridis", (0.0, 1.0), "mm") if bar else None)
        for k in range(count)
    ]


def test_few_columns_take_one_column_of_a_journal() -> None:
    place = arrange_panels(["a", "b", "c"], rows(2, 3))
    # 85 mm less 3.4 for a line of labels and three gaps of 0.8, shared by three
    assert (place.width, place.blocks) == (85.0, 1)
    assert place.panel == pytest.approx((85 - 3.4 - 3 * 0.8) / 3)


def test_more_columns_take_two() -> None:
    place = arrange_panels(list("abcdef"), rows(4, 6, bar=True))
    # 174 mm less 3.4 for the labels, six gaps and 12 for the colour bars
    assert (place.width, place.columns, place.blocks) == (174.0, 6, 1)
    assert place.panel == pytest.approx((174 - 3.4 - 6 * 0.8 - 12) / 6)


def test_thirteen_methods_and_four_cases_fit_on_a_page() -> None:
    # In one block a panel would have (174 - 3.4 - 15 · 0.8) / 15 = 10.6 mm: too small, so eight and seven.
    place = arrange_panels(["Moving", "Fixed", *(f"method {k}" for k in range(13))], rows(4, 15), legend=True)
    assert (place.columns, place.blocks) == (8, 2)
    assert place.panel > 17
    assert place.height <= HEIGHT
    assert place.readable


@pytest.mark.parametrize(("columns", "count", "ratio"), [(40, 4, 1.0), (15, 4, 4.0), (1, 4, 4.0), (3, 16, 0.25)])
def test_nothing_is_taller_than_a_page(columns: int, count: int, ratio: float) -> None:
    place = arrange_panels([f"m{k}" for k in range(columns)], rows(count, columns, ratio))
    assert place.height <= HEIGHT + 1e-6


def test_as_many_cases_as_stay_large() -> None:
    # A panel of 40 mm three high: 120 mm a case. Two would be 240 mm, 230 with panels at 95 %; three at 63 %.
    lines = largest(lambda count: rows(count, 1, 3.0), ["a"], 4, legend=False)
    assert len(lines) == 2


def test_panels_do_not_overlap_and_lie_within_the_figure() -> None:
    figure = picture_grid([f"m{k}" for k in range(15)], rows(3, 15, bar=True))
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 3 * 15 + 3 * 2  # panels, and a bar for each row of both blocks
    for k, one in enumerate(boxes):
        assert min(one.x0, one.y0) >= 0
        assert max(one.x1, one.y1) <= 1
        for other in boxes[k + 1 :]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(wide, high) <= 1e-9


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("mse", 20.0, ["mse"]),
        ("voxelmorph hetero", 18.0, ["voxelmorph", "hetero"]),  # twelve letters a line
        ("study/hetero-paper", 18.0, ["study/", "hetero-paper"]),
        ("one_two_three_four_five", 9.0, ["one_", "…", "five"]),  # six letters a line, five lines
        ("unbreakablename", 10.0, ["un…me"]),  # six letters
    ],
)
def test_long_names_are_wrapped(name: str, width: float, lines: list[str]) -> None:
    assert wrap(name, width) == lines
