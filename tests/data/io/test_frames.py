"""Frames named as PATH#N: of DICOM in test_dicom_series.py, here of files whose last axis is time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.check import check
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.confine import require_inside
from heteroreg.data.image import Image, read_grid, read_image, read_labels, write_image
from heteroreg.data.io.frames import name_frame, split_frame
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.system.errors import UserError

ARRAY = np.random.default_rng(0).integers(0, 4, (9, 8, 5, 3)).astype(np.uint8)


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    """A 4D NIfTI file, oblique in space, of three frames."""
    joined = sitk.JoinSeries([placed(ARRAY[..., t]) for t in range(3)])
    sitk.WriteImage(joined, str(tmp_path / "cine.nii.gz"))
    return tmp_path / "cine.nii.gz"


def placed(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((1.5, 1.25, 8.0))
    image.SetOrigin((-10.0, 5.0, 30.0))
    image.SetDirection((0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    return image


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_frame_of_a_4d_file(cine: Path, ending: str) -> None:
    path = cine.with_name(f"cine{ending}")
    sitk.WriteImage(sitk.ReadImage(str(cine)), str(path))
    for t in range(3):
        expected = Image.from_sitk(placed(ARRAY[..., t]))
        found = read_image(f"{path}#{t}")
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.grid.same_as(expected.grid, 1e-5)
        assert read_grid(f"{path}#{t}").same_as(expected.grid, 1e-5)
        np.testing.assert_array_equal(read_labels(f"{path}#{t}").array, expected.array)


def test_a_frame_of_a_2d_clip(tmp_path: Path) -> None:
    write_image(Image.from_array(ARRAY[..., 0], (0.5, 0.25, 1.0)), tmp_path / "clip.nrrd")
    found = read_image(tmp_path / "clip.nrrd#4")
    np.testing.assert_array_equal(found.array, ARRAY[:, :, 4, 0])
    assert found.grid.spacing == (0.5, 0.25)
    with pytest.raises(UserError, match=r"clip\.nrrd#5: there are 5 frames; name one, from .*#0 to .*#4"):
        read_grid(tmp_path / "clip.nrrd#5")


def test_frames_of_images_that_have_none(tmp_path: Path, cine: Path) -> None:
    write_image(Image.from_array(ARRAY[:, :, 0, 0]), tmp_path / "still.png")
    with pytest.raises(UserError, match=r"still\.png#0: is a still image without frames; leave out the #0"):
        read_image(tmp_path / "still.png#0")
    tilted = placed(ARRAY[..., 0])
    tilted.SetDirection((1.0, 0.0, 0.0, 0.0, 0.8, -0.6, 0.0, 0.6, 0.8))
    sitk.WriteImage(tilted, str(tmp_path / "volume.mha"))
    with pytest.raises(UserError, match=r"volume\.mha#1: the file is a volume oblique in space"):
        read_image(tmp_path / "volume.mha#1")
    with pytest.raises(UserError, match=r"has 4 axes .* or a frame of a series: .*cine\.nii\.gz#0"):
        read_image(cine)


@pytest.mark.parametrize("frame", ["", "x", "-1", "1.0", "¹", "1e3", "9999999999"])
def test_what_is_no_frame(frame: str, cine: Path) -> None:
    with pytest.raises(UserError, match=r"the text after # is not a frame; write a whole number, the first .*#0"):
        read_image(f"{cine}#{frame}")


def test_names_that_hold_the_sign_themselves(cine: Path) -> None:
    """The file of that very name comes first, and of several signs the last counts."""
    odd = shutil.copy(cine, cine.with_name("a#1.nii.gz"))
    np.testing.assert_array_equal(read_image(f"{odd}#2").array, ARRAY[..., 2])
    write_image(Image.from_array(ARRAY[..., 0]), cine.with_name("still.mha"))
    still = shutil.copy(cine.with_name("still.mha"), cine.with_name("cine.nii.gz#1"))
    assert split_frame(still) == (still, None)
    still.unlink()
    assert split_frame(still) == (cine, 1)
    folder = cine.parent / "series #3"
    folder.mkdir()
    assert split_frame(folder) == (folder, None)
    assert split_frame(Path(f"{folder}#7")) == (folder, 7)
    assert split_frame(Path(f"{folder}/#7")) == (folder, 7)  # as a shell completes a folder
    assert name_frame(folder, 7) == Path(f"{folder}#7")


def test_what_is_not_there(cine: Path) -> None:
    with pytest.raises(UserError, match=r"none\.nii\.gz#1: no such file; check the path"):
        read_image(cine.with_name("none.nii.gz#1"))
    with pytest.raises(UserError, match=r"#1: (no such file|is not a valid path)"):
        read_image(cine.with_name("x" * 300 + "#1"))


def test_fingerprints_tell_frames_apart_and_read_the_file_once(cine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints = Fingerprints()
    read = []
    monkeypatch.setattr("heteroreg.data.samples.fingerprint._sha256", lambda file: read.append(file) or "0")
    found = {prints.of(path) for path in (cine, name_frame(cine, 0), name_frame(cine, 1), name_frame(cine, 0))}
    assert len(found) == 3
    assert read == [cine]
    assert prints.hold(name_frame(cine, 1))
    cine.write_bytes(b"other")
    assert not prints.hold(name_frame(cine, 1))


def test_a_cache_of_images_tells_frames_apart(cine: Path) -> None:
    cache = ImageCache()
    first, second = (cache.image(name_frame(cine, t)).array for t in (0, 1))
    np.testing.assert_array_equal(first, ARRAY[..., 0])
    np.testing.assert_array_equal(second, ARRAY[..., 1])


def test_a_cohort_of_frames(cine: Path) -> None:
    pair = Pair("a", name_frame(cine, 0), name_frame(cine, 2), name_frame(cine, 0), name_frame(cine, 2))
    Cohort((pair,)).write(cine.parent / "cohorts" / "pairs.csv")
    (found,) = Cohort.read(cine.parent / "cohorts", confine=False)
    np.testing.assert_array_equal(read_image(found.fixed).array, ARRAY[..., 2])
    with pytest.raises(UserError, match=r"'\.\./cine\.nii\.gz#0' lies outside the folder of the confined cohort"):
        Cohort.read(cine.parent / "cohorts", confine=True)
    require_inside(cine.parent, "cine.nii.gz#0", "here")
    for name in ("clip.dcm", "IM0001"):  # DICOM by its ending, or by its first bytes
        (cine.parent / name).write_bytes(b"\0" * 128 + b"DICM")
        require_inside(cine.parent, f"{name}#0", "here")
        with pytest.raises(UserError, match="outside"):
            require_inside(cine.parent / "cohorts", f"../{name}#0", "here")
    (cine.parent / "IM0002").write_text("no DICOM")
    with pytest.raises(UserError, match=r"'IM0002#0' has none of the endings .* and is not DICOM"):
        require_inside(cine.parent, "IM0002#0", "here")


def test_two_frames_of_a_file_in_two_splits_are_a_leak(cine: Path) -> None:
    pairs = [
        Pair(name, name_frame(cine, number), name_frame(cine, 2), split=split)
        for name, number, split in (("a", 0, "train"), ("b", 1, "test"))
    ]
    texts = [finding.text for finding in check(Cohort(tuple(pairs)))]
    assert f"{cine} is in the splits test and train: keep an image in one split" in texts
