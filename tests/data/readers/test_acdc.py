from collections import Counter

import numpy as np
import pytest

from heteroreg.data.image import read_image, read_labels
from heteroreg.data.importing import import_cohort
from heteroreg.data.phantom import make_pair, write_phantom
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.readers.acdc import read_acdc
from heteroreg.system.errors import UserError


@pytest.fixture
def acdc(tmp_path):
    write_phantom(tmp_path / "ACDC", pairs=6, size=32, layout="acdc", seed=2)
    return tmp_path / "ACDC"


def test_pairs(acdc):
    pairs = read_acdc(acdc)
    assert [pair.id for pair in pairs] == [
        "patient105", "patient106", "patient001", "patient002", "patient003", "patient004"
    ]  # fmt: skip
    assert Counter(pair.split for pair in pairs) == {"train": 4, "test": 2}
    pair = pairs[2]
    folder = acdc / "training" / "patient001"
    assert pair.moving == folder / "patient001_frame01.nii.gz"
    assert pair.fixed_labels == folder / "patient001_frame10_gt.nii.gz"
    assert pair.extra == {"group": "NOR"}
    assert all(pair.moving.is_absolute() for pair in pairs)


def test_voxels_and_labels(acdc):
    pair = read_acdc(acdc)[2]
    expected = make_pair((2, 0), shape=(32, 32, 6), spacing=(4.5, 4.5, 10.0))
    fixed, labels = read_image(pair.fixed), read_labels(pair.fixed_labels)
    assert fixed.grid.spacing == (4.5, 4.5, 10.0)
    np.testing.assert_array_equal(fixed.array, np.round(expected.fixed.array).clip(0))
    truth = expected.fixed_labels.array
    for ours, theirs in ((1, 3), (2, 2), (3, 1)):  # LV, myocardium, RV in M&Ms' and in ACDC's numbers
        np.testing.assert_array_equal(labels.array == theirs, truth == ours)


def test_import_refers_and_copies_nothing(acdc, tmp_path):
    cohort = import_cohort("acdc", acdc, tmp_path / "cohort", split=(75, 25), seed=1)
    assert Counter(pair.split for pair in cohort) == {"train": 3, "val": 1, "test": 2}
    written = sorted(path.name for path in (tmp_path / "cohort").iterdir())
    assert written == ["heteroreg.json", "import.json", "pairs.csv"]
    assert all(path.is_file() for pair in cohort for path in (pair.moving, pair.fixed, pair.moving_labels))
    assert str(tmp_path) not in (tmp_path / "cohort" / "pairs.csv").read_text()


def test_other_roots(acdc):
    assert len(read_acdc(acdc.parent)) == 6
    training = read_acdc(acdc / "training")
    assert [pair.split for pair in training] == [None] * 4
    assert read_acdc(acdc / "training" / "patient002")[0].id == "patient002"


def test_a_test_part_without_labels(acdc, tmp_path):
    for path in (acdc / "testing").rglob("*_gt.nii.gz"):
        path.unlink()
    cohort = import_cohort("acdc", acdc, tmp_path / "cohort")
    assert [pair.labelled for pair in cohort] == [False] * 2 + [True] * 4


def test_missing_pieces(acdc, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="contains no folders patient001"):
        read_acdc(empty)
    with pytest.raises(UserError, match="no such folder"):
        read_acdc(tmp_path / "nowhere")
    frame = acdc / "training" / "patient003" / "patient003_frame10.nii.gz"
    frame.rename(frame.with_name("other.nii.gz"))
    with pytest.raises(UserError, match=r"patient003_frame10.nii.gz: is missing, the ES frame"):
        read_acdc(acdc)
    info = acdc / "training" / "patient001" / "Info.cfg"
    info.write_text("ED: 1\nGroup: NOR\n")
    with pytest.raises(UserError, match=r"Info.cfg: has no frame number 'ES: N'"):
        read_acdc(acdc)
    info.unlink()
    with pytest.raises(UserError, match=r"patient001/Info.cfg: is missing"):
        import_cohort("acdc", acdc, tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_what_is_left_out_is_counted(acdc):
    left_out = LeftOut()
    read_acdc(acdc, left_out=left_out)
    assert left_out.by_reason == {}
    folder = acdc / "training" / "patient001"
    for name in ("patient001_4d", "patient001_frame07", "patient001_frame07_gt"):
        (folder / f"{name}.nii.gz").touch()
    (acdc / "other").mkdir()
    (acdc / "other" / "p9_frame01.nii.gz").touch()
    read_acdc(acdc, left_out=left_out)
    assert left_out.by_reason == {
        "whole cines, whose ED and ES frames are files of their own": [folder / "patient001_4d.nii.gz"],
        "images that are no patient's ED or ES frame": [
            acdc / "other" / "p9_frame01.nii.gz",
            folder / "patient001_frame07.nii.gz",
            folder / "patient001_frame07_gt.nii.gz",
        ],
    }
