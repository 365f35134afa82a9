from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.time_to_accuracy import compared, convergence, elapsed, published_seconds, smallest

from benchmarks import time_to_accuracy
from heteroreg import Cohort

METRICS = pd.DataFrame(
    {
        "step": [10, 20, 30, 40, 50],
        "seconds": [5.0, 10.0, 4.0, 9.0, 2.0],  # resumed after 20 and after 40
        "val_dice": [None, 0.5, 0.7985, 0.79, 0.8],
    }
)


def test_seconds_of_a_resumed_run_go_on() -> None:
    assert elapsed(METRICS).tolist() == [5, 10, 14, 19, 21]


def test_convergence_is_the_first_step_near_the_best() -> None:
    assert convergence(METRICS) == (30, 14)  # 0.7985 is within 0.002 of 0.8


def test_budgets_are_set_against_the_converged_recipe() -> None:
    rows = [
        {"method": "mse", "steps": 300, "test": 0.80, "seconds": 30.0},
        {"method": "mse", "steps": 100, "test": 0.78, "seconds": 10.0},
        {"method": "mse", "steps": 200, "test": 0.81, "seconds": 20.0},
        {"method": "hetero", "steps": 200, "test": 0.78, "seconds": 20.0},
    ]
    published = {"test": 0.80, "converged_step": 1000, "converged_seconds": 400.0}
    compared(rows, published, {"as published": 0.8, "as published, `mse` alone": 0.5})
    assert [row["reaches"] for row in rows] == [True, False, True, False]
    found = smallest(rows, "mse")
    assert found is not None
    assert (found["steps"], found["larger_too"]) == (200, True)
    # 400 s, 1000 · 0.8 s and 1000 · 0.5 s, over 20 s
    assert (found["over_same"], found["over_published"], found["over_published_mse"]) == (20, 40, 25)
    assert smallest(rows, "hetero") is None


def test_a_benchmark_at_tiny_sizes_gives_no_time(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    row = {"case": "2D 128×128, batch 8", "variant": "as published", "ms": 800.0}
    rows = [row, row | {"variant": "as published, `mse` alone", "ms": 200.0}]
    path.write_text(json.dumps({"quick": False, "step": rows}))
    assert published_seconds(path) == {"as published": 0.8, "as published, `mse` alone": 0.2}
    path.write_text(json.dumps({"quick": True, "step": rows}))
    with pytest.raises(SystemExit, match="has no step of 2D"):
        published_seconds(path)
    assert published_seconds(None) == {}


def test_a_short_study_goes_on_where_it_was(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--budgets", "4", "--methods", "mse", "--published-steps", "250", "--set", "batch_size=2"]
    monkeypatch.setattr(sys, "argv", ["time", cohort_2d.name, str(tmp_path), *arguments])
    monkeypatch.setattr(time_to_accuracy, "RECIPE", time_to_accuracy.RECIPE | {"batch_size": 1})
    time_to_accuracy.main()
    assert "| `mse` | 4 |" in capsys.readouterr().out
    results = json.loads((tmp_path / "time.json").read_text())
    assert results["accuracy"]["published"]["converged_step"] == 250
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "time.json"}
    assert any(path.parts[-2:] == ("mse-4-seed0-batch_size=2", "config.yaml") for path in files)
    time_to_accuracy.main()
    assert {p: p.stat().st_mtime_ns for p in files} == files
