from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.evaluation import evaluate
from heteroreg.evaluation.overlap import dice
from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.spatial import compose
from heteroreg.system.errors import UserError

needs_elastix = pytest.mark.skipif(find_spec("itk") is None, reason="itk-elastix is not installed")


def test_the_identity_moves_nothing():
    array = np.random.default_rng(0).random((5, 6), dtype=np.float32)
    image = Image.from_array(array, (1.0, 2.0))
    labels = image.with_array((array > 0.5).astype(np.int32))
    result = Undeformed().register(image, image, labels)
    np.testing.assert_array_equal(result.moved.array, array)
    np.testing.assert_array_equal(result.moved_labels.array, labels.array)
    assert not result.displacement.any()
    assert result.displacement.shape == (2, 5, 6)
    assert result.noise_sd is None


def test_moving_keeps_its_place_in_space():
    # A ramp of 1 per mm, on a fixed grid of half the spacing that begins 2 mm further on.
    moving = Image.from_array(np.arange(10.0, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32))
    fixed = Image(np.zeros((5, 4)), Grid((5, 4), (0.5, 1.0), (2.0, 0.0), (1.0, 0.0, 0.0, 1.0)))
    moved = Undeformed().register(moving, fixed).moved
    np.testing.assert_allclose(moved.array[:, 1], [2, 2.5, 3, 3.5, 4])
    assert moved.grid == fixed.grid


def test_dimensions_must_agree():
    with pytest.raises(UserError, match="dimensions"):
        Undeformed().register(Image.from_array(np.zeros((4, 4))), Image.from_array(np.zeros((4, 4, 4))))


def heart(shape, shift, size, step=1.0):
    """A bright ring as a function of position, alike in each slice; `step` is the width of a voxel."""
    centre = np.reshape([(n - 1) / 2 for n in shape[:2]], (2, 1, 1))
    x, y = step * (np.indices(shape[:2]) - centre) - np.reshape(shift, (2, 1, 1))
    ring = np.exp(-((np.hypot(x, y) - size) ** 2) / 8).astype(np.float32)
    return ring if len(shape) == 2 else np.repeat(ring[..., None], shape[2], axis=2)


QUICK = {"NumberOfResolutions": "2", "MaximumNumberOfIterations": "80", "NumberOfSpatialSamples": "500"}


@needs_elastix
@pytest.mark.slow
class TestElastix:
    def test_a_stack_of_thick_slices(self):
        shape, spacing = (32, 30, 3), (1.25, 1.25, 8.0)
        fixed, moving = heart(shape, (0, 0), 7.0), heart(shape, (1, -1), 9.0)
        fixed[..., 2] = 0.0  # above the heart nothing is to be seen, and nothing may move
        labels = Image.from_array((moving > 0.5).astype(np.int32), spacing)
        fixed, moving = Image.from_array(fixed, spacing), Image.from_array(moving, spacing)
        result = Elastix(settings=QUICK).register(moving, fixed, labels)
        assert result.slicewise
        assert result.displacement.shape == (3, *shape)
        assert not result.displacement[2].any()
        assert not result.inverse_displacement[2].any()
        assert not result.displacement[..., 2].any()
        # Each slice is what it would be alone.
        alone = Elastix(settings=QUICK).register(
            *(Image.from_array(image.array[..., 1], spacing[:2]) for image in (moving, fixed))
        )
        np.testing.assert_allclose(result.displacement[:2, ..., 1], alone.displacement, atol=1e-3)
        before = np.abs(moving.array - fixed.array)[..., :2].mean()
        after = np.abs(result.moved.array - fixed.array)[..., :2].mean()
        assert after < 0.25 * before
        target = (fixed.array > 0.5)[..., 1]
        overlap = dice(result.moved_labels.array[..., 1] == 1, target)
        assert overlap > 0.9 > dice(labels.array[..., 1] == 1, target)
        # There and back again, where the image shows something.
        both = compose(*(torch.from_numpy(f)[None] for f in (result.displacement, result.inverse_displacement)))
        assert float(both.abs().max()) < 0.05

    def test_a_volume_of_one_slice_is_registered_in_its_plane(self):
        """Pixels of 1 mm in slices of 1 mm: not a stack of thick slices by its spacing."""
        fixed, moving = (
            Image.from_array(heart((32, 30, 1), shift, size), 1.0)
            for shift, size in (((0, 0), 7.0), ((1, -1), 9.0))
        )
        result = Elastix(settings=QUICK).register(moving, fixed)
        assert result.displacement.shape == (3, 32, 30, 1)
        assert not result.displacement[2].any()
        assert np.abs(result.moved.array - fixed.array).mean() < 0.25 * np.abs(moving.array - fixed.array).mean()

    def test_a_volume_moves_along_every_axis(self):
        x = np.indices((24, 22, 18)) - np.reshape([11.5, 10.5, 8.5], (3, 1, 1, 1))
        fixed, moving = (
            np.exp(-((np.sqrt(((x - np.reshape(s, (3, 1, 1, 1))) ** 2).sum(0)) - 5) ** 2) / 6).astype(np.float32)
            for s in ((0, 0, 0), (1, -1, 1.5))
        )
        result = Elastix(settings=QUICK).register(Image.from_array(moving), Image.from_array(fixed))
        assert not result.slicewise
        np.testing.assert_allclose(result.displacement[:, fixed > 0.5].mean(axis=1), [1, -1, 1.5], atol=0.3)
        assert (
            not Elastix(slicewise=False, settings=QUICK)
            .register(*(Image.from_array(array[..., ::3], (1.0, 1.0, 6.0)) for array in (moving, fixed)))
            .slicewise
        )

    def test_another_grid_of_the_same_space(self):
        """A finer, flipped moving image beside the fixed one: the same registration as on the fixed grid."""
        fixed = Image.from_array(heart((32, 32), (0, 0), 7.0))
        array = heart((64, 64), (0, 0), 9.0, step=0.5)
        grid = Grid((64, 64), (0.5, 0.5), (31.25, -0.25), (-1.0, 0.0, 0.0, 1.0))
        result = Elastix(settings=QUICK).register(Image(array, grid, "moving"), fixed)
        assert np.abs(result.moved.array - fixed.array).mean() < 0.02
        assert result.moved.grid == fixed.grid
        assert result.displacement.shape == (2, 32, 32)

    def test_images_that_do_not_meet_are_named(self):
        fixed = Image.from_array(heart((32, 32), (0, 0), 7.0), name="ES.nii.gz")
        far = replace(fixed, grid=replace(fixed.grid, origin=(500.0, 0.0)), name="ED.nii.gz")
        with pytest.raises(UserError, match=r"ED\.nii\.gz and ES\.nii\.gz do not overlap in space"):
            Elastix().register(far, fixed)

    def test_a_failure_of_elastix_names_the_pair(self):
        fixed = Image.from_array(heart((32, 32), (0, 0), 7.0), name="ES.nii.gz")
        with pytest.raises(UserError, match=r"ES\.nii\.gz onto ES\.nii\.gz: elastix failed \(.*Nonsense"):
            Elastix(settings={"Metric": "Nonsense"}).register(fixed, fixed)

    def test_it_is_evaluated_like_any_other(self, cohort_2d):
        scores = evaluate(Elastix(settings=QUICK), cohort_2d.split("test"))
        still = evaluate(Undeformed(), cohort_2d.split("test"))
        assert scores.summary["method"] == "elastix"
        assert scores.table["dice_2"].mean() > still.table["dice_2"].mean() + 0.05
