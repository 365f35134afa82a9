"""The measurement of a clean image: artefacts first, then noise, which depends on the signal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.phantom.artefacts import add_artefacts
from heteroreg.data.phantom.noise import add_noise, require_strength
from heteroreg.system.arrays import Floats


class Observed(NamedTuple):
    """A measured image.

    Attributes:
        image: The image with artefacts and noise.
        noise_sd: Standard deviation of its noise.
        artefact: Mask of the artefacts; None without artefacts.
    """

    image: Floats
    noise_sd: Floats
    artefact: NDArray[np.bool_] | None


def observe(
    clean: Floats,
    rng: np.random.Generator,
    *,
    noise: str = "gaussian",
    artefacts: bool = False,
    strength: float = 1.0,
    noise_strength: float | None = None,
) -> Observed:
    """Measure a clean image.

    Args:
        clean: (x, y) or (x, y, z).
        rng: Source of two independent streams, for noise and artefacts.
        noise: `gaussian`, `rician` or `speckle`.
        artefacts: Add artefacts.
        strength: Factor on noise and artefacts.
        noise_strength: Factor on the noise alone; `strength` by default.

    Raises:
        UserError: The kind of noise is unknown, or a strength negative.
    """
    if noise_strength is not None:
        require_strength(noise_strength, "noise_strength")
    noise_rng, artefact_rng = rng.spawn(2)
    mask = None
    if artefacts:
        clean, mask = add_artefacts(clean, artefact_rng, strength=strength)
    factor = strength if noise_strength is None else noise_strength
    noisy, sd = add_noise(clean, noise_rng, kind=noise, strength=factor)
    return Observed(noisy, sd, mask)
