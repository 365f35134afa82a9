"""Inputs that look right and are not: each command says so, or gives the right value."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from tests.cli.conftest import Command

import heteroreg as hr
from heteroreg import load
from heteroreg.data.image import read_image, read_labels, write_image

# Voxels of 1.5 x 1.5 x 8 mm, x and y of NIfTI pointing as those of ITK.
PLACE = np.diag([-1.5, -1.5, 8, 1])
HAS_ELASTIX = find_spec("itk") is not None
X, Y = np.mgrid[:64, :64]
DISTANCE = np.hypot(X - 32, Y - 32)


def heart(radius: float, slices: int = 4) -> NDArray[np.uint8]:
    """Return the label map of a cavity, 3, in a ring of 5 voxels, 2."""
    labels = np.where(radius > DISTANCE, 3, np.where(radius + 5 > DISTANCE, 2, 0))
    return np.repeat(labels[..., None], slices, axis=2).astype(np.uint8)


def picture(labels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.int16]:
    """Return an image of a label map, with texture and noise."""
    texture = 15 * np.sin(X / 7)[..., None] + np.random.default_rng(seed).normal(0, 3, labels.shape)
    return (np.choose(labels, [60, 0, 90, 220]) + texture).astype(np.int16)


def save(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = PLACE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def table(path: Path, *rows: str, columns: str = "id,moving,fixed,moving_labels,fixed_labels,split") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def dice(a: NDArray[np.generic], b: NDArray[np.generic], label: int) -> float:
    return float(2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum()))


def test_images_that_do_not_overlap_end_every_command(command: Command, tmp_path: Path) -> None:
    far = PLACE.copy()
    far[0, 3] = 400
    for name, radius, affine in (("ED", 15, far), ("ES", 11, PLACE)):
        save(tmp_path / f"{name}.nii.gz", picture(heart(radius)), affine)
        save(tmp_path / f"{name}_gt.nii.gz", heart(radius), affine)
    cohort = table(tmp_path / "pairs.csv", "a,ED.nii.gz,ES.nii.gz,ED_gt.nii.gz,ES_gt.nii.gz,train")
    pair = (tmp_path / "ED.nii.gz", tmp_path / "ES.nii.gz")
    out = tmp_path / "out"
    for arguments in (
        ("register", *pair, "--moving-labels", tmp_path / "ED_gt.nii.gz"),
        *[("register", *pair, "--model", name) for name in ("undeformed", "elastix")[: 1 + HAS_ELASTIX]],
        ("train", cohort, "--steps", "2"),
        ("evaluate", cohort, "--split", "all", "--model", "phantom"),
        ("evaluate", cohort, "--split", "all", "--model", "undeformed"),
    ):
        code, _, said = command(*arguments, "--out", out)
        assert code == 2, arguments
        assert "do not overlap in space" in said
        assert not (out / "scores.csv").exists()
        assert not (out / "moved.nii.gz").exists()
        assert not (out / "checkpoints").exists()
    code, _, said = command("register", cohort, "--out", tmp_path / "many")
    assert code == 2
    rows = pd.read_csv(tmp_path / "many" / "registrations.csv")
    assert "do not overlap in space" in rows["error"].item()
    assert command("check", cohort)[0] == 1


def test_a_cine_of_label_maps_is_scored_frame_by_frame(command: Command, tmp_path: Path) -> None:
    radii = (15, 14, 12, 11, 12, 14)
    maps = [heart(radius) for radius in radii]
    save(tmp_path / "cine.nii.gz", np.stack([picture(one, k) for k, one in enumerate(maps)], -1))
    save(tmp_path / "gt.nii.gz", np.stack(maps, -1))
    wrong = table(tmp_path / "wrong.csv", "p1,cine.nii.gz#0,cine.nii.gz#3,gt.nii.gz,gt.nii.gz,test")
    right = table(tmp_path / "right.csv", "p1,cine.nii.gz#0,cine.nii.gz#3,gt.nii.gz#0,gt.nii.gz#3,test")
    images = (tmp_path / "cine.nii.gz#0", tmp_path / "cine.nii.gz#3")
    out = tmp_path / "out"
    for arguments in (
        ("register", *images, "--model", "undeformed", "--moving-labels", tmp_path / "gt.nii.gz"),
        ("evaluate", wrong, "--model", "undeformed"),
    ):
        code, _, said = command(*arguments, "--out", out)
        assert code == 2
        assert "has 4 axes and values other than 0 and 1" in said
        assert "gt.nii.gz#0" in said
        assert not out.exists()
    code, found, _ = command("check", wrong)
    assert code == 1
    assert "gt.nii.gz#0" in found
    assert command("evaluate", right, "--model", "undeformed", "--out", out)[0] == 0
    scores = pd.read_csv(out / "scores.csv")
    # A disc of 15 beside one of 11 inside it, and rings of 15 to 20 and of 11 to 16.
    for label in (2, 3):
        assert scores[f"dice_{label}"].mean() == pytest.approx(dice(maps[0], maps[3], label))
    assert dice(maps[0], maps[3], 3) == pytest.approx(2 * 11**2 / (11**2 + 15**2), abs=0.01)
    labelled = ("register", *images, "--model", "undeformed", "--moving-labels", tmp_path / "gt.nii.gz#0")
    assert command(*labelled, "--out", tmp_path / "registered")[0] == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "registered" / "moved_labels.nii.gz").array, maps[0])


def test_a_position_that_a_coregistration_wrote_is_named(command: Command, tmp_path: Path) -> None:
    """The sform of the moving image lies 25 and 18 mm from its qform: √(25² + 18²) = 31 mm."""
    for name, radius in (("ED", 15), ("ES", 11)):
        image = nib.Nifti1Image(picture(heart(radius)), PLACE)
        image.set_sform(PLACE, 2)
        image.set_qform(PLACE + (name == "ED") * np.array([[0, 0, 0, 25], [0, 0, 0, -18], [0] * 4, [0] * 4]), 1)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    save(tmp_path / "gt.nii.gz", heart(15))
    cohort = table(tmp_path / "pairs.csv", "p1,ED.nii.gz,ES.nii.gz", columns="id,moving,fixed")
    line = "its qform and sform differ by 31 mm; ITK's choice, the qform, is used; --nifti-frame sform"
    code, found, _ = command("check", cohort)
    assert code == 0
    assert line in found
    pair = ("register", tmp_path / "ED.nii.gz", tmp_path / "ES.nii.gz")
    code, _, said = command(*pair, "--out", tmp_path / "q")
    assert code == 0
    assert line in said
    labels = ("--nifti-frame", "sform", "--moving-labels", tmp_path / "gt.nii.gz")
    code, _, said = command(*pair, *labels, "--out", tmp_path / "s")
    assert code == 0
    assert "differ" not in said
    assert dice(read_labels(tmp_path / "s" / "moved_labels.nii.gz").array, heart(11), 3) > 0.95


def test_slices_kept_as_volumes_of_one_slice_are_trained_in_2d(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for p in range(3):
        for name, radius in (("ED", 15 + p / 3), ("ES", 11 + p / 3)):
            save(folder / f"p{p}_{name}.nii.gz", picture(heart(radius, 1), p), np.eye(4))
    assert command("import", "folder", folder, tmp_path / "c")[0] == 0
    assert command("train", tmp_path / "c", "--steps", "2", "--out", tmp_path / "run", "--quiet")[0] == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["dims"] == 2
    assert config["size"] == [64, 64]


def test_padding_outside_a_round_field_of_view_changes_little() -> None:
    """CT pads with -2000; within the circle the bundled model finds what it finds without."""
    x, y = np.mgrid[:96, :96]
    distance = np.hypot(x - 48, y - 48)
    outside = (distance > 48)[..., None].repeat(2, axis=2)

    def make(radius: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        labels = np.where(radius > distance, 3, np.where(radius + 6 > distance, 2, 0))[..., None].repeat(2, axis=2)
        values = np.choose(labels, [60, 0, 90, 220]) + 15 * np.sin(x / 7)[..., None] - 1024
        return values + np.random.default_rng(seed).normal(0, 5, labels.shape), labels

    (moving, labels), (fixed, truth) = make(15, 1), make(11, 2)
    model = load("phantom", device="cpu")
    scores = []
    for padding in (None, -2000.0):
        images = [one if padding is None else np.where(outside, padding, one) for one in (moving, fixed)]
        moved = model.register(*images, labels, spacing=(1.5, 1.5, 8)).moved_labels
        assert moved is not None
        scores.append([dice(moved.array, truth, label) for label in (2, 3)])
    assert np.subtract(scores[0], [dice(labels, truth, label) for label in (2, 3)]).min() > 0.1  # it registers
    np.testing.assert_allclose(scores[1], scores[0], atol=0.03)


def test_what_is_filled_in_outside_can_be_the_smallest_value(command: Command, tmp_path: Path) -> None:
    image = hr.Image.from_array(np.random.default_rng(0).uniform(-1000, 300, (16, 16)), spacing=1.5)
    write_image(image, tmp_path / "ct.nii.gz")
    vectors = np.zeros((2, 16, 16), np.float32)
    vectors[0] = 20  # everything comes from outside
    hr.Field(vectors, image.grid).write(tmp_path / "u.nii.gz")
    warp = ("warp", tmp_path / "ct.nii.gz", "--transform", tmp_path / "u.nii.gz", "--out", tmp_path / "w.nii.gz")
    smallest = float(read_image(tmp_path / "ct.nii.gz").array.min())
    for option, value in (([], 0), (["--outside", "-1024"], -1024), (["--outside", "minimum"], smallest)):
        code, _, text = command(*warp, *option)
        assert code == 0, text
        assert (read_image(tmp_path / "w.nii.gz").array == np.float32(value)).all()
    for outside, value in ((-1024, -1024), ("minimum", image.array.min())):
        assert (hr.warp(image, tmp_path / "u.nii.gz", outside=outside).array == np.float32(value)).all()
    with pytest.raises(hr.UserError, match="outside: dark is neither a number nor `minimum`"):
        hr.warp(image, tmp_path / "u.nii.gz", outside="dark")
    code, _, text = command(*warp, "--outside", "dark")
    assert (code, text.count("\n")) == (2, 1)
    assert "--outside: dark is neither a number nor `minimum`" in text
