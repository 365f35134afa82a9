"""A training step waits for nothing: nothing in it needs a value that a GPU would have to bring back first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.dataset import load_samples
from heteroreg.losses import Losses, MeanSquaredError
from heteroreg.methods import METHODS, Method
from heteroreg.system.processes import start
from heteroreg.training import loop
from heteroreg.training.config import Config
from heteroreg.training.finite import FiniteCheck
from heteroreg.training.parts import Parts
from heteroreg.training.schedule import Phase

# What brings values to the processor, or takes them from it: on a GPU each of them waits.
WAITING = {
    "_local_scalar_dense",  # item, float, int, bool
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "unique_dim",
    "_unique2",
    "lift_fresh",  # torch.tensor of Python numbers
}


class Waits(TorchDispatchMode):
    """Notes every operation for which a processor would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = [t for t in args[1] if isinstance(t, Tensor)] if name in ("index", "index_put_") else []
        if name in WAITING or any(t.dtype in (torch.bool, torch.uint8) for t in indices):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Window(FiniteCheck):
    """Stops looking where the step has computed everything."""

    def __init__(self, waits: Waits) -> None:
        super().__init__(torch.device("cpu"))
        self.waits = waits

    def note(self, step: int, figures: Any) -> None:
        super().note(step, figures)
        self.waits.__exit__(None, None, None)


def waits_of_a_step(
    cohort: Cohort, method: str, monkeypatch: pytest.MonkeyPatch, stage: Phase, **settings: Any
) -> list[str]:
    """What one update waits for, from where the images are on the device to where the figures are noted."""
    # On GPUs, Adam counts its steps on the processor's side; here that would look like waiting.
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_args, **_kwargs: None)
    config = Config.build(
        {"method": method, "dims": 2, "size": (32, 48), "batch_size": 2, "learning_rate": 1e-3} | settings
    )
    fabric = start("bf16-mixed")
    samples = load_samples(cohort, config.preparation, config.size or ())
    state = loop.set_up(fabric, Parts.of(config, "the test"))
    waits = Waits()

    def begin(*_: Any) -> None:
        waits.__enter__()

    state.network.register_forward_pre_hook(begin)
    figures = loop.update(fabric, state, samples, config, stage, Window(waits))
    assert math.isfinite(float(figures["loss"]))
    return waits.found


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("stage", [Phase(), Phase(variance=False, weighted=False), Phase(displacement=False)])
def test_a_step_waits_for_nothing(
    method: str, stage: Phase, cohort_2d: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waits_of_a_step(cohort_2d, method, monkeypatch, stage) == []


def test_nor_in_3d(cohort_3d: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"dims": 3, "size": (32, 16, 16), "batch_size": 1}
    assert waits_of_a_step(cohort_3d, "hetero", monkeypatch, Phase(), **settings) == []


def test_nor_with_attention(cohort_2d: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    # 48 voxels are 12 tokens in shifted windows of 8: with masks.
    settings = {"network": "transmorph-small", "size": (32, 48)}
    assert waits_of_a_step(cohort_2d, "mse", monkeypatch, Phase(), **settings) == []


@pytest.mark.parametrize(
    "look",
    [float, bool, torch.nonzero, lambda loss: loss[loss > 0], lambda loss: loss * torch.tensor([2.0])],
    ids=["float", "bool", "nonzero", "mask", "constant"],
)
def test_a_step_that_waits_is_noticed(
    look: Callable[[Tensor], Any], cohort_2d: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nosy(MeanSquaredError):
        def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
            losses = super().forward(moved, fixed)
            look(losses.displacement.detach())
            return losses

    monkeypatch.setitem(METHODS, "nosy", Method("nosy", "", lambda *_: Nosy()))
    assert waits_of_a_step(cohort_2d, "nosy", monkeypatch, Phase())
