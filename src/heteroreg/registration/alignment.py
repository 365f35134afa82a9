"""Registration that begins with an initial alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.data.alignment import initial_affine
from heteroreg.data.image import Image
from heteroreg.data.io.affine import Affine, read_affine
from heteroreg.data.samples.intensity import ALIGNMENTS
from heteroreg.data.samples.preparation import require_overlap
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.result import Registrar, Registration
from heteroreg.spatial import identity, sample
from heteroreg.spatial.grids import affine
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.uncertainty.posterior import Posterior

# An affine map, the file of one, or one of `ALIGNMENTS`.
Initial: TypeAlias = "Affine | str | Path"


def aligned(registrar: Registrar, initial: Initial | None) -> Registrar:
    """Return a registrar that begins with an alignment in place of the one that it was trained with.

    Args:
        registrar: The registrar.
        initial: The alignment: a map, the file of an ITK transform, or one of `ALIGNMENTS`; None leaves the
            registrar as it is.

    Raises:
        UserError: The file is missing or is no affine transform.
    """
    if initial is None:
        return registrar
    if not isinstance(initial, Affine) and str(initial) not in ALIGNMENTS:
        if not Path(initial).suffix and not Path(initial).exists():
            raise UserError(
                f"initial: '{initial}' is neither a file nor one of {', '.join(ALIGNMENTS)}", argument="initial"
            )
        initial = read_affine(initial)
    inner = registrar.by_grid() if isinstance(registrar, BaseRegistrar) else registrar
    return inner if initial == "grid" else Aligned(inner, initial if isinstance(initial, Affine) else str(initial))


@dataclass(frozen=True)
class Aligned(BaseRegistrar):
    """A registrar that begins with an affine alignment T.

    Attributes:
        registrar: The inner registrar, which gets moving placed by T.
        initial: T, from points of fixed to points of moving, or how to find it: one of `ALIGNMENTS`.
    """

    registrar: Registrar
    initial: Affine | str
    aligns: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of the registrar."""
        return self.registrar.name

    @property
    def identity(self) -> str:
        """The identity of the inner registrar."""
        return self.registrar.identity if isinstance(self.registrar, BaseRegistrar) else self.name

    def fingerprint(self) -> str:
        """Return that of the inner registrar, whose displacement begins at the alignment."""
        return self.registrar.fingerprint() if isinstance(self.registrar, BaseRegistrar) else self.name

    @property
    def dims(self) -> int | None:
        """Number of axes that the images need at least."""
        return self.registrar.dims if isinstance(self.registrar, BaseRegistrar) else None

    def by_grid(self) -> BaseRegistrar:
        """Return the inner registrar without an alignment."""
        inner = self.registrar
        return inner.by_grid() if isinstance(inner, BaseRegistrar) else Aligned(inner, "grid")

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        how = self.initial
        affine = how if isinstance(how, Affine) else initial_affine(moving, fixed, how)
        return register_placed(self.registrar.register, affine, moving, fixed, moving_labels)


def register_placed(
    register: Callable[[Image, Image, Image | None], Registration],
    affine: Affine | None,
    moving: Image,
    fixed: Image,
    moving_labels: Image | None,
) -> Registration:
    """Register moving, placed by T, to fixed.

    The displacement includes T, x ↦ T(x + u(x)), so the voxels of moving are sampled once and other tools need
    nothing but the saved field.

    Args:
        register: Finds u for (moving placed by T, fixed, labels placed by T).
        affine: T; None registers moving as it is.
        moving: The moving image.
        fixed: The fixed image.
        moving_labels: Label map of the moving image.

    Raises:
        UserError: T has another dimension than the images, or placed by it they do not overlap; or as `register`.
    """
    if affine is None:
        require_overlap(moving, fixed)
        return register(moving, fixed, moving_labels)
    affine.require_dims(moving.grid.dims, moving.name)
    placed = None if moving_labels is None else affine.place(moving_labels)
    require_overlap(affine.place(moving), fixed)
    found = register(affine.place(moving), fixed, placed)
    whole = _Whole(*affine.in_voxels(fixed.grid))
    displacement = whole.forward(found.displacement)
    return replace(
        found,
        moving=moving,
        moving_labels=None if found.moving_labels is None else moving_labels,
        displacement=displacement,
        error=None if found.error is None else replace(found.error, displacement=displacement),
        inverse_displacement=whole.backward(found.inverse_displacement),
        posterior=None if found.posterior is None else _AlignedPosterior(found.posterior, whole),
        info={**found.info, "initial": {"matrix": affine.matrix, "offset": affine.offset}},
    )


def initially_placed(moving: Image, registration: Registration) -> Image:
    """Return the moving image, or its labels, where the initial alignment of a registration puts it."""
    initial = registration.info.get("initial")
    return Affine(initial["matrix"], initial["offset"]).place(moving) if initial else moving


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
