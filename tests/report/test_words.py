"""The summary: who is best, and whether it says so when that cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heteroreg.comparison import compare
from heteroreg.evaluation.metrics import metric
from heteroreg.report.tables import Results
from heteroreg.report.wording import NBSP
from heteroreg.report.words import _by_kind, summary_sentences

BASE = [0.70, 0.75, 0.72, 0.78, 0.74, 0.71, 0.77, 0.73]
CLEAR = [value + 0.05 + 0.001 * k for k, value in enumerate(BASE)]
NOISY = [value + (0.05 if k % 2 else -0.04) for k, value in enumerate(BASE)]


@pytest.fixture
def words(evaluation: Callable[..., Path]) -> Callable[..., str]:
    def write(baseline: str, **dice: list[float]) -> str:
        folders = {name: evaluation(name, values) for name, values in dice.items()}
        sentences = summary_sentences(Results(compare(list(folders.values()), baseline=folders[baseline])))
        return " ".join(sentences).replace(NBSP, " ")

    return write


def test_a_clear_gain(words: Callable[..., str]) -> None:
    text = words("mse", mse=BASE, hetero=CLEAR)
    # mean of BASE 73.75, and 5 + 0.1 x 3.5 = 5.35 points more
    assert "hetero has the highest Dice of label 2: 79.10 ± 2.89 % (8 patients)." in text
    assert "Against the baseline mse the difference is +5.35 points" in text
    assert "p < 0.001 after Holm’s correction" in text
    assert "statistically significant at the 5 % level" in text
    # hd_2 = 10 - 5 x Dice: lower with the higher Dice, and just as clear
    assert "Elsewhere it is significantly better in Hausdorff distance of label 2." in text


def test_a_gain_that_cannot_be_told_from_chance(words: Callable[..., str]) -> None:
    text = words("mse", mse=BASE, hetero=NOISY)
    assert "hetero has the highest Dice" in text
    assert "not statistically significant" in text
    assert "hetero cannot be told apart from mse" in text


def test_the_baseline_is_best(words: Callable[..., str]) -> None:
    text = words("mse", mse=CLEAR, hetero=BASE, other=[value - 0.1 for value in BASE])
    assert "mse has the highest Dice" in text
    assert "It is the baseline" in text
    assert "The next, hetero, differs by −5." in text
    text = words("mse", mse=NOISY, hetero=BASE)
    assert "not significant, so the two cannot be told apart" in text


def test_one_patient(words: Callable[..., str]) -> None:
    text = words("mse", mse=[0.7], hetero=[0.8])
    assert "hetero has the highest Dice of label 2: 80.00 % (1 patient)." in text
    assert "the difference is +10.00 points; with 1 patient no test is possible" in text


def test_few_patients_are_said_to_be_few(words: Callable[..., str]) -> None:
    assert "4 patients are few for any test." in words("mse", mse=BASE[:4], hetero=NOISY[:4])


def test_one_evaluation(words: Callable[..., str]) -> None:
    assert words("mse", mse=[0.7, 0.8]) == "mse reaches 75.00 ± 7.07 % in Dice of label 2 (2 patients)."


def test_labels_of_one_metric_are_named_together() -> None:
    shown = [metric(name) for name in ("dice_1", "dice_3", "folding_percent", "asd_2")]
    assert _by_kind(shown) == ["Dice of labels 1 and 3", "folding", "surface distance of label 2"]
