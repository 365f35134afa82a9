"""Which columns the table has, and what its cells say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heteroreg.comparison import compare
from heteroreg.report.tables import Results

BASE = [0.70, 0.75, 0.72, 0.78]


@pytest.fixture
def results(evaluation: Callable[..., Path]) -> Results:
    higher = [value + 0.10 + 0.001 * k for k, value in enumerate(BASE)]
    return Results(compare([evaluation("mse", BASE, noise=False), evaluation("hetero", higher)]))


def test_columns_are_in_the_order_of_the_paper(results: Results) -> None:
    assert results.main_metrics() == ["dice_2", "hd_2", "folding_percent", "ause"]
    assert results.main_metric == "dice_2"
    assert [(column.long_title, span) for column, span in results.table(results.main_metrics()).groups] == [
        ("Dice", 1),
        ("Hausdorff distance", 1),
        ("Folding", 1),
        ("AUSE", 1),
    ]


def test_cells(results: Results) -> None:
    base, other = results.table(["dice_2", "folding_percent", "ause"]).rows
    assert base.baseline
    assert not other.baseline
    dice, folding, ause = other.cells
    assert dice is not None
    # 73.75 + 10 + mean(0, 0.1, 0.2, 0.3) = 83.9
    assert (dice.mean, dice.best, dice.significant, dice.n) == ("83.90", True, True, 4)
    assert dice.difference == "+10.15"
    assert folding is not None
    assert not folding.best  # the same number everywhere is nobody's win
    assert ause is not None
    assert base.cells[0] is not None
    assert (base.cells[0].difference, base.cells[0].p, base.cells[0].best) == ("", "", False)
    assert base.cells[2] is None  # no noise map


def test_without_a_baseline_value_there_is_no_difference(results: Results) -> None:
    ause = results.table(["ause"]).rows[1].cells[0]
    assert ause is not None
    assert (ause.difference, ause.p, ause.significant) == ("", "", False)
