"""Images of any shape, made fast: what is measured with them is time and memory, not accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, write_image

LINEAR = {2: "bilinear", 3: "trilinear"}


def images(shape: Sequence[int], count: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth blobs with a little noise, in [0, 1]: (count, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, *(max(2, n // 16) for n in shape), generator=generator)
    smooth = F.interpolate(coarse, size=tuple(shape), mode=LINEAR[len(shape)], align_corners=True)
    noisy = smooth + 0.02 * torch.randn(smooth.shape, generator=generator)
    return np.asarray(noisy.clamp(0, 1)[:, 0].numpy())


def cohort(folder: Path, shape: Sequence[int], pairs: int, seed: int = 0) -> Cohort:
    """Pairs of such images as files, with voxels of 1 mm."""
    rows = []
    for index in range(pairs):
        both = {}
        for side, array in zip(("moving", "fixed"), images(shape, 2, seed + index), strict=True):
            both[side] = folder / f"{index}_{side}.nii"
            write_image(Image.from_array(array), both[side])
        rows.append(Pair(str(index), both["moving"], both["fixed"]))
    Cohort(tuple(rows)).write(folder / "pairs.csv")
    return Cohort.read(folder / "pairs.csv")


def labelled_cohort(folder: Path, size: int, pairs: int) -> Cohort:
    """Pairs of noisy discs that beat, with their labels: a thousand of them in seconds.

    Label 1 is the disc and 2 a ring about it; each pair has its own place, sizes and noise, and its own files.
    """
    rng = np.random.default_rng(0)
    axes = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    rows = []
    for index in range(pairs):
        centre = size / 2 + rng.uniform(-size / 16, size / 16, 2)
        radius = size * rng.uniform(0.14, 0.18)
        distance = np.hypot(axes[0] - centre[0], axes[1] - centre[1])
        files = {}
        for side, inner in (("moving", radius), ("fixed", 0.75 * radius)):
            labels = np.where(distance < inner, 1, np.where(distance < inner + 0.1 * size, 2, 0)).astype(np.int32)
            array = np.choose(labels, (0.3, 0.9, 0.5)) + 0.05 * rng.standard_normal((size, size))
            for kind, image in ((side, array.astype(np.float32)), (f"{side}_labels", labels)):
                files[kind] = folder / f"{index}_{kind}.nii.gz"
                write_image(Image.from_array(image), files[kind])
        rows.append(
            Pair(str(index), files["moving"], files["fixed"], files["moving_labels"], files["fixed_labels"])
        )
    Cohort(tuple(rows)).write(folder / "pairs.csv")
    return Cohort.read(folder / "pairs.csv")
