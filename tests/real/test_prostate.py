"""Volumes of two kinds on two grids."""

import numpy as np
import pytest
import SimpleITK as sitk

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, read_labels


@pytest.fixture(scope="module")
def registration(real_data, tmp_path_factory):
    cohort = Cohort.read(real_data / "prostate-3d")
    settings = {"size": [32, 32, 32], "spacing": [0.8] * 3, "head_sd": 0.3, "method": "mse", "smoothness": 0.001}
    run = hr.train(cohort, tmp_path_factory.mktemp("runs") / "prostate", steps=3, batch_size=1, **settings)
    assert run.config.dims == 3
    pair = cohort[0]
    return hr.load(run.folder).register(pair.moving, pair.fixed, pair.moving_labels)


def test_the_result_lies_on_the_fixed_grid(registration):
    assert registration.moving.grid.shape == (64, 64, 60)
    assert registration.grid.shape == (44, 59, 41)
    assert registration.displacement.shape == (3, 44, 59, 41)
    assert not registration.slicewise
    assert registration.moved.array.std() > 1


def test_itk_reproduces_the_moved_image(registration, tmp_path):
    registration.save(tmp_path / "out")
    moved = sitk.ReadImage(str(tmp_path / "out" / "moved.nii.gz"))
    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    moving = sitk.ReadImage(registration.moving.name, sitk.sitkFloat32)
    by_itk = sitk.Resample(moving, moved, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    found, expected = (sitk.GetArrayFromImage(image)[1:-1, 1:-1, 1:-1] for image in (moved, by_itk))
    known = expected != 0
    assert known.mean() > 0.3
    assert np.abs(found - expected)[known].max() <= 0.01 * np.ptp(registration.moving.array)
    assert np.abs(registration.displacement).max() > 0.1


def test_masks_of_zones_are_carried_along_as_labels(registration, real_data):
    labels = read_labels(real_data / "prostate-3d" / "00_moving_labels.nii.gz")
    assert labels.grid.same_as(read_image(real_data / "prostate-3d" / "00_moving.nii.gz").grid)
    found = registration.moved_labels
    assert found.grid.same_as(registration.grid)
    assert 1 in np.unique(found.array)
    assert set(np.unique(found.array)) <= set(np.unique(labels.array))
