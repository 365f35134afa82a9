"""Numbers, p-values and verdicts as text."""

from __future__ import annotations

import math

import pytest

from heteroreg.comparison.numbers import interval, mean_and_sd, p_number, p_value, verdict
from heteroreg.evaluation.metrics import metric

DICE = metric("dice_1")


def test_mean_and_sd():
    assert mean_and_sd(DICE, 0.8, 0.034) == "80.00 ± 3.40"
    assert mean_and_sd(DICE, 0.8, 0.034, unit=True) == "80.00 ± 3.40 %"
    assert mean_and_sd(DICE, 0.8, None, unit=True) == mean_and_sd(DICE, 0.8, math.nan, unit=True) == "80.00 %"


def test_interval():
    assert interval(DICE, -0.002, 0.003, sign=True) == "[−0.20, +0.30]"
    assert interval(DICE, 0.7, 0.8) == "[70.00, 80.00]"
    assert interval(DICE, math.nan, 0.8) == "–"


@pytest.mark.parametrize(
    ("p", "number", "value"),
    [
        (0.2134, "0.21", "p = 0.21"),
        (0.0512, "0.051", "p = 0.051"),
        (0.0499, "0.050", "p = 0.050"),
        (1e-5, "<0.001", "p < 0.001"),
        (math.nan, "–", "no test"),
    ],
)
def test_p_values(p, number, value):
    assert p_number(p) == number
    assert p_value(p) == value


@pytest.mark.parametrize(
    ("p", "better", "text"),
    [
        (0.01, True, "better"),
        (0.01, False, "worse"),
        (0.2, None, "no difference shown"),
        (math.nan, None, "too few patients to test"),
    ],
)
def test_verdict(p, better, text):
    assert verdict(p, better) == text
