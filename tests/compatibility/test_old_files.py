"""Files that earlier versions wrote: they load, and the scores of old models have not changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

import heteroreg as hr
from heteroreg.comparison import compare
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation import Scores
from heteroreg.hub import pull
from heteroreg.registration.model import ModelRegistrar
from heteroreg.training import Run

OLD = Path(__file__).with_name("0.1.0")


@pytest.fixture(scope="module")
def cohort() -> hr.Cohort:
    return hr.Cohort.read(OLD / "cohort")


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return pull(str(OLD / "shared"), tmp_path_factory.mktemp("old") / "hetero")


def test_the_phantom_of_a_seed_has_not_changed(tmp_path: Path) -> None:
    new = write_phantom(tmp_path / "cohort", pairs=4, dims=2, size=32, seed=5)
    assert new is not None
    assert (tmp_path / "cohort/pairs.csv").read_text() == (OLD / "cohort/pairs.csv").read_text()
    files = sorted(path.name for path in (OLD / "cohort").glob("*.nii.gz"))
    assert len(files) == 4 * 7
    for name in files:
        ours, theirs = (sitk.ReadImage(folder / "cohort" / name) for folder in (tmp_path, OLD))
        assert ours.IsSameImageGeometryAs(theirs, 0.0, 0.0)
        assert ours.GetPixelID() == theirs.GetPixelID()
        arrays = map(sitk.GetArrayFromImage, (ours, theirs))
        # Processors differ in the last bit of exp and sin.
        np.testing.assert_allclose(*arrays, rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_cohort(cohort: hr.Cohort) -> None:
    assert [pair.split for pair in cohort] == ["train", "train", "val", "test"]
    assert all(pair.labelled for pair in cohort)


def test_a_run() -> None:
    run = Run.read(OLD / "runs/hetero-z")
    assert (run.config.method, run.config.network, run.config.steps) == ("hetero-z", "voxelmorph-half", 10)
    assert run.config.kernel == 0.0  # the setting is younger
    assert run.metrics["step"].tolist() == [5, 10]


def assert_same(new: pd.DataFrame, old: Scores) -> None:
    assert new[["id", "patient"]].to_numpy().tolist() == old.table[["id", "patient"]].to_numpy().tolist()
    names = [name for name in old.metrics if name != "seconds"]
    assert len(names) > 30
    for name in names:
        # Bit by bit the same with one and two threads; the tolerance is for other processors' sums of float64.
        ours, theirs = (table[name].to_numpy(float) for table in (new, old.table))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("method", ["hetero", "hetero-z"])
def test_the_scores_of_an_old_model(method: str, cohort: hr.Cohort, shared_run: Run) -> None:
    run = shared_run if method == "hetero" else Run.read(OLD / "runs" / method)
    scores = hr.evaluate(ModelRegistrar(run, device="cpu", precision="32-true"), cohort, gallery=0)
    assert_same(scores.table, Scores.read(OLD / "evaluations" / method))


def test_an_evaluation() -> None:
    scores = Scores.read(OLD / "evaluations/hetero-z")
    assert scores.summary["counts"]["pairs"] == len(scores.table) == 4
    assert scores.sparsification is not None
    assert len(scores.cases) == 2
    assert len(scores.stacks) == 4
    assert all(np.isfinite(case.fixed).all() for case in scores.cases)


def test_a_shared_model_with_its_scores(shared_run: Run) -> None:
    assert_same(
        Scores.read(shared_run.folder / "scores").table.assign(
            **Scores.read(OLD / "evaluations/hetero").table[["id", "patient"]]
        ),
        Scores.read(OLD / "evaluations/hetero"),
    )


def test_a_comparison(tmp_path: Path) -> None:
    """Old evaluations are compared as they were: every mean, interval and p-value."""
    shutil.copytree(OLD / "evaluations", tmp_path / "evaluations")
    comparison = compare([tmp_path / "evaluations/hetero", tmp_path / "evaluations/hetero-z"])
    comparison.save(tmp_path / "comparison")
    old, new = (pd.read_csv(folder / "comparison/table.csv") for folder in (OLD, tmp_path))
    pd.testing.assert_frame_equal(new, old, rtol=1e-9)
