import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import place

PLAIN = Grid.of_shape((7, 8, 9), (1.0, 2.0, 3.0))
OBLIQUE = Grid(
    (12, 10, 6),
    (0.7, 0.7, 8.0),
    (-31.0, 12.5, 7.25),
    tuple(Rotation.from_euler("xyz", (25, -40, 10), degrees=True).as_matrix().ravel().tolist()),
)
TURNED_2D = Grid((9, 11), (1.5, 0.5), (3.0, -4.0), (np.cos(0.4), -np.sin(0.4), np.sin(0.4), np.cos(0.4)))
FLIPPED = Grid((6, 7, 8), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
GRIDS = [PLAIN, OBLIQUE, TURNED_2D, FLIPPED]


def itk(grid):
    return place(sitk.Image(list(grid.shape), sitk.sitkUInt8), grid)


@pytest.mark.parametrize("grid", GRIDS)
def test_positions_are_those_of_itk(grid, rng):
    image = itk(grid)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")).reshape(grid.dims, -1).T
    expected = [image.TransformIndexToPhysicalPoint([int(i) for i in index]) for index in corners]
    np.testing.assert_allclose(grid.physical(corners.astype(float)), expected, atol=1e-9)
    points = rng.normal(scale=20, size=(30, grid.dims))
    expected = [image.TransformPhysicalPointToContinuousIndex(p.tolist()) for p in points]
    np.testing.assert_allclose(grid.index(points), expected, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("other", GRIDS)
def test_the_map_from_index_to_index(grid, other, rng):
    if grid.dims != other.dims:
        return
    matrix, offset = grid.index_map(other)
    index = rng.uniform(0, 6, size=(20, grid.dims))
    np.testing.assert_allclose(index @ matrix.T + offset, other.index(grid.physical(index)), atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_block_keeps_its_place(grid, rng):
    start = rng.integers(-3, 4, size=grid.dims)
    block = grid.crop(start, [4] * grid.dims)
    index = rng.uniform(0, 3, size=(10, grid.dims))
    np.testing.assert_allclose(block.physical(index), grid.physical(index + start), atol=1e-9)
    assert block.shape == (4,) * grid.dims


def edges(grid):
    """The outer corners of the outer voxels."""
    return grid.physical(
        np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(grid.dims, -1).T
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_another_spacing_keeps_the_field_of_view(grid):
    finer = grid.with_spacing([s / 2 for s in grid.spacing])
    assert finer.shape == tuple(2 * n for n in grid.shape)
    np.testing.assert_allclose(edges(finer), edges(grid), atol=1e-9)
    # Where the new voxels do not fill it, it stays centred and differs by less than a voxel at each end.
    odd = grid.with_spacing([1.3 * s for s in grid.spacing])
    np.testing.assert_allclose(edges(odd).mean(0), edges(grid).mean(0), atol=1e-9)
    excess = np.abs((edges(odd) - edges(grid)) @ np.linalg.inv(odd.matrix).T)
    assert excess.max() <= 0.25 + 1e-9  # half a voxel of rounding, on two sides
    assert grid.with_spacing([100 * s for s in grid.spacing]).shape == (1,) * grid.dims


def test_the_same_grid_up_to_a_share_of_a_voxel():
    near = Grid(OBLIQUE.shape, OBLIQUE.spacing, tuple(np.add(OBLIQUE.origin, 3e-4)), OBLIQUE.direction)
    far = Grid(OBLIQUE.shape, OBLIQUE.spacing, tuple(np.add(OBLIQUE.origin, 3e-3)), OBLIQUE.direction)
    assert OBLIQUE.same_as(near)
    assert not OBLIQUE.same_as(far)
    assert OBLIQUE.same_as(far, tolerance=0.05)
    # An error of the spacing adds up over the image: 11 · 0.001 mm > 0.001 · 0.7 mm.
    stretched = Grid(OBLIQUE.shape, (0.701, 0.7, 8.0), OBLIQUE.origin, OBLIQUE.direction)
    assert not OBLIQUE.same_as(stretched)
    assert not PLAIN.same_as(PLAIN.crop((0, 0, 0), (7, 8, 8)))
    assert not PLAIN.same_as(FLIPPED)


def test_of_shape():
    grid = Grid.of_shape((4, 5), 2)
    assert grid == Grid((4, 5), (2.0, 2.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    np.testing.assert_array_equal(PLAIN.matrix, np.diag([1.0, 2.0, 3.0]))
    assert Grid.of_shape((4, 5), np.float32(2)) == grid


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((4, 4, 4), (1.25, 1.25, 10.0), True),
        ((4, 4, 4), (1.0, 1.0, 3.0), False),
        ((4, 4, 4), (1.0, 4.0, 10.0), False),
        ((4, 4), (1.0, 10.0), False),
    ],
)
def test_thick_slices(shape, spacing, expected):
    assert Grid.of_shape(shape, spacing).thick_slices is expected
