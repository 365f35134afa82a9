"""What `check` finds, on cohorts that each have one thing wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.check import check
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.findings import Finding, lines
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image


def write(path: Path, array: np.ndarray, **grid: tuple[float, ...]) -> Path:
    plain = Grid.of_shape(array.shape, 1.0)
    placed = Grid(plain.shape, plain.spacing, grid.get("origin", plain.origin), plain.direction)
    write_image(Image(array, placed), path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 20), np.uint8)
    labels[5:10, 5:10] = 1
    return Pair(
        id="one",
        moving=write(tmp_path / "m.nii.gz", rng.random((20, 20), np.float32)),
        fixed=write(tmp_path / "f.nii.gz", rng.random((20, 20), np.float32)),
        moving_labels=write(tmp_path / "ml.nii.gz", labels),
        fixed_labels=write(tmp_path / "fl.nii.gz", labels),
        split="train",
    )


def findings(*pairs: Pair) -> list[tuple[str, str, str]]:
    return [
        (found.level, found.pair, found.text)
        for found in check(Cohort(pairs))
        if "is empty: no" not in found.text and "far apart" not in found.text
    ]


def only(pair: Pair, level: str, text: str) -> None:
    ((found, name, message),) = findings(pair)
    assert (found, name) == (level, "one")
    assert text in message


def test_a_sound_pair(pair: Pair) -> None:
    assert findings(pair) == []


def test_same_image_twice(pair: Pair) -> None:
    write(pair.moving, np.asarray(np.arange(400, dtype=np.float32).reshape(20, 20)))
    write(pair.fixed, np.asarray(np.arange(400, dtype=np.float32).reshape(20, 20)))
    only(pair, "problem", "are the same image")


def test_no_overlap_in_space(pair: Pair) -> None:
    write(pair.moving, np.random.default_rng(1).random((20, 20), np.float32), origin=(100.0, 0.0))
    write(pair.moving_labels or Path(), np.ones((20, 20), np.uint8), origin=(100.0, 0.0))
    only(pair, "problem", "do not overlap")


def test_another_grid_is_resampled(pair: Pair) -> None:
    write(pair.moving, np.random.default_rng(1).random((20, 20), np.float32), origin=(3.0, 0.0))
    labels = np.zeros((20, 20), np.uint8)
    labels[5:10, 5:10] = 1
    write(pair.moving_labels or Path(), labels, origin=(3.0, 0.0))
    only(pair, "note", "is resampled")


def test_empty_labels(pair: Pair) -> None:
    write(pair.fixed_labels or Path(), np.zeros((20, 20), np.uint8))
    only(pair, "problem", "every voxel is 0")


def test_labels_in_one_map_only(pair: Pair) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:10, 5:10] = 1
    labels[0, 0] = 4
    write(pair.fixed_labels or Path(), labels)
    only(pair, "note", "labels 4 are in only one")


def test_another_contrast(pair: Pair) -> None:
    rng = np.random.default_rng(2)
    write(pair.moving, rng.random((20, 20), np.float32) ** 8)  # mean 1/9
    write(pair.fixed, 1 - rng.random((20, 20), np.float32) ** 8)  # mean 8/9
    only(pair, "note", "do they have the same contrast?")


def test_small_image(pair: Pair) -> None:
    rng = np.random.default_rng(0)
    labels = np.ones((20, 12), np.uint8)
    write(pair.moving, rng.random((20, 12), np.float32))
    write(pair.fixed, rng.random((20, 12), np.float32))
    write(pair.moving_labels or Path(), labels)
    write(pair.fixed_labels or Path(), labels)
    assert [level for level, _, text in findings(pair) if "will be padded" in text] == ["note", "note"]


def test_labels_of_one_image_only(pair: Pair) -> None:
    half = Pair(pair.id, pair.moving, pair.fixed, moving_labels=pair.moving_labels, split="train")
    only(half, "note", "only one of the two images has labels")


def test_patient_in_two_splits(pair: Pair, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    other = Pair(
        id="two",
        moving=write(tmp_path / "m2.nii.gz", rng.random((20, 20), np.float32)),
        fixed=pair.fixed,
        split="test",
        patient="one",
    )
    texts = [text for level, _, text in findings(pair, other) if level == "problem"]
    assert any("patient one is in the splits test and train" in text for text in texts)
    assert any("f.nii.gz is in the splits test and train" in text for text in texts)


def test_splits(pair: Pair) -> None:
    without = Pair(pair.id, pair.moving, pair.fixed)
    assert check(Cohort((without,)))[0].text.startswith("no pair has a split")
    tested = Pair(pair.id, pair.moving, pair.fixed, split="test")
    found = check(Cohort((tested,)))
    assert [(one.level, one.text.split(":")[0]) for one in found] == [
        ("note", "the split 'train' is empty"),  # it is for evaluation
        ("note", "the split 'val' is empty"),
    ]


def test_an_initial_alignment_that_cannot_be_used(pair: Pair, tmp_path: Path) -> None:
    only(replace(pair, initial=tmp_path / "none.tfm"), "problem", "none.tfm: no such file")
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "shift.tfm"))
    only(replace(pair, initial=tmp_path / "shift.tfm"), "problem", "the initial alignment has 3")


def test_pairs_that_start_far_apart(tmp_path: Path) -> None:
    """A square of 5 voxels whose centres are 9.1 mm apart by the headers, and 1 mm centre to centre."""
    labels = [np.zeros((20, 20), np.uint8) for _ in range(2)]
    labels[0][5:10, 5:10] = labels[1][6:11, 5:10] = 1
    files = {}
    for side, array, origin in (("moving", labels[0], (0.0, 9.0)), ("fixed", labels[1], (0.0, 0.0))):
        image = array + np.linspace(0, 1, 20, dtype=np.float32)
        files[side] = write(tmp_path / f"{side}.nii.gz", image, origin=origin)
        files[f"{side}_labels"] = write(tmp_path / f"{side}_labels.nii.gz", array, origin=origin)
    (far,) = [found.text for found in check(Cohort((Pair("one", **files),))) if "far apart" in found.text]
    assert far.startswith("1 of 1 labelled pairs start far apart, such as one: the labels of moving and fixed lie ")
    assert "lie 9.1 mm from each other (median), 0.9 mm with `--initial mass`" in far  # √(9² + 1²)


def test_label_maps_in_place_of_images(pair: Pair) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:10, 5:10] = 1
    write(pair.moving, labels)
    write(pair.fixed, labels.T * 2)
    texts = [text for level, _, text in findings(pair) if level == "problem"]
    assert [text.split(": ")[1] for text in texts] == [
        "looks like a label map, it holds the values 0, 1 alone; name the image",
        "looks like a label map, it holds the values 0, 2 alone; name the image",
    ]


@pytest.mark.parametrize(("split", "level"), [("train", "note"), ("test", "problem")])
def test_the_same_image_under_two_ids(pair: Pair, tmp_path: Path, split: str, level: str) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(pair.moving.read_bytes())
    other = write(tmp_path / "other.nii.gz", np.random.default_rng(7).random((20, 20), np.float32))
    ((found, name, text),) = findings(pair, Pair("two", copy, other, split=split))
    assert (found, name) == (level, "two")
    assert "copy.nii.gz: has the same voxels as " in text
    assert "m.nii.gz of the pair one" in text


def test_names_that_share_a_stem_across_splits(pair: Pair, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pairs = [
        Pair(
            id=name,
            moving=write(tmp_path / f"{name}m.nii.gz", rng.random((20, 20), np.float32)),
            fixed=write(tmp_path / f"{name}f.nii.gz", rng.random((20, 20), np.float32)),
            split=split,
        )
        for name, split in (("p1_2CH", "train"), ("p1_4CH", "test"), ("p2_2CH", "train"), ("p2_4CH", "train"))
    ]
    ((level, _, text),) = findings(*pairs)
    assert level == "note"
    assert text.startswith("p1_2CH, p1_4CH have the name p1 in common and are in the splits test and train")


def test_equal_notes_are_one_line() -> None:
    notes = [
        Finding("note", f"p{k}", f"/data/p{k}.nii.gz: has the shape (12, {k}); it is padded") for k in range(5)
    ]
    found = [Finding("problem", "p1", "a.nii: bad"), *notes, Finding("problem", "p2", "a.nii: bad")]
    assert [line for _, line in lines(found)] == [
        "problem: p1: a.nii: bad",
        "note: 5 pairs (p0, p1, p2, …): /data/p0.nii.gz: has the shape (12, 0); it is padded",
        "problem: p2: a.nii: bad",
    ]
