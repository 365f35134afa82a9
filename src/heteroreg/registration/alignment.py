"""Registration that begins with an affine alignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.data.image import Image
from heteroreg.data.io.affine import Affine
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.result import Registrar, Registration
from heteroreg.spatial import identity, sample
from heteroreg.spatial.grids import affine
from heteroreg.system.arrays import Floats
from heteroreg.uncertainty.posterior import Posterior


@dataclass(frozen=True)
class Aligned(BaseRegistrar):
    """A registrar that begins with an affine alignment T.

    The inner registrar gets moving placed by T and finds u. The displacement of the registration includes both,
    x ↦ T(x + u(x)), so the voxels of moving are sampled once and other tools need nothing but the saved field.

    Attributes:
        registrar: The inner registrar.
        affine: T, from points of fixed to points of moving.
    """

    registrar: Registrar
    affine: Affine

    @property
    def name(self) -> str:
        """Name of the registrar."""
        return self.registrar.name

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        self.affine.require_dims(moving.grid.dims, moving.name)
        placed = None if moving_labels is None else self.affine.place(moving_labels)
        found = self.registrar.register(self.affine.place(moving), fixed, placed)
        whole = _Whole(*self.affine.in_voxels(fixed.grid))
        return replace(
            found,
            moving=moving,
            moving_labels=None if found.moving_labels is None else moving_labels,
            displacement=whole.forward(found.displacement),
            inverse_displacement=whole.backward(found.inverse_displacement),
            posterior=None if found.posterior is None else _AlignedPosterior(found.posterior, whole),
            info={**found.info, "initial": {"matrix": self.affine.matrix, "offset": self.affine.offset}},
        )


@dataclass(frozen=True)
class _Whole:
    """Displacements on the fixed grid followed by T, which is i ↦ B·i + c in voxels of that grid."""

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]

    def forward(self, displacement: Floats) -> Floats:
        """Return B·(i + u(i)) + c - i."""
        u = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float64))[None]
        start = identity(u.shape[2:], u)
        return _single(affine(start + u, self.linear, self.offset) - start)

    def backward(self, inverse: Floats) -> Floats:
        """Return j + v(j) - i with j = B⁻¹·(i - c), v the inverse of u, its edge continued outside."""
        v = torch.from_numpy(np.ascontiguousarray(inverse, dtype=np.float64))[None]
        back = np.asarray(np.linalg.inv(self.linear), dtype=np.float64)
        start = identity(v.shape[2:], v)
        aligned = affine(start, back, -back @ self.offset)
        return _single(aligned + sample(v, aligned) - start)


@dataclass(frozen=True)
class _AlignedPosterior:
    """Samples of u, each followed by T."""

    posterior: Posterior
    whole: _Whole

    def sample(self, n: int, seed: int) -> Iterator[Floats]:
        """Draw samples; see `Posterior`."""
        return map(self.whole.forward, self.posterior.sample(n, seed))


def _single(displacement: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(displacement[0].numpy(), dtype=np.float32)
