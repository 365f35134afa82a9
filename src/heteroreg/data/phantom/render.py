"""The brightness of the phantom as a function of position.

Edges are blurred over about a voxel, as by partial volume. Since the brightness is a function, an image of the
moved anatomy is that function at the moved positions: nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from heteroreg.data.phantom.heart import Heart, ellipsoid
from heteroreg.data.phantom.spline import Spline, texture
from heteroreg.system.arrays import Floats

# Brightness of each tissue and its relative variation (coarse, fine).
CINE: Mapping[str, tuple[float, float, float]] = {
    "lung": (70, 0.45, 0.35),
    "blood": (640, 0.07, 0.05),
    "muscle": (190, 0.10, 0.08),
    "fat": (700, 0.12, 0.08),
    "liver": (250, 0.12, 0.10),
    "vessel": (520, 0.08, 0.05),
    "bone": (330, 0.20, 0.20),
    "air": (25, 0.20, 0.20),
}
ECHO: Mapping[str, tuple[float, float, float]] = {
    "lung": (260, 0.35, 0.30),
    "blood": (90, 0.25, 0.20),
    "muscle": (420, 0.18, 0.15),
    "fat": (640, 0.20, 0.15),
    "liver": (380, 0.18, 0.15),
    "vessel": (90, 0.20, 0.10),
    "bone": (700, 0.10, 0.10),
    "air": (480, 0.30, 0.20),
}


@dataclass(frozen=True)
class Chest:
    """The surroundings of the heart in a short-axis view, in the image's frame (origin at its centre, y down).

    Attributes:
        wall: Centre and radius of the circle of the chest's inner wall.
        wall_layers: Thickness of the muscle and of the fat of the chest wall.
        dome: Centre and radius of the circle of the diaphragm's dome.
        stomach: Centre and semi-axes of the stomach.
        aorta: Centre and radius of the descending aorta.
        spine: Centre and radius of the vertebral body.
        fat: Thickness of the fat around the heart, and the angle of its thickest part.
    """

    wall: tuple[float, float, float]
    wall_layers: tuple[float, float]
    dome: tuple[float, float, float]
    stomach: tuple[float, float, float, float]
    aorta: tuple[float, float, float]
    spine: tuple[float, float, float]
    fat: tuple[float, float]


@dataclass(frozen=True)
class Look:
    """The random brightness of a patient.

    Attributes:
        tissues: Brightness and variation of each tissue.
        chest: The surroundings.
        coarse: Texture with details of several millimetres.
        fine: Texture with details of a voxel or two.
        other: A second coarse texture, for vessels and flow in the blood pool.
        bias: Texture of the coil's sensitivity.
        edge: Half width of an edge.
        apical: True for the surroundings of an apical view.
    """

    tissues: Mapping[str, tuple[float, float, float]]
    chest: Chest
    coarse: Spline
    fine: Spline
    other: Spline
    bias: Spline
    edge: float
    apical: bool

    def __call__(self, heart: Heart, p: Floats, q: Floats) -> Floats:
        """Return the brightness, from 0 to about 1000.

        Args:
            heart: The heart's geometry.
            p: Positions (3, …) in the heart's frame.
            q: The same positions (3, …) in the image's frame.
        """
        coarse, fine, other = self.coarse(q), self.fine(q), self.other(q)

        def tissue(name: str, vary: Floats = coarse) -> Floats:
            value, much, little = self.tissues[name]
            return np.asarray(value * np.clip(1 + much * vary + little * fine, 0.15, 2.5))

        def paint(canvas: Floats, distance: Floats, colour: Floats) -> Floats:
            cover = 0.5 - 0.5 * np.tanh(distance / self.edge)
            return np.asarray(canvas + cover * (colour - canvas))

        canvas = (self._sides if self.apical else self._surroundings)(q, tissue, paint, coarse, other)
        canvas = self._heart(canvas, heart, p, tissue, paint, other)
        return np.asarray(np.clip(canvas * (1 + 0.10 * np.clip(self.bias(q), -2.5, 2.5)), 5.0, 1000.0))

    def _surroundings(self, q: Floats, tissue: Any, paint: Any, coarse: Floats, other: Floats) -> Floats:
        chest, (x, y, z) = self.chest, q
        canvas = tissue("lung")
        canvas = paint(canvas, 5 * (1.9 - other - 0.3 * coarse), 0.7 * tissue("vessel"))  # vessels of the lung
        sx, sy, sr = chest.spine
        canvas = paint(canvas, np.hypot(x - sx, y - sy) - sr, tissue("bone"))
        ax, ay, ar = chest.aorta
        aorta = np.hypot(x - ax, y - ay) - ar
        canvas = paint(paint(canvas, aorta - 1.2, tissue("muscle")), aorta, tissue("blood", other))
        dx, dy, dr = chest.dome
        dome = np.hypot(x - dx, y - dy) - dr + 0.25 * z
        canvas = paint(canvas, dome - 1.5, tissue("fat"))
        canvas = paint(canvas, dome, tissue("liver"))
        canvas = paint(canvas, np.maximum(dome + 3, 5 * (1.1 - other)), tissue("vessel"))
        cx, cy, a, b = chest.stomach
        stomach = ellipsoid(q, np.array([cx, cy, -10.0]), (a, b, 40.0))
        canvas = paint(canvas, stomach - 1.5, tissue("muscle"))
        canvas = paint(canvas, stomach, tissue("bone", other))
        wx, wy, wr = chest.wall
        outside = wr - np.hypot(x - wx, y - wy) + 1.2 * other
        muscle, fat = chest.wall_layers
        canvas = paint(canvas, outside, tissue("muscle"))
        canvas = paint(canvas, outside + muscle, tissue("fat"))
        return np.asarray(paint(canvas, outside + muscle + fat, tissue("air")))

    def _sides(self, q: Floats, tissue: Any, paint: Any, coarse: Floats, other: Floats) -> Floats:
        """Paint the surroundings of an apical view: lung, liver on the other side, the chest wall at the probe."""
        x, y, _ = q
        canvas = tissue("lung")
        canvas = paint(canvas, x + 12 + 4 * coarse, tissue("liver"))
        canvas = paint(canvas, 6 * (1.4 - other), tissue("fat"))
        return np.asarray(paint(canvas, y + 44 + 1.5 * other, tissue("fat")))

    def _heart(self, canvas: Floats, heart: Heart, p: Floats, tissue: Any, paint: Any, other: Floats) -> Floats:
        endo, epi, rv = heart.endocardium(p), heart.epicardium(p), heart.right_ventricle(p)
        above = heart.base - p[2]  # negative above the valve plane
        atrium = heart.atrium(p)
        whole = np.minimum(np.minimum(epi, rv - 2.0), atrium - 2.0)
        thickness, where = self.chest.fat
        fat = thickness * (0.55 + 0.45 * np.cos(np.arctan2(p[1], p[0]) - where) + 0.25 * other)
        canvas = paint(canvas, whole - np.clip(fat, 0.0, None) - 1.2, tissue("lung"))  # pericardium
        canvas = paint(canvas, whole - np.clip(fat, 0.0, None), tissue("fat"))
        canvas = paint(canvas, rv - 1.8, tissue("muscle"))
        pool = tissue("blood", other)
        trabeculae = np.maximum(rv + 0.5, 3 * (1.5 - other) - 1.5 * np.clip(rv + 6, 0, 4))
        canvas = paint(paint(canvas, rv, pool), trabeculae, 0.55 * pool + 0.45 * tissue("muscle"))
        canvas = paint(paint(canvas, atrium - 1.5, tissue("muscle")), atrium, pool)
        canvas = paint(canvas, np.maximum(epi, -above), tissue("muscle"))
        canvas = paint(canvas, np.maximum(endo, -above - 1.0), pool)
        # The leaflets of the mitral valve: a thin line between ventricle and atrium.
        canvas = paint(canvas, np.maximum(np.abs(above) - 0.8, endo), 0.5 * tissue("muscle") + 0.5 * pool)
        papillary = np.maximum(heart.papillaries(p), endo + 0.5)
        return np.asarray(paint(canvas, papillary, 0.75 * tissue("muscle") + 0.25 * pool))


def random_look(rng: np.random.Generator, *, echo: bool, apical: bool, edge: float) -> Look:
    """Return random surroundings, contrast and textures of a patient."""
    chest = Chest(
        wall=(rng.uniform(6, 16), rng.uniform(16, 26), rng.uniform(58, 66)),
        wall_layers=(rng.uniform(3, 6), rng.uniform(4, 12)),
        dome=(rng.uniform(-42, -26), rng.uniform(58, 70), rng.uniform(34, 40)),
        stomach=(rng.uniform(12, 24), rng.uniform(40, 48), rng.uniform(9, 15), rng.uniform(6, 10)),
        aorta=(rng.uniform(36, 44), rng.uniform(26, 34), rng.uniform(5.5, 8)),
        spine=(rng.uniform(50, 60), rng.uniform(44, 54), rng.uniform(13, 17)),
        fat=(rng.uniform(1.5, 5.0), rng.uniform(-np.pi, np.pi)),
    )
    tissues = {
        name: (value * float(np.exp(rng.normal(0, 0.12))), much, little)
        for name, (value, much, little) in (ECHO if echo else CINE).items()
    }
    return Look(
        tissues=tissues,
        chest=chest,
        coarse=texture(rng, 3, 7.0),
        fine=texture(rng, 3, 2.2),
        other=texture(rng, 3, 4.5),
        bias=texture(rng, 3, 45.0),
        edge=edge,
        apical=apical,
    )
