"""What only a GPU can show. Skips where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.evaluation import evaluate
from heteroreg.methods import METHODS
from heteroreg.registration.load import load
from heteroreg.training import Run, loop, train
from heteroreg.training.state import State

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA knows")

WARM = 3  # steps until all kernels are chosen and loaded


@contextmanager
def float32() -> Iterator[None]:
    """Convolutions and products in float32, not in the shorter TF32, so that a CPU can be compared."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("method", sorted(METHODS))
def test_trains_without_waiting_registers_and_evaluates(
    method: str, cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, watched = loop.update, []

    def strict(fabric: Any, state: State, *rest: Any) -> dict[str, Tensor]:
        """Any operation that waits for the GPU is an error."""
        assert fabric.device.type == "cuda"
        if state.step < WARM:
            return update(fabric, state, *rest)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            figures = update(fabric, state, *rest)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        watched.append(state.step)
        return figures

    monkeypatch.setattr(loop, "update", strict)
    settings = {"steps": 12, "batch_size": 4, "accumulate": 2, "log_every": 1, "validate_every": 6}
    run = train(cohort_2d, tmp_path / "run", method=method, **settings)
    assert watched == list(range(WARM, 12))
    assert np.isfinite(run.metrics[["loss", "data", "smoothness"]]).all(axis=None)
    assert np.isfinite(run.metrics["val_loss"].dropna()).all()

    registrar = load(run.folder)
    assert registrar.device.type == "cuda"
    scores = evaluate(registrar, cohort_2d.split("test"), out=tmp_path / "scores")
    assert scores.table["dice_2"].between(0, 1).all()


def test_resumes(cohort_2d: Cohort, tmp_path: Path) -> None:
    settings = {"batch_size": 4, "log_every": 1, "checkpoint_every": 4, "steps": 8}
    stopped = {"count": 0}

    class Interrupt(Exception):
        pass

    save = State.save

    def once(self: State, run: Run) -> None:
        save(self, run)
        stopped["count"] += 1
        if stopped["count"] == 1:
            raise Interrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "save", once)
        with pytest.raises(Interrupt):
            train(cohort_2d, tmp_path / "run", **settings)
    run = train(cohort_2d, tmp_path / "run", resume=True)
    assert run.metrics["step"].tolist() == list(range(1, 9))


def test_registers_as_a_cpu_does(run_2d: Run, cohort_2d: Cohort) -> None:
    pair = cohort_2d.split("test")[0]
    require_same(run_2d, pair)


def test_registers_volumes_as_a_cpu_does(run_3d: Run, cohort_3d: Cohort) -> None:
    pair = cohort_3d[0]
    require_same(run_3d, pair)


def require_same(run: Run, pair: Pair) -> None:
    with float32():
        one, other = (
            load(run.folder, device=device, precision="32-true").register(
                pair.moving, pair.fixed, pair.moving_labels
            )
            for device in ("cuda", "cpu")
        )
    assert np.abs(other.displacement).max() > 0.05  # there is something to compare
    np.testing.assert_allclose(one.displacement, other.displacement, atol=2e-3)
    np.testing.assert_allclose(one.inverse_displacement, other.inverse_displacement, atol=2e-3)
    scale = np.ptp(values(other.moved))
    np.testing.assert_allclose(values(one.moved), values(other.moved), atol=2e-3 * scale)
    assert one.noise_sd is not None
    assert other.noise_sd is not None
    np.testing.assert_allclose(values(one.noise_sd), values(other.noise_sd), rtol=5e-3)


def values(image: Any) -> np.ndarray:
    return np.asarray(image.array, dtype=np.float64)


def test_trains_in_float32_as_a_cpu_does(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 3, "batch_size": 4, "log_every": 1, "precision": "32-true", "validate_every": 3}
    with float32():
        gpu = train(cohort_2d, tmp_path / "gpu", **settings)
    start = loop.start

    def on_cpu(*_: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr("torch.cuda.is_available", lambda: False)
            patch.setattr("lightning_fabric.accelerators.cuda.num_cuda_devices", lambda: 0)
            return start("32-true")

    monkeypatch.setattr(loop, "start", on_cpu)
    cpu = train(cohort_2d, tmp_path / "cpu", **settings)
    columns = ["loss", "data", "smoothness", "variance"]
    np.testing.assert_allclose(gpu.metrics[columns], cpu.metrics[columns], rtol=5e-3, atol=1e-7)


def test_compiles(cohort_2d: Cohort, tmp_path: Path) -> None:
    torch._dynamo.reset()
    settings = {"steps": 3, "batch_size": 4, "log_every": 1, "precision": "32-true", "validate_every": 3}
    with float32():
        plain = train(cohort_2d, tmp_path / "plain", **settings)
        run = train(cohort_2d, tmp_path / "compiled", compile=True, **settings)
    columns = ["loss", "data", "smoothness", "variance"]
    np.testing.assert_allclose(plain.metrics[columns], run.metrics[columns], rtol=5e-3, atol=1e-7)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_each_process_takes_a_gpu_of_its_own(cohort_2d: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heteroreg"]
    settings = ["--steps", "4", "--set", "batch_size=4", "--set", "log_every=1", "--quiet"]
    run = str(tmp_path / "run")
    for arguments in (
        ["train", cohort_2d.name, "--out", run, *settings],
        ["register", cohort_2d.name, "--model", run, "--out", str(tmp_path / "out")],
    ):
        subprocess.run([*command, *arguments, "--devices", "2"], check=True, timeout=300)
    assert len(Run.read(run).metrics) == 4
    assert (tmp_path / "out" / "registrations.csv").is_file()
