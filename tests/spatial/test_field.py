import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.data.io.displacement import write_displacement
from heteroreg.spatial.field import Field, warp_image
from heteroreg.spatial.grids import resample_map
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
    found = Field(u, of_field).warp(image, like=like)
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
    found = Field(u, of_field).warp(image)
    np.testing.assert_allclose(inner(found.array), inner(expected), atol=1e-3 * np.ptp(image.array))


@pytest.mark.parametrize(("of_image", "of_field", "like"), CASES)
def test_labels_are_warped_to_about_the_nearest(of_image, of_field, like, rng, tmp_path):
    labels, u = picture(of_image, rng, integer=True), field(of_field, rng)
    found = Field(u, of_field).warp(labels, like=like, labels=True)
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
    found = Field(linear(OBLIQUE), OBLIQUE).resample(fine).vectors
    np.testing.assert_allclose(found, linear(fine), atol=2e-4)


def test_beyond_the_field(rng):
    u = np.ones((2, 10, 10))
    grid, wider = Grid.of_shape((10, 10)), Grid.of_shape((20, 10))
    border = Field(u, grid).resample(wider).vectors
    zeros = Field(u, grid).resample(wider, outside="zeros").vectors
    assert (border == 1).all()
    assert (zeros[:, :10] == 1).all()
    assert (zeros[:, 11:] == 0).all()


def test_nothing_is_resampled_on_the_same_grid(rng):
    u = field(OBLIQUE, rng)
    np.testing.assert_array_equal(Field(u, OBLIQUE).resample(OBLIQUE).vectors, u.astype(np.float32))
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
        Field(np.zeros((2, 8, 8)), Grid.of_shape((8, 8))).warp(image)


@pytest.mark.parametrize("grid", [PLAIN, FLIPPED, OBLIQUE, FLAT, TURNED])
def test_points_go_with_the_image(grid, rng):
    # By definition y + u(y) = p: a point of fixed goes to where ITK's transform takes it, and back.
    u = field(grid, rng, millimetres=1.5)
    inside = rng.uniform(0.25, 0.75, size=(20, grid.dims)) * (np.array(grid.shape) - 1)
    fixed = grid.physical(inside)
    transform = Field(u, grid).to_itk()
    moving = np.array([transform.TransformPoint(point.tolist()) for point in fixed])
    assert np.abs(moving - fixed).max() > 0.5
    np.testing.assert_allclose(Field(u, grid).warp_points(moving), fixed, atol=0.01)


def test_points_beyond_the_field_stay(rng):
    far = np.array([[500.0, 0.0, 0.0]])
    np.testing.assert_allclose(Field(field(PLAIN, rng), PLAIN).warp_points(far), far)


def test_a_point_that_nothing_comes_to_has_no_place():
    # Everything is taken from 3 voxels further on: beyond the end nothing moves, and between nothing arrives.
    grid = Grid.of_shape((10, 10))
    u = np.zeros((2, 10, 10))
    u[0] = 3.0
    found = Field(u, grid).warp_points([[5.0, 5.0], [1.0, 5.0]])
    np.testing.assert_allclose(found[0], (2.0, 5.0), atol=1e-5)
    assert np.isnan(found[1]).all()


def test_points_need_a_coordinate_for_each_axis():
    for points in (np.zeros((4, 2)), np.zeros(3)):
        with pytest.raises(UserError, match=r"^points: .* give \(n, 3\)"):
            Field(np.zeros((3, *PLAIN.shape)), PLAIN).warp_points(points)


def lattice(grid, low=0.2, high=0.8, n=5):
    """Points well within a grid, in mm."""
    steps = [np.linspace(low, high, n) * (size - 1) for size in grid.shape]
    return grid.physical(np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, grid.dims))


def through(transform, points):
    return np.array([transform.TransformPoint(point.tolist()) for point in points])


@pytest.mark.parametrize("grid", [PLAIN, FLIPPED, OBLIQUE, FLAT, TURNED])
def test_the_itk_transform_is_the_one_in_the_file(grid, rng, tmp_path):
    one = Field(field(grid, rng), grid)
    one.write(tmp_path / "u.nii.gz")
    stored = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64))
    points = lattice(grid, -0.3, 1.3)  # beyond the field too, where nothing moves
    moved = through(one.to_itk(), points)
    assert np.abs(moved - points).max() > 0.5
    np.testing.assert_allclose(moved, through(stored, points), atol=1e-4)
    again = Field.read(tmp_path / "u.nii.gz")
    np.testing.assert_allclose(again.vectors, one.vectors, atol=1e-5)
    assert again.grid.same_as(grid)


def test_a_single_slice_is_a_field_of_itk_too(rng):
    one = Grid((12, 10, 1), (1.0, 1.5, 8.0), (3.0, 4.0, 5.0), TURN)
    u = np.zeros((3, *one.shape))
    u[0], u[1] = 1.0, -2.0
    point = one.physical(np.array([5.0, 4.0, 0.0]))
    expected = one.physical(np.array([6.0, 2.0, 0.0]))
    np.testing.assert_allclose(Field(u, one).to_itk().TransformPoint(point.tolist()), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("first", "second"),
    [(OBLIQUE, OBLIQUE), (PLAIN, OBLIQUE), (OBLIQUE, FLIPPED), (FLAT, TURNED), (TURNED, TURNED)],
)
def test_a_composition_is_that_of_itk(first, second, rng):
    one, two = Field(field(first, rng), first), Field(field(second, rng), second)
    both = one.compose(two)
    assert both.grid == second
    # ITK applies the last of a composition first: x -> one(two(x)). At the voxels nothing is interpolated.
    itk = sitk.CompositeTransform([one.to_itk(), two.to_itk()])
    index = rng.integers(1, np.array(second.shape) - 1, size=(60, second.dims))
    points = second.physical(index.astype(float))
    expected = through(itk, points)
    found = points + both.mm[(slice(None), *index.T)].T
    # The field ends half a voxel beyond its outer voxels, where rounding decides: all but a few points agree.
    close = np.abs(found - expected).max(axis=1) < 1e-6
    assert close.mean() > 0.95
    assert np.abs(expected - points).max() > 0.5


def test_an_image_is_warped_by_one_field_and_then_by_another(rng):
    image = picture(OBLIQUE, rng)
    one, two = (Field(field(OBLIQUE, rng, 0.7), OBLIQUE) for _ in range(2))
    twice, once = two.warp(one.warp(image)), one.compose(two).warp(image)
    # The margin is farther than the fields reach; what is interpolated twice is smoother.
    difference = np.abs(twice.array - once.array)[3:-3, 3:-3, 1:-1]
    assert np.quantile(difference, 0.95) < 0.02 * np.ptp(image.array)
    assert np.abs(once.array - one.warp(image).array)[3:-3, 3:-3, 1:-1].max() > 0.05 * np.ptp(image.array)


@pytest.mark.parametrize("grid", [PLAIN, OBLIQUE, TURNED])
def test_the_inverse_goes_back_and_is_that_of_itk(grid, rng):
    one = Field(field(grid, rng, 1.2), grid)
    back = one.inverse()
    assert back.grid == grid
    # At the voxels of the inverse nothing is interpolated: x + v(x) =: y, and y + u(y) = x.
    margin = np.minimum(4, np.array(grid.shape) // 4)
    index = rng.integers(margin, np.array(grid.shape) - margin, size=(60, grid.dims))
    points = grid.physical(index.astype(float))
    there = points + back.mm[(slice(None), *index.T)].T
    assert np.abs(there - points).max() > 0.3
    np.testing.assert_allclose(through(one.to_itk(), there), points, atol=2e-3 * max(grid.spacing))
    vectors = sitk.InvertDisplacementField(one.to_itk().GetDisplacementField(), 200, 1e-4, 1e-5, False)
    itk = through(sitk.DisplacementFieldTransform(vectors), points)
    np.testing.assert_allclose(there, itk, atol=0.03)


def test_millimetres_are_along_the_axes_of_space():
    u = np.zeros((2, *FLAT.shape))
    u[0] = 2.0  # along the first axis, which points along +y with 1.25 mm a voxel
    np.testing.assert_allclose(Field(u, FLAT).mm[:, 3, 4], (0.0, 2.5), atol=1e-12)


def test_vectors_that_do_not_fit_the_grid():
    with pytest.raises(UserError, match=r"^vectors: have the shape \(2, 4, 5\), and the grid needs \(2, 5, 4\)"):
        Field(np.zeros((2, 4, 5)), Grid.of_shape((5, 4)))


def test_what_a_caller_may_give(rng, tmp_path):
    image, one = picture(OBLIQUE, rng), Field(field(PLAIN, rng), PLAIN)
    expected = one.warp(image, like=OBLIQUE)
    write_image(image, tmp_path / "image.nii.gz")
    one.write(tmp_path / "u.h5")
    for given in (image, image.to_sitk(), tmp_path / "image.nii.gz"):
        for like in (OBLIQUE, given):
            for transform in (one, tmp_path / "u.h5"):
                found = warp_image(given, transform, like=like)
                np.testing.assert_allclose(found.array, expected.array, atol=0.02)
                assert found.grid.same_as(OBLIQUE)
    flat = Field(field(FLAT, rng), Grid.of_shape(FLAT.shape, 2.0))
    array = rng.random(FLAT.shape)
    expected = flat.warp(Image.from_array(array, 2.0))
    np.testing.assert_array_equal(warp_image(array, flat, spacing=2.0), expected)
    with pytest.raises(UserError, match=r"^like: an array has no grid"):
        warp_image(array, flat, like=array)


def test_a_field_is_one_line(rng):
    u = np.zeros((3, *PLAIN.shape))
    u[0, 3, 3, 3] = 4.0
    assert repr(Field(u, PLAIN)) == "Field(22×21×12 voxels, 1×0.9×4 mm, displacement up to 4 mm)"
