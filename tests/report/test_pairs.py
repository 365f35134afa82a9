"""The static figures of the pairs: cases of several evaluations brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heteroreg.evaluation import Case, Scores
from heteroreg.evaluation.metrics import metric
from heteroreg.report.pairs import PairFigure, by_pair, case_title, pair_figures

Evaluate = Callable[..., Path]
MakeCase = Callable[..., Case]


def test_cases_are_grouped_by_id_and_slice(case: MakeCase) -> None:
    pairs = by_pair({"a": [case("P1"), case("P2")], "b": [case("P2"), replace(case("P1"), slice=4)]})
    found = [(case_title(next(iter(pair.values()))), list(pair)) for pair in pairs]
    assert found == [("P1, slice 3", ["a"]), ("P2, slice 3", ["a", "b"]), ("P1, slice 4", ["b"])]


def test_a_pair_that_is_one_image_has_no_slice_in_its_title(case: MakeCase) -> None:
    assert case_title(replace(case("P1"), slice=None)) == "P1"


def figures(evaluation: Evaluate, case: MakeCase, budget: int) -> list[PairFigure]:
    cases = tuple(case(f"P{k:02d}") for k in range(3))
    scores = {name: Scores.read(evaluation(name, dice, cases=cases)) for name, dice in DICE.items()}
    return pair_figures(scores, [metric("dice_2"), metric("ause")], budget)


DICE = {"a": [0.7, 0.8, 0.9], "b": [0.6, 0.65, 0.5]}


@pytest.mark.slow
def test_each_pair_is_one_figure_with_its_scores(evaluation: Evaluate, case: MakeCase) -> None:
    found = figures(evaluation, case, 10**9)
    assert [pair.title for pair in found] == [f"P0{k}, slice 3" for k in range(3)]
    assert found[1].scores == (("a", ("80.00", "1.20")), ("b", ("65.00", "1.20")))
    assert all(pair.source.startswith("data:image/webp;base64,UklGR") for pair in found)
    assert found[0].width > 1000


@pytest.mark.slow
def test_pairs_are_left_out_where_their_figures_are_too_large(evaluation: Evaluate, case: MakeCase) -> None:
    largest = max(len(pair.source) for pair in figures(evaluation, case, 10**9))
    assert [pair.title for pair in figures(evaluation, case, 2 * largest)] == ["P00, slice 3", "P02, slice 3"]
    assert len(figures(evaluation, case, 1)) == 1


@pytest.mark.slow
def test_the_same_figure_gives_the_same_address(evaluation: Evaluate, case: MakeCase) -> None:
    assert figures(evaluation, case, 1) == figures(evaluation, case, 1)
