"""A short training on real hearts: from the files to a Dice that only a working registration reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import heteroreg as hr
from heteroreg.data.image import read_image, read_labels
from heteroreg.registration.classical import Undeformed

MYOCARDIUM = 2


@pytest.fixture(
    scope="module",
    params=[("voxelmorph-half", 120), pytest.param(("voxelmorph", 250), marks=pytest.mark.long)],
    ids=lambda case: f"{case[0]}-{case[1]}",
)
def run(request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> hr.Run:
    """A small part of a real training, of the method that the package recommends."""
    network, steps = request.param
    return hr.train(
        real_data / "mnms",
        tmp_path_factory.mktemp("runs") / "hetero",
        method="hetero",
        network=network,
        steps=steps,
        validate_every=steps,
    )


def mean_dice(scores: hr.Scores) -> float:
    return float(scores.summary["metrics"][f"dice_{MYOCARDIUM}"]["mean"])


def test_undeformed_has_the_known_dice(real_data: Path) -> None:
    scores = hr.evaluate(Undeformed(), hr.Cohort.read(real_data / "mnms").split("test"))
    assert mean_dice(scores) == pytest.approx(0.4305, abs=5e-4)


@pytest.mark.slow
def test_training_improves_the_test_patients(real_data: Path, run: hr.Run, tmp_path: Path) -> None:
    """Far above the undeformed 0.43, and far below what the whole training reaches."""
    scores = hr.evaluate(
        hr.load(run.folder), hr.Cohort.read(real_data / "mnms").split("test"), out=tmp_path / "scores"
    )
    assert mean_dice(scores) > 0.55
    assert scores.summary["metrics"]["folding_percent"]["mean"] < 0.1
    assert len(scores.table) == 206  # the slices of the 20 patients


@pytest.mark.slow
def test_another_grid_spacing_and_numbering(real_data: Path, run: hr.Run, tmp_path: Path) -> None:
    """The native ACDC patient: 256x216 at 1.41 mm, where training saw 128x128 at 1.25 mm."""
    frames = real_data / "acdc-native" / "patient005"
    moving, fixed = frames / "patient005_frame01.nii.gz", frames / "patient005_frame13.nii.gz"
    labels, truth = (
        read_labels(frames / f"patient005_frame{n}_gt.nii.gz").array == MYOCARDIUM for n in ("01", "13")
    )
    registration = hr.load(run.folder).register(moving, fixed, frames / "patient005_frame01_gt.nii.gz")
    assert registration.moved_labels is not None
    moved = registration.moved_labels.array == MYOCARDIUM

    def dice(mask: np.ndarray) -> float:
        return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))

    assert dice(labels) == pytest.approx(0.536, abs=1e-3)
    assert dice(moved) > 0.65

    registration.save(tmp_path / "out")
    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    source, like = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed))
    again = sitk.Resample(source, like, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    expected = sitk.GetArrayFromImage(again).T
    saved = read_image(tmp_path / "out" / "moved.nii.gz").array
    assert np.abs(saved - expected)[4:-4, 4:-4].max() < 1e-3 * np.ptp(expected)


def test_the_model_that_comes_along_has_learned_from_phantoms_what_holds_for_hearts(real_data: Path) -> None:
    scores = hr.evaluate(hr.load("phantom", device="cpu"), hr.Cohort.read(real_data / "mnms").split("val"))
    assert mean_dice(scores) > 0.78  # undeformed 0.47; trained on these hearts 0.81
