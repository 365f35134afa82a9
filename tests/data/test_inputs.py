import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.image import Image, write_image
from heteroreg.data.inputs import as_image
from heteroreg.system.errors import UserError


def test_paths_images_itk_and_arrays_are_the_same_image(rng, tmp_path):
    image = Image.from_array(rng.normal(size=(9, 8, 7)).astype(np.float32), (1.0, 2.0, 3.0))
    write_image(image, tmp_path / "a.nii.gz")
    for value in (tmp_path / "a.nii.gz", str(tmp_path / "a.nii.gz"), image, image.to_sitk()):
        found = as_image(value)
        np.testing.assert_array_equal(found.array, image.array)
        assert found.grid.same_as(image.grid)
    found = as_image(image.array, (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(found.array, image.array)
    assert found.grid == image.grid


@pytest.mark.parametrize(
    ("spacing", "expected"), [(None, (1, 1)), (2, (2, 2)), (np.float32(2), (2, 2)), ((1, 3), (1, 3))]
)
def test_the_spacing_of_an_array(spacing, expected):
    assert as_image(np.zeros((4, 5)), spacing).grid.spacing == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64, bool])
def test_images_become_float32_and_labels_int32(dtype, rng):
    array = rng.integers(0, 2, size=(6, 5)).astype(dtype)
    assert as_image(array).array.dtype == np.float32
    labels = as_image(array, labels=True)
    assert labels.array.dtype == np.int32
    np.testing.assert_array_equal(labels.array, array)
    assert as_image(array.T).array.flags.c_contiguous


@pytest.mark.parametrize(
    ("value", "spacing", "message"),
    [
        (np.zeros(5), None, "has 1 axes; give a 2D or 3D image"),
        (np.zeros((2, 2, 2, 2)), None, "has 4 axes; give a 2D or 3D image"),
        (np.array([[1.0, np.nan]]), None, "holds NaN or infinite values"),
        (np.zeros((4, 4, 4)), (1.0, 1.0), "spacing"),
        (np.zeros((4, 4)), (1.0, -1.0), "spacing"),
        (np.zeros((4, 4)), 0.0, "spacing"),
        (sitk.Image([4, 4], sitk.sitkVectorFloat32, 2), None, "has 2 values in each voxel"),
    ],
)
def test_what_is_no_image(value, spacing, message):
    with pytest.raises(UserError, match=message):
        as_image(value, spacing)


def test_fractions_are_no_labels():
    with pytest.raises(UserError, match="whole numbers"):
        as_image(np.array([[0.0, 0.5]]), labels=True)


def test_a_label_file(tmp_path):
    write_image(Image.from_array(np.array([[0, 3], [1, 2]], dtype=np.int16)), tmp_path / "a.nii.gz")
    assert as_image(tmp_path / "a.nii.gz", labels=True).array.tolist() == [[0, 3], [1, 2]]
