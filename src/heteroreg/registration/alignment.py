"""Registration after an affine alignment that was made before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.data.inputs import ImageLike, as_pair
from heteroreg.data.io.affine import Affine
from heteroreg.registration.result import Registrar, Registration
from heteroreg.spatial import identity, sample
from heteroreg.spatial.field import affine
from heteroreg.system.arrays import Floats
from heteroreg.uncertainty.posterior import Posterior


@dataclass(frozen=True)
class Aligned:
    """A registrar that begins where an affine alignment T ends.

    The other registrar sees moving where T puts it, and finds u. The registration is that of moving itself, with
    the whole way in its displacement: x ↦ T(x + u(x)). So the voxels of moving are sampled once, and the files say
    all that another tool needs to know.

    Attributes:
        registrar: What registers.
        affine: T, from points of fixed to points of moving.
    """

    registrar: Registrar
    affine: Affine

    @property
    def name(self) -> str:
        """That of the registrar."""
        return self.registrar.name

    def register(
        self, moving: ImageLike, fixed: ImageLike, moving_labels: ImageLike | None = None, spacing: Any = None
    ) -> Registration:
        """Registers moving to fixed; see `ModelRegistrar.register`.

        Raises:
            UserError: As the registrar does, or the alignment is of another dimension.
        """
        moving, fixed, labels = as_pair(moving, fixed, moving_labels, spacing)
        self.affine.require_dims(moving.grid.dims, moving.name)
        placed = None if labels is None else self.affine.place(labels)
        found = self.registrar.register(self.affine.place(moving), fixed, placed)
        whole = _Whole(*self.affine.in_voxels(fixed.grid))
        return replace(
            found,
            moving=moving,
            moving_labels=None if found.moving_labels is None else labels,
            displacement=whole.forward(found.displacement),
            inverse_displacement=whole.backward(found.inverse_displacement),
            posterior=None if found.posterior is None else _AlignedPosterior(found.posterior, whole),
            info={**found.info, "initial": {"matrix": self.affine.matrix, "offset": self.affine.offset}},
        )


@dataclass(frozen=True)
class _Whole:
    """Displacements on the fixed grid with T behind them; T in voxels of that grid is i ↦ B·i + c."""

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]

    def forward(self, displacement: Floats) -> Floats:
        """B·(i + u(i)) + c - i."""
        u = torch.from_numpy(np.ascontiguousarray(displacement, dtype=np.float64))[None]
        start = identity(u.shape[2:], u)
        return _single(affine(start + u, self.linear, self.offset) - start)

    def backward(self, inverse: Floats) -> Floats:
        """j + v(j) - i with j = B⁻¹·(i - c), v the inverse of u, its edge continued outside."""
        v = torch.from_numpy(np.ascontiguousarray(inverse, dtype=np.float64))[None]
        back = np.asarray(np.linalg.inv(self.linear), dtype=np.float64)
        start = identity(v.shape[2:], v)
        aligned = affine(start, back, -back @ self.offset)
        return _single(aligned + sample(v, aligned) - start)


@dataclass(frozen=True)
class _AlignedPosterior:
    """Samples of u as those of the whole way."""

    posterior: Posterior
    whole: _Whole

    def sample(self, n: int, seed: int) -> Iterator[Floats]:
        """See `Posterior`."""
        return map(self.whole.forward, self.posterior.sample(n, seed))


def _single(displacement: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(displacement[0].numpy(), dtype=np.float32)
