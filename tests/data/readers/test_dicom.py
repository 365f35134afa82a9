"""Cohorts of frames of DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tests.data import dicom_writer as writer

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import Image, read_image, read_labels, write_image
from heteroreg.data.importing import import_cohort
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.readers.dicom import read_dicom
from heteroreg.data.samples.preparation import check_labels
from heteroreg.system.errors import UserError

ARRAY = writer.voxels((20, 18, 3), frames=6)
# A ventricle (1) that is largest in frame 1 and smallest in frame 4, and an atrium (2) that does the reverse.
VENTRICLE, ATRIUM = (5, 9, 7, 4, 2, 3), (5, 3, 4, 7, 12, 8)


def labels(frames: int = 6) -> np.ndarray:
    """Label maps [x, y, z, t]."""
    maps = np.zeros((20, 18, 3, frames), np.uint8)
    for t in range(frames):
        maps[: VENTRICLE[t], :3, :, t] = 1
        maps[: ATRIUM[t], 4:6, :, t] = 2
    return maps


def write_labels(path: Path, maps: np.ndarray, image: Image) -> None:
    """One file with a map for each frame of an image's grid."""
    series = [image.with_array(np.ascontiguousarray(maps[..., t])).to_sitk() for t in range(maps.shape[-1])]
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.JoinSeries(series), str(path))


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    """Patients: p1 with a classic cine and labels, p2 with an enhanced one, p3 with two clips and a still image."""
    root = tmp_path / "exams"
    writer.write_classic(root / "p1" / "sax", ARRAY)
    write_labels(root / "p1" / "sax_gt.nii.gz", labels(), read_image(root / "p1" / "sax#0"))
    writer.write_enhanced(root / "p2" / "sax.dcm", ARRAY)
    clip = np.random.default_rng(0).integers(0, 256, (6, 18, 20, 3), dtype=np.uint8)
    writer.write_clip(root / "p3" / "echo" / "a2c.dcm", clip)
    writer.write_clip(root / "p3" / "echo" / "a4c", clip)
    writer.write_clip(root / "p3" / "echo" / "still.dcm", clip[:1])
    (root / "p3" / "notes.txt").write_text("nothing")
    return root


def frames_of(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def test_frames_for_all(exams: Path) -> None:
    pairs = read_dicom(exams, frames="5,2")
    found = {pair.id: (pair.patient, frames_of(pair.moving, exams), frames_of(pair.fixed, exams)) for pair in pairs}
    assert found == {
        "p1_sax": ("p1", "p1/sax#5", "p1/sax#2"),
        "p2_sax": ("p2", "p2/sax.dcm#5", "p2/sax.dcm#2"),
        "p3_echo_a2c": ("p3", "p3/echo/a2c.dcm#5", "p3/echo/a2c.dcm#2"),
        "p3_echo_a4c": ("p3", "p3/echo/a4c#5", "p3/echo/a4c#2"),
    }
    labelled = [pair for pair in pairs if pair.labelled]
    assert [pair.id for pair in labelled] == ["p1_sax"]
    assert labelled[0].moving_labels == exams / "p1" / "sax_gt.nii.gz#5"


def test_a_table_of_frames(exams: Path, tmp_path: Path) -> None:
    table = tmp_path / "frames.csv"
    table.write_text("id,ED,ES\np1_sax,0,4\np2_sax,1,3\np3_echo_a2c,5,0\np3_echo_a4c,2,3\n")
    found = {pair.id: (pair.moving.name, pair.fixed.name) for pair in read_dicom(exams, frames=str(table))}
    assert found["p2_sax"] == ("sax.dcm#1", "sax.dcm#3")
    assert found["p3_echo_a2c"] == ("a2c.dcm#5", "a2c.dcm#0")
    table.write_text("id,ED,ES\np1_sax,0,4\n")
    with pytest.raises(UserError, match=r"frames\.csv: has no line for 'p2_sax'"):
        read_dicom(exams, frames=str(table))
    table.write_text("id,ED,ES\np1_sax,0,6\n")
    with pytest.raises(UserError, match=r"frames\.csv: names the frame 6 of .*p1/sax, whose frames are 0 to 5"):
        read_dicom(exams, frames=str(table))
    table.write_text("id,ED,ES\np1_sax,0,0\n")
    with pytest.raises(UserError, match=r"frames\.csv: line 2 needs two different frame numbers from 0"):
        read_dicom(exams, frames=str(table))


@pytest.mark.parametrize(
    ("label", "ed", "es"),
    [
        (1, 1, 4),
        (2, 4, 1),
        (None, 4, 0),  # both together: 10, 12, 11, 11, 14, 11 columns, but of 3 and 2 rows: 25, 33, 29, 26, 30, 25
    ],
)
def test_frames_by_the_size_of_a_label(exams: Path, label: int | None, ed: int, es: int) -> None:
    sizes = np.array([[(labels()[..., t] == k).sum() for t in range(6)] for k in (1, 2)])
    if label is None:
        ed, es = int(sizes.sum(axis=0).argmax()), int(sizes.sum(axis=0).argmin())
    (pair,) = read_dicom(exams / "p1" / "sax", label=label)
    assert (pair.moving.name, pair.fixed.name) == (f"sax#{ed}", f"sax#{es}")
    assert pair.id == pair.patient == "sax"


def test_the_label_maps_lie_on_the_frames(exams: Path) -> None:
    (pair,) = read_dicom(exams / "p1", label=1)
    assert pair.moving_labels is not None
    found = read_labels(pair.moving_labels)
    np.testing.assert_array_equal(found.array, labels()[..., 1])
    check_labels(found, read_image(pair.moving))


def test_label_maps_of_a_clip(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (6, 18, 20, 3), dtype=np.uint8)
    writer.write_clip(tmp_path / "a4c.dcm", clip)
    write_labels(tmp_path / "a4c_seg.nii.gz", labels()[:, :, 0], read_image(tmp_path / "a4c.dcm#0"))
    (pair,) = read_dicom(tmp_path / "a4c.dcm", label=1)
    assert (pair.moving.name, pair.fixed.name) == ("a4c.dcm#1", "a4c.dcm#4")
    assert pair.fixed_labels is not None
    check_labels(read_labels(pair.fixed_labels), read_image(pair.fixed))


def test_frames_without_the_label_do_not_count(exams: Path) -> None:
    """Where only some frames are labelled, ED and ES are among them."""
    maps = labels()
    maps[..., [0, 1, 4]] = 0
    write_labels(exams / "p1" / "sax_gt.nii.gz", maps, read_image(exams / "p1" / "sax#0"))
    (pair,) = read_dicom(exams / "p1", label=1)
    assert (pair.moving.name, pair.fixed.name) == ("sax#2", "sax#5")


def test_a_cohort_refers_into_the_series(exams: Path, tmp_path: Path) -> None:
    for place in exams.iterdir():
        if place.name != "p1":
            place.rename(tmp_path / place.name)
    out = tmp_path / "cohorts" / "mine"
    cohort = import_cohort("dicom", exams, out, label=1, split=(100, 0, 0))
    assert sorted(file.name for file in out.iterdir()) == ["heteroreg.json", "import.json", "pairs.csv"]
    assert "../../exams/p1/sax#1,../../exams/p1/sax#4" in (out / "pairs.csv").read_text()
    np.testing.assert_array_equal(read_image(cohort[0].moving).array, ARRAY[..., 1])
    np.testing.assert_array_equal(read_image(Cohort.read(out)[0].fixed).array, ARRAY[..., 4])


def test_folders_give_the_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        writer.write_enhanced(tmp_path / part / f"p_{part}" / "cine.dcm", ARRAY)
    found = {pair.id: (pair.patient, pair.split) for pair in read_dicom(tmp_path, frames="0,1")}
    assert found == {
        "train_p_train_cine": ("p_train", "train"),
        "test_p_test_cine": ("p_test", "test"),
    }


def test_series_without_labels_need_frames(exams: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"p2/sax\.dcm: the ED and ES frames among its 6 are unknown; give `frames`.*sax_gt\.nii\.gz",
    ):
        read_dicom(exams / "p2")


@pytest.mark.parametrize("frames", ["0", "0,1,2", "1,1", "-1,3", "a,b", "none.csv"])
def test_frames_that_are_none(frames: str, exams: Path) -> None:
    with pytest.raises(UserError, match=r"frames: .* is neither ED,ES, two numbers from 0 such as 0,9, nor a CSV"):
        read_dicom(exams, frames=frames)


def test_frames_out_of_range(exams: Path) -> None:
    with pytest.raises(UserError, match=r"frames: names the frame 6 of .*sax, whose frames are 0 to 5"):
        read_dicom(exams, frames="0,6")


def test_label_maps_that_do_not_fit(exams: Path) -> None:
    write_labels(exams / "p1" / "sax_gt.nii.gz", labels()[..., :5], read_image(exams / "p1" / "sax#0"))
    with pytest.raises(UserError, match=r"sax_gt\.nii\.gz: has the shape \(20, 18, 3, 5\), but .* has 6 frames"):
        read_dicom(exams / "p1")
    write_labels(exams / "p1" / "sax_gt.nii.gz", labels(), read_image(exams / "p1" / "sax#0"))
    with pytest.raises(UserError, match=r"sax_gt\.nii\.gz: its labels do not distinguish ED from ES \(0 of 6"):
        read_dicom(exams / "p1", label=3)
    write_image(Image.from_array(labels()[..., 0]), exams / "p1" / "sax_labels.nrrd")
    with pytest.raises(UserError, match=r"has label maps of the same series as .*; remove one"):
        read_dicom(exams / "p1")


def test_other_mistakes(exams: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^label: finds the frames"):
        read_dicom(exams, frames="0,1", label=1)
    with pytest.raises(UserError, match=r"^frames: does not apply to acdc"):
        import_cohort("acdc", exams, tmp_path / "out", frames="0,1")
    with pytest.raises(UserError, match="no such folder"):
        read_dicom(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no DICOM series of several frames"):
        read_dicom(tmp_path / "empty", frames="0,1")
    writer.write_enhanced(tmp_path / "twice" / "a_b" / "c.dcm", ARRAY)
    writer.write_enhanced(tmp_path / "twice" / "a" / "b_c.dcm", ARRAY)
    with pytest.raises(UserError, match="would get the same id as"):
        read_dicom(tmp_path / "twice", frames="0,1")


def test_what_is_left_out_is_counted(exams: Path) -> None:
    left_out = LeftOut()
    (exams / "p3" / "scout.png").touch()
    read_dicom(exams, frames="0,1", left_out=left_out)
    assert left_out.lines() == [
        f"left out 1: still images, such as {exams / 'p3' / 'echo' / 'still.dcm'}",
        f"left out 1: images that are not DICOM, such as {exams / 'p3' / 'scout.png'}",
    ]


def test_the_first_frame_with_each_other(exams: Path) -> None:
    pairs = [pair for pair in read_dicom(exams, pairs="first-each") if pair.id.startswith("p1_sax")]
    assert [pair.id for pair in pairs] == [f"p1_sax_{k}" for k in range(1, 6)]
    assert {pair.moving.name for pair in pairs} == {"sax#0"}
    assert {pair.patient for pair in pairs} == {"p1"}
