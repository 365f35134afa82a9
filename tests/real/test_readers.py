import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, read_labels
from heteroreg.data.importing import import_cohort
from heteroreg.data.readers.acdc import read_acdc


def test_the_native_acdc_patient(real_data):
    (pair,) = read_acdc(real_data / "acdc-native")
    assert pair.id == "patient005"
    assert pair.moving.name == "patient005_frame01.nii.gz"
    assert pair.fixed.name == "patient005_frame13.nii.gz"
    assert pair.extra == {"group": "DCM"}
    moving, fixed = read_labels(pair.moving_labels).array == 2, read_labels(pair.fixed_labels).array == 2
    assert 2 * (moving & fixed).sum() / (moving.sum() + fixed.sum()) == pytest.approx(0.54, abs=0.005)
    assert read_image(pair.fixed).grid.same_as(read_image(pair.moving).grid)


def test_import_of_the_native_acdc_patient(real_data, tmp_path):
    cohort = import_cohort("acdc", real_data / "acdc-native", tmp_path / "cohort")
    assert read_image(cohort[0].moving).grid.shape == (256, 216, 10)
    assert read_image(cohort[0].moving).grid.spacing == pytest.approx((1.41, 1.41, 10.0), abs=0.01)


def test_the_folder_of_mnms_frames_by_their_names(real_data, tmp_path):
    found = import_cohort("folder", real_data / "mnms", tmp_path / "cohort")
    listed = Cohort.read(real_data / "mnms")
    assert [pair.id for pair in found] == sorted(pair.id for pair in listed)
    by_id = {pair.id: pair for pair in listed}
    for pair in found:
        assert pair.moving_labels.resolve() == by_id[pair.id].moving_labels.resolve()
        assert pair.fixed.resolve() == by_id[pair.id].fixed.resolve()


@pytest.mark.parametrize(
    ("name", "pairs", "splits", "labels"),
    [
        ("mnms", 80, ("train", "val", "test"), 3),
        ("oasis-2d", 68, ("train", "test"), 30),
        ("prostate-3d", 9, ("train", "test"), 2),
    ],
)
def test_cohorts(real_data, name, pairs, splits, labels):
    cohort = Cohort.read(real_data / name)
    assert len(cohort) == pairs
    assert cohort.splits == splits
    pair = cohort[0]
    assert read_image(pair.moving).array.std() > 0
    assert read_labels(pair.fixed_labels).array.max() >= labels
    assert read_labels(pair.fixed_labels).grid.same_as(read_image(pair.fixed).grid)
