"""A trained model as a registrar: one pair, any size, any spacing."""

from __future__ import annotations

import hashlib
import time
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from heteroreg.data.alignment import initial_affine
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.samples.preparation import SMALLEST_AXIS, Scale, resample, scale_of, slices_of
from heteroreg.networks import Displacement
from heteroreg.registration.alignment import register_placed
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.refinement import refine, require_steps
from heteroreg.registration.result import Registration, no_uncertainty
from heteroreg.registration.shared import fetch
from heteroreg.spatial import warp
from heteroreg.spatial.field import Field
from heteroreg.spatial.grids import resample_map
from heteroreg.system.errors import UserError
from heteroreg.system.memory import require_memory
from heteroreg.system.precision import autocast
from heteroreg.system.progress import progress
from heteroreg.training.parts import MethodLike, NetworkLike
from heteroreg.training.run import Run
from heteroreg.uncertainty.posterior import VelocityPosterior, whole

# Slices that the networks take at once: bounded, so that memory does not grow with the stack.
SLICES_AT_ONCE, VOXELS_AT_ONCE = 16, 16 * 256**2
# Bytes that must be free before the networks begin, since oneDNN crashes if it gets no memory to compile a kernel:
# those of its kernels, and for each voxel what every network takes at least.
KERNELS, VOXEL_BYTES = 32 * 2**20, {2: 230, 3: 110}
DEFAULT_SAMPLES = {2: 32, 3: 16}  # displacement samples by the network's dimension: those of a volume take longer


@dataclass(frozen=True)
class Estimate:
    """Output of the networks for one pair, on the working grid.

    Attributes:
        forward: (d, *shape) in voxels of the working grid.
        backward: Likewise.
        log_variance: log σ̂_I² (1, 1, *shape) of intensities in [0, 1], if there is a variance estimator.
        weight: Weight of each voxel (1, 1, *shape), if the objective has weights.
        velocity: Mean velocity of the image or of each of its slices (N, d, *coarse).
        velocity_log_variance: log σ̂_z², the same shape, if the network estimates it.
    """

    forward: Tensor
    backward: Tensor
    log_variance: Tensor | None
    weight: Tensor | None
    velocity: Tensor
    velocity_log_variance: Tensor | None


class ModelRegistrar(BaseRegistrar):
    """Register with a trained run: one pair, any size, any spacing.

    The pair is resampled to the model's working spacing, slice by slice for a 2D model, and the displacement back
    to the fixed image's own grid. The moving image is then sampled once, from its own voxels.

    Args:
        run: The run.
        checkpoint: `best` or `last`.
        device: Where to compute; a GPU if there is one by default.
        precision: Precision of the networks: `32-true`, `bf16-mixed`, or `auto`, bf16 where it is faster. Positions
            are float32 in any case.
        samples: Number of displacement samples for `displacement_sd` and the intervals of the label sizes; by
            default 32 for a 2D and 16 for a 3D network.
        refine: Steps of instance optimisation for each pair, from the network's estimate; see `refinement.refine`.
        name: Name in tables; that of the run's folder by default.
        method: The method, if the run was trained with one from outside heteroreg: the object, or its import path.
        network: Likewise the network.

    Raises:
        UserError: The checkpoint cannot be used; `samples` is below 2, or the model has no displacement
            uncertainty; `refine` is negative.
    """

    aligns = True  # by the initial alignment that it was trained with

    def __init__(
        self,
        run: Run,
        *,
        checkpoint: str = "best",
        device: str | None = None,
        precision: str = "auto",
        samples: int | None = None,
        refine: int = 0,
        name: str | None = None,
        method: MethodLike = None,
        network: NetworkLike = None,
    ) -> None:
        self.run = run
        self._name = name or run.folder.resolve().name
        parts = run.parts(method=method, network=network)
        require_steps(refine)
        self.refine = refine
        if samples is not None and not parts.method.uncertain:
            raise no_uncertainty(f"{run.folder}: {run.config.method}", argument="samples")
        if samples is not None and samples < 2:
            raise UserError(f"samples: {samples} is too few; give at least 2", argument="samples")
        self.samples = DEFAULT_SAMPLES[run.config.preparation.dims] if samples is None else samples
        self.precision = precision
        self.initial: str = run.config.initial
        self.total = parts.total_loss()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        estimator, objective = run.modules(checkpoint, method=method, network=network)
        self.network, self.objective = estimator.to(self.device), objective.to(self.device)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> Self:
        """Return the registrar of a shared model, downloaded if need be.

        Args:
            name: `owner/name` on Hugging Face, or a folder that `push` wrote.
            revision: A branch, a tag or a commit of the repository.
            options: Arguments of this class: `device`, `precision`, `samples`, `refine`, ….

        Raises:
            UserError: There is no such model, or it cannot be used; see `shared.fetch`.
        """
        run = Run.read(fetch(name, revision=revision))
        return cls(Run(run.folder, run.config.without_paths()), name=str(name), **options)

    @property
    def name(self) -> str:
        """Name in tables: that of the run's folder, or of the shared model."""
        return self._name

    @property
    def identity(self) -> str:
        """The run's folder, and the refinement."""
        folder = str(self.run.folder.resolve())
        return f"{folder}, refined by {self.refine}" if self.refine else folder

    def fingerprint(self) -> str:
        """Return SHA-256 over the weights, the settings that change the displacement, and the refinement."""
        config = self.run.config
        integration = (config.int_steps, config.kernel, config.passes)
        # Models from before `kernel` and `passes` keep their fingerprint.
        settings = (config.preparation, self.refine, *(() if integration == (7, 0, 1) else integration))
        found = hashlib.sha256(repr(settings).encode())
        for module in (self.network, self.objective):
            for name, tensor in sorted(module.state_dict().items()):
                found.update(name.encode())
                found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def dims(self) -> int:
        """Number of axes of the network; a 2D network registers the slices of a 3D image."""
        return self.run.config.preparation.dims

    def __repr__(self) -> str:
        config = self.run.config
        return (
            f"ModelRegistrar({self.name!r}, method {config.method!r}, network {config.network!r}, {self.dims}D, "
            f"{self.device})"
        )

    def by_grid(self) -> ModelRegistrar:
        """Return the registrar without the initial alignment that the model was trained with."""
        found = copy(self)
        found.initial = "grid"
        return found

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        affine = initial_affine(moving, fixed, self.initial)
        return register_placed(self._register_by_grid, affine, moving, fixed, moving_labels)

    def _register_by_grid(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        preparation = self.run.config.preparation
        began = time.perf_counter()
        slicewise = fixed.grid.dims > preparation.dims
        scale = scale_of(fixed, preparation.intensity)
        working = at_least(preparation.working_grid(fixed.grid, fixed.name), SMALLEST_AXIS, preparation.dims)
        estimate = self._estimate(moving, fixed, scale, working)

        field = Field(estimate.forward.numpy(), working).resample(fixed.grid)
        inverse = Field(estimate.backward.numpy(), working).resample(fixed.grid)

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
            moved=field.warp(moving),
            displacement=field.vectors,
            inverse_displacement=inverse.vectors,
            noise_sd=noise_sd,
            weight=on_fixed(estimate.weight),
            moved_labels=None if moving_labels is None else field.warp(moving_labels, labels=True),
            moving_labels=moving_labels,
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
        slicewise = working.dims > preparation.dims
        at_once = max(1, min(SLICES_AT_ONCE, VOXELS_AT_ONCE // moving_batch[0].numel()))
        joined: dict[str, Tensor] = {}  # by the names of `Estimate`; each has one item for each slice
        for first in range(0, len(moving_batch), at_once):
            slices = slice(first, first + at_once)
            if self.device.type == "cpu":
                require_memory(KERNELS + VOXEL_BYTES[preparation.dims] * moving_batch[slices].numel())
            part = self._forward(moving_batch[slices].to(self.device), fixed_batch[slices].to(self.device))
            if slicewise:
                part = _still_where_empty(part, moving_batch[slices], fixed_batch[slices])
            for name, values in vars(part).items():
                if values is not None:
                    if name not in joined:
                        joined[name] = torch.empty((len(moving_batch), *values.shape[1:]), dtype=values.dtype)
                    joined[name][slices] = values.cpu()

        def field(name: str) -> Tensor:
            return whole(joined.pop(name), slicewise=slicewise)

        def scalars(name: str) -> Tensor | None:
            """Return the maps of all slices as one map (1, 1, *shape) of the image."""
            batch = joined.get(name)
            if batch is None:
                return None
            return (batch.movedim(0, -1) if slicewise else batch[0])[None]

        return Estimate(
            forward=field("forward"),
            backward=field("backward"),
            log_variance=scalars("log_variance"),
            weight=scalars("weight"),
            velocity=joined["velocity"],
            velocity_log_variance=joined.get("velocity_log_variance"),
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
            displacement = Displacement._make(map(_as_float32, self.network(moving, fixed)))
        if self.refine:
            total, int_steps = self.total, self.network.int_steps
            displacement = refine(
                displacement,
                moving,
                fixed,
                self.objective,
                total,
                int_steps,
                self.refine,
                self.precision,
                self.network.kernel,
            )
        with autocast(self.precision, self.device):
            losses = self.objective(warp(moving, displacement.forward), fixed)
        return Estimate(
            displacement.forward,
            displacement.backward,
            _as_float32(losses.log_variance),
            _as_float32(losses.weight),
            displacement.velocity,
            displacement.velocity_log_variance,
        )


def _as_float32(tensor: Tensor | None) -> Tensor | None:
    """Return a tensor in float32: autocast may leave it in bfloat16, which NumPy does not have."""
    return None if tensor is None else tensor.float()


def _still_where_empty(estimate: Estimate, moving: Tensor, fixed: Tensor) -> Estimate:
    """Return the estimate without motion in slices where either image shows nothing."""
    empty = [(batch == batch.flatten(1)[:, :1, None, None]).flatten(1).all(1) for batch in (moving, fixed)]
    keep = (~(empty[0] | empty[1])).to(estimate.forward)[:, None, None, None]
    return replace(
        estimate,
        forward=estimate.forward * keep,
        backward=estimate.backward * keep,
        velocity=estimate.velocity * keep,
    )


def at_least(grid: Grid, smallest: int, dims: int) -> Grid:
    """Lengthen a grid at the far ends of its first `dims` axes to at least `smallest` voxels."""
    shape = [max(n, smallest) if axis < dims else n for axis, n in enumerate(grid.shape)]
    return replace(grid, shape=tuple(shape))


def _batch(image: Image, scale: Scale, working: Grid, dims: int) -> Tensor:
    """Resample an image onto the working grid as a batch (N, 1, *shape) in [0, 1]."""
    array = scale(resample(image, working).array)
    return torch.from_numpy(np.ascontiguousarray(slices_of(array, dims)))[:, None]
