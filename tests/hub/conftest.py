"""An evaluation of the small run, with patients and columns that must not be published."""

from __future__ import annotations

from pathlib import Path

import pytest

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.training import Run


@pytest.fixture(scope="session")
def scores_2d(run_2d: Run, cohort_2d: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test split, scored, with the name of a patient in it."""
    folder = tmp_path_factory.mktemp("scores") / "two"
    scores = hr.evaluate(hr.load(run_2d.folder, device="cpu"), cohort_2d.split("test"), gallery=0)
    table = scores.table.assign(patient=["Doe^Jane", "Roe^Richard"], ward_name="/home/jane/scanner")
    hr.Scores(table, scores.summary, scores.sparsification).save(folder)
    return folder
