"""Contours of labels: distances, and the variance of a size."""

import numpy as np
import pytest
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.networks.displacement import correlated
from heteroreg.spatial.field import Field
from heteroreg.uncertainty.contours import contour_of, signed_distance, size_sd


def box(shape, low, high):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_faces_of_one_voxel():
    contour = contour_of(box((5, 4), (2, 1), (3, 2))[None], None, (1.0, 1.0))
    assert len(contour) == 4
    assert sorted(zip(contour.axis, contour.sign, strict=True)) == [(0, -1), (0, 1), (1, -1), (1, 1)]
    assert set(contour.inside.tolist()) == {2 * 4 + 1}
    assert set(contour.outside.tolist()) == {1 * 4 + 1, 3 * 4 + 1, 2 * 4, 2 * 4 + 2}
    assert np.isnan(contour.error).all()


def test_distances_of_a_box_that_is_too_wide_by_two_voxels_of_one_and_a_half_mm():
    # The true box ends at voxel 10, the moved one at 12, 3 mm farther out; the other sides agree.
    true, moved = box((24, 24), (4, 4), (10, 20)), box((24, 24), (4, 4), (12, 20))
    contour = contour_of(moved[None], true[None], (1.5, 1.5))
    far = (contour.axis == 0) & (contour.sign == 1)
    middle = far & (np.abs(contour.inside % 24 - 12) < 4)
    np.testing.assert_allclose(contour.error[middle], 3.0)
    near = (contour.axis == 0) & (contour.sign == -1)
    np.testing.assert_allclose(contour.error[near], 0.0)
    # A box that is too narrow is inside the true contour: negative.
    inner = contour_of(true[None], moved[None], (1.5, 1.5))
    assert inner.error.min() == pytest.approx(-3.0)


def test_the_layout_in_memory_does_not_matter():
    moved, true = box((3, 9, 7), (0, 2, 2), (2, 6, 5)), box((3, 9, 7), (0, 2, 1), (2, 7, 5))
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(moved, 0, -1)), -1, 0)
    one, other = contour_of(moved, true, (1.0, 1.0)), contour_of(turned, true, (1.0, 1.0))
    for name in ("inside", "outside", "axis", "sign", "error"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    values = np.random.default_rng(0).random(moved.shape)
    assert moved.ravel()[one.inside].all()
    assert not moved.ravel()[one.outside].any()
    np.testing.assert_array_equal(one.mean(values), other.mean(np.asfortranarray(values)))


def test_slices_without_a_true_contour_have_no_error():
    moved, true = box((2, 8, 8), (0, 2, 2), (2, 6, 6)), box((2, 8, 8), (0, 2, 2), (1, 6, 6))
    contour = contour_of(moved, true, (1.0, 1.0))
    first = contour.inside < 64
    np.testing.assert_array_equal(contour.error[first], 0)
    assert np.isnan(contour.error[~first]).all()


def test_signed_distance_is_half_a_voxel_beside_a_face():
    distance = signed_distance(box((7, 7), (2, 2), (5, 5)), (2.0, 2.0))
    assert distance[:4, 3].tolist() == [3, 1, -1, -3]


def test_a_shift_of_the_whole_leaves_the_size_and_a_widening_does_not():
    # One error for all faces (infinite correlation): opposite sides cancel.
    mask = box((20, 20), (5, 5), (15, 15))[None]
    contour = contour_of(mask, None, (1.0, 1.0))
    sd = np.ones(len(contour), dtype=np.float32)
    assert size_sd(contour, sd, mask.shape, (1.0, 1.0), (1e6, 1e6)) == pytest.approx(0, abs=0.1)
    # Independent errors of 40 faces of 1 mm with SD 1 mm: √40 mm².
    assert size_sd(contour, sd, mask.shape, (1.0, 1.0), (1e-3, 1e-3)) == pytest.approx(np.sqrt(40), rel=1e-6)


@pytest.mark.parametrize("length", [2.0, 5.0])
def test_the_sd_of_a_size_is_that_of_warped_labels(length):
    """Independent computation: warp the label by random errors of this correlation, and measure the sizes."""
    shape, sd = (64, 64), 0.6
    grid = Grid.of_shape(shape)
    centre = np.indices(shape) - 31.5
    mask = (centre**2).sum(axis=0) < 15**2
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for _ in range(150):
        noise = correlated(torch.randn((1, 2, *shape), generator=generator), [length, length])
        # A one-hot label warped linearly, summed: its size in fractions of a voxel.
        warped = Field(sd * noise[0].numpy(), grid).warp(Image(mask.astype(np.float32), grid)).array
        sizes.append(warped.sum())
    contour = contour_of(mask[None], None, (1.0, 1.0))
    spread = np.full(len(contour), sd, dtype=np.float32)
    found = size_sd(contour, spread, (1, *shape), (1.0, 1.0), (length, length))
    assert found == pytest.approx(np.std(sizes), rel=0.2)


def test_slices_are_correlated_over_their_distance():
    mask = np.repeat(box((12, 12), (3, 3), (9, 9))[None], 4, axis=0)
    contour = contour_of(mask, None, (1.0, 1.0))
    sd = np.ones(len(contour), dtype=np.float32)

    def of(across):
        return size_sd(contour, sd, mask.shape, (1.0, 1.0, 10.0), (1.0, 1.0, across))

    one = contour_of(mask[:1], None, (1.0, 1.0))
    single = size_sd(one, np.ones(len(one), np.float32), (1, 12, 12), (1.0, 1.0, 10.0), (1.0, 1.0, 1.0))
    assert of(1e-3) == pytest.approx(2 * single, rel=1e-3)  # four independent slices: √4
    assert of(1e6) == pytest.approx(4 * single, rel=1e-3)
