"""The pairs of a cohort as samples for a network; each file is decoded once."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from heteroreg.data.alignment import initial_affine
from heteroreg.data.cohort import INITIAL_COLUMN, LABEL_COLUMNS, Pair
from heteroreg.data.image import Image, read_image, read_labels
from heteroreg.data.io.affine import read_affine
from heteroreg.data.io.reading import current
from heteroreg.data.samples.cache import Entry, SampleCache
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.data.samples.preparation import (
    Preparation,
    centre_crop,
    check_labels,
    check_pair,
    cut,
    require_overlap,
    resample,
    scale_of,
    slices_of,
)
from heteroreg.data.samples.samples import LABEL_TYPES, TYPES, Samples
from heteroreg.system.errors import UserError
from heteroreg.system.progress import progress

# Version of the preparation: samples from another version are not reused.
PREPARATION_VERSION = 3


class ImageCache:
    """Decoded images by path, so that a file used in many pairs is decoded once.

    Args:
        limit: Bytes to keep; the least recently used images are dropped first.
    """

    def __init__(self, limit: int = 2 * 1024**3) -> None:
        self.limit = limit
        self._images: dict[tuple[Path, bool], Image] = {}

    def image(self, path: Path) -> Image:
        """Return the image at a path."""
        return self._get(path, False, read_image)

    def labels(self, path: Path) -> Image:
        """Return the label map at a path."""
        return self._get(path, True, read_labels)

    def forget(self, paths: Iterable[Path]) -> None:
        """Drop the images of these files."""
        for path in paths:
            for labels in (False, True):
                self._images.pop((path.resolve(), labels), None)

    def _get(self, path: Path, labels: bool, read: Callable[[Path], Image]) -> Image:
        key = (path.resolve(), labels)
        try:
            image = self._images.pop(key, None) or read(path)
        except OSError as error:  # an error in the middle of a file does not name it
            raise UserError(
                f"{path}: could not be read ({error.strerror or error}); check the disk, then try again"
            ) from error
        self._images[key] = image  # the most recently used is last
        while sum(kept.array.nbytes for kept in self._images.values()) > self.limit and len(self._images) > 1:
            del self._images[next(iter(self._images))]
        return image


def load_samples(
    pairs: Iterable[Pair],
    preparation: Preparation,
    size: Sequence[int],
    *,
    centre_label: int | None = None,
    labels: bool = False,
    cache: SampleCache | None = None,
    part: tuple[int, int] = (0, 1),
    show: bool = False,
    prints: Fingerprints | None = None,
) -> Samples:
    """Read and prepare pairs: resample to the fixed grid and working spacing, scale, crop, and split into slices.

    Samples that the cache has for the same files and preparation are reused.

    Args:
        pairs: The pairs.
        preparation: The preparation.
        size: Voxels of a sample along each of the network's axes; larger images are cropped, smaller ones padded.
        centre_label: Label of the moving image to centre the crop on; by default the crop is centred on the image.
        labels: Load the label maps if all pairs have them.
        cache: The cache for prepared samples; by default that of the environment variables.
        part: Number of this process and the number of processes. Each begins elsewhere, so that they fill the cache
            together; all end with all samples.
        show: Show the progress on stderr if it takes longer than two seconds.
        prints: Fingerprints of files that were taken before.

    Raises:
        UserError: An image or label map is unsuitable or unreadable; the message names it.
    """
    pairs = list(pairs)
    cache = cache or SampleCache.of_environment()
    with_labels = labels and all_labelled(pairs)
    recipe = _Recipe(preparation, tuple(map(int, size)), centre_label, with_labels)
    begin = part[0] * len(pairs) // part[1]
    order = [*range(begin, len(pairs)), *range(begin)]

    prints = prints or Fingerprints()
    keys: dict[int, str | None] = {}
    if cache.folder is not None:
        with progress("comparing files with the cache", len(pairs), show=show) as report:
            for done, number in enumerate(order, start=1):
                keys[number] = recipe.key(pairs[number], prints)
                report(done)
        cache.keep(key for key in keys.values() if key)

    images = ImageCache()
    last = {path: number for number in order for path in recipe.files(pairs[number])}
    arrays: dict[int, Entry] = {}
    with progress("preparing the images", len(pairs), show=show) as report:
        for done, number in enumerate(order, start=1):
            arrays[number] = _entry(pairs[number], recipe, keys.get(number), prints, cache, images)
            images.forget(path for path in recipe.files(pairs[number]) if last[path] == number)
            report(done)
    return Samples(
        arrays=tuple(arrays[number] for number in range(len(pairs))),
        ids=tuple(pair.id for pair in pairs),
        patients=tuple(pair.patient for pair in pairs),
    )


def all_labelled(pairs: Iterable[Pair]) -> bool:
    """Return True if both images of every pair have label maps."""
    return all(pair.labelled for pair in pairs)


def files_read(pair: Pair, *, labels: bool) -> dict[str, Path]:
    """Return the files that the samples of a pair are made from, by column of the cohort.

    Args:
        pair: The pair.
        labels: True if the label maps are read.
    """
    columns = ("moving", "fixed", *(LABEL_COLUMNS if labels else ()), INITIAL_COLUMN)
    found = {column: getattr(pair, column) for column in columns}
    return {column: path for column, path in found.items() if path is not None}


@dataclass(frozen=True)
class _Recipe:
    """The arguments of `load_samples` that samples depend on, apart from the files."""

    preparation: Preparation
    size: tuple[int, ...]
    centre_label: int | None
    with_labels: bool

    @property
    def types(self) -> dict[str, torch.dtype]:
        """Names and types of the arrays of a pair."""
        return TYPES | (LABEL_TYPES if self.with_labels else {})

    def files(self, pair: Pair) -> list[Path]:
        """Return the files that are read for a pair."""
        return list(files_read(pair, labels=self.with_labels or self.centre_label is not None).values())

    def key(self, pair: Pair, prints: Fingerprints) -> str | None:
        """Return SHA-256 of everything that the samples of a pair depend on; None if a file has no fingerprint."""
        contents = [prints.of(path) for path in self.files(pair)]
        if None in contents:
            return None
        libraries = [sitk.Version.VersionString(), nibabel.__version__, np.__version__, platform.machine()]
        parts: list[Any] = [PREPARATION_VERSION, libraries, asdict(self), contents]
        if not current().usual:
            parts.append(asdict(current()))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def fits(self, entry: Entry) -> bool:
        """Return True if an entry of the cache has the expected arrays, types and shapes."""
        return {name: array.dtype for name, array in entry.items()} == self.types and {
            tuple(array.shape) for array in entry.values()
        } == {(len(entry["moving"]), *self.size)}


def _entry(
    pair: Pair, recipe: _Recipe, key: str | None, prints: Fingerprints, cache: SampleCache, images: ImageCache
) -> Entry:
    """Return the samples of a pair, from the cache or newly prepared."""
    found = cache.get(key) if key else None
    if found is not None and recipe.fits(found):
        return found
    made = dict(zip(recipe.types, _prepare(pair, recipe, images), strict=True))
    # The key of a file that changed in the meantime no longer matches the samples.
    if key and all(prints.hold(path) for path in recipe.files(pair)):
        return cache.put(key, made)
    return {name: torch.from_numpy(array) for name, array in made.items()}


def _prepare(pair: Pair, recipe: _Recipe, cache: ImageCache) -> list[NDArray[Any]]:
    preparation, centre_label = recipe.preparation, recipe.centre_label
    fixed, moving = cache.image(pair.fixed), cache.image(pair.moving)
    check_pair(moving, fixed, preparation.dims)
    working = preparation.working_grid(fixed.grid, fixed.name)
    maps: list[Image] = []
    if recipe.with_labels or centre_label is not None:
        maps = [_labels(pair, side, image, cache) for side, image in (("moving", moving), ("fixed", fixed))]
    affine = (
        initial_affine(moving, fixed, preparation.initial) if pair.initial is None else read_affine(pair.initial)
    )
    if affine is not None:
        affine.require_dims(moving.grid.dims, moving.name)
        moving = affine.place(moving)
        maps = [affine.place(labels) if side == 0 else labels for side, labels in enumerate(maps)]
    require_overlap(moving, fixed)
    maps = [resample(labels, working, labels=True) for labels in maps]
    centre = None
    if centre_label is not None:
        inside = np.argwhere(maps[0].array == centre_label)
        if not len(inside):
            raise UserError(
                f"{maps[0].name}: has no label {centre_label} to centre on; choose another centre_label"
            )
        centre = inside.mean(axis=0)
    block = centre_crop(working, recipe.size, centre)
    # The scale is that of the whole image, so that training and registration see the same intensities.
    arrays = [
        cut(scale_of(image, preparation.intensity)(resample(image, working).array), working, block)
        for image in (moving, fixed)
    ]
    if recipe.with_labels:
        arrays += [cut(labels.array, working, block) for labels in maps]
    return [np.ascontiguousarray(slices_of(array, preparation.dims)) for array in arrays]


def _labels(pair: Pair, side: str, image: Image, cache: ImageCache) -> Image:
    path = getattr(pair, f"{side}_labels")
    if path is None:
        raise UserError(f"pair {pair.id}: has no {side}_labels, which centre_label needs")
    return check_labels(cache.labels(path), image)
