from dataclasses import replace

import numpy as np
import pytest

from heteroreg.evaluation.row import score
from heteroreg.registration.maps import Maps


def square(start, size=4, shape=(16, 16), label=1):
    array = np.zeros(shape, dtype=np.int32)
    array[start : start + size, 4:8] = label
    return array


def view(**changes):
    """A 4 × 4 square that has to move by 2 voxels along x, and was moved by 1."""
    displacement = np.zeros((2, 16, 16))
    displacement[0] = -1
    base = Maps(
        spacing=(2.0, 1.0),
        fixed=square(6) * 10.0,
        moving=square(4) * 10.0,
        moved=square(5) * 10.0,
        displacement=displacement,
        fixed_labels=square(6),
        moving_labels=square(4),
        moved_labels=square(5),
    )
    return replace(base, **changes)


def test_standard_scores_by_hand():
    values = score(view(), None, "standard").values
    # 3 of 4 columns overlap: 2·12/(16 + 16) and 12/20.
    assert values["dice_1"] == pytest.approx(0.75)
    assert values["jaccard_1"] == pytest.approx(0.6)
    # One voxel of 2 mm along x.
    assert values["hd_1"] == 2.0
    assert values["folding_percent"] == 0
    assert values["sd_log_jacobian"] == pytest.approx(0, abs=1e-12)


def test_reference_is_the_linear_mask_above_zero_in_voxels():
    # Moved by half a voxel the linear mask covers 5 columns, from 4 to 8, all above 0: fixed has 6 to 9.
    displacement = np.zeros((2, 16, 16))
    displacement[0] = -0.5
    values = score(view(displacement=displacement), None, "reference").values
    assert values["dice_1"] == pytest.approx(2 * 3 / (5 + 4))
    assert values["hd_1"] == 2.0  # columns 4 to 6: two voxels, whatever the spacing


def test_reference_does_not_look_at_the_moved_labels_of_the_registrar():
    values = score(view(moved_labels=np.zeros((16, 16), np.int32)), None, "reference").values
    assert values["dice_1"] == pytest.approx(0.75)  # u = -1 moves 4..7 to 5..8


def test_reference_with_no_displacement_does_not_swell_by_rounding():
    still = view(displacement=np.zeros((2, 16, 16)), fixed_labels=square(4))
    assert score(still, None, "reference").values["dice_1"] == 1


def test_a_lost_label_is_a_miss():
    row = score(view(moved_labels=np.zeros((16, 16), np.int32)), None, "standard")
    assert row.missed == {1}
    assert row.values["dice_1"] == 0
    assert row.values["jaccard_1"] == 0
    assert np.isnan(row.values["hd_1"])
    assert np.isnan(row.values["assd_1"])


def test_reference_drops_a_lost_label():
    # All of the mask is carried out of the image.
    displacement = np.full((2, 16, 16), 100.0)
    row = score(view(displacement=displacement), None, "reference")
    assert row.missed == {1}
    assert "dice_1" not in row.values


@pytest.mark.parametrize("side", ["fixed_labels", "moving_labels"])
def test_a_label_in_one_map_alone_has_no_score(side):
    row = score(view(**{side: np.zeros((16, 16), np.int32)}), None, "standard")
    assert row.one_sided == {1}
    assert not row.present
    assert "dice_1" not in row.values


def test_only_the_labels_asked_for():
    two = {name: square(start) + square(start, label=6)[:, ::-1] for name, start in [("fixed_labels", 6)]}
    two |= {"moving_labels": two["fixed_labels"], "moved_labels": two["fixed_labels"]}
    assert score(view(**two), None, "standard").present == {1, 6}
    row = score(view(**two), [6], "standard")
    assert row.present == {6}
    assert "dice_1" not in row.values


def test_no_labels_no_overlap():
    row = score(view(fixed_labels=None, moving_labels=None, moved_labels=None), None, "standard")
    assert set(row.values) == {"folding_percent", "sd_log_jacobian"}


def test_noise_is_in_units_of_the_fixed_range():
    # Residual ±10 on 4 + 4 pixels of 256, range 10: squared error 1 there.
    sd = np.full((16, 16), 3.0)
    sd[5], sd[9] = 30.0, 30.0  # the two columns where the squares differ
    row = score(view(noise_sd=sd), None, "standard")
    assert row.curve.random[0] == pytest.approx(8 / 256)
    # The foreground is the 5 columns of 4 that either square covers.
    assert row.curve_foreground.random[0] == pytest.approx(8 / 20)
    # The sd marks exactly the columns with error: on the foreground that is the oracle.
    assert row.values["ause_foreground"] == pytest.approx(0, abs=1e-12)
    assert row.values["aurg_foreground"] > 0
    # Scaled, sd is 3 where the residual is 1 and 0.3 where it is 0: all within 95 % intervals (1.96 sd).
    assert row.values["coverage_95"] == 1
    expected = 0.5 * np.log(2 * np.pi) + (8 * (np.log(3) + 0.5 / 9) + 12 * np.log(0.3)) / 20
    assert row.values["nll"] == pytest.approx(expected)


def test_a_constant_fixed_image_has_no_noise_scores():
    row = score(view(noise_sd=np.ones((16, 16))), None, "standard", intensity_range=0.0)
    assert row.curve is None
    assert "ause" not in row.values


def test_an_empty_foreground_leaves_the_foreground_undefined():
    zero = np.zeros((16, 16))
    row = score(view(fixed=zero, moved=zero, noise_sd=np.ones((16, 16))), None, "standard", intensity_range=10.0)
    assert row.values["ause"] == 0
    assert "ause_foreground" not in row.values
    assert np.isnan(row.values["nll"])


def test_truth_by_label_and_over_the_foreground():
    error = np.ones((16, 16))
    error[6:10, 4:8] = 3.0  # the fixed square
    true = np.arange(256.0).reshape(16, 16) + 1
    row = score(view(end_point_error=error, true_noise_sd=true, noise_sd=2 * true), None, "standard")
    assert row.values["epe"] == pytest.approx((240 * 1 + 16 * 3) / 256)
    assert row.values["epe_1"] == 3
    assert row.values["noise_correlation"] == pytest.approx(1)
    assert row.values["noise_ratio"] == pytest.approx(2)


def test_uncertainty_of_the_displacement_over_the_foreground():
    sd = np.full((16, 16), 100.0)
    sd[5:10, 4:8] = 1.0  # where moved or fixed are not zero
    row = score(view(displacement_sd=sd), None, "standard").values
    assert row["displacement_sd_mean"] == 1
    assert row["displacement_sd_cv"] == 0
    assert "displacement_coverage_68" not in row  # no truth
    row = score(view(displacement_sd=sd, end_point_error=np.full((16, 16), 0.5)), None, "standard").values
    assert row["displacement_sd_ratio"] == 2
    assert row["displacement_coverage_68"] == row["displacement_coverage_95"] == 1
    assert np.isnan(row["displacement_sd_correlation"])
    assert not [name for name in score(view(), None, "standard").values if name.startswith("displacement")]


def test_an_added_constant_changes_no_score():
    """CT counts from -1024, and an image may be standardised: what is background must not depend on the value 0."""
    rng = np.random.default_rng(0)
    fixed = np.zeros((12, 12), np.float32)
    fixed[3:9, 3:9] = rng.integers(50, 99, (6, 6))
    moved = np.roll(fixed, 1, axis=0)
    sd = rng.integers(1, 8, (12, 12)).astype(np.float32)
    maps = Maps(
        spacing=(1.0, 1.0), fixed=fixed, moving=fixed, moved=moved, displacement=np.zeros((2, 12, 12)), noise_sd=sd
    )
    plain = score(maps, None, "standard").values
    for constant in (-1024, 64):
        shifted = replace(maps, fixed=fixed + constant, moved=moved + constant)
        assert score(shifted, None, "standard").values == pytest.approx(plain, rel=1e-9)
    assert plain["ause_foreground"] != pytest.approx(plain["ause"])
