"""Losses from elsewhere as objectives."""

from __future__ import annotations

from inspect import signature

from torch import Tensor, nn

from heteroreg.losses.base import Losses, Objective
from heteroreg.system.errors import UserError


class AdaptedObjective(Objective):
    """A module that returns a scalar or `Losses`, as an objective.

    Args:
        module: Maps (moved, fixed), each (N, 1, *shape) in [0, 1], to a scalar or to `Losses`. It is told of a
            warm start if its `forward` takes `weighted`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._takes_weighted = "weighted" in signature(module.forward).parameters

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the losses of a batch (N, 1, *shape).

        Raises:
            UserError: The module returns neither a scalar nor `Losses`.
        """
        found = self.module(moved, fixed, **({"weighted": weighted} if self._takes_weighted else {}))
        if isinstance(found, Tensor) and found.ndim == 0:
            return Losses(found)
        if not isinstance(found, Losses):
            kind = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"method: {type(self.module).__name__} must return a scalar or heteroreg.losses.Losses; got {kind}",
                argument="method",
            )
        return found


def as_objective(module: object, name: str) -> Objective:
    """Return a module as an objective.

    Args:
        module: An objective, or a module that maps (moved, fixed) to a scalar or to `Losses`.
        name: Name for the error message.

    Raises:
        UserError: It is no module.
    """
    if isinstance(module, Objective):
        return module
    if not isinstance(module, nn.Module):
        raise UserError(
            f"method: {name}: must make a torch.nn.Module; got {type(module).__name__}", argument="method"
        )
    return AdaptedObjective(module)
