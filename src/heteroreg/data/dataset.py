"""The pairs of a cohort as tensors in memory, each file decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from heteroreg.data.cohort import Pair
from heteroreg.data.image import Image, read_image, read_labels
from heteroreg.data.preparation import (
    Preparation,
    centre_crop,
    check_labels,
    check_pair,
    cut,
    resample,
    scale_of,
    slices_of,
)
from heteroreg.errors import UserError


class ImageCache:
    """Decoded images by path, so that a file that occurs in many pairs is decoded once.

    Args:
        limit: Bytes to keep; the images used longest ago go first.
    """

    def __init__(self, limit: int = 2 * 1024**3) -> None:
        self.limit = limit
        self._images: dict[tuple[Path, bool], Image] = {}

    def image(self, path: Path) -> Image:
        """The image at a path."""
        return self._get(path, False, read_image)

    def labels(self, path: Path) -> Image:
        """The label map at a path."""
        return self._get(path, True, read_labels)

    def _get(self, path: Path, labels: bool, read: Callable[[Path], Image]) -> Image:
        key = (path.resolve(), labels)
        image = self._images.pop(key, None) or read(path)
        self._images[key] = image  # last in the order: used most recently
        while sum(kept.array.nbytes for kept in self._images.values()) > self.limit and len(self._images) > 1:
            del self._images[next(iter(self._images))]
        return image


@dataclass(frozen=True)
class Samples:
    """Pairs ready for a network, slices and volumes alike.

    Attributes:
        moving: (N, 1, *size), in [0, 1].
        fixed: (N, 1, *size), in [0, 1].
        moving_labels: (N, 1, *size) whole numbers, where every pair has labels.
        fixed_labels: Likewise.
        pair: For each sample the index of its pair.
        ids: The ids of the pairs.
        patients: The patient of each pair.
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None
    fixed_labels: Tensor | None
    pair: Tensor
    ids: tuple[str, ...]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.moving)

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self.moving_labels is not None


def load_samples(
    pairs: Iterable[Pair],
    preparation: Preparation,
    size: Sequence[int],
    *,
    centre_label: int | None = None,
    labels: bool = False,
    cache: ImageCache | None = None,
) -> Samples:
    """Reads pairs and prepares them: onto the fixed grid, to the working spacing, cropped, scaled, cut in slices.

    Args:
        pairs: The pairs.
        preparation: How.
        size: Voxels of a sample along each of the network's axes; larger images are cropped, smaller padded.
        centre_label: The crop is centred on this label of the moving image; on the image without it.
        labels: Whether to load the label maps, if all pairs have them.
        cache: Decoded images.

    Raises:
        UserError: An image or label map is unfit; the message names it.
    """
    pairs = list(pairs)
    cache = cache or ImageCache()
    with_labels = labels and all(pair.labelled for pair in pairs)
    moving, fixed, moving_labels, fixed_labels, owner = [], [], [], [], []
    for number, pair in enumerate(pairs):
        prepared = _prepare(pair, preparation, size, centre_label, with_labels, cache)
        moving.append(prepared[0])
        fixed.append(prepared[1])
        if with_labels:
            moving_labels.append(prepared[2])
            fixed_labels.append(prepared[3])
        owner += [number] * len(prepared[0])
    return Samples(
        moving=torch.from_numpy(np.concatenate(moving))[:, None],
        fixed=torch.from_numpy(np.concatenate(fixed))[:, None],
        moving_labels=torch.from_numpy(np.concatenate(moving_labels))[:, None] if with_labels else None,
        fixed_labels=torch.from_numpy(np.concatenate(fixed_labels))[:, None] if with_labels else None,
        pair=torch.tensor(owner),
        ids=tuple(pair.id for pair in pairs),
        patients=tuple(pair.patient for pair in pairs),
    )


def _prepare(
    pair: Pair,
    preparation: Preparation,
    size: Sequence[int],
    centre_label: int | None,
    with_labels: bool,
    cache: ImageCache,
) -> list[np.ndarray]:
    fixed, moving = cache.image(pair.fixed), cache.image(pair.moving)
    check_pair(moving, fixed, preparation.dims)
    working = preparation.working_grid(fixed.grid)
    maps: list[Image] = []
    if with_labels or centre_label is not None:
        maps = [_labels(pair, side, image, cache) for side, image in (("moving", moving), ("fixed", fixed))]
        maps = [resample(labels, working, labels=True) for labels in maps]
    centre = None
    if centre_label is not None:
        inside = np.argwhere(maps[0].array == centre_label)
        if not len(inside):
            raise UserError(
                f"{maps[0].name}: has no label {centre_label} to centre on; choose another centre_label"
            )
        centre = inside.mean(axis=0)
    block = centre_crop(working, size, centre)
    # Scaled by the whole image and then cut, so that training sees the intensities that registration will.
    arrays = [
        cut(scale_of(image, preparation.intensity)(resample(image, working).array), working, block)
        for image in (moving, fixed)
    ]
    if with_labels:
        arrays += [cut(labels.array, working, block) for labels in maps]
    return [np.ascontiguousarray(slices_of(array, preparation.dims)) for array in arrays]


def _labels(pair: Pair, side: str, image: Image, cache: ImageCache) -> Image:
    path = getattr(pair, f"{side}_labels")
    if path is None:
        raise UserError(f"pair {pair.id}: has no {side}_labels, which centre_label needs")
    labels = cache.labels(path)
    check_labels(labels, image)
    return labels
