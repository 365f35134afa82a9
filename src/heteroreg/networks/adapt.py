"""Networks from elsewhere as displacement estimators."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from heteroreg.networks.base import DisplacementNetwork
from heteroreg.networks.displacement import Displacement
from heteroreg.networks.voxelmorph import VoxelMorph
from heteroreg.system.errors import UserError

PROBE = 32  # voxels along each axis of the images that a backbone is tried on, if none are given


class AdaptedNetwork(DisplacementNetwork):
    """A module that maps (moving, fixed) to a `Displacement`, as a displacement estimator.

    Args:
        module: The module.
        dims: 2 or 3.
        int_steps: Squarings, by which the displacement is taken to follow from its velocity.
    """

    def __init__(self, module: nn.Module, dims: int, int_steps: int) -> None:
        super().__init__(dims, int_steps)
        self.module = module

    def forward(self, moving: Tensor, fixed: Tensor) -> Displacement:
        """Return the displacement between two images (N, 1, *shape).

        Raises:
            UserError: The module returns something else.
        """
        found = self.module(moving, fixed)
        if not isinstance(found, Displacement):
            raise UserError(
                f"network: {type(self.module).__name__} must return a heteroreg.networks.Displacement; got "
                f"{type(found).__name__}",
                argument="network",
            )
        return found


def as_displacement_network(
    module: object,
    dims: int,
    name: str,
    *,
    size: Sequence[int] | None = None,
    int_steps: int = 7,
    **options: Any,
) -> DisplacementNetwork:
    """Return a module as a displacement estimator.

    Args:
        module: A `DisplacementNetwork`, or a module that maps (moving, fixed) to a `Displacement`, or a backbone: a
            module that maps two images as channels, (N, 2, *shape), to features (N, C, *grid). A backbone takes the
            place of the U-Net in `VoxelMorph`.
        dims: 2 or 3.
        name: Name for error messages.
        size: Voxels of the images that a backbone is tried on, to count its features.
        int_steps: Squarings; a module that has an `int_steps` of its own keeps it.
        **options: Further arguments of `VoxelMorph`.

    Raises:
        UserError: It is no module, or a backbone that fails or returns something else.
    """
    if isinstance(module, DisplacementNetwork):
        return module
    if not isinstance(module, nn.Module):
        raise UserError(
            f"network: {name}: must make a torch.nn.Module; got {type(module).__name__}", argument="network"
        )
    if _takes_two_images(module):
        own = getattr(module, "int_steps", int_steps)
        return AdaptedNetwork(module, dims, own if isinstance(own, int) else int_steps)
    features = _count_features(module, size or [PROBE] * dims, name)
    return VoxelMorph(dims, int_steps, backbone=module, features=features, **options)


def _takes_two_images(module: nn.Module) -> bool:
    required = [
        one
        for one in signature(module.forward).parameters.values()
        if one.default is Parameter.empty
        and one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) >= 2


@torch.no_grad()
def _count_features(backbone: nn.Module, size: Sequence[int], name: str) -> int:
    """Return the number of features that a backbone gives for two images as channels."""
    trains = backbone.training
    device = next((tensor.device for tensor in backbone.parameters()), None)
    images = torch.zeros(1, 2, *size, device=device)
    try:
        found = backbone.eval()(images)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(
            f"network: {name}: must map (moving, fixed) to a Displacement, or two images {tuple(images.shape)} to "
            f"features; it failed on them ({problem})",
            argument="network",
        ) from error
    finally:
        backbone.train(trains)
    if not isinstance(found, Tensor) or found.ndim != images.ndim:
        kind = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(
            f"network: {name}: must give features (N, C, *grid) for two images {tuple(images.shape)}; got {kind}",
            argument="network",
        )
    return found.shape[1]
