"""Several processes on one machine: the same global batch gives the same losses as one process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from heteroreg import processes
from heteroreg.data.cohort import Cohort
from heteroreg.errors import UserError
from heteroreg.training import Run, train

SETTINGS = {"method": "hetero", "steps": 4, "batch_size": 4, "log_every": 1}


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(cohort_2d: Cohort, tmp_path: Path) -> None:
    one = train(cohort_2d, tmp_path / "one", config=SETTINGS)
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "heteroreg", "train", cohort_2d.name, "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *options, "--devices", "2", "--quiet"],
        check=True,
        timeout=240,
        env=environment,
        capture_output=True,
    )
    two = Run.read(tmp_path / "two")
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(one.metrics[columns], two.metrics[columns], rtol=2e-4, atol=1e-8)


def test_a_batch_that_cannot_be_cut(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        train(cohort_2d, tmp_path / "run", config={**SETTINGS, "accumulate": 3})


def test_a_process_ends_when_the_one_that_started_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    over = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        over.set()  # the real one does not come back

    monkeypatch.setattr(processes, "LOOK", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(processes.FIRST, str(os.getppid()))
    fabric = SimpleNamespace(world_size=2)
    with processes.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        assert not over.wait(0.1)  # it is there
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert over.wait(10)
    assert codes[0] == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("heteroreg: run: another process of this work ended")
    assert line.endswith("what was saved is kept, go on with --resume")


@pytest.mark.parametrize(
    ("message", "world_size", "expected"),
    [
        ("[gloo/transport/tcp/pair.cc:537] Connection reset by peer", 2, UserError),
        ("[gloo/transport/tcp/pair.cc:537] Connection reset by peer", 1, RuntimeError),
        ("The size of tensor a must match the size of tensor b", 2, RuntimeError),
    ],
)
def test_a_lost_process_is_told_from_a_fault(message: str, world_size: int, expected: type[Exception]) -> None:
    fabric = SimpleNamespace(world_size=world_size)
    with pytest.raises(expected), processes.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        raise RuntimeError(message)


def test_what_is_meant_for_the_second_process_is_not_left_to_others(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(processes.FIRST, raising=False)
    train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    assert processes.FIRST not in os.environ
