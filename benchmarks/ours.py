"""The one place where the benchmarks reach behind heteroreg's public functions.

A step is the very update of the training loop, with its optimisers, clipping and augmentation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from benchmarks.case import SMALL
from benchmarks.synthetic import cohort
from heteroreg.data.cohort import Pair
from heteroreg.data.samples.cache import SampleCache
from heteroreg.data.samples.dataset import load_samples
from heteroreg.data.samples.samples import Samples
from heteroreg.registration.model import Estimate, ModelRegistrar
from heteroreg.training.config import Config
from heteroreg.training.finite import FiniteCheck
from heteroreg.training.loop import train
from heteroreg.training.parts import Parts
from heteroreg.training.schedule import phase
from heteroreg.training.state import set_up
from heteroreg.training.update import update

# It would say for every variant which precision it has.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

# So many that the rate stays in its rise and no phase ends; both estimators learn from the first step.
STEPS = 10**6


class Step:
    """One method's training, ready for an update.

    Args:
        method: The method, and after a comma the network where it is not the usual one.
        shape: Shape of a sample.
        batch: Pairs in an update.
        precision: `32-true` or `bf16-mixed`.
        folder: Folder for the images.
        settings: Further settings of the training.
    """

    def __init__(
        self,
        method: str,
        shape: Sequence[int],
        batch: int,
        precision: str,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        name, _, other = method.partition(", ")
        fixed = {
            "method": name,
            "network": other or "voxelmorph",
            "dims": len(shape),
            "size": tuple(shape),
            "spacing": (1.0,) * len(shape),
            "batch_size": batch,
            "precision": precision,
            "steps": STEPS,
            "learning_rate": 1e-3,
            "warm_start": 0.0,
            "variance_alone": 0.0,
        }
        self.config = Config.build(fixed, settings or {})
        self.samples: Samples = load_samples(
            cohort(folder, shape, 2 * batch), self.config.preparation, tuple(shape)
        )
        torch.manual_seed(0)
        self.fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
        self.fabric.launch()
        self.state = set_up(self.fabric, Parts.of(self.config, "the benchmark"))
        self.watch = FiniteCheck(self.fabric.device)

    def __call__(self) -> None:
        """Make an update."""
        stage = phase(self.config, self.state.step)
        update(self.fabric, self.state, self.samples, self.config, stage, self.watch)
        self.state.step += 1

    def check(self) -> None:
        """Check that every loss and gradient of the timed steps was finite.

        Raises:
            ArithmeticError: One was not finite.
        """
        step = self.watch.first_bad_step(self.fabric)
        if step is not None:
            raise ArithmeticError(f"{self.config.method}, {self.config.precision}: no number at step {step}")


def registrar(folder: Path, dims: int, method: str, settings: Mapping[str, Any] | None = None) -> ModelRegistrar:
    """A run that was trained for one step, which registers as fast as one that was trained well."""
    pairs = cohort(folder / "cohort", SMALL[:dims], 2)
    config = {"method": method, "dims": dims, "steps": 1, "batch_size": 1} | dict(settings or {})
    return ModelRegistrar(train(pairs, folder / "run", config=config))


@torch.inference_mode()
def networks(registrar: ModelRegistrar, moving: Tensor, fixed: Tensor) -> Estimate:
    """Return the networks' estimate for a batch of prepared pairs (N, 1, *shape), as in `register`."""
    return registrar._forward(moving, fixed)


def prepare(pairs: Sequence[Pair], config: Config, cache: Path | None = None) -> Samples:
    """Read pairs as training does at its start: from a cache, or from the files."""
    assert config.size is not None
    return load_samples(pairs, config.preparation, config.size, cache=SampleCache(cache))
