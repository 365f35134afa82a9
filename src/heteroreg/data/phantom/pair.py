"""A pair of the phantom, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.phantom.heart import random_heart
from heteroreg.data.phantom.motion import contract, random_beat, random_wander
from heteroreg.data.phantom.noise import NOISE_KINDS
from heteroreg.data.phantom.observe import observe
from heteroreg.data.phantom.render import random_look
from heteroreg.data.phantom.variety import Variety, random_variety, vary_beat, vary_heart, vary_look
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

VIEWS = ("short-axis", "2CH", "4CH")
ANATOMY_WIDTH = 96.0  # extent of the first axis of an image, in the anatomy's units of length
SMALLEST_PHANTOM = 32


@dataclass(frozen=True)
class PhantomPair:
    """A moving and a fixed image with their ground truth.

    fixed_clean(x) = moving_clean(x + u(x)) holds exactly, also for the labels: both are functions of position.

    Attributes:
        moving: The measured image at end-diastole.
        fixed: The measured image at end-systole.
        moving_labels: 1 LV, 2 myocardium, 3 RV (apical views: left atrium).
        fixed_labels: Likewise for the fixed image.
        true_displacement: u (d, *shape) in voxels, channel i along array axis i, on the fixed grid.
        moving_noise_sd: Standard deviation of the moving image's noise.
        fixed_noise_sd: Standard deviation of the fixed image's noise.
        moving_clean: The moving image without noise and artefacts.
        fixed_clean: The fixed image without noise and artefacts.
        moving_artefact: Mask of the moving image's artefacts; None without artefacts.
        fixed_artefact: Likewise for the fixed image.
        noise: Kind of the noise.
    """

    moving: Image
    fixed: Image
    moving_labels: Image
    fixed_labels: Image
    true_displacement: Floats
    moving_noise_sd: Image
    fixed_noise_sd: Image
    moving_clean: Image
    fixed_clean: Image
    moving_artefact: Image | None = None
    fixed_artefact: Image | None = None
    noise: str = "gaussian"


@dataclass(frozen=True)
class Placement:
    """The position of the heart in the image: p = E·(q − centre) + offset.

    Attributes:
        axes: E (3, d) with orthonormal columns, the image's axes in the heart's frame.
        centre: Centre of the heart in the image (d).
        offset: Coordinates of that centre in the heart's frame (3).
    """

    axes: Floats
    centre: Floats
    offset: Floats

    def to_heart(self, q: Floats) -> Floats:
        """Map positions of the image (d, …) to the heart's frame (3, …)."""
        return np.asarray(np.tensordot(self.axes, q - _column(self.centre, q), axes=1) + _column(self.offset, q))

    def to_image(self, p: Floats) -> Floats:
        """Map positions of the heart's frame back to the image's plane."""
        return np.asarray(np.tensordot(self.axes.T, p - _column(self.offset, p), axes=1) + _column(self.centre, p))

    def turned(self, variety: Variety) -> Placement:
        """Return the position with the heart turned about its centre, shifted, and at another level."""
        c, s = np.cos(variety.turn), np.sin(variety.turn)
        axes = self.axes.copy()
        axes[:, :2] = self.axes[:, :2] @ np.array([[c, -s], [s, c]])
        offset = self.offset + np.array([0.0, 0.0, variety.level])
        return Placement(axes, self.centre + variety.shift, offset)


def make_pair(
    seed: int | Sequence[int],
    *,
    shape: Sequence[int] = (96, 96),
    spacing: Sequence[float] = (1.5, 1.5),
    noise: str = "gaussian",
    artefacts: bool = False,
    strength: float = 1.0,
    noise_strength: float | None = None,
    view: str = "short-axis",
    echo: bool | None = None,
    varied: bool = False,
) -> PhantomPair:
    """Make a pair: a heart at end-diastole (moving) and at end-systole (fixed).

    Anatomy, motion, noise and artefacts use separate random streams: the same seed with other noise shows the same
    heart.

    Args:
        seed: One or several numbers.
        shape: Voxels along each axis, 2D or 3D. The heart fills the same part of the first axis at any size.
        spacing: Spacing in mm. The anatomy depends only on its ratios.
        noise: `gaussian`, `rician` or `speckle`.
        artefacts: Add artefacts, independently in each image.
        strength: Factor on noise and artefacts.
        noise_strength: Factor on the noise alone; `strength` by default.
        view: `short-axis`, or a plane along the heart's long axis, `2CH` or `4CH`, with the apex at y = 0.
        echo: Use the brightness of tissues in echo, not in cine MRI; by default for speckle.
        varied: Draw shape, contrast, view, motion and noise from far wider ranges than those of hearts; the kind of
            noise is then gaussian or rician at random. See `variety`.

    Raises:
        UserError: The kind of noise or view is unknown, a strength is negative, or the image has fewer than 32
            voxels along x or y.
    """
    shape = tuple(int(n) for n in shape)
    if min(shape[:2]) < SMALLEST_PHANTOM:
        raise UserError(f"shape: {shape} is too small for a heart; use {SMALLEST_PHANTOM} voxels or more")
    if noise not in NOISE_KINDS:
        raise UserError(f"noise: '{noise}' is unknown; use {', '.join(NOISE_KINDS)}", argument="noise")
    if view not in VIEWS or (view != "short-axis" and len(shape) != 2):
        raise UserError(f"view: '{view}' is not possible; use {', '.join(VIEWS)}, of which only the first in 3D")
    streams = np.random.SeedSequence(seed).spawn(6)
    anatomy, movement, looks, of_moving, of_fixed, various = (np.random.default_rng(s) for s in streams)
    grid = Grid.of_shape(shape, tuple(spacing))
    step = ANATOMY_WIDTH / shape[0] * np.asarray(grid.spacing) / grid.spacing[0]  # units in a voxel
    apical, volume = view != "short-axis", len(shape) == 3

    heart = random_heart(anatomy)
    place = _random_placement(anatomy, view, len(shape))
    look = random_look(
        looks, echo=noise == "speckle" if echo is None else echo, apical=apical, edge=0.8 * float(step[0])
    )
    beat = random_beat(movement, twists=not apical, shortens=apical or volume)
    wander = random_wander(movement, len(shape))
    breath: Floats = np.zeros(len(shape))
    if varied:
        variety = random_variety(various, len(shape))
        heart, beat, look = vary_heart(various, heart), vary_beat(various, beat), vary_look(various, look)
        place, breath, step = place.turned(variety), variety.breath, step * variety.zoom
        noise = noise if noise == "speckle" else variety.noise
        noise_strength = variety.noise_strength * (strength if noise_strength is None else noise_strength)
        artefacts = artefacts and variety.artefacts

    q = np.stack(
        np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, step, strict=True)], indexing="ij")
    )
    wandered = q + _column(breath, q) + np.stack([w(q) for w in wander])
    moved = place.to_image(contract(place.to_heart(wandered), heart, beat))
    displacement = (moved - q) / _column(step, q)

    cleans, labels = [], []
    for points in (q, moved):
        p = place.to_heart(points)
        full = np.concatenate([points, np.zeros((3 - len(points), *points.shape[1:]))])
        cleans.append(look(heart, p, full))
        labels.append(heart.labels(p, apical=apical))
    options = {"artefacts": artefacts, "strength": strength, "noise_strength": noise_strength}
    return phantom_pair(cleans, labels, displacement, grid, (of_moving, of_fixed), noise, **options)


def phantom_pair(
    cleans: Sequence[Floats],
    labels: Sequence[NDArray[np.uint8]],
    displacement: Floats,
    grid: Grid,
    streams: Sequence[np.random.Generator],
    noise: str,
    **options: Any,
) -> PhantomPair:
    """Measure a moving and a fixed image, each with a random stream of its own, and return them as a pair."""
    observed = [observe(clean, rng, noise=noise, **options) for clean, rng in zip(cleans, streams, strict=True)]

    def image(array: NDArray[Any] | None) -> Any:
        return None if array is None else Image(array.astype(np.uint8 if array.dtype == bool else np.float32), grid)

    return PhantomPair(
        moving=image(observed[0].image),
        fixed=image(observed[1].image),
        moving_labels=Image(labels[0], grid),
        fixed_labels=Image(labels[1], grid),
        true_displacement=displacement,
        moving_noise_sd=image(observed[0].noise_sd),
        fixed_noise_sd=image(observed[1].noise_sd),
        moving_clean=image(cleans[0]),
        fixed_clean=image(cleans[1]),
        moving_artefact=image(observed[0].artefact),
        fixed_artefact=image(observed[1].artefact),
        noise=noise,
    )


def _random_placement(rng: np.random.Generator, view: str, dims: int) -> Placement:
    angle = rng.uniform(-0.6, 0.6) if view == "short-axis" else rng.uniform(-0.15, 0.15)
    c, s = np.cos(angle), np.sin(angle)
    shift, level = rng.uniform(-4, 4, 2), rng.uniform(-8, 4)
    if view != "short-axis":  # depth runs from apex to base
        lateral = 0 if view == "4CH" else 1
        axes = np.zeros((3, 2))
        axes[lateral], axes[2] = (c, -s), (s, c)
        return Placement(
            axes, np.array([shift[0] + (7 if lateral == 0 else 0), shift[1] - 2.0]), np.array([0.0, 0.0, -6.0])
        )
    axes = np.eye(3)[:, :dims]
    axes[:2, :2] = ((c, -s), (s, c))
    centre = np.array([8 * c + shift[0], -8 * s + shift[1] - 2, 0.0])[:dims]
    return Placement(axes, centre, np.array([0.0, 0.0, level if dims == 2 else -9.0]))


def _column(vector: Any, like: Floats) -> Floats:
    return np.asarray(vector).reshape(-1, *[1] * (like.ndim - 1))
