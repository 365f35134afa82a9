"""What the figures show of a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heteroreg.comparison import compare
from heteroreg.evaluation import Case, Scores
from heteroreg.report.paper.material import case_dice, pictured_pairs, shown_labels, some

Evaluate = Callable[..., Path]
MakeCase = Callable[..., Case]


def test_the_dice_in_the_corner_is_that_of_the_row(evaluation: Evaluate, case: MakeCase) -> None:
    scores = Scores.read(evaluation("any", [0.8, 0.7]))
    assert case_dice(scores, case("P01"), [2]) == 0.7  # slice 3, as every row
    assert math.isnan(case_dice(scores, replace(case("P01"), slice=4), [2]))
    assert math.isnan(case_dice(scores, case("P01"), [5]))
    table = scores.table.assign(slice=scores.table["slice"].where([False] * 2))
    assert case_dice(replace(scores, table=table), case("P00"), [2]) == 0.8  # a volume scored whole
    table = scores.table.assign(dice_1=[0.5, 0.6])
    assert case_dice(replace(scores, table=table), case("P01"), [1, 2]) == pytest.approx(0.65)


def test_pairs_that_all_have_come_first(evaluation: Evaluate, case: MakeCase) -> None:
    scores = Scores.read(evaluation("any", [0.8, 0.7]))
    cases = tuple(case(f"P{k}") for k in range(4))
    pairs = pictured_pairs({"a": replace(scores, cases=cases), "b": replace(scores, cases=cases[2:])})
    assert [next(iter(pair.values())).id for pair in pairs] == ["P2", "P3"]
    assert some(pairs, 1) == [pairs[1]]
    assert some(pairs, 2) == pairs


def test_the_myocardium_where_the_labels_are_a_hearts(evaluation: Evaluate) -> None:
    assert shown_labels(compare([evaluation("heart", [0.8, 0.7])])) == [2]
    organs = evaluation("organs", [0.8, 0.7])
    scores = Scores.read(organs)
    replace(scores, table=scores.table.assign(**{f"dice_{k}": 0.5 for k in range(1, 13)})).save(organs)
    assert shown_labels(compare([organs])) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert shown_labels(compare([evaluation("none", [0.8, 0.7], labels=False)])) == []
