"""The total loss of the displacement estimator, which training, validation and refinement share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from heteroreg.losses.base import Losses
from heteroreg.losses.outside import outside
from heteroreg.losses.smoothness import smoothness
from heteroreg.system.errors import UserError

# So large that no data term outweighs it: 1 % of the image beyond the margin costs 0.01.
OUTSIDE_WEIGHT = 100.0


@dataclass(frozen=True)
class TotalLoss:
    """Data term, smoothness, and for some methods a regulariser of the displacement's uncertainty.

        L = L_data + λ‖∇v‖² + R(log σ_z²) + 100·O(u)

    O is 0 unless the displacement u leads far out of the image; see `outside`.

    Attributes:
        weight: λ as it counts in the loss.
        uncertainty: R, from log σ_z² (N, d, *coarse) to a scalar; None for methods without it.

    Examples:
        >>> import torch
        >>> velocity = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
        >>> terms = TotalLoss(weight=0.1).terms(Losses(torch.tensor(2.0)), velocity)
        >>> {name: round(float(value), 6) for name, value in terms.items()}
        {'data': 2.0, 'smoothness': 0.5, 'loss': 2.05}
    """

    weight: float
    uncertainty: Callable[[Tensor], Tensor] | None = None

    def terms(
        self,
        losses: Losses,
        velocity: Tensor,
        log_variance: Tensor | None = None,
        displacement: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms by name, with their weighted sum as `loss`.

        Args:
            losses: Result of the objective.
            velocity: v (N, d, *coarse).
            log_variance: log σ_z², the same shape.
            displacement: u (N, d, *shape) in voxels, in the directions that the losses are of; without it, O is
                left out.

        Raises:
            UserError: The method has an uncertainty of the displacement and the network gave none.
        """
        rough = smoothness(velocity, losses.smoothness_weight)
        terms = {
            "data": losses.displacement,
            "smoothness": rough,
            "loss": losses.displacement + self.weight * rough,
        }
        if displacement is not None:
            terms["loss"] = terms["loss"] + OUTSIDE_WEIGHT * outside(displacement)
        if self.uncertainty is not None:
            if log_variance is None:
                raise UserError(
                    "network: the method needs an uncertainty of the displacement; return `velocity_log_variance`, "
                    "or choose another method",
                    argument="network",
                )
            terms["uncertainty"] = self.uncertainty(log_variance)
            terms["loss"] = terms["loss"] + terms["uncertainty"]
        return terms
