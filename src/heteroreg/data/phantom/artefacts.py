"""One-sided artefacts: structure in one image that no displacement explains, with its mask.

These functions do not depend on the phantom. They take any array and return it with artefacts, in its own units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.phantom.noise import intensity_range, require_strength
from heteroreg.system.arrays import Floats


def add_artefacts(
    image: Floats, rng: np.random.Generator, *, strength: float = 1.0
) -> tuple[Floats, NDArray[np.bool_]]:
    """Add one to three artefacts to an image: a shadow wedge, a drop-out, clutter.

    Each has compact support: outside the mask the image is unchanged.

    Args:
        image: (x, y) or (x, y, z), not negative; the beam enters at the side y = 0.
        rng: Source of the random choice, position and strength.
        strength: Factor on their effect, 1 by default; 0 has no effect. A shadow removes at most the whole signal.

    Returns:
        The image with artefacts, and the mask of the voxels that they change.

    Raises:
        UserError: The strength is negative.
    """
    require_strength(strength)
    span = intensity_range(image)
    chosen = rng.permutation(3)[: rng.integers(1, 4)]
    touched = np.zeros(image.shape, dtype=bool)
    for kind in sorted(int(k) for k in chosen):
        window = _DRAW[kind](image.shape, rng)
        if kind == CLUTTER:
            image = image + min(strength * rng.uniform(0.35, 0.7), 2.0) * span * window
        else:
            image = image * (1 - min(strength * rng.uniform(0.7, 0.9), 1.0) * window)
        touched |= window > 0
    return np.asarray(image), touched


def shadow_wedge(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a map in [0, 1] of a wedge that opens downwards from a random point at y = 0, as behind a rib."""
    x, y, *rest = _axes(shape)
    start, slope = rng.uniform(0.2, 0.8), rng.uniform(-0.5, 0.5)
    half, begin = rng.uniform(0.06, 0.11), rng.uniform(0.0, 0.25)
    centre = start + slope * (0.5 - start) * 0.8 * y + 0.15 * slope * y
    across = np.abs(x - centre) / (half * (0.5 + y))
    if rest:  # a rib has a finite length
        across = np.hypot(across, (rest[0] - rng.uniform(0.3, 0.7)) / 0.45)
    return np.asarray(_fall(across) * (1 - _fall((y - begin) / 0.12)) * (y > begin))


def drop_out(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a map in [0, 1] of an ellipse in which the signal is lost."""
    return _blob(shape, rng, 0.10, 0.18)


def clutter(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return a map from 0 to about 1 of three to five bright blobs."""
    blobs = [_blob(shape, rng, 0.04, 0.10) * rng.uniform(0.6, 1.0) for _ in range(rng.integers(3, 6))]
    return np.asarray(np.max(blobs, axis=0))


CLUTTER = 2
_DRAW = (shadow_wedge, drop_out, clutter)


def _blob(shape: tuple[int, ...], rng: np.random.Generator, small: float, large: float) -> Floats:
    axes = _axes(shape)
    centre = rng.uniform(0.22, 0.78, len(shape))
    radii = rng.uniform(small, large, len(shape))
    angle = rng.uniform(0, np.pi)
    x, y = axes[0] - centre[0], axes[1] - centre[1]
    offsets = [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y]
    offsets += [a - c for a, c in zip(axes[2:], centre[2:], strict=True)]
    return _fall(np.sqrt(sum((o / r) ** 2 for o, r in zip(offsets, radii, strict=True))))


def _axes(shape: tuple[int, ...]) -> list[Floats]:
    return list(np.meshgrid(*[np.arange(n) / max(n - 1, 1) for n in shape], indexing="ij"))


def _fall(radius: Floats) -> Floats:
    """Return 1 up to half the radius, then fall smoothly to exactly 0 at radius 1."""
    t = np.clip(2 * (1 - np.abs(radius)), 0.0, 1.0)
    return np.asarray(t**2 * (3 - 2 * t))
