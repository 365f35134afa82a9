"""The base class of objectives, and what they return."""

from __future__ import annotations

from inspect import signature
from typing import NamedTuple

from torch import Tensor, nn


class Losses(NamedTuple):
    """The data terms of one batch.

    Attributes:
        displacement: Loss of the displacement estimator without the smoothness. A scalar.
        variance: Loss of the variance estimator, or of whatever else the objective trains. A scalar; None if
            `displacement` trains both, or if the objective has no parameters.
        log_variance: log σ̂_I² (N, 1, *shape), if there is a variance estimator.
        weight: Weight of each voxel in the displacement loss, if it is weighted.
        smoothness_weight: Weight of the smoothness in each voxel (N, 1, *shape), if it varies in space.
    """

    displacement: Tensor
    variance: Tensor | None = None
    log_variance: Tensor | None = None
    weight: Tensor | None = None
    smoothness_weight: Tensor | None = None


class Objective(nn.Module):
    """Data term of a registration: maps (moved, fixed), each (N, 1, *shape) in [0, 1], to `Losses`.

    Parameters of an objective, such as those of a variance estimator, are trained by an optimiser of their own.
    The loss must be finite, with a finite gradient, for constant images too.

    Examples:
        >>> import torch
        >>> class AbsoluteError(Objective):
        ...     def forward(self, moved, fixed, weighted=True):
        ...         return Losses((fixed - moved).abs().mean())
        >>> AbsoluteError()(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)).displacement
        tensor(1.)
    """

    def forward(self, moved: Tensor, fixed: Tensor, weighted: bool = True) -> Losses:
        """Return the losses of a batch.

        Args:
            moved: Î_f (N, 1, *shape).
            fixed: I_f (N, 1, *shape).
            weighted: False in a warm start: every voxel then has the weight 1.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the numbers and words that the objective was made with."""
        values = {name: getattr(self, name, None) for name in signature(type(self)).parameters}
        return ", ".join(
            f"{name}={value!r}" for name, value in values.items() if isinstance(value, int | float | str)
        )
