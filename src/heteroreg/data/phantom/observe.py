"""What is measured of a clean image: artefacts first, since noise knows the signal, then noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.phantom.artefacts import add_artefacts
from heteroreg.data.phantom.noise import add_noise, require_strength
from heteroreg.system.arrays import Floats


class Observed(NamedTuple):
    """An image as it would be measured.

    Attributes:
        image: With artefacts and noise.
        noise_sd: Standard deviation of its noise.
        artefact: Where it has artefacts; None where none were asked for.
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
    """Measures a clean image.

    Args:
        clean: (x, y) or (x, y, z).
        rng: Noise and artefacts draw from streams of their own.
        noise: `gaussian`, `rician` or `speckle`.
        artefacts: Whether to add artefacts.
        strength: A factor on noise and artefacts.
        noise_strength: A factor on the noise alone; `strength` by default.

    Raises:
        UserError: An unknown kind of noise, or a negative strength.
    """
    if noise_strength is not None:
        require_strength(noise_strength, "--noise-strength")
    noise_rng, artefact_rng = rng.spawn(2)
    mask = None
    if artefacts:
        clean, mask = add_artefacts(clean, artefact_rng, strength=strength)
    factor = strength if noise_strength is None else noise_strength
    noisy, sd = add_noise(clean, noise_rng, kind=noise, strength=factor)
    return Observed(noisy, sd, mask)
