"""The model card: its figures are those of the run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from heteroreg.data.cohort import Cohort
from heteroreg.evaluation import Scores
from heteroreg.hub.card import card
from heteroreg.training import Run


def figures(text: str, title: str) -> str:
    (value,) = re.findall(rf"^\| {re.escape(title)} \| (.*?) \| \d+ \|$", text, re.MULTILINE)
    return value


@pytest.fixture
def run(run_2d: Run, tmp_path: Path) -> Run:
    """A copy to change."""
    shutil.copytree(run_2d.folder, tmp_path / "run")
    return Run.read(tmp_path / "run")


def test_the_head_is_yaml(run: Run, scores_2d: Path) -> None:
    _, head, body = card(run, 20, Scores.read(scores_2d), "me/x", licence="CC-BY-4.0").split("---\n", 2)
    metadata = yaml.safe_load(head)
    (index,) = metadata.pop("model-index")
    assert index["name"] == "hetero, pyramid, 2D"
    (result,) = index["results"]
    assert result["dataset"] == {"name": "the author's cohort", "type": "own", "split": "test"}
    means = Scores.read(scores_2d).per_patient().mean()
    assert {"name": "Dice (%) ↑, label 1", "type": "dice", "value": round(100 * means["dice_1"], 2)} in result[
        "metrics"
    ]
    assert metadata == {
        "library_name": "heteroreg",
        "license": "cc-by-4.0",
        "tags": ["image-registration", "medical-imaging", "deformable-registration", "2d", "pyramid", "hetero"],
        "metrics": ["dice", "jaccard", "hd", "hd95", "asd", "assd", "epe"],
    }
    assert "heteroreg pull me/x model" in body
    head = card(run, 20, None, "me/x", licence="Hospital: internal\nuse").split("---\n", 2)[1]
    assert yaml.safe_load(head)["license"] == "other"
    assert yaml.safe_load(head)["license_name"] == "Hospital: internal use"


def test_labels_have_their_names(run: Run, scores_2d: Path) -> None:
    scores = Scores.read(scores_2d)
    named = Scores(scores.table, scores.summary | {"label_names": {"1": "left | ventricle"}})
    text = card(run, 20, named, "me/x")
    assert figures(text, r"Dice (%) ↑, left \| ventricle") == figures(
        card(run, 20, scores, "me/x"), "Dice (%) ↑, label 1"
    )


def test_scores_are_means_over_patients(run: Run, scores_2d: Path) -> None:
    """Patients of 0.70 (rows 0.60, 0.80) and 0.90: mean 0.80, sd √(2 · 0.1²) = 0.1414."""
    scores = Scores.read(scores_2d)
    rows = pd.concat([scores.table.iloc[[0]]] * 2 + [scores.table.iloc[[1]]], ignore_index=True)
    rows["dice_2"], rows["hd_2"], rows["coverage_68"] = [0.6, 0.8, 0.9], [1.0, 3.0, float("nan")], [0.5, 0.5, 0.7]
    text = card(run, 20, Scores(rows, scores.summary), "me/x")
    assert figures(text, "Dice (%) ↑, label 2") == "80.00 ± 14.14"
    assert figures(text, "HD (mm) ↓, label 2") == "2.00"  # one patient has it
    assert "60 % of the differences" in text
    assert "2 patients, split `test`" in text
    rows["dice_2"] = [0.5, 0.7, 0.9]
    assert figures(card(run, 20, Scores(rows, scores.summary), "me/x"), "Dice (%) ↑, label 2") == "75.00 ± 21.21"
    voxels = Scores(rows, {**scores.summary, "mode": "reference"})
    assert figures(card(run, 20, voxels, "me/x"), "HD (voxels) ↓, label 2") == "2.00"


def test_settings_step_and_hours_are_those_of_the_run(run: Run) -> None:
    table = pd.read_csv(run.folder / "metrics.csv")
    table["seconds"] = [float(n) for n in range(len(table) - 1)] + [5400.0]
    table.to_csv(run.folder / "metrics.csv", index=False)
    changed = Run(run.folder, run.config.model_copy(update={"smoothness": 0.123, "gamma": 0.77, "seed": 91}))
    text = card(changed, 4321, None, "me/x")
    for line in ("| smoothness (λ) | 0.123 |", "| gamma (γ) | 0.77 |", "| seed | 91 |", "| steps | 60 |"):
        assert line in text
    assert "that of step 4321" in text
    assert "Training took 1.50 hours" in text
    (run.folder / "metrics.csv").unlink()
    assert "hours" not in card(run, 20, None, "me/x")


def test_splits_are_those_of_the_cohort(run: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    assert cohort_2d.name == run.config.cohort
    text = card(run, 20, None, "me/x")
    for line in ("| train | 5 | 5 |", "| val | 1 | 1 |", "| test | 2 | 2 |"):
        assert line in text
    (tmp_path / "pairs.csv").write_text("id,moving,fixed,patient\na,m,f,p\nb,m,f,p\n")
    moved = Run(run.folder, run.config.model_copy(update={"cohort": str(tmp_path / "pairs.csv")}))
    assert "| train | 2 | 1 |" in card(moved, 20, None, "me/x")
    gone = Run(run.folder, run.config.model_copy(update={"cohort": str(tmp_path / "gone.csv")}))
    assert "the number of training pairs is unknown" in card(gone, 20, None, "me/x")
    assert str(tmp_path) not in card(gone, 20, None, "me/x")


def test_what_is_not_given_is_said(run: Run) -> None:
    text = card(run, 20, None, "me/x")
    assert "license" not in text.split("---\n", 2)[1]
    for sentence in ("No licence is given", "did not state", "None were published", "not a medical device"):
        assert sentence in text
    assert "There are no scores of test pairs here" in text


def test_scores_of_other_pairs_are_no_scores_of_test_pairs(run: Run, scores_2d: Path) -> None:
    scores = Scores.read(scores_2d)
    assert "no scores of test pairs" not in card(run, 20, scores, "me/x")
    on_training = Scores(scores.table, {**json.loads(json.dumps(scores.summary)), "split": "train"})
    assert "no scores of test pairs" in card(run, 20, on_training, "me/x")


def test_what_a_user_writes_stays_text(run: Run) -> None:
    text = card(run, 20, None, "me/x", data="<script>\n---\n# {{ 7 + 7 }} | x", licence="mine <b>")
    assert "<script>" not in text.replace("\\<script", "")
    assert "\n# {{" not in text
    assert "{{ 7 + 7 }}" in text
    assert "mine \\<b\\>" in text
