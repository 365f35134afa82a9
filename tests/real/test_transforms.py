"""Fields on real grids: what SimpleITK makes of a saved registration."""

import numpy as np
import pytest
import SimpleITK as sitk

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image
from heteroreg.data.readers.acdc import read_acdc


def assert_itk_reproduces(registration, folder):
    """moved.nii.gz from the files alone, to 1 % of the range in the interior."""
    registration.save(folder)
    moving = registration.moving
    moved = sitk.ReadImage(str(folder / "moved.nii.gz"))
    field = sitk.ReadImage(str(folder / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    by_itk = sitk.Resample(
        sitk.ReadImage(moving.name, sitk.sitkFloat32),
        moved,
        sitk.DisplacementFieldTransform(field),
        sitk.sitkLinear,
        0.0,
    )
    found, expected = (sitk.GetArrayFromImage(image).T for image in (moved, by_itk))
    inner = tuple(slice(1, -1) if n > 3 else slice(None) for n in found.shape)
    known = expected[inner] != 0
    assert known.mean() > 0.1
    difference = np.abs(found[inner] - expected[inner])[known]
    assert difference.max() <= 0.01 * np.ptp(moving.array)
    assert np.abs(registration.displacement).max() > 0.3


@pytest.mark.parametrize("number", [0, 41])
def test_a_cine_stack(number, real_data, run_2d, tmp_path):
    pair = Cohort.read(real_data / "mnms")[number]
    registration = hr.load(run_2d.folder).register(pair.moving, pair.fixed, pair.moving_labels)
    assert registration.slicewise
    assert registration.displacement.shape[1:] == read_image(pair.fixed).array.shape
    assert set(np.unique(registration.moved_labels.array)) <= {0, 1, 2, 3}
    assert_itk_reproduces(registration, tmp_path / "out")


def test_the_native_acdc_patient(real_data, run_2d, tmp_path):
    (pair,) = read_acdc(real_data / "acdc-native")
    registration = hr.load(run_2d.folder).register(pair.moving, pair.fixed)
    # 1.41 mm is brought to the 1.5 mm of the model and back.
    assert registration.grid.shape == (256, 216, 10)
    assert registration.noise_sd.array.shape == (256, 216, 10)
    assert_itk_reproduces(registration, tmp_path / "out")
