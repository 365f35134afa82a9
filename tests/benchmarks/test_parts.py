"""`hetero` with other parts at a tiny size: each part is what it says, and the table has a row for each."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from benchmarks import parts
from heteroreg.data.cohort import Cohort
from heteroreg.methods import METHODS, Method


def test_the_first_row_is_hetero_itself_and_the_others_are_not() -> None:
    moved, fixed = torch.rand(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    makers = {"method": METHODS["hetero"]} | {
        name: Method(name, part.summary, part.objective) for name, part in parts.PARTS.items()
    }
    losses = {}
    for name, method in makers.items():
        torch.manual_seed(0)
        objective = method.make(2, gamma=0.25, beta=0.5)
        for parameter in objective.parameters():  # at first all maps are constant
            torch.nn.init.normal_(parameter, std=0.1)
        losses[name] = float(objective(moved, fixed).displacement)
    assert losses.pop("method") == losses["hetero"]
    assert len({round(loss, 6) for loss in losses.values()}) == len(parts.PARTS)


@pytest.mark.slow
def test_the_command(
    cohort_2d: Cohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--smoothness", "0.001", "0.1", "--seeds", "0", "1", "--steps", "2", "--size", "32"]
    options += ["--parts", "hetero", "hetero mean"]
    with patch.dict(METHODS):
        for more in (["--only", "hetero mean"], []):
            monkeypatch.setattr(sys, "argv", ["parts", cohort_2d.name, str(tmp_path / "out"), *options, *more])
            parts.main()
            made = {folder.name for folder in (tmp_path / "out" / "runs").iterdir()}
            assert ("hetero-0.001-0.25-seed0" in made) == (not more)
            assert (tmp_path / "out" / "report").exists() == (not more)
    assert len(made) == 2 * 3  # each λ with the first seed, the better one with the second
    table = capsys.readouterr().out
    assert "hetero: λ = 0." in table
    assert "| hetero mean |" in table
