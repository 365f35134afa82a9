"""Phantoms with far more variation than hearts, to train a model for unseen kinds of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from heteroreg.data.phantom.heart import Heart
from heteroreg.data.phantom.motion import Beat
from heteroreg.data.phantom.render import ECHO, Look
from heteroreg.system.arrays import Floats

Tissues = Mapping[str, tuple[float, float, float]]

BRIGHTEST = 1000.0


@dataclass(frozen=True)
class Variety:
    """The variation of a pair.

    Attributes:
        zoom: Factor on the field of view.
        turn: Rotation of the heart in the image, in radians.
        shift: Shift of the heart in the image, in units (d).
        level: Shift of the plane along the heart's long axis, in units.
        breath: Motion of the whole body between the images, in units (d).
        noise: Kind of the noise, if it is not speckle.
        noise_strength: Factor on the noise.
        artefacts: True if the pair has artefacts, in a cohort with artefacts.
    """

    zoom: float
    turn: float
    shift: Floats
    level: float
    breath: Floats
    noise: str
    noise_strength: float
    artefacts: bool


def random_variety(rng: np.random.Generator, dims: int) -> Variety:
    """Return a random view from near or far, at any angle and level, with strong, weak or no noise."""
    return Variety(
        zoom=float(np.exp(rng.uniform(np.log(0.7), np.log(1.7)))),
        turn=rng.uniform(-np.pi, np.pi),
        shift=rng.uniform(-12, 12, dims),
        level=rng.uniform(-26, 10),
        breath=rng.normal(0, 1.5, dims),
        noise=str(rng.choice(["gaussian", "rician"])),
        noise_strength=rng.uniform(0, 1.5),
        artefacts=bool(rng.random() < 0.5),
    )


def vary_heart(rng: np.random.Generator, heart: Heart) -> Heart:
    """Vary the thickness of the walls, the outline, and the size of the right ventricle."""
    x, y, z = heart.rv
    return replace(
        heart,
        epi=heart.endo + rng.uniform(3.0, 11.0),
        lobes=tuple((rng.uniform(0, a), rng.uniform(-np.pi, np.pi)) for a in (0.15, 0.06, 0.03)),
        rv=(x * rng.uniform(0.6, 1.3), y * rng.uniform(0.6, 1.3), z * rng.uniform(0.6, 1.3)),
        papillary_radius=rng.uniform(0.5, 4.0),
    )


def vary_beat(rng: np.random.Generator, beat: Beat) -> Beat:
    """Vary the contraction from almost none to strong; half of the hearts fill instead of emptying.

    An ejection of -1 doubles the volume, 0.5 halves it; the strongest filling is -1.5. `contract` stays monotone.
    """
    smaller = rng.uniform(0.0, 0.75)
    fills = bool(rng.random() < 0.5)
    gain = rng.uniform(0.95, 1.35)
    return Beat(
        ejection=-min(smaller / (1 - smaller), 1.5) if fills else smaller,
        shortening=beat.shortening * rng.uniform(-1.0, 1.0),
        wall_gain=1 / gain if fills else gain,
        twist=beat.twist * 1.5,
        rv_shift=beat.rv_shift * (-rng.uniform(0.0, 1.0) if fills else rng.uniform(0.0, 1.0)),
    )


def vary_look(rng: np.random.Generator, look: Look) -> Look:
    """Vary the contrast: that of echo, inverted, or any brightness for any tissue; sharp and blurred edges."""
    tissues: Tissues = ECHO if rng.random() < 0.15 else look.tissues
    inverted = rng.random() < 0.15
    others = {}
    for name, (value, much, little) in tissues.items():
        start = BRIGHTEST - value if inverted else value
        bright = float(np.clip(start * np.exp(rng.normal(0, 0.35)), 10.0, BRIGHTEST))
        others[name] = (bright, much * float(rng.uniform(0.5, 2.0)), little * float(rng.uniform(0.3, 2.5)))
    return replace(look, tissues=others, edge=look.edge * float(np.exp(rng.uniform(np.log(0.7), np.log(2.5)))))
