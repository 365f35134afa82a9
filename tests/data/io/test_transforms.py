import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io import transforms
from heteroreg.data.io.transforms import read_transform, write_transform
from heteroreg.spatial.field import Field
from heteroreg.system.errors import UserError

OBLIQUE = Grid(
    (14, 12, 6),
    (0.7, 0.9, 8.0),
    (-31.0, 12.5, 7.25),
    tuple(Rotation.from_euler("xyz", (25, -40, 10), degrees=True).as_matrix().ravel().tolist()),
)
ONE_SLICE = Grid((9, 8, 1), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
FLAT = Grid((17, 11), (1.25, 0.5), (3.0, -4.0), (0.0, -1.0, 1.0, 0.0))


def field(grid, rng):
    return rng.normal(scale=0.5, size=(grid.dims, *grid.shape))


@pytest.mark.parametrize("name", ["u.h5", "u.hdf5", "u.tfm", "u.txt", "u.nrrd", "u.nii.gz", "u.mha"])
@pytest.mark.parametrize("grid", [OBLIQUE, FLAT])
def test_each_format_comes_back(grid, name, rng, tmp_path):
    u = field(grid, rng)
    write_transform(u, grid, tmp_path / name)
    found, where = read_transform(tmp_path / name)
    np.testing.assert_allclose(found, u, atol=1e-4)
    assert where.same_as(grid)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_transform_of_one_slice_keeps_its_grid(rng, tmp_path):
    u = field(ONE_SLICE, rng)
    write_transform(u, ONE_SLICE, tmp_path / "u.h5")
    assert read_transform(tmp_path / "u.h5")[1].shape == (9, 8, 1)


@pytest.mark.parametrize("grid", [OBLIQUE, FLAT])
def test_the_h5_file_is_what_itk_applies(grid, rng, tmp_path):
    u = field(grid, rng)
    write_transform(u, grid, tmp_path / "u.h5")
    transform = sitk.ReadTransform(str(tmp_path / "u.h5"))
    index = tuple(n // 2 for n in grid.shape)
    point = grid.physical(np.array(index, dtype=float))
    expected = grid.physical(np.array(index) + u[(slice(None), *index)])
    np.testing.assert_allclose(transform.TransformPoint(point.tolist()), expected, atol=1e-5)


def test_any_other_transform_is_sampled_on_the_fixed_grid(tmp_path):
    # A turn by 90° about (1, 2, 3): the axes of the space are those of the grid, 2 mm apart.
    turn = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.0, 0.0, np.pi / 2)
    sitk.WriteTransform(turn, str(tmp_path / "turn.tfm"))
    grid = Grid.of_shape((5, 6, 7), 2.0)
    u, where = read_transform(tmp_path / "turn.tfm", grid)
    assert where == grid
    # Voxel 0 is at the origin, (-1, -2) from the centre, and goes to (2, -1) from it: by (3, 1) mm, of 2 mm each.
    np.testing.assert_allclose(u[:, 0, 0, 0], (1.5, 0.5, 0.0), atol=1e-6)


def test_a_composition_is_sampled_as_itk_has_it(rng, tmp_path):
    write_transform(field(OBLIQUE, rng), OBLIQUE, tmp_path / "u.h5")
    shift = sitk.TranslationTransform(3, (1.0, -2.0, 0.5))
    both = sitk.CompositeTransform([shift, sitk.ReadTransform(str(tmp_path / "u.h5"))])
    both.FlattenTransform()
    sitk.WriteTransform(both, str(tmp_path / "both.h5"))
    u, _ = read_transform(tmp_path / "both.h5", OBLIQUE)
    index = (4, 5, 2)
    point = OBLIQUE.physical(np.array(index, dtype=float))
    expected = both.TransformPoint(point.tolist())
    np.testing.assert_allclose(OBLIQUE.physical(np.array(index) + u[(slice(None), *index)]), expected, atol=1e-4)


def test_learn2reg_is_in_voxels_of_the_arrays(rng, tmp_path):
    # As the challenge applies a field: map_coordinates at identity + field, both as arrays.
    grid = Grid((12, 11, 10), (2.0, 1.0, 3.0), (9.0, -4.0, 2.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    u = field(grid, rng)
    path = tmp_path / "disp_0001_0002.nii.gz"
    write_transform(u, grid, path)
    stored = nib.load(path).get_fdata()
    assert stored.shape == (12, 11, 10, 3)
    image = Image(rng.uniform(size=grid.shape).astype(np.float32), grid)
    identity = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    expected = map_coordinates(image.array, identity + stored.transpose(3, 0, 1, 2), order=1)
    found, where = read_transform(path, grid)
    np.testing.assert_allclose(found, u, atol=1e-6)
    moved = Field(found, where).warp(image).array
    inside = (slice(3, -3),) * 3
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-5)


def test_learn2reg_has_the_place_of_the_fixed_image(rng, tmp_path):
    write_transform(field(OBLIQUE, rng), OBLIQUE, tmp_path / "disp_0001_0002.nii.gz")
    affine = nib.load(tmp_path / "disp_0001_0002.nii.gz").affine
    index = np.array([3.0, 2.0, 1.0])
    np.testing.assert_allclose((affine @ [*index, 1])[:3] * (-1, -1, 1), OBLIQUE.physical(index), atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "could not be read as an ITK transform"),
        (
            b"#Insight Transform File V1.0\n#Transform 0\nTransform: Foo_double_3_3\nParameters: 1\n",
            "could not be read",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".tfm", ".h5"])
def test_a_damaged_transform_is_told(content, message, ending, tmp_path, capfd):
    path = tmp_path / f"t{ending}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_transform(path)
    assert capfd.readouterr() == ("", "")


def test_what_does_not_fit_is_told(rng, tmp_path):
    sitk.WriteTransform(sitk.TranslationTransform(2, (1.0, 2.0)), str(tmp_path / "t.tfm"))
    with pytest.raises(UserError, match=r"does not define its grid; give the fixed image as `like`"):
        read_transform(tmp_path / "t.tfm")
    with pytest.raises(UserError, match="a space of 2 dimensions, but the image has 3"):
        read_transform(tmp_path / "t.tfm", OBLIQUE)
    write_transform(field(OBLIQUE, rng), OBLIQUE, tmp_path / "disp_1_2.nii.gz")
    with pytest.raises(UserError, match=r"does not define its grid; give the fixed image as `like`"):
        read_transform(tmp_path / "disp_1_2.nii.gz")
    with pytest.raises(UserError, match="must be \\(5, 5, 5, 3\\)"):
        read_transform(tmp_path / "disp_1_2.nii.gz", Grid.of_shape((5, 5, 5)))
    with pytest.raises(UserError, match=r"hold only affine transforms"):
        write_transform(field(OBLIQUE, rng), OBLIQUE, tmp_path / "u.mat")
    with pytest.raises(UserError, match=r"fields are 3D and this one is 2D"):
        write_transform(field(FLAT, rng), FLAT, tmp_path / "disp_1_3.nii.gz")
    assert not (tmp_path / "u.mat").exists()


def test_values_that_are_none_are_told(tmp_path):
    u = np.zeros((3, *OBLIQUE.shape))
    u[1, 2, 3, 4] = np.nan
    for name in ("u.h5", "disp_1_2.nii.gz"):
        write_transform(u, OBLIQUE, tmp_path / name)
        with pytest.raises(UserError, match="NaN or infinite"):
            read_transform(tmp_path / name, OBLIQUE)


@pytest.mark.parametrize("program", ["import os; os.abort()", "print('no answer')", "import time; time.sleep(60)"])
def test_a_file_that_ends_its_reader_is_told(program, rng, tmp_path, monkeypatch):
    write_transform(field(OBLIQUE, rng), OBLIQUE, tmp_path / "u.h5")
    (tmp_path / "program.py").write_text(program)
    transforms.READER.stop()
    with monkeypatch.context() as patch:
        patch.setattr(transforms.READER, "path", tmp_path / "program.py")
        patch.setattr(transforms, "TRANSFORM_SECONDS", 5.0)
        with pytest.raises(UserError, match=r"u\.h5: crashes the program that reads ITK transforms; it is damaged"):
            read_transform(tmp_path / "u.h5")
    read_transform(tmp_path / "u.h5")


def test_one_process_reads_all_files_from_any_folder(rng, tmp_path, monkeypatch):
    u = field(OBLIQUE, rng)
    write_transform(u, OBLIQUE, tmp_path / "u.h5")
    read_transform(tmp_path / "u.h5")
    first = transforms.READER._process
    (tmp_path / "broken.tfm").write_text("no transform")
    with pytest.raises(UserError, match=r"broken\.tfm: could not be read"):
        read_transform(tmp_path / "broken.tfm")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_allclose(read_transform("u.h5")[0], u, atol=1e-6)
    assert transforms.READER._process is first is not None


def test_learn2reg_on_two_grids_leads_from_array_to_array(tmp_path):
    """The challenge warps moving's array at i + u(i), whatever the headers say."""
    fixed = Grid((6, 5, 4), (2.0, 2.0, 2.0), (10.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    moving = Grid((6, 5, 4), (1.0, 2.0, 4.0), (4.0, 0.0, -2.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    u = np.zeros((3, *fixed.shape))
    u[0] = 1.5
    write_transform(u, fixed, tmp_path / "disp_0001_0002.nii.gz", moving)
    written = np.asarray(nib.load(tmp_path / "disp_0001_0002.nii.gz").dataobj)
    # The voxel (1, 2, 3) of fixed lies at (12, 4, 6) mm, and u leads to (15, 4, 6) mm. That is the index
    # ((15 - 4) / 1, -4 / 2, (6 + 2) / 4) = (11, -2, 2) of moving: 10, -4 and -1 from (1, 2, 3).
    np.testing.assert_allclose(written[1, 2, 3], (10, -4, -1))


CENTRED = """#Insight Transform File V1.0
#Transform 0
Transform: CenteredAffineTransform_double_3_3
Parameters: 1 0 0 0 1 0 0 0 1 0 0 0 30 0 0
FixedParameters:
"""
ELASTIX = """(Transform "TranslationTransform")
(NumberOfParameters 3)
(TransformParameters 30 0 0)
"""
FLIRT = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tfm", CENTRED, "is a centred transform of ITK.*AffineTransform"),
        ("TransformParameters.0.txt", ELASTIX, "is a parameter file of elastix.*WriteITKCompositeTransform"),
        ("flirt.mat", FLIRT, "is a matrix of FLIRT.*c3d_affine_tool"),
    ],
)
def test_transforms_of_other_kinds_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_transform(tmp_path / name, OBLIQUE)
