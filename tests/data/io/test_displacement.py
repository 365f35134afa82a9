import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, place, write_image
from heteroreg.data.io.displacement import read_displacement, to_millimetres, to_voxels, write_displacement
from heteroreg.system.errors import UserError

OBLIQUE = Grid(
    (12, 10, 6),
    (0.7, 0.9, 8.0),
    (-31.0, 12.5, 7.25),
    tuple(Rotation.from_euler("xyz", (25, -40, 10), degrees=True).as_matrix().ravel().tolist()),
)
FLIPPED = Grid((9, 8, 7), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
FLAT = Grid((17, 11), (1.25, 0.5), (3.0, -4.0), (0.0, -1.0, 1.0, 0.0))
GRIDS = [OBLIQUE, FLIPPED, FLAT]


def field(grid, rng):
    return rng.normal(scale=2, size=(grid.dims, *grid.shape))


def test_millimetres_by_hand():
    # Axis 0 points along -x with 2 mm, axis 1 along +y with 3 mm: (1, 2) voxels are (-2, 6) mm.
    grid = Grid((4, 5), (2.0, 3.0), (0.0, 0.0), (-1.0, 0.0, 0.0, 1.0))
    u = np.ones((2, 4, 5))
    u[1] = 2
    mm = to_millimetres(u, grid)
    assert (mm[0] == -2).all()
    assert (mm[1] == 6).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_millimetres_are_the_difference_of_positions(grid, rng):
    u = field(grid, rng)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    before, after = (grid.physical(np.moveaxis(i.astype(float), 0, -1)) for i in (index, index + u))
    np.testing.assert_allclose(np.moveaxis(to_millimetres(u, grid), 0, -1), after - before, atol=1e-9)
    np.testing.assert_allclose(to_voxels(to_millimetres(u, grid), grid), u, atol=1e-12)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_field_comes_back(grid, ending, rng, tmp_path):
    u = field(grid, rng)
    write_displacement(u, grid, tmp_path / f"u{ending}")
    found, where = read_displacement(tmp_path / f"u{ending}")
    np.testing.assert_allclose(found, u, atol=1e-4)
    assert where.same_as(grid)
    assert [p.name for p in tmp_path.iterdir()] == [f"u{ending}"]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_file_is_what_itk_applies(grid, rng, tmp_path):
    u = field(grid, rng)
    write_displacement(u, grid, tmp_path / "u.nii.gz")
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64))
    for _ in range(20):
        index = np.array([rng.integers(0, n) for n in grid.shape])
        point = grid.physical(index.astype(float))
        expected = grid.physical(index + u[(slice(None), *index)])
        np.testing.assert_allclose(transform.TransformPoint(point.tolist()), expected, atol=1e-3)


def test_a_nifti_file_says_that_it_holds_vectors(rng, tmp_path):
    # NIfTI: five axes, the fifth for the components, intent 1007 "vector".
    write_displacement(field(OBLIQUE, rng), OBLIQUE, tmp_path / "u.nii.gz")
    image = nib.load(tmp_path / "u.nii.gz")
    assert image.shape == (12, 10, 6, 1, 3)
    assert int(image.header["intent_code"]) == 1007


def test_what_is_no_field_is_named(rng, tmp_path):
    with pytest.raises(UserError, match="no such file; name a displacement field"):
        read_displacement(tmp_path / "u.nii.gz")
    write_image(Image(rng.normal(size=OBLIQUE.shape), OBLIQUE), tmp_path / "scalar.nii.gz")
    with pytest.raises(UserError, match="has 1 values in each voxel of a 3D grid"):
        read_displacement(tmp_path / "scalar.nii.gz")
    vectors = sitk.GetImageFromArray(rng.normal(size=(6, 5, 4, 2)), isVector=True)
    sitk.WriteImage(vectors, str(tmp_path / "two.mha"))
    with pytest.raises(UserError, match="has 2 values in each voxel of a 3D grid"):
        read_displacement(tmp_path / "two.mha")
    (tmp_path / "text.nii.gz").write_text("hello")
    with pytest.raises(UserError, match=r"text\.nii\.gz"):
        read_displacement(tmp_path / "text.nii.gz")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha"])
def test_a_truncated_field_is_named(ending, rng, tmp_path):
    path = tmp_path / f"u{ending}"
    write_displacement(field(OBLIQUE, rng), OBLIQUE, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"u{ending}"):
        read_displacement(path)


def test_infinite_displacements_are_named(rng, tmp_path):
    u = field(FLAT, rng)
    u[0, 3, 3] = np.inf
    vectors = np.moveaxis(u, 0, -1).transpose(1, 0, 2).copy()
    sitk.WriteImage(place(sitk.GetImageFromArray(vectors, isVector=True), FLAT), str(tmp_path / "u.mha"))
    with pytest.raises(UserError, match="has NaN or infinite displacements"):
        read_displacement(tmp_path / "u.mha")


def test_a_single_slice_is_a_field_that_simpleitk_applies(tmp_path, rng):
    one = Grid((14, 12, 1), OBLIQUE.spacing, OBLIQUE.origin, OBLIQUE.direction)
    u = field(one, rng)
    u[2] = 0  # in its plane
    write_displacement(u, one, tmp_path / "field.nii.gz")
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    )
    index = (4, 5, 0)
    start = one.physical(np.asarray(index, dtype=float))
    moved = np.asarray(transform.TransformPoint(start.tolist()))
    np.testing.assert_allclose(moved - start, to_millimetres(u, one)[:, 4, 5, 0], atol=1e-4)
    read, grid = read_displacement(tmp_path / "field.nii.gz")
    assert grid.shape == (14, 12, 2)
    np.testing.assert_allclose(read[..., :1], u, atol=1e-4)
