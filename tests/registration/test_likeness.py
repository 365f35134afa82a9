"""A registration that makes the images less similar is noted, and an ordinary one is not."""

import warnings

import numpy as np
import pytest

import heteroreg as hr
from heteroreg.registration.likeness import less_similar, summed_up
from heteroreg.registration.register import register
from heteroreg.registration.result import Registration


def ball(radius, shape=(48, 48)):
    where = np.indices(shape) - np.reshape([n / 2 for n in shape], (-1, *[1] * len(shape)))
    noise = np.random.default_rng(int(radius)).normal(0, 4, shape)
    return hr.Image.from_array(np.where((where**2).sum(0) < radius**2, 200.0, 60.0) + noise - 1024, spacing=1.5)


class Shift(hr.BaseRegistrar):
    """Shifts moving by some voxels along the first axis."""

    name = "shift"

    def __init__(self, voxels):
        self.voxels = voxels

    def _register(self, moving, fixed, moving_labels):
        field = np.zeros((fixed.grid.dims, *fixed.grid.shape), np.float32)
        field[0] = self.voxels
        moved = hr.Field(field, fixed.grid).warp(moving)
        return Registration(
            fixed=fixed, moving=moving, moved=moved, displacement=field, inverse_displacement=-field
        )


@pytest.mark.parametrize("shape", [(48, 48), (32, 32, 16)])
def test_what_moves_the_images_apart_is_noted(shape):
    text = less_similar(Shift(9).register(ball(10, shape), ball(9, shape)))
    assert "less similar" in text
    assert "(correlation 0." in text


@pytest.mark.parametrize("shape", [(48, 48), (32, 32, 16)])
@pytest.mark.parametrize("voxels", [0, 0.3])
def test_what_leaves_the_images_where_they_are_is_not(shape, voxels):
    image = ball(10, shape)
    assert not less_similar(Shift(voxels).register(image, image))
    assert not less_similar(Shift(voxels).register(image, ball(8, shape)))


def test_images_of_opposite_contrast_are_compared_by_their_information():
    moving, fixed = ball(10), ball(10).with_array(-ball(10).array)
    shifted = moving.with_array(np.roll(moving.array, 6, axis=0))
    # Aligned, the correlation falls from about -0.5 to -1, and the information rises.
    assert not less_similar(Shift(6).register(shifted, fixed))


def test_every_slice_of_a_stack_is_compared():
    # 512·512·16 voxels are 16 times as many as are compared: every 16th would be of one slice.
    still = np.zeros((512, 512, 16), np.float32)
    still[200:300, 200:300] = 1
    field = np.zeros((3, *still.shape), np.float32)
    field[0, ..., 1:] = 90
    image = hr.Image.from_array(still, spacing=(1.5, 1.5, 8))
    apart = Registration(fixed=image, moving=image, moved=image, displacement=field, inverse_displacement=-field)
    assert less_similar(apart)


def test_one_call_warns(tmp_path):
    with pytest.warns(UserWarning, match="less similar"):
        register(ball(10), ball(9), Shift(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register(ball(10), ball(9), Shift(0))


def test_a_cohort_warns_once_and_again_of_what_is_kept(tmp_path):
    hr.phantom(tmp_path / "hearts", pairs=4, size=48)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"4 of 4 pairs are less similar .*, …\)") as caught:
            hr.register_cohort(Shift(20), tmp_path / "hearts", tmp_path / "out")
        assert len([one for one in caught if "less similar" in str(one.message)]) == 1


def test_a_few_pairs_are_named():
    assert "(a, c): do not" in summed_up({"a": "x", "b": "", "c": "y"}, 3)
    assert not summed_up({"a": ""}, 1)
