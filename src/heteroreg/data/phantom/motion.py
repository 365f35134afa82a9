"""The phantom's motion from end-diastole (moving) to end-systole (fixed), as a function of position.

Every part is a diffeomorphism by construction, and a composition of diffeomorphisms is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from heteroreg.data.phantom.heart import Heart
from heteroreg.data.phantom.spline import Spline, bumps
from heteroreg.system.arrays import Floats

REST = 4.4  # squared radius over that of the outer wall, beyond which the contraction moves nothing
WANDER_STEP = 24.0
WANDER = 2.5  # below WANDER_STEP / (2 · 3), so that the smooth random part has no fold


@dataclass(frozen=True)
class Beat:
    """The contraction of a heart.

    Attributes:
        ejection: Ejected fraction of the LV's volume.
        shortening: Relative decrease of the LV's length (0 in a short-axis plane).
        wall_gain: Cross-section of the myocardium at end-systole over that at end-diastole.
        twist: Rotation of the apex, in radians; the base turns half as far the other way.
        rv_shift: Displacement of the RV's free wall towards the septum.
    """

    ejection: float
    shortening: float
    wall_gain: float
    twist: float
    rv_shift: float


def random_beat(rng: np.random.Generator, *, twists: bool, shortens: bool) -> Beat:
    """Return a random contraction within the range of patients: ejection fraction 0.42 to 0.62."""
    ejection, shortening, gain = rng.uniform(0.42, 0.62), rng.uniform(0.09, 0.15), rng.uniform(1.05, 1.2)
    twist, rv_shift = rng.uniform(-0.22, 0.22), rng.uniform(5.0, 9.0)
    return Beat(ejection, shortening * shortens, gain, twist * twists, rv_shift)


def contract(p: Floats, heart: Heart, beat: Beat) -> Floats:
    """Map positions at end-systole to the positions of the same tissue at end-diastole.

    It composes three maps, each in the heart's frame:
    the RV's free wall moves out along x by a Gaussian bump, p + A·g(p)·e with A·|∇g| < 1;
    along the long axis z goes to z + v·(Z(z) − z), with Z monotone and 0 ≤ v ≤ 1 a function of the distance from
    the axis, so that the determinant is (1 − v) + v·Z′ > 0;
    the squared distance s from the axis goes to (1 − w)·s + w·K²·h(s / K²), with h monotone, and the angle turns
    by an amount that depends on s and z alone. The Jacobian determinant of the last is ((1 − w) + w·h′) > 0.

    h maps the inner and outer wall from their position at end-systole to that at end-diastole. The cross-section
    of the wall between them grows evenly, as that of muscle that shortens along its length.

    Args:
        p: Positions (3, …) in the heart's frame, at end-systole.
        heart: The geometry at end-diastole.
        beat: The contraction.

    Returns:
        Positions (3, …) at end-diastole.
    """
    x, y, z = _push_free_wall(p, heart, beat)
    s = x**2 + y**2
    z = z + (1 - ramp(s / heart.epi**2, 1.2, 6.0)) * (_long_axis(heart, beat)(z) - z)
    level = np.clip(1 - (z / heart.length) ** 2, 0.2, 1.0) * heart.epi**2
    w = ramp(z, -heart.length - 16, -heart.length) * (1 - ramp(z, heart.base, heart.base + 24))
    sigma = s / level
    contracted = np.where(sigma < REST, _radial(heart, beat)(np.minimum(sigma, REST)), sigma)
    tiny = 1e-9
    scale = np.sqrt((1 - w) + w * (contracted + tiny) / (sigma + tiny))
    turn = beat.twist * np.clip(-z / heart.length, -0.5, 1.0) * w * (1 - ramp(sigma, 0.8, 4.0))
    c, d = np.cos(turn), np.sin(turn)
    return np.stack([scale * (c * x - d * y), scale * (d * x + c * y), z])


def random_wander(rng: np.random.Generator, dims: int) -> tuple[Spline, ...]:
    """Return a smooth random displacement, one function for each axis: breathing, motion of the patient.

    |u| ≤ 2.5 units along each axis; each row of its Jacobian sums to at most d · 2 · 2.5 / 24 < 1 in size,
    so that x + u(x) is a diffeomorphism.
    """
    return tuple(bumps(rng, dims, WANDER_STEP, WANDER) for _ in range(dims))


def ramp(x: Floats, start: float, end: float) -> Floats:
    """Return a smooth step: 0 up to `start`, 1 from `end`."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t**2 * (3 - 2 * t))


def _push_free_wall(p: Floats, heart: Heart, beat: Beat) -> Floats:
    free_wall = heart.rv_centre - np.array([heart.rv[0] - beat.rv_shift, 0.0, 0.0])
    widths = (10.0, 17.0, 24.0)  # the slope along x is at most 9 · 0.61 / 10 < 1
    square = sum(((p[i] - free_wall[i]) / widths[i]) ** 2 for i in range(3))
    x = p[0] - beat.rv_shift * np.exp(-0.5 * np.asarray(square))
    return np.stack([x, p[1], p[2]])


def _long_axis(heart: Heart, beat: Beat) -> CubicHermiteSpline:
    """Return the monotone Z(z): the apex is fixed, the base comes from above, distant points are fixed."""
    base = heart.base - beat.shortening * (heart.base + heart.length)
    bottom, top = -heart.length - 30.0, heart.base + 45.0
    at = np.array([-400.0, bottom, base, top, 400.0])
    to = np.array([-400.0, bottom, heart.base, top, 400.0])
    return CubicHermiteSpline(at, to, _slopes(at, to))


def _radial(heart: Heart, beat: Beat) -> CubicHermiteSpline:
    """Return h, in squared radii over that of the outer wall at end-diastole."""
    inner = (heart.endo / heart.epi) ** 2
    inner_es = inner * (1 - beat.ejection) / (1 - beat.shortening)
    outer_es = inner_es + beat.wall_gain * (1 - inner)
    at, to = np.array([0.0, inner_es, outer_es, REST]), np.array([0.0, inner, 1.0, REST])
    return CubicHermiteSpline(at, to, _slopes(at, to))


def _slopes(at: Floats, to: Floats) -> Floats:
    """Return the slopes at the nodes that keep a cubic Hermite interpolant monotone (Fritsch & Butland 1984).

    The first slope is that of the first interval; the last is 1, as the identity follows.
    """
    secants = np.diff(to) / np.diff(at)
    inner = 2 * secants[1:] * secants[:-1] / (secants[1:] + secants[:-1])
    return np.concatenate([secants[:1], inner, [1.0]])
