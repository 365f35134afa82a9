"""A trained model as a registrar: one pair, any size, any spacing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.inputs import ImageLike, as_image
from heteroreg.data.preparation import Scale, check_labels, check_pair, resample, scale_of, slices_of
from heteroreg.processes import autocast
from heteroreg.registration import Registration
from heteroreg.spatial import warp
from heteroreg.training.run import Run
from heteroreg.transform import resample_displacement, resample_map, warp_image

SMALLEST = 16  # voxels along an axis that a network takes
BATCH = 16


@dataclass(frozen=True)
class Estimate:
    """What the networks say of one pair on the working grid.

    Attributes:
        forward: (d, *shape) in voxels of the working grid.
        backward: Likewise.
        log_variance: log σ̂_I² (1, 1, *shape) of intensities in [0, 1], if there is a variance estimator.
        weight: (1, 1, *shape), if the objective weighs.
    """

    forward: Tensor
    backward: Tensor
    log_variance: Tensor | None
    weight: Tensor | None


class ModelRegistrar:
    """Registers with a trained run.

    The pair is brought to the model's working spacing, slice by slice with a 2D model, and the displacement
    back to the fixed image's own grid. The moving image is then sampled once, from its own voxels.

    Args:
        run: The run.
        checkpoint: `best` or `last`.
        device: Where to compute; a GPU if there is one by default.
        precision: `32-true`, `bf16-mixed`, or `auto`: bf16 where it is faster. It concerns the networks alone;
            positions are float32 in any case.
    """

    def __init__(
        self, run: Run, checkpoint: str = "best", device: str | None = None, precision: str = "auto"
    ) -> None:
        self.run = run
        self.precision = precision
        self.network, self.objective = run.modules(checkpoint)
        self.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    def to(self, device: torch.device) -> None:
        """Computes on that device from now on."""
        self.device = device
        self.network, self.objective = self.network.to(device), self.objective.to(device)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.run.folder.resolve().name

    def register(
        self, moving: ImageLike, fixed: ImageLike, moving_labels: ImageLike | None = None, spacing: Any = None
    ) -> Registration:
        """Registers moving to fixed.

        Args:
            moving: A path, an `Image`, a SimpleITK image, or an array [x, y(, z)].
            fixed: Likewise.
            moving_labels: A label map of the moving image, to carry along.
            spacing: Of arrays, in mm; a number or one for each axis.

        Raises:
            UserError: An image is unfit: unreadable, constant, of the wrong dimension, …
        """
        moving, fixed = as_image(moving, spacing), as_image(fixed, spacing)
        labels = None if moving_labels is None else as_image(moving_labels, spacing, labels=True)
        began = time.perf_counter()
        preparation = self.run.config.preparation
        check_pair(moving, fixed, preparation.dims)
        if labels is not None:
            check_labels(labels, moving)
        slicewise = fixed.grid.dims > preparation.dims
        scale = scale_of(fixed, preparation.intensity)
        working = at_least(preparation.working_grid(fixed.grid, fixed.name), SMALLEST, preparation.dims)
        estimate = self._estimate(moving, fixed, scale, working)

        displacement = resample_displacement(estimate.forward.numpy(), working, fixed.grid)[0].numpy()
        inverse = resample_displacement(estimate.backward.numpy(), working, fixed.grid)[0].numpy()

        def on_fixed(values: Tensor | None) -> Image | None:
            return (
                None
                if values is None
                else fixed.with_array(resample_map(values, working, fixed.grid)[0, 0].numpy())
            )

        spread = None if estimate.log_variance is None else (0.5 * estimate.log_variance).exp()
        noise_sd = on_fixed(None if spread is None else spread * (scale.high - scale.low))
        return Registration(
            fixed=fixed,
            moving=moving,
            moved=warp_image(moving, displacement, fixed.grid),
            displacement=displacement,
            inverse_displacement=inverse,
            noise_sd=noise_sd,
            weight=on_fixed(estimate.weight),
            moved_labels=None if labels is None else warp_image(labels, displacement, fixed.grid, labels=True),
            slicewise=slicewise,
            info={
                "model": str(self.run.folder),
                "method": self.run.config.method,
                "network": self.run.config.network,
                "seed": self.run.config.seed,
                "seconds": round(time.perf_counter() - began, 4),
            },
        )

    @torch.inference_mode()
    def _estimate(self, moving: Image, fixed: Image, scale: Scale, working: Grid) -> Estimate:
        preparation = self.run.config.preparation
        moving_batch = _batch(moving, scale_of(moving, preparation.intensity), working, preparation.dims)
        fixed_batch = _batch(fixed, scale, working, preparation.dims)
        parts = [
            self._forward(
                moving_batch[first : first + BATCH].to(self.device),
                fixed_batch[first : first + BATCH].to(self.device),
            )
            for first in range(0, len(moving_batch), BATCH)
        ]
        slicewise = working.dims > preparation.dims

        def whole(of: Callable[[Estimate], Tensor | None]) -> Tensor | None:
            """The results of all slices as one volume (C, *shape)."""
            tensors = [tensor for tensor in map(of, parts) if tensor is not None]
            if not tensors:
                return None
            joined = torch.cat(tensors).cpu()
            return joined.movedim(0, -1) if slicewise else joined[0]

        forward, backward = whole(lambda p: p.forward), whole(lambda p: p.backward)
        assert forward is not None
        assert backward is not None
        if slicewise:  # nothing moves through the plane
            forward, backward = (torch.cat([field, torch.zeros_like(field[:1])]) for field in (forward, backward))
        log_variance, weight = whole(lambda p: p.log_variance), whole(lambda p: p.weight)
        return Estimate(
            forward,
            backward,
            None if log_variance is None else log_variance[None],
            None if weight is None else weight[None],
        )

    def _forward(self, moving: Tensor, fixed: Tensor) -> Estimate:
        with autocast(self.precision, self.device):
            displacement = self.network(moving, fixed)
            losses = self.objective(warp(moving, displacement.forward), fixed)
        return Estimate(displacement.forward, displacement.backward, losses.log_variance, losses.weight)


def load(
    folder: str | Path, checkpoint: str = "best", device: str | None = None, precision: str = "auto"
) -> ModelRegistrar:
    """Opens a trained run as a registrar.

    Args:
        folder: The run.
        checkpoint: `best` on the validation pairs, or `last`.
        device: Where to compute; a GPU if there is one by default.
        precision: `32-true`, `bf16-mixed`, or `auto`: bf16 where it is faster.

    Raises:
        UserError: The folder is not a run, or its checkpoint is damaged or of a newer version.
    """
    return ModelRegistrar(Run.read(folder), checkpoint, device, precision)


def at_least(grid: Grid, smallest: int, dims: int) -> Grid:
    """The grid, lengthened at the far ends of its first axes to at least so many voxels."""
    shape = [max(n, smallest) if axis < dims else n for axis, n in enumerate(grid.shape)]
    return replace(grid, shape=tuple(shape))


def _batch(image: Image, scale: Scale, working: Grid, dims: int) -> Tensor:
    """The image on the working grid as a batch (N, 1, *shape) in [0, 1]."""
    array = scale(resample(image, working).array)
    return torch.from_numpy(np.ascontiguousarray(slices_of(array, dims)))[:, None]
