"""State of a training: the estimators, their optimisers, the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from heteroreg.losses import TotalLoss
from heteroreg.training import checkpoint
from heteroreg.training.parts import Parts
from heteroreg.training.run import Run


@dataclass
class State:
    """State of a training, which `checkpoints/last` holds, and its loss.

    Attributes:
        network: Displacement estimator.
        objective: Maps (moved, fixed) to `Losses`; holds the variance estimator, if there is one.
        optimizers: `displacement` and, if the objective has parameters, `variance`.
        total: Total loss of the displacement estimator.
        step: Updates done.
        best: Best score on the validation pairs so far.
    """

    network: nn.Module
    objective: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]
    total: TotalLoss
    step: int = 0
    best: float | None = None

    def models(self) -> dict[str, Tensor]:
        """Return the parameters of both estimators by name."""
        parts = {"network": self.network, "objective": self.objective}
        return {
            f"{part}.{name}": tensor
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }

    def learned(self) -> dict[str, Tensor]:
        """Return the parameters and the state of their optimisers by name."""
        tensors = self.models()
        for name, optimizer in self.optimizers.items():
            tensors |= checkpoint.optimizer_tensors(optimizer, f"optimizer.{name}")
        return tensors

    def save(self, run: Run) -> None:
        """Write `checkpoints/last`: everything that the rest of the training depends on."""
        tensors = self.learned() | {"random": torch.get_rng_state()}
        checkpoint.save(run.checkpoint("last"), tensors, {"step": self.step, "best": self.best})

    def restore(self, run: Run) -> None:
        """Go back to `checkpoints/last`, if the run got that far."""
        folder = run.checkpoint("last")
        if not (folder / checkpoint.STATE).is_file():
            return
        tensors, meta = checkpoint.read(folder)
        checkpoint.restore_module(self.network, tensors, "network", folder)
        checkpoint.restore_module(self.objective, tensors, "objective", folder)
        for name, optimizer in self.optimizers.items():
            checkpoint.restore_optimizer(optimizer, tensors, f"optimizer.{name}", folder)
        try:
            torch.set_rng_state(tensors["random"])
        except (KeyError, RuntimeError, TypeError) as error:
            raise checkpoint.damaged(folder, f"no state of the random numbers: {error}") from error
        self.step, self.best = meta["step"], meta.get("best")


def set_up(fabric: Fabric, parts: Parts) -> State:
    """Return the untrained estimators with their optimisers, on the device and in the precision of `fabric`."""
    network: nn.Module
    objective: nn.Module
    network, objective = parts.build()
    if parts.config.compile:
        network.compile()
        objective.compile()
    optimizers: dict[str, torch.optim.Optimizer] = {}
    network, optimizers["displacement"] = fabric.setup(network, torch.optim.Adam(network.parameters()))
    if any(True for _ in objective.parameters()):
        objective, optimizers["variance"] = fabric.setup(objective, torch.optim.Adam(objective.parameters()))
    else:
        objective = objective.to(fabric.device)
    return State(network, objective, optimizers, parts.total_loss())
