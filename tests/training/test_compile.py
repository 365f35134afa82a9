"""`compile=true`: the same training, through torch.compile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from heteroreg.data.cohort import Cohort
from heteroreg.registration.load import load
from heteroreg.training import Run, checkpoint, train

SETTINGS = {"batch_size": 2, "log_every": 1, "precision": "32-true"}


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Forgets what other tests compiled, and leaves nothing for later ones."""
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))


def require_same(plain: Run, compiled: Run) -> None:
    columns = [column for column in plain.metrics if column not in ("seconds", "learning_rate")]
    np.testing.assert_allclose(plain.metrics[columns], compiled.metrics[columns], rtol=1e-4, atol=1e-6)
    first, second = (checkpoint.read(run.checkpoint("last"))[0] for run in (plain, compiled))
    assert first.keys() == second.keys()  # no trace of the compilation in the names
    for name in first:
        if name.startswith(("network.", "objective.")):
            assert float((first[name] - second[name]).abs().mean()) < 2e-5, name


def counted(monkeypatch: pytest.MonkeyPatch, backend: str) -> list[str]:
    """Compiles with another backend, and notes which modules were compiled."""
    compiled: list[str] = []
    compile_: Callable[..., Any] = nn.Module.compile

    def compile_with(self: nn.Module) -> None:
        compiled.append(type(self).__name__)
        compile_(self, backend=backend)

    monkeypatch.setattr(nn.Module, "compile", compile_with)
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        "voxelmorph",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("voxelmorph-half", "transmorph-small")),
    ],
)
def test_what_is_compiled_computes_the_same(
    network: str, cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the generation of code, which takes a minute, in all phases and validation."""
    settings = {**SETTINGS, "network": network, "steps": 6, "validate_every": 3, "int_steps": 2}
    settings |= {"warm_start": 0.3, "variance_alone": 0.3}
    plain = train(cohort_2d, tmp_path / "plain", config=settings)
    compiled = counted(monkeypatch, "aot_eager")
    run = train(cohort_2d, tmp_path / "compiled", config=settings, compile=True)
    assert len(compiled) == 2
    assert "CollaborativeLoss" in compiled
    assert run.config.compile
    require_same(plain, run)
    compiled.clear()
    pair = cohort_2d.split("test")[0]
    again, before = (
        load(folder, precision="32-true").register(pair.moving, pair.fixed) for folder in (run.folder, plain.folder)
    )
    assert compiled == []  # registration needs none of it
    np.testing.assert_allclose(again.displacement, before.displacement, atol=1e-4)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs")
def test_code_is_generated_that_computes_the_same(cohort_2d: Cohort, tmp_path: Path) -> None:
    cohort = Cohort(tuple(replace(pair, split=None) for pair in cohort_2d), cohort_2d.name)  # no validation
    settings = {**SETTINGS, "steps": 3, "int_steps": 2}
    plain = train(cohort, tmp_path / "plain", config=settings)
    run = train(cohort, tmp_path / "compiled", config=settings, compile=True)
    assert list((tmp_path / "kernels").rglob("*.cpp")), "nothing was compiled"
    require_same(plain, run)
