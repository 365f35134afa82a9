"""Folding and roughness of displacements, against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from heteroreg.spatial.regularity import (
    determinant,
    folding_percent,
    percent_folded,
    sd_log_jacobian,
    sd_of_log,
)


def test_a_linear_field_has_the_determinant_of_its_matrix():
    # u = (0.5 x + 0.2 y, 0.1 x - 0.25 y): det(I + A) = 1.5 · 0.75 - 0.2 · 0.1 = 1.105, at the border too.
    x, y = np.mgrid[:6, :5].astype(float)
    displacement = np.stack([0.5 * x + 0.2 * y, 0.1 * x - 0.25 * y])
    np.testing.assert_allclose(determinant(displacement), 1.105)
    assert folding_percent(displacement) == 0
    assert sd_log_jacobian(displacement) == pytest.approx(0, abs=1e-12)


def test_a_mirror_folds_everywhere():
    # x + u = -x: det = -1.
    x = np.mgrid[:4, :4, :4].astype(float)
    displacement = np.stack([-2 * x[0], 0 * x[0], 0 * x[0]])
    np.testing.assert_allclose(determinant(displacement), -1)
    assert folding_percent(displacement) == 100


@pytest.mark.parametrize(("jacobian", "percent"), [([1, 1, 1, 0], 25), ([1, -1, 0, -2], 75), ([1e-6, 1, 2, 3], 0)])
def test_a_determinant_of_zero_is_folded(jacobian, percent):
    assert percent_folded(np.array(jacobian, dtype=float)) == percent


def test_sd_of_the_logarithm_by_hand():
    # log(e²) = 2, log(1) = 0: mean 1, sd 1 (divided by N).
    assert sd_of_log(np.array([np.e**2, 1.0])) == pytest.approx(1)


def test_folded_voxels_leave_the_sd_finite():
    # log(1e-9) = -20.72 for the folded one, 0 for the other: sd = 20.72 / 2.
    assert sd_of_log(np.array([-3.0, 1.0])) == pytest.approx(-np.log(1e-9) / 2)
