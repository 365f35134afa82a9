"""A trained model as a registrar: one pair, any size, any spacing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.inputs import ImageLike, as_pair
from heteroreg.data.samples.preparation import SMALLEST_AXIS, Scale, resample, scale_of, slices_of
from heteroreg.methods import find_method
from heteroreg.registration.refinement import refine
from heteroreg.registration.result import Registration, no_uncertainty
from heteroreg.registration.shared import fetch
from heteroreg.spatial import warp
from heteroreg.spatial.field import resample_displacement, resample_map, warp_image
from heteroreg.system.errors import UserError
from heteroreg.system.processes import autocast
from heteroreg.system.progress import progress
from heteroreg.training.run import Run, total_loss
from heteroreg.uncertainty.posterior import VelocityPosterior, whole

BATCH = 16
SAMPLES = {2: 32, 3: 16}  # of the displacement, by the network's dimension: those of a volume take longer


@dataclass(frozen=True)
class Estimate:
    """What the networks say of one pair on the working grid.

    Attributes:
        forward: (d, *shape) in voxels of the working grid.
        backward: Likewise.
        log_variance: log σ̂_I² (1, 1, *shape) of intensities in [0, 1], if there is a variance estimator.
        weight: (1, 1, *shape), if the objective weighs.
        velocity: The mean velocity of the image or of each of its slices (N, d, *coarse).
        velocity_log_variance: log σ̂_z² of it, likewise, if the network estimates it.
    """

    forward: Tensor
    backward: Tensor
    log_variance: Tensor | None
    weight: Tensor | None
    velocity: Tensor
    velocity_log_variance: Tensor | None


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
        samples: Of the displacement, for its standard deviation and the figures of the labels; by default 32 for a
            2D and 16 for a 3D network.
        refine: Steps by which the loss is minimised for each pair alone, from what the network says; see
            `refinement.refine`.

    Raises:
        UserError: Samples are asked of a model that has no displacement uncertainty, or fewer than 2.
    """

    def __init__(
        self,
        run: Run,
        checkpoint: str = "best",
        device: str | None = None,
        precision: str = "auto",
        samples: int | None = None,
        refine: int = 0,
    ) -> None:
        self.run = run
        if refine < 0:
            raise UserError(f"{refine} steps of refinement: give a whole number from 0 up")
        self.refine = refine
        if samples is not None and not find_method(run.config.method).uncertain:
            raise no_uncertainty(f"{run.folder}: {run.config.method}")
        if samples is not None and samples < 2:
            raise UserError(f"{samples} samples: a standard deviation needs at least 2")
        self.samples = SAMPLES[run.config.preparation.dims] if samples is None else samples
        self.precision = precision
        self.network, self.objective = run.modules(checkpoint)
        self.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> Self:
        """Return the registrar of a shared model, downloaded if need be.

        Args:
            name: `owner/name` on Hugging Face, or a folder that `push` wrote.
            revision: A branch, a tag or a commit of the repository.
            options: Arguments of this class: `device`, `precision`, `samples`, `refine`.

        Raises:
            UserError: There is no such model, or it cannot be used; see `shared.fetch`.
        """
        run = Run.read(fetch(name, revision=revision))
        return cls(Run(run.folder, run.config.model_copy(update={"cohort": None})), **options)

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
        preparation = self.run.config.preparation
        moving, fixed, labels = as_pair(moving, fixed, moving_labels, spacing, preparation.dims)
        began = time.perf_counter()
        slicewise = fixed.grid.dims > preparation.dims
        scale = scale_of(fixed, preparation.intensity)
        working = at_least(preparation.working_grid(fixed.grid, fixed.name), SMALLEST_AXIS, preparation.dims)
        estimate = self._estimate(moving, fixed, scale, working)

        displacement = resample_displacement(estimate.forward.numpy(), working, fixed.grid)[0].numpy()
        inverse = resample_displacement(estimate.backward.numpy(), working, fixed.grid)[0].numpy()

        def on_fixed(values: Tensor | None) -> Image | None:
            return (
                None
                if values is None
                else fixed.with_array(resample_map(values, working, fixed.grid)[0, 0].numpy())
            )

        posterior = self._posterior(estimate, working, fixed.grid)
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
            moving_labels=labels,
            posterior=posterior,
            samples=0 if posterior is None else self.samples,
            slicewise=slicewise,
            info={
                "model": str(self.run.folder),
                "method": self.run.config.method,
                "network": self.run.config.network,
                "seed": self.run.config.seed,
                **({"refine": self.refine} if self.refine else {}),
                "seconds": round(time.perf_counter() - began, 4),
            },
        )

    @torch.no_grad()
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

        def joined(of: Callable[[Estimate], Tensor | None]) -> Tensor | None:
            """The results of all slices as one batch."""
            tensors = [tensor for tensor in map(of, parts) if tensor is not None]
            return torch.cat(tensors).cpu() if tensors else None

        def field(of: Callable[[Estimate], Tensor]) -> Tensor:
            return whole(torch.cat([of(part) for part in parts]).cpu(), slicewise=slicewise)

        def scalars(of: Callable[[Estimate], Tensor | None]) -> Tensor | None:
            """A map of the whole image (1, 1, *shape)."""
            batch = joined(of)
            if batch is None:
                return None
            return (batch.movedim(0, -1) if slicewise else batch[0])[None]

        return Estimate(
            forward=field(lambda part: part.forward),
            backward=field(lambda part: part.backward),
            log_variance=scalars(lambda part: part.log_variance),
            weight=scalars(lambda part: part.weight),
            velocity=torch.cat([part.velocity for part in parts]).cpu(),
            velocity_log_variance=joined(lambda part: part.velocity_log_variance),
        )

    def _posterior(self, estimate: Estimate, working: Grid, fixed: Grid) -> VelocityPosterior | None:
        if estimate.velocity_log_variance is None:
            return None
        return VelocityPosterior(
            mean=estimate.velocity,
            log_variance=estimate.velocity_log_variance,
            int_steps=self.network.int_steps,
            working=working,
            fixed=fixed,
            slicewise=working.dims > self.run.config.preparation.dims,
            device=self.device,
            correlation=self.run.config.correlation,
        )

    def _forward(self, moving: Tensor, fixed: Tensor) -> Estimate:
        with progress("estimating the displacement", None), autocast(self.precision, self.device):
            displacement = self.network(moving, fixed)
        if self.refine:
            total, int_steps = total_loss(self.run.config), self.network.int_steps
            displacement = refine(
                displacement, moving, fixed, self.objective, total, int_steps, self.refine, self.precision
            )
        with autocast(self.precision, self.device):
            losses = self.objective(warp(moving, displacement.forward), fixed)
        return Estimate(
            displacement.forward,
            displacement.backward,
            losses.log_variance,
            losses.weight,
            displacement.velocity,
            displacement.velocity_log_variance,
        )


def load(
    folder: str | Path,
    checkpoint: str = "best",
    device: str | None = None,
    precision: str = "auto",
    samples: int | None = None,
    refine: int = 0,
) -> ModelRegistrar:
    """Opens a trained run as a registrar.

    Args:
        folder: The run.
        checkpoint: `best` on the validation pairs, or `last`.
        device: Where to compute; a GPU if there is one by default.
        precision: `32-true`, `bf16-mixed`, or `auto`: bf16 where it is faster.
        samples: Of the displacement, where the model has its uncertainty; see `ModelRegistrar`.
        refine: Steps by which each pair is refined on its own; see `ModelRegistrar`.

    Raises:
        UserError: The folder is not a run, or its checkpoint is damaged or of a newer version; samples are asked of
            a model that has none.
    """
    return ModelRegistrar(Run.read(folder), checkpoint, device, precision, samples, refine)


def at_least(grid: Grid, smallest: int, dims: int) -> Grid:
    """The grid, lengthened at the far ends of its first axes to at least so many voxels."""
    shape = [max(n, smallest) if axis < dims else n for axis, n in enumerate(grid.shape)]
    return replace(grid, shape=tuple(shape))


def _batch(image: Image, scale: Scale, working: Grid, dims: int) -> Tensor:
    """The image on the working grid as a batch (N, 1, *shape) in [0, 1]."""
    array = scale(resample(image, working).array)
    return torch.from_numpy(np.ascontiguousarray(slices_of(array, dims)))[:, None]
