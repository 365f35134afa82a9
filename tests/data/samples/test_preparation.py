import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.samples.preparation import (
    Preparation,
    Scale,
    centre_crop,
    check_labels,
    check_pair,
    cut,
    resample,
    scale_of,
    slices_of,
)
from heteroreg.system.errors import UserError


def image(array, spacing=1.0):
    return Image.from_array(np.asarray(array, dtype=np.float32), spacing, "some.nii")


def test_scaling_by_hand():
    scale = Scale(10.0, 30.0)
    np.testing.assert_allclose(scale(np.array([10, 15, 30, 0, 99])), [0, 0.25, 1, 0, 1])
    assert scale(np.array([1], dtype=np.int16)).dtype == np.float32


def test_minmax_and_percentiles():
    values = np.arange(1001.0)
    assert scale_of(image(values[:, None]), "minmax") == Scale(0.0, 1000.0)
    # The 0.5th percentile of 0 … 1000 is 5, the 99.5th 995.
    assert scale_of(image(values[:, None]), "percentile") == Scale(5.0, 995.0)


def test_an_image_that_is_nearly_all_background_has_no_percentiles():
    array = np.zeros((50, 50))
    array[3, 3] = 7
    assert scale_of(image(array), "percentile") == Scale(0.0, 7.0)


@pytest.mark.parametrize("intensity", ["minmax", "percentile"])
@pytest.mark.parametrize("value", [0.0, -3.5])
def test_a_constant_image_is_named(intensity, value):
    with pytest.raises(UserError, match=rf"some\.nii: every voxel has the value {value:g}"):
        scale_of(image(np.full((8, 8), value)), intensity)


def test_the_working_grid():
    fixed = Grid.of_shape((100, 80, 10), (1.5, 1.5, 8.0))
    assert Preparation(2).working_grid(fixed) is fixed
    assert Preparation(2, (1.51, 1.49)).working_grid(fixed) is fixed  # within 2 %
    assert Preparation(2, (3.0, 0.75)).working_grid(fixed).shape == (50, 160, 10)
    assert Preparation(3, (3.0, 3.0, 4.0)).working_grid(fixed).shape == (50, 40, 20)


@pytest.mark.parametrize("labels", [False, True])
def test_resampling_is_that_of_itk(labels, rng):
    moving = Image(rng.integers(5, 90, size=(20, 16, 9)).astype(np.float32), Grid.of_shape((20, 16, 9), (1, 1, 3)))
    angle = 0.2
    grid = Grid(
        (18, 12, 14), (0.9, 1.1, 2.0), (1.5, 2.5, 0.0),
        (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1),
    )  # fmt: skip
    found = resample(moving, grid, labels=labels)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1).astype(float)
    source = moving.grid.index(grid.physical(index))
    reference = sitk.Image(list(grid.shape), sitk.sitkFloat32)
    reference.SetSpacing(grid.spacing)
    reference.SetOrigin(grid.origin)
    reference.SetDirection(grid.direction)
    method = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    outside = 0.0 if labels else float(moving.array.min())
    expected = sitk.GetArrayFromImage(
        sitk.Resample(moving.to_sitk(), reference, sitk.Transform(3, sitk.sitkIdentity), method, outside)
    ).T
    np.testing.assert_allclose(found.array, expected, atol=1e-4)
    beyond = ((source < -0.51) | (source > np.array(moving.grid.shape) - 0.49)).any(-1)
    assert beyond.any()
    assert (found.array[beyond] == outside).all()
    assert found.grid == grid


def test_an_image_on_the_grid_already_is_itself(rng):
    moving = image(rng.normal(size=(8, 9)))
    assert resample(moving, Grid.of_shape((8, 9))) is moving


@pytest.mark.parametrize("shape", [(9, 12), (10, 7), (16, 16)])
@pytest.mark.parametrize("size", [(16, 16), (4, 20), (5, 5), (9, 12)])
def test_cropping_and_padding_against_numpy(shape, size, rng):
    array = rng.normal(size=shape)
    grid = Grid.of_shape(shape, (1.5, 2.0))
    block = centre_crop(grid, size)
    found = cut(array, grid, block)
    assert found.shape == size
    start = [round((n - s) / 2) for n, s in zip(shape, size, strict=True)]
    padded = np.pad(array, 32)
    expected = padded[tuple(slice(32 + b, 32 + b + s) for b, s in zip(start, size, strict=True))]
    np.testing.assert_array_equal(found, expected)
    # The block says where it lies.
    np.testing.assert_allclose(block.origin, grid.physical(np.array(start, dtype=float)))


def test_a_crop_about_a_centre():
    array = np.arange(100).reshape(10, 10)
    grid = Grid.of_shape((10, 10))
    # Five pixels about (2, 7): 0 to 4 and 5 to 9.
    np.testing.assert_array_equal(cut(array, grid, centre_crop(grid, (5, 5), (2.0, 7.0))), array[0:5, 5:10])
    # About the corner: padded with 0.
    corner = cut(array, grid, centre_crop(grid, (3, 3), (9.0, 9.0)))
    np.testing.assert_array_equal(corner, [[88, 89, 0], [98, 99, 0], [0, 0, 0]])
    # Beyond the image there is nothing.
    assert not cut(array, grid, centre_crop(grid, (3, 3), (40.0, 4.0))).any()


def test_a_crop_leaves_the_further_axes_whole():
    grid = Grid.of_shape((10, 12, 7), (1, 1, 8))
    block = centre_crop(grid, (4, 4))
    assert block.shape == (4, 4, 7)
    assert block.origin == (3.0, 4.0, 0.0)


def test_a_crop_on_a_turned_grid(rng):
    angle = 0.3
    grid = Grid((20, 20), (0.7, 1.3), (-4.0, 9.0), (np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)))
    array = rng.normal(size=grid.shape)
    np.testing.assert_array_equal(cut(array, grid, centre_crop(grid, (8, 10))), array[6:14, 5:15])


def test_slices(rng):
    stack = rng.normal(size=(4, 5, 3))
    slices = slices_of(stack, 2)
    assert slices.shape == (3, 4, 5)
    np.testing.assert_array_equal(slices[1], stack[:, :, 1])
    assert slices_of(stack, 3).shape == (1, 4, 5, 3)
    assert slices_of(stack[..., 0], 2).shape == (1, 4, 5)


def test_unfit_pairs_are_named(rng):
    flat, volume = image(rng.normal(size=(8, 8))), image(rng.normal(size=(8, 8, 8)))
    with pytest.raises(UserError, match=r"has 3 dimensions but some\.nii has 2"):
        check_pair(volume, flat)
    with pytest.raises(UserError, match="has 2 dimensions; a 3D network needs 3"):
        check_pair(flat, flat, 3)
    check_pair(volume, volume, 2)


def test_labels_on_another_grid_are_named(rng):
    base = image(rng.normal(size=(8, 8)), 1.5)
    check_labels(image(np.zeros((8, 8)), 1.5), base)
    check_labels(image(np.zeros((8, 8)), 1.503), base)  # 7 · 0.003 mm is no more than 5 % of a voxel
    for other in (image(np.zeros((8, 9)), 1.5), image(np.zeros((8, 8)), 1.6)):
        with pytest.raises(
            UserError, match=r"lies on another grid \(\(8, 9\)\)|a spacing of \(1.6, 1.6\) instead of"
        ):
            check_labels(other, base)


@pytest.mark.parametrize(
    ("shape", "dims", "working"),
    [
        ((40, 50, 36), 3, (40, 50, 36)),
        ((320, 160, 80), 3, (160, 80, 40)),
        ((600, 300, 5), 2, (512, 256, 5)),
    ],
)
def test_the_working_grid_at_the_spacing_of_the_image(shape, dims, working):
    grid = Grid.of_shape(shape, (0.5, 0.5, 2.0))
    found = Preparation(dims, "image").working_grid(grid)
    assert found.shape == working
    coarser = shape[0] / working[0]
    assert found.spacing[:2] == pytest.approx((0.5 * coarser, 0.5 * coarser))
    assert found.spacing[2] == pytest.approx(2.0 * coarser if dims == 3 else 2.0)
