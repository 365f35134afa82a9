import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.io.affine import Affine, read_affine
from heteroreg.data.samples.preparation import resample
from heteroreg.system.errors import UserError

TURN = Rotation.from_euler("xyz", (20, -30, 15), degrees=True).as_matrix()
SHEAR = np.array([[1.1, 0.2, 0.0], [0.0, 0.9, -0.1], [0.05, 0.0, 1.0]])
GRID = Grid((13, 12, 11), (1.5, 1.2, 2.0), (-9.0, -7.0, -10.0), tuple(TURN.ravel().tolist()))


def save(matrix, offset, path):
    transform = sitk.AffineTransform(len(offset))
    transform.SetMatrix(np.asarray(matrix, dtype=float).ravel().tolist())
    transform.SetTranslation(list(map(float, offset)))
    sitk.WriteTransform(transform, str(path))
    return transform


@pytest.mark.parametrize("ending", [".tfm", ".txt", ".h5", ".mat"])
def test_an_affine_transform_is_read(ending, tmp_path):
    save(SHEAR, (1, 2, 3), tmp_path / f"t{ending}")
    found = read_affine(tmp_path / f"t{ending}")
    np.testing.assert_allclose(found.linear, SHEAR, atol=1e-12)
    np.testing.assert_allclose(found.offset, (1, 2, 3), atol=1e-12)


def test_rigid_transforms_in_a_row_are_one_affine_transform(tmp_path):
    turn = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0))
    both = sitk.CompositeTransform([turn, sitk.ScaleTransform(3, (2.0, 1.0, 1.0))])
    sitk.WriteTransform(both, str(tmp_path / "t.tfm"))
    found = read_affine(tmp_path / "t.tfm")
    point = np.array([7.0, -3.0, 2.0])
    np.testing.assert_allclose(found.linear @ point + found.offset, both.TransformPoint(point.tolist()), atol=1e-9)


@pytest.mark.parametrize("matrix", [TURN, SHEAR, SHEAR @ TURN])
@pytest.mark.parametrize("labels", [False, True])
def test_a_placed_image_is_what_itk_resamples(matrix, labels, rng, tmp_path):
    transform = save(matrix, (1.0, -2.0, 0.5), tmp_path / "t.tfm")
    image = Image(rng.integers(1, 5, size=GRID.shape).astype(np.int32 if labels else np.float32), GRID)
    middle = np.linalg.inv(matrix) @ (GRID.physical(np.array([6.0, 5.5, 5.0])) - (1.0, -2.0, 0.5))
    like = Grid((10, 10, 10), (1.3, 1.3, 1.3), tuple((middle - 5.85).tolist()), tuple(np.eye(3).ravel().tolist()))
    method = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    expected = sitk.Resample(
        image.to_sitk(), like.shape, transform, method, like.origin, like.spacing, like.direction, 0.0
    )
    found = resample(read_affine(tmp_path / "t.tfm").place(image), like, labels=labels)
    expected = sitk.GetArrayFromImage(expected).T
    assert (expected != 0).mean() > 0.3
    agree = np.isclose(found.array, expected, atol=1e-4)
    assert agree.mean() > 0.97  # at the end of the image, and half way between two voxels, rounding decides


def test_in_voxels_of_a_grid():
    transform = Affine(tuple(SHEAR.ravel().tolist()), (1.0, 2.0, 3.0))
    linear, offset = transform.in_voxels(GRID)
    index = np.array([3.0, 4.0, 5.0])
    expected = GRID.index(SHEAR @ GRID.physical(index) + (1, 2, 3))
    np.testing.assert_allclose(linear @ index + offset, expected, atol=1e-9)


def test_what_is_no_alignment_is_told(tmp_path):
    for matrix, message in (
        (np.diag([1, 1, -1]), "mirrors or flattens space"),
        (np.zeros((3, 3)), "mirrors or flattens space"),
    ):
        save(matrix, (0, 0, 0), tmp_path / "t.tfm")
        with pytest.raises(UserError, match=message):
            read_affine(tmp_path / "t.tfm")
    spline = sitk.BSplineTransformInitializer(sitk.Image((8, 8, 8), sitk.sitkFloat32), [3, 3, 3])
    sitk.WriteTransform(spline, str(tmp_path / "s.tfm"))
    with pytest.raises(UserError, match="not affine"):
        read_affine(tmp_path / "s.tfm")
    (tmp_path / "t.nii").touch()
    with pytest.raises(UserError, match="does not have the ending of an ITK transform"):
        read_affine(tmp_path / "t.nii")
    save(np.eye(3), (0, np.inf, 0), tmp_path / "t.tfm")
    with pytest.raises(UserError, match=r"NaN or infinite|could not be read"):
        read_affine(tmp_path / "t.tfm")
