import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.displacement import field_of, write_displacement
from heteroreg.spatial.field import resample_displacement, resample_map, warp_image, warp_points
from heteroreg.system.errors import UserError

TURN = tuple(Rotation.from_euler("xyz", (20, -30, 15), degrees=True).as_matrix().ravel().tolist())
OBLIQUE = Grid((24, 20, 7), (0.7, 0.7, 8.0), (-8.0, 2.0, -20.0), TURN)
PLAIN = Grid((22, 21, 12), (1.0, 0.9, 4.0), (-12.0, 0.0, -18.0), tuple(np.eye(3).ravel().tolist()))
FLIPPED = Grid((22, 21, 12), (1.0, 0.9, 4.0), (9.0, 18.0, -18.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
FLAT = Grid((26, 23), (1.25, 0.8), (3.0, -4.0), (0.0, -1.0, 1.0, 0.0))
TURNED = Grid((24, 30), (1.0, 1.0), (-16.0, -6.0), (np.cos(0.3), -np.sin(0.3), np.sin(0.3), np.cos(0.3)))
# The grids of the image, of the field, and of the result.
CASES = [
    (PLAIN, PLAIN, PLAIN),
    (FLIPPED, FLIPPED, FLIPPED),
    (OBLIQUE, OBLIQUE, OBLIQUE),
    (PLAIN, OBLIQUE, OBLIQUE),
    (OBLIQUE, PLAIN, FLIPPED),
    (FLAT, FLAT, FLAT),
    (FLAT, TURNED, TURNED),
    (TURNED, FLAT, TURNED),
]


def picture(grid, rng, integer=False):
    """Blobs in space, the same wherever the grid lies."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    point = grid.physical(index)
    waves = 50 + 20 * np.sin(point[..., 0] / 3) + 20 * np.cos(point[..., 1] / 2.5) + 0.5 * point[..., -1]
    return Image((waves // 20).astype(np.int32) if integer else waves.astype(np.float32), grid)


def field(grid, rng, millimetres=2.0):
    coarse = torch.from_numpy(rng.uniform(-1, 1, size=(1, grid.dims, *[4] * grid.dims)))
    mode = "bilinear" if grid.dims == 2 else "trilinear"
    smooth = torch.nn.functional.interpolate(coarse, size=grid.shape, mode=mode, align_corners=True)[0].numpy()
    return millimetres * smooth / np.array(grid.spacing).reshape(-1, *[1] * grid.dims)


def by_itk(image, u, grid, like, path, method):
    write_displacement(u, grid, path)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    result = sitk.Resample(
        image.to_sitk(), like.shape, transform, method, like.origin, like.spacing, like.direction, 0.0
    )
    return sitk.GetArrayFromImage(result).T


def inner(array, margin=1):
    return array[tuple(slice(margin, -margin) for _ in range(array.ndim))]


@pytest.mark.parametrize(("of_image", "of_field", "like"), CASES)
def test_warping_is_that_of_itk(of_image, of_field, like, rng, tmp_path):
    image, u = picture(of_image, rng), field(of_field, rng)
    found = warp_image(image, u, of_field, like)
    assert found.grid == like
    expected = by_itk(image, u, of_field, like, tmp_path / "u.nii.gz", sitk.sitkLinear)
    assert (expected != 0).mean() > 0.2
    # At its border ITK ends the field half a voxel earlier or later by rounding: all but a few voxels agree.
    difference = np.abs(found.array - expected)
    span = np.ptp(image.array)
    assert np.quantile(difference, 0.98) < 1e-3 * span
    agree = (found.array != 0) == (expected != 0)
    assert agree.mean() > 0.98


@pytest.mark.parametrize(("of_image", "of_field", "like"), CASES[:3] + CASES[5:6])
def test_on_one_grid_every_inner_voxel_is_that_of_itk(of_image, of_field, like, rng, tmp_path):
    image, u = picture(of_image, rng), field(of_field, rng, millimetres=0.6)
    expected = by_itk(image, u, of_field, like, tmp_path / "u.nii.gz", sitk.sitkLinear)
    found = warp_image(image, u, of_field)
    np.testing.assert_allclose(inner(found.array), inner(expected), atol=1e-3 * np.ptp(image.array))


@pytest.mark.parametrize(("of_image", "of_field", "like"), CASES)
def test_labels_are_warped_to_about_the_nearest(of_image, of_field, like, rng, tmp_path):
    labels, u = picture(of_image, rng, integer=True), field(of_field, rng)
    found = warp_image(labels, u, of_field, like, labels=True)
    assert found.array.dtype == labels.array.dtype
    assert set(np.unique(found.array)) <= {0, *np.unique(labels.array)}
    expected = by_itk(labels, u, of_field, like, tmp_path / "u.nii.gz", sitk.sitkNearestNeighbor)
    # The strongest of the linear masks and the nearest voxel differ at edges and corners alone.
    assert (found.array == expected).mean() > 0.85


def test_a_result_finer_than_the_field(rng):
    # A field that is linear in space stays exactly that on a grid of another spacing and direction.
    matrix = np.array([[0.05, -0.02, 0.01], [0.03, 0.04, 0.0], [0.0, 0.02, -0.05]])

    def linear(grid):
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
        millimetres = grid.physical(index) @ matrix.T + np.array([1.0, -2.0, 0.5])
        return np.moveaxis(millimetres @ np.linalg.inv(grid.matrix).T, -1, 0)

    fine = Grid((10, 11, 9), (0.5, 0.4, 2.0), tuple(OBLIQUE.physical(np.array([6.0, 5.0, 2.0]))), TURN)
    inside = OBLIQUE.index(
        fine.physical(np.stack(np.meshgrid(*[np.arange(n) for n in fine.shape], indexing="ij"), -1).astype(float))
    )
    assert (inside >= 0).all()
    assert (inside <= np.array(OBLIQUE.shape) - 1).all()
    found = resample_displacement(linear(OBLIQUE), OBLIQUE, fine)[0].numpy()
    np.testing.assert_allclose(found, linear(fine), atol=2e-4)


def test_beyond_the_field(rng):
    u = np.ones((2, 10, 10))
    grid, wider = Grid.of_shape((10, 10)), Grid.of_shape((20, 10))
    border = resample_displacement(u, grid, wider)
    zeros = resample_displacement(u, grid, wider, outside="zeros")
    assert (border == 1).all()
    assert (zeros[:, :, :10] == 1).all()
    assert (zeros[:, :, 11:] == 0).all()


def test_nothing_is_resampled_on_the_same_grid(rng):
    u = field(OBLIQUE, rng)
    np.testing.assert_array_equal(resample_displacement(u, OBLIQUE, OBLIQUE)[0].numpy(), u.astype(np.float32))
    values = torch.rand(1, 1, *OBLIQUE.shape)
    assert resample_map(values, OBLIQUE, OBLIQUE) is values


def test_a_map_on_another_grid_is_linear_and_goes_on_at_its_edge():
    values = torch.arange(4.0).view(1, 1, 4, 1).expand(1, 1, 4, 4)
    half = Grid((10, 4), (0.5, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    found = resample_map(values, Grid.of_shape((4, 4)), half)
    np.testing.assert_allclose(found[0, 0, :, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3, 3, 3], atol=1e-6)


def test_different_dimensions_are_named(rng):
    image = Image.from_array(np.zeros((8, 8, 8), dtype=np.float32), name="a.nii")
    with pytest.raises(
        UserError, match=r"a\.nii: has 3 dimensions, the displacement 2 and the grid to warp onto 2"
    ):
        warp_image(image, np.zeros((2, 8, 8)), Grid.of_shape((8, 8)))


@pytest.mark.parametrize("grid", [PLAIN, FLIPPED, OBLIQUE, FLAT, TURNED])
def test_points_go_with_the_image(grid, rng):
    # By definition y + u(y) = p: a point of fixed goes to where ITK's transform takes it, and back.
    u = field(grid, rng, millimetres=1.5)
    inside = rng.uniform(0.25, 0.75, size=(20, grid.dims)) * (np.array(grid.shape) - 1)
    fixed = grid.physical(inside)
    vectors = sitk.DisplacementFieldTransform(sitk.Cast(field_of(u, grid), sitk.sitkVectorFloat64))
    moving = np.array([vectors.TransformPoint(point.tolist()) for point in fixed])
    assert np.abs(moving - fixed).max() > 0.5
    np.testing.assert_allclose(warp_points(moving, u, grid), fixed, atol=0.01)


def test_points_beyond_the_field_stay(rng):
    far = np.array([[500.0, 0.0, 0.0]])
    np.testing.assert_allclose(warp_points(far, field(PLAIN, rng), PLAIN), far)


def test_a_point_that_nothing_comes_to_has_no_place():
    # Everything is taken from 3 voxels further on: beyond the end nothing moves, and between nothing arrives.
    grid = Grid.of_shape((10, 10))
    u = np.zeros((2, 10, 10))
    u[0] = 3.0
    found = warp_points(np.array([[5.0, 5.0], [1.0, 5.0]]), u, grid)
    np.testing.assert_allclose(found[0], (2.0, 5.0), atol=1e-5)
    assert np.isnan(found[1]).all()


def test_points_need_a_coordinate_for_each_axis():
    with pytest.raises(ValueError, match=r"shape \(n, 3\)"):
        warp_points(np.zeros((4, 2)), np.zeros((3, *PLAIN.shape)), PLAIN)
