"""The shape of the phantom's heart at end-diastole, as functions of position.

Lengths are in units; 96 of them span the image, so that a unit is a voxel at the default size. The heart's own
frame has the LV's long axis along z (apex at negative z, base at positive z) and the RV on the side of negative x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Floats

LV, MYOCARDIUM, RV = 1, 2, 3
ATRIUM = 3  # in apical views, as CAMUS numbers it


@dataclass(frozen=True)
class Heart:
    """The geometry of one heart at end-diastole.

    Attributes:
        endo: Radius of the LV blood pool at its widest level.
        epi: Outer radius of the myocardium at that level.
        length: Distance from the widest level to the apex.
        base: z coordinate of the valve plane.
        lobes: Relative amplitude and phase of the second, third and fourth harmonic of the outline.
        rv: Semi-axes of the RV's ellipsoid, x, y, z.
        rv_offset: Distance of the RV's centre from the LV's outer wall, and its y coordinate.
        papillary: Angles of the two papillary muscles.
        papillary_radius: Radius of the papillary muscles.
    """

    endo: float
    epi: float
    length: float
    base: float
    lobes: tuple[tuple[float, float], ...]
    rv: tuple[float, float, float]
    rv_offset: tuple[float, float]
    papillary: tuple[float, float]
    papillary_radius: float

    @property
    def rv_centre(self) -> Floats:
        """Centre of the RV's ellipsoid."""
        return np.array([-(self.epi + self.rv_offset[0]), self.rv_offset[1], 4.0])

    def endocardium(self, p: Floats) -> Floats:
        """Return the approximate signed distance of `p` (3, …) to the LV's inner surface, negative inside."""
        return self._outline(p, self.endo, self.length)

    def epicardium(self, p: Floats) -> Floats:
        """Return the approximate signed distance to the outer surface of the LV."""
        return self._outline(p, self.epi, self.length + self.epi - self.endo)

    def right_ventricle(self, p: Floats) -> Floats:
        """Return the approximate signed distance to the RV's ellipsoid, which the LV partly covers."""
        return ellipsoid(p, self.rv_centre, self.rv)

    def atrium(self, p: Floats) -> Floats:
        """Return the approximate signed distance to the left atrium, above the valve plane."""
        return ellipsoid(p, np.array([0.0, 0.0, self.base + 14.0]), (self.epi * 0.95, self.epi * 1.05, 15.0))

    def papillaries(self, p: Floats) -> Floats:
        """Return the approximate signed distance to the nearer papillary muscle."""
        distances = [
            np.hypot(p[0] - 0.62 * self.endo * np.cos(a), p[1] - 0.62 * self.endo * np.sin(a))
            - self.papillary_radius * np.clip(1 - ((p[2] + 6) / 16) ** 2, 0.0, 1.0)
            for a in self.papillary
        ]
        return np.asarray(np.minimum(*distances))

    def labels(self, p: Floats, *, apical: bool = False) -> NDArray[np.uint8]:
        """Return the exact label at each position `p` (3, …), from the signs of the distances.

        Args:
            p: Positions in the heart's frame.
            apical: Label 3 is the left atrium, as in apical echo views, and not the RV.
        """
        ventricles = p[2] < self.base
        labels = np.zeros(p.shape[1:], dtype=np.uint8)
        if apical:
            labels[(self.atrium(p) < 0) & ~ventricles] = ATRIUM
        else:
            labels[(self.right_ventricle(p) < 0) & ventricles] = RV
        labels[(self.epicardium(p) < 0) & ventricles] = MYOCARDIUM
        labels[(self.endocardium(p) < 0) & ventricles] = LV
        return labels

    def _outline(self, p: Floats, radius: float, length: float) -> Floats:
        angle = np.arctan2(p[1], p[0])
        stretch = 1.0 + sum(a * np.cos(k * angle - phase) for k, (a, phase) in enumerate(self.lobes, start=2))
        return np.asarray(np.sqrt((p[0] ** 2 + p[1] ** 2) / stretch**2 + (radius * p[2] / length) ** 2) - radius)


def ellipsoid(p: Floats, centre: Floats, axes: tuple[float, float, float]) -> Floats:
    """Return the signed distance to an ellipsoid to first order: f / |∇f| with f = √Σ((pᵢ − cᵢ)/aᵢ)² − 1."""
    scaled = [(p[i] - centre[i]) / axes[i] for i in range(3)]
    radius = np.sqrt(sum(s**2 for s in scaled)) + 1e-9
    slope = np.sqrt(sum((s / a) ** 2 for s, a in zip(scaled, axes, strict=True))) / radius + 1e-9
    return np.asarray((radius - 1.0) / slope)


def random_heart(rng: np.random.Generator) -> Heart:
    """Return a heart of random size and shape, within the range of adults."""
    endo = rng.uniform(13.0, 16.0)
    angle = rng.uniform(-0.4, 0.4)
    return Heart(
        endo=endo,
        epi=endo + rng.uniform(5.5, 7.5),
        length=rng.uniform(33.0, 38.0),
        base=rng.uniform(10.0, 14.0),
        lobes=tuple((rng.uniform(0, a), rng.uniform(-np.pi, np.pi)) for a in (0.06, 0.025, 0.015)),
        rv=(rng.uniform(14.0, 18.0), rng.uniform(20.0, 26.0), rng.uniform(32.0, 37.0)),
        rv_offset=(rng.uniform(1.0, 4.0), rng.uniform(-4.0, 4.0)),
        papillary=(angle + rng.uniform(0.9, 1.3), angle - rng.uniform(0.9, 1.3)),
        papillary_radius=rng.uniform(1.8, 2.8),
    )
