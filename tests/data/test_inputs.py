import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

import heteroreg as hr
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.data.inputs import as_image, as_pair
from heteroreg.data.io.reading import reading
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
        (np.zeros(5), None, r"has 1 axes \(5,\); give a 2D or 3D image"),
        (np.zeros((2, 2, 2, 2)), None, r"has 4 axes \(2, 2, 2, 2\); give a 2D or 3D image"),
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


OBLIQUE = Grid(
    (9, 8, 7),
    (0.7, 1.1, 8.0),
    (-8.0, 2.0, -20.0),
    tuple(Rotation.from_euler("xyz", (20, -30, 15), degrees=True).as_matrix().ravel().tolist()),
)
TURNED = Grid((9, 8), (0.7, 1.3), (-8.0, 2.0), (np.cos(0.3), -np.sin(0.3), np.sin(0.3), np.cos(0.3)))


def with_file(image, tmp_path, read):
    path = tmp_path / "image.nii.gz"
    write_image(image, path)
    return read(path)


def to_itk(image):
    itk = pytest.importorskip("itk")
    found = itk.image_from_array(np.ascontiguousarray(image.array.T))
    found.SetSpacing(list(image.grid.spacing))
    found.SetOrigin(list(image.grid.origin))
    found.SetDirection(itk.matrix_from_array(image.grid.axes))
    return found


def same_place(found, expected):
    """Every voxel of both lies at the same point of space, and has the same value."""
    np.testing.assert_array_equal(found.array, expected.array)
    index = np.stack(np.meshgrid(*map(np.arange, expected.grid.shape), indexing="ij"), -1).astype(float)
    np.testing.assert_allclose(found.grid.physical(index), expected.grid.physical(index), atol=1e-3)


@pytest.mark.parametrize("grid", [OBLIQUE, TURNED])
@pytest.mark.parametrize("labels", [False, True])
def test_images_of_other_libraries_lie_where_they_lay(grid, labels, rng, tmp_path):
    array = rng.integers(0, 50, size=grid.shape).astype(np.int16)
    image = Image(array, grid)
    for value in (image.to_sitk(), to_itk(image), image):
        same_place(as_image(value, labels=labels), image)
    if grid.dims == 3:  # a 2D NIfTI file cannot hold a turned grid
        for read in (nib.load, itk_read, sitk.ReadImage, str):
            same_place(as_image(with_file(image, tmp_path, read), labels=labels), image)
        affine = grid.nifti_affine()
        same_place(as_image(nib.Nifti1Image(array, affine), labels=labels), image)
        same_place(as_image(nib.Nifti1Image(array[..., None], affine), labels=labels), image)


def itk_read(path):
    return pytest.importorskip("itk").imread(str(path))


def test_a_2d_file_is_read_alike_by_nibabel(rng, tmp_path):
    image = Image(rng.random((9, 8)).astype(np.float32), Grid((9, 8), (0.7, 1.3), (-8.0, 2.0), (1.0, 0, 0, 1.0)))
    same_place(as_image(with_file(image, tmp_path, nib.load)), as_image(tmp_path / "image.nii.gz"))
    same_place(as_image(with_file(image, tmp_path, itk_read)), image)


def test_stored_scales_are_applied(rng):
    stored = nib.Nifti1Image(rng.integers(0, 9, size=(4, 5, 6)).astype(np.int16), np.eye(4))
    stored.header.set_slope_inter(2.0, 3.0)
    again = nib.Nifti1Image.from_bytes(stored.to_bytes())
    np.testing.assert_array_equal(as_image(again).array, np.asarray(again.dataobj, np.float32))


def test_a_part_of_an_itk_image_lies_where_it_was_cut_out(rng):
    itk = pytest.importorskip("itk")
    image = Image(rng.random(OBLIQUE.shape).astype(np.float32), OBLIQUE)
    part = itk.region_of_interest_image_filter(
        to_itk(image), region_of_interest=itk.ImageRegion[3]([2, 1, 3], [4, 5, 2])
    )
    cut = itk.extract_image_filter(
        to_itk(image), extraction_region=itk.ImageRegion[3]([2, 1, 3], [4, 5, 2]), direction_collapse_to_strategy=1
    )
    expected = Image(image.array[2:6, 1:6, 3:5], OBLIQUE.crop((2, 1, 3), (4, 5, 2)))
    for value in (part, cut):  # the first keeps no index of where it was, the second does
        same_place(as_image(value), expected)


def test_tensors(rng):
    array = rng.random((6, 5)).astype(np.float32)
    tensor = torch.from_numpy(array)
    for value in (tensor, tensor.double(), tensor.clone().requires_grad_(), tensor.T.contiguous().T):
        found = as_image(value, (1.0, 2.0))
        np.testing.assert_array_equal(found.array, array)
        assert found.grid.spacing == (1.0, 2.0)
    half = tensor.to(torch.bfloat16)
    np.testing.assert_array_equal(as_image(half).array, half.float().numpy())
    np.testing.assert_array_equal(as_image(tensor > 0.5, labels=True).array, array > 0.5)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_one_channel_axis_is_dropped_where_it_can_be_told(kind, rng):
    volume, plane = rng.random((1, 6, 5, 4)), rng.random((1, 6, 5))
    for spacing in (None, 2.0, (1.0, 2.0, 3.0)):
        np.testing.assert_array_equal(as_image(kind(volume), spacing).array, volume[0].astype(np.float32))
    np.testing.assert_array_equal(as_image(kind(plane), (1.0, 2.0)).array, plane[0].astype(np.float32))
    # A volume of one voxel along x, if its spacing says so; as a slice it is along the last axis.
    found = as_image(kind(plane), (1.0, 2.0, 3.0))
    assert found.grid.shape == (6, 5, 1)
    assert found.grid.spacing == (2.0, 3.0, 1.0)
    for spacing in (None, 2.0):
        with pytest.raises(UserError, match=r"the first axis of \(1, 6, 5\) may be a channel"):
            as_image(kind(plane), spacing)
    with pytest.raises(UserError, match=r"the first axis of \(1, 1, 6, 5\) may be a channel"):
        as_image(kind(plane[None]))
    # A batch of one image, as networks take it.
    np.testing.assert_array_equal(as_image(kind(plane[None]), (1.0, 2.0)).array, plane[0].astype(np.float32))
    found = as_image(kind(volume[None]), (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(found.array, volume[0].astype(np.float32))
    assert found.grid.spacing == (1.0, 2.0, 3.0)
    for lost in (volume[None], rng.random((2, 6, 5, 4))):
        with pytest.raises(UserError, match=r"has \d axes"):
            as_image(kind(lost))


def test_what_would_lose_its_place_or_its_values():
    with pytest.raises(UserError, match="at right angles"):
        as_image(nib.Nifti1Image(np.zeros((3, 4, 5)), np.eye(4) + np.eye(4, k=1) * [[1], [0], [0], [0]]))
    with pytest.raises(UserError, match="has 4 axes"):
        as_image(nib.Nifti1Image(np.zeros((3, 4, 5, 2)), np.eye(4)))
    with pytest.raises(UserError, match="real numbers"):
        as_image(np.zeros((4, 4), dtype=complex))
    with pytest.raises(UserError, match="real numbers"):
        as_image(np.full((4, 4), "a"))
    itk = pytest.importorskip("itk")
    with pytest.raises(UserError, match="has 3 values in each voxel"):
        as_image(itk.image_from_array(np.zeros((4, 4, 3), dtype=np.uint8), is_vector=True))
    monai = pytest.importorskip("monai.data")
    with pytest.raises(UserError, match="MetaTensor"):
        as_image(monai.MetaTensor(torch.zeros(1, 4, 4)))


def test_a_spacing_without_an_array_is_told(rng):
    image = Image.from_array(rng.random((8, 8)))
    with pytest.raises(UserError, match=r"^spacing: is for arrays") as caught:
        as_pair(image, image, None, 2.0)
    assert caught.value.argument == "spacing"
    moving, fixed, labels = as_pair(image.array, torch.from_numpy(image.array), image.array > 0.5, (1.0, 2.0))
    assert moving.grid.spacing == fixed.grid.spacing == labels.grid.spacing == (1.0, 2.0)


def test_a_label_map_without_a_frame_beside_a_frame(tmp_path):
    cine = np.random.default_rng(0).random((8, 8, 2, 3)).astype(np.float32)
    masks = np.zeros((8, 8, 2, 3), np.uint8)
    for k in range(3):
        masks[k, 1:3, :, k] = 1  # apart from one another, as masks of labels may be
    for name, array in (("cine", cine), ("gt", masks)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    image = tmp_path / "cine.nii.gz#1"
    with pytest.raises(UserError, match=r"gt.nii.gz: holds several frames, .*; name the frame, .*gt.nii.gz#1"):
        as_pair(image, tmp_path / "cine.nii.gz#2", tmp_path / "gt.nii.gz", None)
    assert as_pair(image, tmp_path / "cine.nii.gz#2", tmp_path / "gt.nii.gz#1", None)[2].array.sum() == 4


def test_labels_of_arrays_are_those_of_files():
    assert as_image(np.array([[0, 2.9999], [1, 2]]), labels=True).array.tolist() == [[0, 3], [1, 2]]
    for wrong in (-1, 2**31):
        with pytest.raises(UserError, match="labels must be between 0"):
            as_image(np.array([[0, wrong], [1, 2]]), labels=True)


PLACED = Grid((8, 6, 1), (0.3, 0.3, 8.0), (5.0, 0.0, 0.0), tuple(np.eye(3).ravel()))


def test_labels_with_another_header_and_as_many_voxels():
    image = Image(np.random.default_rng(0).random((8, 6, 1)), PLACED, "img.nii.gz")
    labels = Image(np.eye(8, 6, dtype=np.uint8)[..., None], Grid.of_shape((8, 6, 1)), "gt.nii.gz")
    with pytest.raises(UserError, match=r"has as many voxels as its image img.nii.gz but a spacing of \(1, 1, 1\)"):
        as_pair(image, image, labels, None)
    with reading(labels_like_image=True):
        assert as_pair(image, image, labels, None)[2].grid == PLACED
        with pytest.raises(UserError, match="lies on another grid"):
            as_pair(image, image, Image(np.eye(4, 6)[..., None], Grid.of_shape((4, 6, 1))), None)


def test_an_image_without_a_place_gives_its_grid_to_label_maps():
    """An echo clip of 0.3 mm, and its label maps saved with nibabel: NIfTI's axes point the other way."""
    clip = Image(np.random.default_rng(0).random((8, 6)), Grid.of_shape((8, 6), 0.3), "a4c.dcm#0")
    other = Grid((8, 6), (0.3, 0.3), (0.0, 0.0), (-1.0, 0.0, 0.0, -1.0))
    labels = Image(np.eye(8, 6, dtype=np.uint8), other, "gt")
    assert as_pair(clip, clip, labels, None)[2].grid == clip.grid
    # The same region, its voxels in another order: a resampling puts them right.
    flipped = Image(np.eye(8, 6, dtype=np.uint8), Grid((8, 6), (0.3, 0.3), (2.1, 1.5), (-1.0, 0, 0, -1.0)), "gt")
    with pytest.raises(UserError, match="other axes"):
        as_pair(clip, clip, flipped, None)


def test_arrays_of_objects():
    assert as_image(np.array([[1, 2], [3, 4]], object)).array.tolist() == [[1, 2], [3, 4]]
    for wrong in (np.array([[1, 2], [3, "a"]], object), [[1, 2], [3]], [["a", "b"]] * 2):
        with pytest.raises(UserError, match=r"array: (holds|is not)"):
            as_image(wrong)


def test_an_array_in_the_order_of_simpleitk_is_warned_of():
    stack = np.random.default_rng(0).random((6, 30, 24))
    with pytest.warns(UserWarning, match=r"array: of shape \(6, 30, 24\) looks like \[z, y, x\].*: give array.T"):
        as_image(stack, (8.0, 1.5, 1.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_image(stack.T, (1.5, 1.5, 8.0))  # [x, y, z]
        as_image(stack[:, :16, :16], (1.0, 1.0, 1.0))  # a volume that is not so flat
        as_image(stack[0], 1.5)


def test_a_missing_spacing_is_warned_of():
    image = np.random.default_rng(0).random((24, 30))
    with pytest.warns(UserWarning, match="arrays without a `spacing` are taken as 1 mm for each voxel"):
        assert as_image(image).grid.spacing == (1.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_image(image, 1.0).grid.spacing == (1.0, 1.0)


def test_these_warnings_name_the_line_of_the_caller():
    with pytest.warns(UserWarning, match="1 mm") as caught:
        hr.load("undeformed").register(np.eye(8), np.eye(8))
    assert {Path(one.filename).name for one in caught} == {Path(__file__).name}
