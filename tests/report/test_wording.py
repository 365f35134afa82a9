"""Metrics in words, and numbers as they are printed."""

from __future__ import annotations

import math

import pytest

from heteroreg.report.wording import NBSP, column, joined, p_value


@pytest.mark.parametrize(
    ("name", "heading", "spoken"),
    [
        ("dice_2", "Dice, label 2 ↑ (%)", "Dice of label 2"),
        ("hd95_1", "Hausdorff distance, 95 %, label 1 ↓ (mm)", "Hausdorff distance, 95 % of label 1"),
        ("folding_percent", "Folding ↓ (%)", "folding"),
        ("sd_log_jacobian", "Roughness ↓", "roughness"),
        ("ause", "AUSE ↓ (×10⁻⁴)", "AUSE"),
        ("noise_ratio", "Noise ratio", "noise ratio"),
        ("seconds", "Time per pair ↓ (s)", "time per pair"),
        ("made_up", "made up", "made up"),
    ],
)
def test_headings(name: str, heading: str, spoken: str) -> None:
    assert column(name).heading == heading
    assert column(name).spoken == spoken


def test_the_reference_mode_measures_labels_in_voxels() -> None:
    assert column("hd_2", voxels=True).heading == "Hausdorff distance, label 2 ↓ (voxels)"
    assert column("epe", voxels=True).unit == "mm"


@pytest.mark.parametrize(
    ("name", "value", "sign", "text"),
    [
        ("dice_2", 0.8066, False, "80.7"),  # scaled to %
        ("dice_2", 0.0041, True, "+0.4"),
        ("dice_2", -0.0041, True, "−0.4"),
        ("dice_2", -0.0001, True, "0.0"),  # no sign on what is printed as zero
        ("hd_2", 4.567, False, "4.57"),
        ("folding_percent", 0.0123, False, "0.012"),
        ("ause", 1.234e-4, False, "1.23"),  # in units of 1e-4
        ("hd_2", math.nan, False, "–"),
    ],
)
def test_numbers(name: str, value: float, sign: bool, text: str) -> None:
    assert column(name).number(value, sign=sign) == text


def test_a_difference_of_percentages_is_in_points() -> None:
    assert column("dice_2").with_unit(0.5) == f"50.0{NBSP}%"
    assert column("dice_2").with_unit(0.5, sign=True) == f"+50.0{NBSP}points"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.2134, "p = 0.21"),
        (0.0512, "p = 0.051"),
        (0.0499, "p = 0.050"),
        (1e-5, "p < 0.001"),
        (math.nan, "no test"),
    ],
)
def test_p_values(p: float, text: str) -> None:
    assert p_value(p).replace(NBSP, " ") == text


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_joined(names: list[str], text: str) -> None:
    assert joined(names) == text
