"""Public functions leave the process as it was."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch

import heteroreg as hr


def state() -> dict[str, Any]:
    """What a library must not change."""
    loggers = [logging.getLogger(), *map(logging.getLogger, sorted(logging.root.manager.loggerDict))]
    return {
        "signals": {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)},
        "environment": dict(os.environ),
        "levels": {logger.name: logger.level for logger in loggers},
        "warnings": (list(warnings.filters), warnings.showwarning),
        "random numbers": torch.get_rng_state().tolist(),
        "folder": Path.cwd(),
        "cudnn": torch.backends.cudnn.benchmark,
        "threads": torch.get_num_threads(),
        "descriptors": os.fstat(2),
        "ITK": sitk.ProcessObject.GetGlobalWarningDisplay(),
    }


def difference(call: Callable[[], object]) -> list[str]:
    """The names of what a call has changed."""
    before = state()
    call()
    after = state()
    # Loggers that a module makes when it is first imported are its own.
    after["levels"] = {name: level for name, level in after["levels"].items() if name in before["levels"]}
    return [name for name, value in before.items() if after[name] != value]


@pytest.mark.parametrize(
    "work",
    [
        "train",
        "evaluate",
        "register",
        "register by the bundled model",
        "calibrate",
        "register a cohort",
        "check",
        "export",
    ],
)
def test_a_call_changes_nothing(work: str, run_2d: hr.Run, cohort_2d: hr.Cohort, tmp_path: Path) -> None:
    pair = cohort_2d.split("test")[0]
    calls: dict[str, Callable[[], object]] = {
        "train": lambda: hr.train(cohort_2d, tmp_path / "run", steps=1, batch_size=2),
        "evaluate": lambda: hr.evaluate(run_2d, cohort_2d.split("test"), out=tmp_path / "scores"),
        "register": lambda: hr.load(run_2d).register(pair.moving, pair.fixed).save(tmp_path / "registered"),
        "register by the bundled model": lambda: hr.register(pair.moving, pair.fixed),
        "calibrate": lambda: hr.calibrate(run_2d, cohort_2d, out=tmp_path / "calibration", split=("all",), steps=1),
        "register a cohort": lambda: hr.register_cohort("undeformed", cohort_2d, tmp_path / "all"),
        "check": lambda: hr.check(cohort_2d),
        "export": lambda: hr.export(run_2d.folder, tmp_path / "model.onnx"),
    }
    if work == "export":
        pytest.importorskip("onnx")
    assert difference(calls[work]) == []


@pytest.mark.slow
def test_importing_changes_nothing() -> None:
    """In a process of its own, since this one has imported all: beside what the libraries below do."""
    code = """
import logging, os, signal, sys, warnings
import SimpleITK as sitk, torch, lightning_fabric, pydantic, scipy.stats, pandas, nibabel, rich.progress
def state():
    return {
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "levels": [logging.root.level, logging.getLogger("torch").level, *(one.level for one in fabric)],
        "ITK": sitk.ProcessObject.GetGlobalWarningDisplay(),
        "random numbers": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
    }
fabric = [logging.getLogger(f"lightning_fabric.utilities.{name}") for name in ("rank_zero", "distributed")]
before = state()
import heteroreg.training.loop, heteroreg.evaluation.evaluate, heteroreg.registration.load, heteroreg.data.readers
import heteroreg.system.processes, heteroreg.report, heteroreg.study
after = state()
print([name for name in before if before[name] != after[name]])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
