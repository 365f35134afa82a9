import locale

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_grid, read_image, read_labels, write_image
from heteroreg.system.errors import UserError

DIRECTION = tuple(Rotation.from_euler("xyz", (25, -40, 10), degrees=True).as_matrix().ravel().tolist())
OBLIQUE = Grid((12, 10, 6), (0.7, 0.7, 8.0), (-31.0, 12.5, 7.25), DIRECTION)
FLAT = Grid((17, 11), (1.25, 0.5), (3.0, -4.0), (1.0, 0.0, 0.0, 1.0))
ENDINGS = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"]


@pytest.fixture
def volume(rng):
    return Image(rng.normal(100, 30, size=OBLIQUE.shape).astype(np.float32), OBLIQUE)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grid", [OBLIQUE, FLAT])
def test_an_image_comes_back_from_its_file(ending, grid, rng, tmp_path):
    image = Image(rng.normal(size=grid.shape).astype(np.float32), grid)
    path = tmp_path / f"a{ending}"
    write_image(image, path)
    found = read_image(path)
    np.testing.assert_array_equal(found.array, image.array)
    assert found.grid.same_as(grid)
    np.testing.assert_allclose(found.grid.direction, grid.direction, atol=1e-5)
    assert found.name == str(path)
    assert found.array.dtype == np.float32
    assert found.array.flags.c_contiguous
    others = {p.suffix for p in tmp_path.iterdir()} - {path.suffix}
    assert others <= {".raw", ".zraw"}  # no temporary file stays


@pytest.mark.parametrize("ending", ENDINGS)
def test_itk_sees_the_same_image(ending, volume, tmp_path):
    write_image(volume, tmp_path / f"a{ending}")
    image = sitk.ReadImage(str(tmp_path / f"a{ending}"))
    np.testing.assert_allclose(image.GetSpacing(), OBLIQUE.spacing, rtol=1e-5)
    for index in ((0, 0, 0), (11, 3, 5), (2, 9, 1)):
        assert image[index] == volume.array[index]
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index), OBLIQUE.physical(np.array(index, dtype=float)), atol=1e-4
        )


def test_itk_and_nibabel_agree_on_where_the_voxels_of_a_nifti_file_lie(volume, tmp_path):
    write_image(volume, tmp_path / "a.nii.gz")
    affine = nib.load(tmp_path / "a.nii.gz").affine
    index = np.array([3.0, 4.0, 5.0])
    ras = affine[:3, :3] @ index + affine[:3, 3]
    np.testing.assert_allclose(ras * (-1, -1, 1), OBLIQUE.physical(index), atol=1e-4)


def test_from_and_to_itk(volume):
    again = Image.from_sitk(volume.to_sitk())
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.grid.same_as(volume.grid)
    mask = volume.with_array(volume.array > 100)
    np.testing.assert_array_equal(Image.from_sitk(mask.to_sitk()).array, mask.array)


def test_an_array_must_fit_its_grid():
    with pytest.raises(ValueError, match=r"array of shape \(3, 4\) on a grid of shape \(4, 3\)"):
        Image(np.zeros((3, 4)), Grid.of_shape((4, 3)))


def test_grey_and_colour_png(rng, tmp_path):
    grey = rng.integers(0, 256, size=(20, 14), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey.T.copy()), str(tmp_path / "grey.png"))
    found = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(found.array, grey)
    assert found.grid.dims == 2

    colour = rng.integers(0, 256, size=(14, 20, 3), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "colour.png"))
    # Luminance: 0.299 R + 0.587 G + 0.114 B.
    expected = (colour @ np.array([0.299, 0.587, 0.114])).T
    np.testing.assert_allclose(read_image(tmp_path / "colour.png").array, expected, atol=1e-3)


def write_series(folder, array, spacing, uid="1.2.3"):
    folder.mkdir(exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(array.shape[2]):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k : k + 1].T))
        image.SetSpacing(spacing)
        tags = {
            "0008|0060": "MR", "0020|000e": uid, "0020|000d": "1.2", "0008|0018": f"{uid}.{k}",
            "0020|0013": str(k), "0020|0032": f"-10\\5\\{k * spacing[2]}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0018|0050": str(spacing[2]),
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # Named so that the order of the names is not that of the slices.
        writer.SetFileName(str(folder / f"{uid}-{(7 * k) % 5}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM leaves "C" behind, in which text is ASCII


def test_a_dicom_series(rng, tmp_path):
    array = rng.integers(0, 1000, size=(16, 12, 5)).astype(np.int16)
    write_series(tmp_path / "series", array, (1.5, 1.25, 8.0))
    found = read_image(tmp_path / "series")
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(found.grid.spacing, (1.5, 1.25, 8.0))
    np.testing.assert_allclose(found.grid.origin, (-10, 5, 0))


def test_a_folder_of_none_or_two_series(rng, tmp_path):
    array = rng.integers(0, 1000, size=(16, 12, 5)).astype(np.int16)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="contains 0 DICOM series"):
        read_image(tmp_path / "none")
    write_series(tmp_path / "two", array, (1.0, 1.0, 8.0))
    write_series(tmp_path / "two", array, (1.0, 1.0, 8.0), uid="1.2.4")
    with pytest.raises(UserError, match="contains 2 DICOM series; name a folder with one series"):
        read_image(tmp_path / "two")


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".png", ".mhd"])
def test_truncated_files_of_other_formats_are_named(ending, rng, tmp_path):
    array = rng.integers(0, 256, size=(64, 64), dtype=np.uint8)
    path = tmp_path / f"a{ending}"
    for compressed in (False, True):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path), useCompression=compressed)
        data = next((p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw")), path)
        content = data.read_bytes()
        data.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="is the file whole") as error:
            read_image(path)
        assert str(path) in str(error.value)
        data.unlink()


def test_a_header_without_its_data(rng, tmp_path):
    write_image(Image.from_array(rng.normal(size=(20, 20)).astype(np.float32)), tmp_path / "a.mhd")
    next(p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw")).unlink()
    with pytest.raises(UserError, match="could not be read"):
        read_image(tmp_path / "a.mhd")


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_missing_and_unknown_files(read, tmp_path):
    with pytest.raises(UserError, match=r"a\.nii\.gz: no such file"):
        read(tmp_path / "a.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt: could not be read"):
        read(tmp_path / "notes.txt")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted(value, volume, tmp_path):
    array = volume.array.copy()
    array[0, 0, :3] = value
    write_image(volume.with_array(array), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"a\.nii\.gz: 3 voxels are NaN or infinite"):
        read_image(tmp_path / "a.nii.gz")


def nifti(path, array):
    nib.save(nib.Nifti1Image(array, np.diag([-1.5, -1.5, 4.0, 1.0])), path)
    return path


def test_axes_of_one_voxel_beyond_the_third_are_dropped(rng, tmp_path):
    array = rng.normal(size=(9, 8, 7, 1)).astype(np.float32)
    found = read_image(nifti(tmp_path / "a.nii.gz", array))
    np.testing.assert_array_equal(found.array, array[..., 0])
    np.testing.assert_allclose(found.grid.spacing, (1.5, 1.5, 4.0))
    assert found.grid.axes.shape == (3, 3)


def test_a_film_is_no_image(rng, tmp_path):
    path = nifti(tmp_path / "a.nii.gz", rng.normal(size=(9, 8, 7, 5)).astype(np.float32))
    with pytest.raises(UserError, match=r"has 4 axes \(9, 8, 7, 5\); name a 2D or 3D image"):
        read_image(path)


def test_vectors_and_colours_are_no_image(rng, tmp_path):
    vectors = sitk.GetImageFromArray(rng.normal(size=(6, 5, 4, 3)), isVector=True)
    for name in ("a.mha", "a.nrrd", "a.nii.gz"):
        sitk.WriteImage(vectors, str(tmp_path / name))
        with pytest.raises(UserError, match=r"has 3 values in each voxel; name a scalar image") as error:
            read_image(tmp_path / name)
        assert name in str(error.value)
    rgb = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UserError, match=r"has 3 values in each voxel; name a scalar image"):
        read_image(nifti(tmp_path / "rgb.nii.gz", rgb))


@pytest.mark.parametrize("ending", [*ENDINGS, ".png"])
def test_the_grid_is_read_without_the_voxels(ending, rng, tmp_path):
    path = tmp_path / f"a{ending}"
    array = rng.integers(0, 256, size=(64, 48), dtype=np.uint8)
    write_image(Image(array, Grid((64, 48), (1.25, 0.5), (3.0, -4.0), (1.0, 0.0, 0.0, 1.0))), path)
    whole = read_image(path).grid
    assert read_grid(path) == whole
    if ending == ".mhd":
        next(p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw")).unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError):
        read_image(path)
    if ending == ".mha":  # its header says how many bytes follow
        with pytest.raises(UserError, match=r"declares \d+ bytes"):
            read_grid(path)
    else:
        assert read_grid(path) == whole


def test_the_grid_is_that_of_the_image(rng, tmp_path):
    film = rng.normal(size=(9, 8, 7, 1)).astype(np.float32)
    single = nifti(tmp_path / "single.nii.gz", film)
    assert read_grid(single) == read_image(single).grid
    assert read_grid(single).dims == 3
    colour = sitk.GetImageFromArray(rng.integers(0, 256, size=(14, 20, 3), dtype=np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.png"))
    assert read_grid(tmp_path / "colour.png").shape == (20, 14)
    write_series(tmp_path / "series", rng.integers(0, 99, size=(16, 12, 5)).astype(np.int16), (1.5, 1.25, 8.0))
    assert read_grid(tmp_path / "series") == read_image(tmp_path / "series").grid


def test_what_is_no_image_has_no_grid(rng, tmp_path):
    with pytest.raises(UserError, match=r"a\.nii\.gz: no such file"):
        read_grid(tmp_path / "a.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt: could not be read"):
        read_grid(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"has 4 axes \(9, 8, 7, 5\)"):
        read_grid(nifti(tmp_path / "film.nii.gz", rng.normal(size=(9, 8, 7, 5)).astype(np.float32)))
    sitk.WriteImage(sitk.GetImageFromArray(rng.normal(size=(6, 5, 4, 3)), isVector=True), str(tmp_path / "v.mha"))
    with pytest.raises(UserError, match="has 3 values in each voxel"):
        read_grid(tmp_path / "v.mha")


def test_labels_come_back(rng, tmp_path):
    labels = rng.integers(0, 2000, size=OBLIQUE.shape).astype(np.int32)
    write_image(Image(labels, OBLIQUE), tmp_path / "a.nii.gz")
    found = read_labels(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.array, labels)
    assert found.array.dtype == np.int32


def test_labels_may_be_stored_as_floats_but_not_be_fractions(tmp_path):
    whole = np.array([[0.0, 3.0], [1.0, 2.0]], dtype=np.float32)
    write_image(Image.from_array(whole), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii.gz").array, whole)
    for value in (0.5, np.nan):
        whole[0, 0] = value
        write_image(Image.from_array(whole), tmp_path / "a.nii.gz")
        with pytest.raises(UserError, match="a label map must hold whole numbers"):
            read_labels(tmp_path / "a.nii.gz")


def test_masks_along_a_fourth_axis_become_labels(tmp_path):
    masks = np.zeros((8, 8, 4, 3), dtype=np.uint8)
    masks[2:4, 2:4, :, 0] = 1  # a zone, 16 voxels
    masks[1:7, 1:7, :, 1] = 1  # the organ about it
    masks[0, 0, 0, 2] = 1  # a point elsewhere
    found = read_labels(nifti(tmp_path / "a.nii.gz", masks))
    expected = np.zeros((8, 8, 4))
    expected[1:7, 1:7] = 2
    expected[2:4, 2:4] = 1
    expected[0, 0, 0] = 3
    np.testing.assert_array_equal(found.array, expected)
    assert found.grid.dims == 3


def test_a_sheared_image_is_named(rng, tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 1] = 0.4
    image = nib.Nifti1Image(rng.normal(size=(9, 8, 7)).astype(np.float32), affine)
    image.set_qform(None, 0)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="not at right angles"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.xyz", "noending"])
def test_writing_to_an_unknown_format(name, volume, tmp_path):
    with pytest.raises(UserError, match="could not be written"):
        write_image(volume, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_names_with_spaces_and_umlauts(volume, tmp_path):
    path = tmp_path / "Größe der Aufnahme" / "Bild 1 (ü).nii.gz"
    write_image(volume, path)
    np.testing.assert_array_equal(read_image(path).array, volume.array)
    write_image(volume, path.with_name("Bild 2 (ü).mha"))
    np.testing.assert_array_equal(read_image(path.with_name("Bild 2 (ü).mha")).array, volume.array)


@pytest.mark.parametrize(("value", "message"), [(-1, "holds the label -1"), (3e9, r"holds the label 3e\+09")])
def test_labels_have_a_range(value, message, tmp_path):
    array = np.zeros((4, 4), np.float64)
    array[1, 1] = value
    write_image(Image.from_array(array), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("key", "value"), [("pixdim", np.nan), ("srow_x", -np.inf), ("srow_z", 3e38)])
def test_a_place_in_space_that_is_no_number(key, value, tmp_path):
    path = nifti(tmp_path / "a.nii", np.ones((5, 4, 3), np.float32))
    header = nib.Nifti1Header(path.read_bytes()[:348])
    header[key][1] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(UserError, match="its position in space is not a finite number"):
        read_image(path)


def test_libraries_say_nothing_on_stderr(tmp_path, capfd):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "a.mha").write_bytes(b"NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = no\n")
    for name in ("a.png", "a.mha"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)
    path = nifti(tmp_path / "a.nii", np.ones((5, 4, 3), np.float32))
    content = bytearray(path.read_bytes())
    content[254:256] = b"\xff\x7f"  # an sform_code that does not exist: nibabel mends it
    path.write_bytes(content)
    read_image(path)
    assert capfd.readouterr().err == ""


def test_frames_are_not_masks_of_labels(tmp_path):
    """Label maps of a series, or its masks, where a later frame covers an earlier one."""
    series = np.stack(
        [np.pad(np.full((n, n, 2), 3, np.uint8), ((0, 8 - n), (0, 8 - n), (0, 0))) for n in (6, 4)], -1
    )
    path = nifti(tmp_path / "a.nii.gz", series)
    with pytest.raises(UserError, match=r"has 4 axes and values other than 0 and 1.*; name one frame, .*gz#0"):
        read_labels(path)
    assert np.unique(read_labels(f"{path}#1").array).tolist() == [0, 3]
    same = nifti(tmp_path / "b.nii.gz", np.repeat(series[..., :1] // 3, 2, axis=3))
    with pytest.raises(UserError, match="masks that cover one another"):
        read_labels(same)


def test_rounding_errors_of_labels_are_removed(tmp_path):
    values = np.array([[0, 1.99998], [2.99997, 600.0002]], np.float32)
    assert read_labels(nifti(tmp_path / "a.nii.gz", values)).array.tolist() == [[0, 2], [3, 600]]
    for wrong in (0.5, -1, np.nan, 2.0**31):
        values[0, 0] = wrong
        with pytest.raises(UserError, match=r"whole numbers|labels must be between|NaN"):
            read_labels(nifti(tmp_path / "a.nii.gz", values))


def test_the_labels_of_a_png_with_a_palette_are_its_indices(tmp_path):
    labels = np.pad(np.full((6, 8), 3, np.uint8), 2)
    labels[0, 0] = 200
    image = PIL.Image.fromarray(labels, "P")
    image.putpalette([(k * 37 + c * 11) % 256 for k in range(256) for c in range(3)])
    image.save(tmp_path / "gt.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "gt.png").array, labels.T)
    (tmp_path / "gt.png").write_bytes((tmp_path / "gt.png").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"gt\.png: the image could not be read"):
        read_labels(tmp_path / "gt.png")
