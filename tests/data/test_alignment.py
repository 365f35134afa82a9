"""The initial alignment finds a known map."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from heteroreg.data.alignment import initial_affine
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.affine import Affine
from heteroreg.data.samples.intensity import ALIGNMENTS
from heteroreg.data.samples.preparation import resample

ANGLE = np.deg2rad(12)
TURN = {2: np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]]), 3: np.eye(3)}
TURN[3][:2, :2] = TURN[2]
SHAPE = {2: (72, 64), 3: (40, 44, 36)}


def blobs(dims, shape=None):
    """A smooth image of some bright spots on black, off the middle, with spacing 1.5 mm."""
    shape = shape or SHAPE[dims]
    rng = np.random.default_rng(3)
    array = np.zeros(shape)
    for _ in range(12):
        at = tuple(int(rng.integers(n // 4, 3 * n // 4)) for n in shape)
        array[at] = rng.uniform(0.3, 1)
    array = gaussian_filter(array, 3.0)
    grid = Grid.of_shape(shape, (1.5,) * dims)
    return Image((array / array.max()).astype(np.float32), grid, "fixed")


def moved_by(image, linear, offset):
    """An image whose alignment T(x) = A·(x - c) + c + b onto `image` is known: the same content at T's end."""
    grid = image.grid
    centre = grid.physical((np.asarray(grid.shape) - 1) / 2)
    true = Affine(tuple(linear.ravel().tolist()), tuple((centre + offset - linear @ centre).tolist()))
    back = np.linalg.inv(linear)
    inverse = Affine(tuple(back.ravel().tolist()), tuple((-back @ np.asarray(true.offset)).tolist()))
    placed = inverse.place(image)
    return replace(resample(placed, grid), name="moving"), true


def distance(found, true, grid):
    """The longest distance in mm between two maps over the middle of the grid."""
    corners = np.stack(np.meshgrid(*[(n * 0.25, n * 0.75) for n in grid.shape], indexing="ij"), -1)
    points = grid.physical(corners.reshape(-1, grid.dims))
    ends = [points @ one.linear.T + one.offset for one in (found, true)]
    return np.linalg.norm(ends[0] - ends[1], axis=1).max()


def test_the_grid_needs_no_map():
    assert initial_affine(blobs(2), blobs(2), "grid") is None


@pytest.mark.parametrize("dims", [2, 3])
def test_centres_of_the_fields_of_view(dims):
    fixed = blobs(dims)
    grid = replace(fixed.grid, origin=tuple(10.0 * (k + 1) for k in range(dims)))
    found = initial_affine(replace(fixed, grid=grid), fixed, "centre")
    np.testing.assert_allclose(found.linear, np.eye(dims))
    np.testing.assert_allclose(found.offset, grid.origin)


@pytest.mark.parametrize("dims", [2, 3])
def test_centres_of_mass_whatever_the_intensities(dims):
    fixed = blobs(dims)
    moving, _ = moved_by(fixed, np.eye(dims), np.array([6.0, -4.5, 3.0][:dims]))
    found = initial_affine(moving.with_array(moving.array * 900 + 70), fixed, "mass")
    np.testing.assert_allclose(found.offset, [6.0, -4.5, 3.0][:dims], atol=0.3)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("how", "stretch"), [("rigid", 1.0), ("affine", 1.15)])
def test_a_known_map_is_found_whatever_the_contrast(dims, how, stretch):
    fixed = blobs(dims)
    linear = TURN[dims] @ np.diag([stretch, 1 / stretch, 1.0][:dims])
    moving, true = moved_by(fixed, linear, np.array([7.0, -5.0, 4.0][:dims]))
    moving = moving.with_array((1 - moving.array).clip(0) ** 2)  # bright and dark exchanged
    found = initial_affine(moving, fixed, how)
    assert distance(found, true, fixed.grid) < (0.3 if how == "rigid" else 1.5)  # a voxel is 1.5 mm
    assert distance(found, initial_affine(moving, fixed, how), fixed.grid) < 1e-2


@pytest.mark.parametrize("how", ["rigid", "affine"])
def test_what_cannot_be_aligned_falls_back_to_a_shift_and_says_so(how):
    fixed = blobs(2)
    moving = fixed.with_array(np.where(np.indices(fixed.grid.shape)[0] < 36, 1.0, 0.0).astype(np.float32))
    moving = replace(moving, grid=replace(moving.grid, spacing=(1e-3, 1e-3)))  # smaller than a voxel of fixed
    with pytest.warns(UserWarning, match=f"moving onto fixed: the {how} alignment|the {how} alignment"):
        found = initial_affine(replace(moving, name="moving"), fixed, how)
    np.testing.assert_allclose(found.linear, np.eye(2))


def test_every_name_is_known():
    fixed = blobs(2)
    for how in ALIGNMENTS:
        initial_affine(fixed, fixed, how)
    with pytest.raises(ValueError, match="no alignment is called 'center'"):
        initial_affine(fixed, fixed, "center")
