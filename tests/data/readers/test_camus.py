from collections import Counter

import numpy as np
import pytest
from tests.data.layouts import write_older_camus

from heteroreg.data.image import read_image, read_labels
from heteroreg.data.importing import import_cohort
from heteroreg.data.phantom import make_pair, write_phantom
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.readers.camus import read_camus
from heteroreg.system.errors import UserError


@pytest.fixture
def nifti(tmp_path):
    write_phantom(tmp_path / "CAMUS", pairs=5, size=36, noise="speckle", layout="camus")
    return tmp_path / "CAMUS"


@pytest.fixture
def older(tmp_path):
    write_older_camus(tmp_path / "older", pairs=5, size=36)
    return tmp_path / "older"


def test_pairs(nifti):
    pairs = read_camus(nifti)
    assert len(pairs) == 10
    assert Counter(pair.split for pair in pairs) == {"train": 6, "val": 2, "test": 2}
    pair = pairs[1]
    assert (pair.id, pair.patient) == ("patient0001_4CH", "patient0001")
    assert pair.extra == {"view": "4CH", "quality": "Good", "ejection_fraction": "54"}
    assert pair.fixed_labels == nifti / "database_nifti" / "patient0001" / "patient0001_4CH_ES_gt.nii.gz"


def test_the_lists_are_found_from_the_folder_of_images(nifti):
    assert Counter(pair.split for pair in read_camus(nifti / "database_nifti"))["val"] == 2


def test_both_releases_hold_the_same(nifti, older):
    new, old = read_camus(nifti), read_camus(older)
    assert [pair.id for pair in old if pair.split == "train"] == [
        f"patient000{k}_{v}CH" for k in range(1, 5) for v in (2, 4)
    ]
    for a in new:
        b = next(pair for pair in old if pair.id == a.id)
        assert b.moving.suffix == ".mhd"
        np.testing.assert_array_equal(read_image(a.moving).array, read_image(b.moving).array[..., 0])
        assert b.extra["ejection_fraction"] == "54.0"
        assert b.labelled == (b.split != "test")  # its test part has no labels
    np.testing.assert_array_equal(
        read_labels(new[0].fixed_labels).array, read_labels(old_of(old, new[0]).fixed_labels).array[..., 0]
    )


def old_of(pairs, pair):
    return next(other for other in pairs if other.id == pair.id)


def test_labels_and_sector(nifti):
    pair = read_camus(nifti)[0]
    expected = make_pair((0, 0, 0), shape=(36, 48), spacing=(0.9, 0.9), view="2CH", noise="speckle")
    labels = read_labels(pair.moving_labels)
    np.testing.assert_array_equal(labels.array, expected.moving_labels.array)
    assert set(np.unique(labels.array)) == {0, 1, 2, 3}
    # The apex is at the probe: ventricle above atrium along the beam.
    depth = {label: np.nonzero(labels.array == label)[1].mean() for label in (1, 3)}
    assert depth[1] < depth[3]
    image = read_image(pair.moving).array
    assert not image[0, :10].any()
    assert not image[-1, :10].any()
    assert image.max() > 60


def test_import_keeps_a_patient_together(nifti, tmp_path):
    cohort = import_cohort("camus", nifti, tmp_path / "cohort", split=(40, 20, 40), seed=5)
    parts = {pair.patient: set() for pair in cohort}
    for pair in cohort:
        parts[pair.patient].add(pair.split)
    assert all(len(split) == 1 for split in parts.values())
    assert Counter(pair.split for pair in cohort) == {"train": 4, "val": 2, "test": 4}


def test_missing_pieces(nifti, tmp_path):
    folder = nifti / "database_nifti" / "patient0002"
    for path in folder.glob("*2CH*"):  # one view alone is fine
        path.unlink()
    assert len(read_camus(nifti)) == 9
    (folder / "patient0002_4CH_ES.nii.gz").unlink()
    with pytest.raises(UserError, match=r"patient0002_4CH_ES.nii.gz: is missing"):
        read_camus(nifti)
    (folder / "patient0002_4CH_ED.nii.gz").unlink()
    with pytest.raises(UserError, match=r"patient0002: contains no patient0002_2CH_ED"):
        read_camus(nifti)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no folders patient0001"):
        read_camus(tmp_path / "empty")


def test_both_releases_at_once(nifti, older):
    with pytest.raises(UserError, match="name one release"):
        read_camus(nifti.parent)


def test_what_is_left_out_is_counted(nifti):
    left_out = LeftOut()
    read_camus(nifti, left_out=left_out)
    assert left_out.by_reason == {}
    folder = next(path for path in nifti.rglob("patient0001") if path.is_dir())
    for name in ("2CH_half_sequence", "2CH_half_sequence_gt", "4CH_sequence", "3CH_ED"):
        (folder / f"patient0001_{name}.nii.gz").touch()
    read_camus(nifti, left_out=left_out)
    assert {reason: len(paths) for reason, paths in left_out.by_reason.items()} == {
        "sequences, whose ED and ES frames are files of their own": 3,
        "images that are no patient's ED or ES frame": 1,
    }
