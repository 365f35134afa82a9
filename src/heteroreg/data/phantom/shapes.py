"""Phantoms of random shapes, to train a model for any organ: no heart, no anatomy at all.

After Hoffmann et al., *SynthMorph*, IEEE TMI 2022: a network that has seen enough shapes and contrasts registers
images of kinds that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.phantom.pair import ANATOMY_WIDTH, PhantomPair, phantom_pair
from heteroreg.data.phantom.spline import Spline, bumps, texture
from heteroreg.data.phantom.variety import BRIGHTEST
from heteroreg.system.arrays import Floats

# Width of the bumps of each part of the motion, and how often it is applied. Once, it has no fold while it is below
# width / (2 · dims).
MOTION_PARTS = ((48.0, 1), (24.0, 4), (14.0, 3))
MOST_TISSUES = 8


@dataclass(frozen=True)
class Shapes:
    """Random tissues as functions of position: at each point the tissue whose score is the largest.

    Attributes:
        scores: A smooth random function of each tissue.
        brightness: Mean brightness of each tissue, 0 to 1000.
        coarse: Texture of several units.
        fine: Texture of a unit or two.
        variation: Relative strength of both textures.
        bias: Texture of the coil's sensitivity.
        edge: Difference of scores over which an edge is blurred.
        body: Squared semi-axes of an ellipsoid outside which there is air; None if the image is full of tissue.
    """

    scores: tuple[Spline, ...]
    brightness: Floats
    coarse: Spline
    fine: Spline
    variation: tuple[float, float]
    bias: Spline
    edge: float
    body: Floats | None

    def __call__(self, p: Floats) -> tuple[Floats, NDArray[np.uint8]]:
        """Return brightness, 0 to about 1000, and tissue, 0, 1, 2, …, at positions `p` (d, …)."""
        scores = self._scores(p)
        cover = np.exp((scores - scores.max(0)) / self.edge)
        mean = np.tensordot(self.brightness, cover / cover.sum(0), axes=1)
        much, little = self.variation
        varied = mean * np.clip(1 + much * self.coarse(p) + little * self.fine(p), 0.2, 2.0)
        brightness = np.clip(varied * (1 + 0.1 * np.clip(self.bias(p), -2.5, 2.5)), 5.0, BRIGHTEST)
        return brightness, np.argmax(scores, axis=0).astype(np.uint8)

    def _scores(self, p: Floats) -> Floats:
        scores = np.stack([score(p) for score in self.scores])
        if self.body is not None:
            outside = np.sqrt(np.tensordot(1 / self.body, p**2, axes=1)) - 1
            scores[0] = np.where(outside > -0.3, scores[0] + 20 * (outside + 0.1), scores[0])
        return scores


def make_shapes(
    seed: int | Sequence[int],
    *,
    shape: Sequence[int] = (64, 64, 64),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    artefacts: bool = False,
    strength: float = 1.0,
    noise_strength: float | None = None,
) -> PhantomPair:
    """Make a pair of random shapes and their random motion.

    Args:
        seed: One or several numbers.
        shape: Voxels along each axis, 2D or 3D. The shapes fill the same part of the first axis at any size.
        spacing: Spacing in mm.
        artefacts: Add artefacts to half of the pairs, independently in each image.
        strength: Factor on noise and artefacts.
        noise_strength: Factor on the noise alone; `strength` by default. Each pair draws its share of it, and
            its kind, Gaussian or Rician.
    """
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)]
    of_shapes, of_motion, of_moving, of_fixed, various = streams
    grid = Grid.of_shape(tuple(shape), tuple(spacing))
    dims = len(shape)
    zoom = float(np.exp(various.uniform(np.log(0.6), np.log(1.4))))
    step = zoom * ANATOMY_WIDTH / shape[0] * np.asarray(grid.spacing) / grid.spacing[0]  # units in a voxel
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, step, strict=True)]
    q = np.stack(np.meshgrid(*axes, indexing="ij"))
    moved = random_motion(of_motion, q)
    shapes = random_shapes(of_shapes, q)
    noise = str(various.choice(["gaussian", "rician"]))
    share = float(various.uniform(0, 1.5))
    artefacts = artefacts and bool(various.random() < 0.5)
    noise_strength = share * (strength if noise_strength is None else noise_strength)
    cleans, labels = zip(*[shapes(points) for points in (q, moved)], strict=True)
    displacement = (moved - q) / step.reshape(-1, *[1] * dims)
    options = {"artefacts": artefacts, "strength": strength, "noise_strength": noise_strength}
    return phantom_pair(cleans, labels, displacement, grid, (of_moving, of_fixed), noise, **options)


def random_shapes(rng: np.random.Generator, q: Floats) -> Shapes:
    """Return random tissues that fill the positions `q` (d, …) or an ellipsoid in their middle."""
    dims = len(q)
    reach = q.reshape(dims, -1).max(1)
    step = float(np.exp(rng.uniform(np.log(9), np.log(36))))
    tissues = int(rng.integers(3, MOST_TISSUES + 1))
    coarse, fine = rng.uniform(0.0, 0.15), rng.uniform(0.0, 0.12)
    return Shapes(
        scores=tuple(texture(rng, dims, step) for _ in range(tissues)),
        brightness=rng.uniform(20.0, 0.9 * BRIGHTEST, tissues),
        coarse=texture(rng, dims, 7.0),
        fine=texture(rng, dims, 2.2),
        variation=(coarse, fine),
        bias=texture(rng, dims, 45.0),
        edge=float(rng.uniform(0.05, 0.3)),
        body=(reach * rng.uniform(0.6, 1.1, dims)) ** 2 if rng.random() < 0.5 else None,
    )


def random_motion(rng: np.random.Generator, q: Floats) -> Floats:
    """Map positions `q` (d, …) of the fixed image to those of the moving image.

    The map is a small affine map after smooth random displacements, from coarse to fine. Each is a diffeomorphism,
    since along each axis the slopes of `bumps` sum to at most 0.95, and so is their composition.
    """
    dims = len(q)
    for width, times in MOTION_PARTS:
        amplitude = rng.uniform(0.2, 0.95) * width / (2 * dims)
        displacement = [bumps(rng, dims, width, amplitude) for _ in range(dims)]
        for _ in range(times):
            q = q + np.stack([along(q) for along in displacement])
    linear = np.eye(dims) + rng.uniform(-0.08, 0.08, (dims, dims))
    return np.asarray(np.tensordot(linear, q, axes=1) + rng.uniform(-4, 4, dims).reshape(-1, *[1] * dims))
