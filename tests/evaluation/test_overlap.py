import math

import nibabel as nib
import numpy as np
import pytest
import torch

import heteroreg as hr
from heteroreg.data.image import Image
from heteroreg.evaluation.overlap import dice, jaccard

EMPTY, FULL = [0, 0, 0, 0], [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("a", "b", "expected_dice", "expected_jaccard"),
    [
        # |A| = 3, |B| = 2, |A ∩ B| = 2, |A ∪ B| = 3: 2·2/5 and 2/3.
        ([1, 1, 1, 0], [1, 1, 0, 0], 4 / 5, 2 / 3),
        # Disjoint.
        ([1, 0, 0, 0], [0, 0, 1, 1], 0.0, 0.0),
        # The same.
        ([0, 1, 1, 0], [0, 1, 1, 0], 1.0, 1.0),
        (FULL, FULL, 1.0, 1.0),
        # One empty is a miss, both empty is not defined.
        (EMPTY, [1, 0, 0, 0], 0.0, 0.0),
        ([1, 0, 0, 0], EMPTY, 0.0, 0.0),
        (EMPTY, EMPTY, math.nan, math.nan),
        # Any number but 0 is inside: 5 & 2 would be 0 bit by bit.
        ([5, 0, 0, 0], [2, 0, 0, 0], 1.0, 1.0),
    ],
)
def test_by_hand(a, b, expected_dice, expected_jaccard):
    a, b = np.reshape(a, (2, 2)), np.reshape(b, (2, 2))
    assert dice(a, b) == pytest.approx(expected_dice, nan_ok=True)
    assert jaccard(a, b) == pytest.approx(expected_jaccard, nan_ok=True)


def test_jaccard_follows_from_dice():
    random = np.random.default_rng(0)
    a, b = random.random((2, 5, 6, 7)) > 0.4
    d = dice(a, b)
    assert jaccard(a, b) == pytest.approx(d / (2 - d))


@pytest.mark.parametrize("function", [dice, jaccard])
def test_shapes_that_differ_are_not_broadcast(function):
    with pytest.raises(ValueError, match="same shape"):
        function(np.ones((3, 3)), np.ones((3, 1)))


def test_one_label_of_images():
    a, b = (Image.from_array(np.array(values)[None], 2.0) for values in ([1, 2, 2, 0], [1, 1, 2, 0]))
    # Label 2: 2 and 1 voxels, 1 of them shared; without a label 3 and 3, all shared.
    assert dice(a, b, label=2) == pytest.approx(2 / 3)
    assert jaccard(a, b, label=2) == pytest.approx(1 / 2)
    assert dice(a, b) == 1
    assert math.isnan(dice(a, b, label=7))
    with pytest.raises(ValueError, match="different grids"):
        dice(a, Image.from_array(b.array, 1.0))


def test_every_kind_of_image_has_the_same_score(tmp_path):
    """A path or an image of SimpleITK is not compared voxel for voxel as what NumPy makes of it."""
    # Along y at 3 mm: label 2 in voxels 1 to 3, and in voxel 3 alone. Dice 2 · 1 / (3 + 1); the surface voxels of
    # the first mask are 6, 3 and 0 mm from the second.
    arrays = [np.array([[0, 2, 2, 2], [0, 0, 0, 0]], np.int32), np.array([[1, 1, 1, 2], [0, 0, 0, 0]], np.int32)]
    images = [Image.from_array(array, (2.0, 3.0)) for array in arrays]
    paths = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    for image, path in zip(images, paths, strict=True):
        hr.write_image(image, path)
    kinds = [images, paths, [str(path) for path in paths], [image.to_sitk() for image in images]]
    kinds += [[nib.load(path) for path in paths], [paths[0], images[1]]]
    for a, b in kinds:
        assert hr.dice(a, b, label=2) == pytest.approx(0.5)
        assert hr.jaccard(a, b, label=2) == pytest.approx(1 / 3)
        assert hr.hausdorff(a, b, label=2) == pytest.approx(6)
        assert hr.average_surface_distance(a, b, label=2) == pytest.approx(3)
    tensors = [torch.from_numpy(array) for array in arrays]
    assert hr.dice(*tensors, label=2) == pytest.approx(0.5)
    assert hr.hausdorff(*tensors, label=2, spacing=(2, 3)) == pytest.approx(6)
    with pytest.raises(hr.UserError, match=r"no such file"):
        hr.dice(tmp_path / "missing.nii.gz", paths[1])
