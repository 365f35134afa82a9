import gzip

import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.image import read_image
from heteroreg.data.io.nifti import read_nifti_voxels
from heteroreg.system.errors import UserError


@pytest.fixture
def voxels(rng):
    return rng.integers(-300, 300, size=(9, 8, 7)).astype(np.int16)


def save(path, array, **header):
    image = nib.Nifti1Image(array, np.diag([1.5, 1.5, 4.0, 1.0]))
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_voxels_are_those_of_the_file(ending, dtype, voxels, tmp_path):
    array = np.abs(voxels).astype(dtype)
    found = read_nifti_voxels(save(tmp_path / f"a.{ending}", array))
    np.testing.assert_array_equal(found, array)
    assert np.issubdtype(found.dtype, np.integer) == np.issubdtype(dtype, np.integer)


def test_the_scaling_of_the_header_counts(voxels, tmp_path):
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj)
    np.testing.assert_allclose(read_nifti_voxels(tmp_path / "a.nii.gz"), raw)


def test_nifti_2_and_big_endian(voxels, tmp_path):
    nib.save(nib.Nifti2Image(voxels, np.eye(4)), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_nifti_voxels(tmp_path / "two.nii"), voxels)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(voxels.astype(">i2"), np.eye(4), header), tmp_path / "big.nii")
    np.testing.assert_array_equal(read_nifti_voxels(tmp_path / "big.nii"), voxels)


@pytest.mark.parametrize("read", [read_nifti_voxels, read_image])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_named(read, share, voxels, tmp_path):
    for ending in ("nii", "nii.gz"):
        path = save(tmp_path / f"a.{ending}", voxels)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=r"copy the file again|copy it again") as error:
            read(path)
        assert str(path) in str(error.value)


def test_truncated_before_it_was_compressed(voxels, tmp_path):
    path = save(tmp_path / "a.nii", voxels)
    short = tmp_path / "short.nii.gz"
    short.write_bytes(gzip.compress(path.read_bytes()[:-100]))
    # 352 + 2·9·8·7 = 1,360 bytes are promised.
    with pytest.raises(UserError, match="holds 1260 bytes but its header declares 1360"):
        read_image(short)


def test_a_flipped_bit_is_noticed_by_the_checksum(voxels, tmp_path):
    path = save(tmp_path / "a.nii.gz", voxels)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged or cut short"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 400, b"<html>" * 200, b"\x1f\x8b\x08junk"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_what_is_no_nifti_file(content, ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_form_with_a_number_too_small_for_its_type(voxels, tmp_path, capfd):
    """ITK's search for the axes fails, and says so in five lines of its own."""
    image = nib.Nifti1Image(voxels, np.diag([1.5, 1.25, 8, 1]))
    image.header["qform_code"], image.header["srow_x"][1] = 0, 3.6e-43
    image.to_file_map({"header": nib.FileHolder(tmp_path / "a.nii"), "image": nib.FileHolder(tmp_path / "a.nii")})
    with pytest.raises(UserError, match=r"its sform holds the number 3\.6\d*e-43"):
        read_image(tmp_path / "a.nii")
    assert capfd.readouterr().err == ""


def test_a_form_with_voxels_of_no_length(voxels, tmp_path, capfd):
    """ITK would write lines of its own about it."""
    image = nib.Nifti1Image(voxels, np.diag([1.5, 3e-10, 8, 1]))
    image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"its sform declares voxels of 1\.5 x 3e-10 x 8 mm"):
        read_image(tmp_path / "a.nii.gz")
    assert capfd.readouterr().err == ""
