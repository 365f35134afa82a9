"""The challenges' metrics against tables by hand, and the mode as a whole."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.evaluation import evaluate, learn2reg
from heteroreg.registration.classical import Undeformed
from heteroreg.spatial.regularity import determinant
from heteroreg.system.errors import UserError


def test_labels_are_taken_from_the_nearest_voxel_and_none_from_beyond():
    labels = np.arange(1, 6)[:, None, None] * np.ones((5, 1, 1), dtype=int)
    u = np.zeros((3, 5, 1, 1))
    u[0] = 1.4  # voxel i shows voxel i + 1; 4.4 lies beyond the centre of the last one
    assert learn2reg.warp_nearest(labels, u)[:, 0, 0].tolist() == [2, 3, 4, 0, 0]


def test_sd_log_jacobian_by_hand():
    # u_x = x²/20: central differences give x/10 in the inner voxels x = 2, 3, 4 of seven: det + 3 = 4.2, 4.3, 4.4.
    x = np.arange(7.0)
    u = np.zeros((3, 7, 6, 5))
    u[0] = (x**2 / 20)[:, None, None]
    expected = np.std([math.log(4.2), math.log(4.3), math.log(4.4)])
    assert learn2reg.sd_shifted_log_jacobian(determinant(u)) == pytest.approx(expected, abs=1e-12)


def test_cross_terms_are_in_the_determinant():
    # u = (0.5·y·(x - 3), 0.25·x, 0): ∂x ux = 0.5y, ∂y ux = 0.5(x - 3), ∂x uy = 0.25; det = 1 + 0.5y - 0.125(x - 3).
    x, y, _ = np.indices((7, 7, 5))
    u = np.stack([0.5 * y * (x - 3), 0.25 * x, np.zeros_like(x, dtype=float)])
    inner_x, inner_y = np.meshgrid([2, 3, 4], [2, 3, 4], indexing="ij")
    expected = np.std(np.log(4 + 0.5 * inner_y - 0.125 * (inner_x - 3)))
    assert learn2reg.sd_shifted_log_jacobian(determinant(u)) == pytest.approx(expected, abs=1e-12)


def test_folding_is_clipped():
    # u_x = -10·x: det = -9, and -9 + 3 is taken as 1e-9 everywhere: no spread, no NaN.
    u = np.zeros((3, 6, 6, 6))
    u[0] = -10 * np.arange(6.0)[:, None, None]
    assert learn2reg.sd_shifted_log_jacobian(determinant(u)) == 0


def test_overlap_and_distance_by_hand():
    fixed, moved = np.zeros((12, 12, 12), int), np.zeros((12, 12, 12), int)
    fixed[3:9, 3:9, 3:9] = 1
    moved[5:11, 3:9, 3:9] = 1  # two voxels further on: 4·36 of 6·36 in common
    fixed[0, 0, 0] = 2
    values, missed = learn2reg.overlap_and_distance(moved, fixed, {1, 2})
    assert values["dice_1"] == pytest.approx(2 * 4 / 12)
    assert values["hd95_1"] == 2.0
    assert values["dice_2"] == 0
    assert "hd95_2" not in values
    assert missed == {2}


def test_the_mode_scores_volumes(cohort_3d):
    scores = evaluate(Undeformed(), cohort_3d.split("test"), metrics="learn2reg")
    assert scores.summary["mode"] == "learn2reg"
    assert len(scores.table) == 1
    assert {"dice_2", "hd95_2", "sd_log_jacobian"} <= set(scores.table.columns)
    assert "hd_2" not in scores.table
    assert scores.table["sd_log_jacobian"].tolist() == pytest.approx([0.0], abs=1e-12)
    # The identity warps nothing, so that Dice is that of the standard mode.
    standard = evaluate(Undeformed(), cohort_3d.split("test"), slicewise=False)
    np.testing.assert_allclose(scores.table["dice_2"], standard.table["dice_2"], atol=0.02)


def test_slices_and_pairs_without_labels(cohort_2d, cohort_3d):
    with pytest.raises(UserError, match=r"those of Learn2Reg need volumes .* has 32 x 32"):
        evaluate(Undeformed(), cohort_2d.split("test"), metrics="learn2reg")
    bare = Cohort(tuple(replace(pair, moving_labels=None) for pair in cohort_3d.split("test")))
    scores = evaluate(Undeformed(), bare, metrics="learn2reg")
    assert not [name for name in scores.table.columns if name.startswith("dice")]


def test_a_missing_library_is_told(cohort_3d, monkeypatch):
    monkeypatch.setitem(sys.modules, "surface_distance", None)
    with pytest.raises(UserError, match=r"pip install 'heteroreg\[learn2reg\]'"):
        evaluate(Undeformed(), cohort_3d.split("test"), metrics="learn2reg")
