"""Whole registrations for the viewer of the page, in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from heteroreg.evaluation.archive import read_arrays, save_arrays
from heteroreg.evaluation.gallery import LARGEST_VALUE
from heteroreg.registration.maps import GREY_IMAGES, LABEL_MAPS, SCALAR_MAPS, Maps
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError
from heteroreg.system.limits import ARCHIVE_BYTES, require_small
from heteroreg.system.text import has_controls

Codes = NDArray[np.uint8]
ValueRange = tuple[float, float]

STACKS = "viewer"  # the folder within that of an evaluation
MOST_STACKS = 100
STACK_VOXELS = 2**22  # of all stacks of an evaluation together: some 20 MB on the disk
DISPLACEMENT = "displacement"
LARGEST_CODE = 255
LIMITS_SUFFIX = "_limits"
REGION_MARGIN = 0.25  # of the size of the labelled region, kept around it on each side


@dataclass(frozen=True)
class Stack:
    """The maps of one registration in 8 bits, cropped or coarsened where they are large.

    Attributes:
        id: Id of the pair.
        slices: Index of each slice along the last axis; None for a 2D image.
        spacing: Size of the kept voxels in mm, (3,).
        origin: First voxel of the fixed image that is kept, (3,).
        step: Number of voxels of the fixed image that make a kept one, along each axis.
        full: Size of the fixed image, (3,).
        labels: The labels that the codes 1, 2, … of a label map stand for.
        images: The arrays of `Maps` by name as codes, uint8 (x, y, slices); the displacement is
            (2, x, y, slices), in mm along x and y.
        limits: The values of the codes 0 and 255, for each array but the label maps.
    """

    id: str
    slices: Array | None
    spacing: Array
    origin: Array
    step: Array
    full: Array
    labels: Array
    images: Mapping[str, Codes]
    limits: Mapping[str, ValueRange]

    @classmethod
    def of(cls, pair_id: str, maps: Maps, voxels: int = STACK_VOXELS) -> Stack:
        """Return the maps of a pair in 8 bits, with at most `voxels` voxels."""
        images: dict[str, Codes] = {}
        limits: dict[str, ValueRange] = {}
        grey = _limits([maps.fixed, maps.moving])
        for name in (*GREY_IMAGES, *SCALAR_MAPS):
            values = getattr(maps, name)
            if values is not None:
                limits[name] = grey if name in GREY_IMAGES else (0.0, max(_limits([values])[1], 0.0) or 1.0)
                images[name] = _codes(np.atleast_3d(values), limits[name])
        motion = [
            np.atleast_3d(part) * size for part, size in zip(maps.displacement[:2], maps.spacing, strict=False)
        ]
        longest = max(float(np.abs(motion).max()), 1e-6)
        limits[DISPLACEMENT] = (-longest, longest)
        images[DISPLACEMENT] = _codes(np.stack(motion), limits[DISPLACEMENT])
        label_maps = {name: np.atleast_3d(found) for name, found in maps.arrays().items() if name in LABEL_MAPS}
        present = {int(label) for found in label_maps.values() for label in np.unique(found)} - {0}
        labels = np.array(sorted(present)[:LARGEST_CODE], int)
        images |= {name: _label_codes(found, labels) for name, found in label_maps.items()}
        shape = images["fixed"].shape
        stack = cls(
            pair_id,
            slices=np.arange(shape[2]) if maps.fixed.ndim == 3 else None,
            spacing=np.array([*maps.spacing, 1.0][:3]),
            origin=np.zeros(3, int),
            step=np.ones(3, int),
            full=np.array(shape),
            labels=labels,
            images=images,
            limits=limits,
        )
        return stack.within(voxels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x and y, and of slices."""
        x, y, slices = self.images["fixed"].shape
        return x, y, slices

    @property
    def voxels(self) -> int:
        """Number of voxels of each array."""
        return int(np.prod(self.shape))

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape, origin and step: stacks with the same frame can be laid over each other."""
        return (*self.shape, *self.origin.tolist(), *self.step.tolist())

    def within(self, voxels: int) -> Stack:
        """Return the stack with at most `voxels` voxels.

        The stack is cropped to the labels, if there are any. Then neighbouring voxels are averaged, along the axis
        that is finest at each step. Label maps keep the voxel in the middle.

        Raises:
            ValueError: `voxels` is not positive.
        """
        if voxels < 1:
            raise ValueError(f"voxels must be positive, not {voxels}")
        if self.voxels <= voxels:
            return self
        first, last = self._region()
        size, step = last - first, np.ones(3, int)
        while np.prod(size // step) > voxels:
            fineness = np.where(size // step > 1, self.spacing * step, np.inf)
            step[int(np.argmin(fineness))] += 1
        count = size // step
        window = tuple(slice(start, start + n * s) for start, n, s in zip(first, count, step, strict=True))
        middle = tuple(slice(s // 2, None, s) for s in step)
        images = {
            name: array[window][middle]
            if name in LABEL_MAPS
            else _averaged(array[..., window[0], window[1], window[2]], count, step)
            for name, array in self.images.items()
        }
        return replace(
            self,
            slices=None if self.slices is None else self.slices[window[2]][middle[2]],
            spacing=self.spacing * step,
            origin=self.origin + self.step * first,
            step=self.step * step,
            images=images,
        )

    def _region(self) -> tuple[Array, Array]:
        """Return the first voxel of the labelled region with its margin, and the one after its last."""
        # Without the moved labels: all methods must keep the same region, to be laid over each other.
        masks = [self.images[name] > 0 for name in ("fixed_labels", "moving_labels") if name in self.images]
        whole = np.zeros(3, int), np.array(self.shape)
        if not any(mask.any() for mask in masks):
            return whole
        found = np.argwhere(np.any(masks, axis=0))
        low, high = found.min(axis=0), found.max(axis=0) + 1
        margin = np.ceil(REGION_MARGIN * (high - low)).astype(int)
        return np.maximum(low - margin, whole[0]), np.minimum(high + margin, whole[1])

    def save(self, path: str | Path) -> None:
        """Write the stack atomically as a compressed `.npz` without pickles."""
        head = {"id": self.id, "labels": self.labels} | {name: getattr(self, name) for name in PLACEMENT}
        if self.slices is not None:
            head["slices"] = self.slices
        limits = {name + LIMITS_SUFFIX: np.array(pair, float) for name, pair in self.limits.items()}
        save_arrays(Path(path), head | limits | dict(self.images))

    @classmethod
    def read(cls, path: str | Path) -> Stack:
        """Read a stack that `save` wrote.

        Raises:
            UserError: The file is missing, damaged, or no stack.
        """
        path = Path(path)
        require_small(path, ARCHIVE_BYTES)
        try:
            arrays = read_arrays(path)
            name = str(arrays.pop("id"))
            slices, labels = arrays.pop("slices", None), arrays.pop("labels")
            place = {key: arrays.pop(key) for key in PLACEMENT}
            named = [key for key in arrays if key.endswith(LIMITS_SUFFIX)]
            limits = {key.removesuffix(LIMITS_SUFFIX): _pair(arrays.pop(key)) for key in named}
            stack = cls(name, slices, labels=labels, images=arrays, limits=limits, **place)
            stack._check()
        except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
            raise UserError(f"{path}: not readable slices for the viewer ({error}); evaluate again") from error
        return stack

    def _check(self) -> None:
        """Raise ValueError unless the arrays are those of one registration."""
        if not self.id or has_controls(self.id):
            raise ValueError("the id is no name")
        shape = self.shape
        if min(shape) < 1:
            raise ValueError(f"an image has the shape {shape}")
        if (
            not {"fixed", "moving", "moved", DISPLACEMENT}
            <= set(self.images)
            <= {*GREY_IMAGES, *SCALAR_MAPS, *LABEL_MAPS, DISPLACEMENT}
        ):
            raise ValueError(f"it holds {', '.join(self.images)}")
        for name, array in self.images.items():
            if array.shape != ((2, *shape) if name == DISPLACEMENT else shape) or array.dtype != np.uint8:
                raise ValueError(f"{name} is {array.dtype} of the shape {array.shape}")
            if name in LABEL_MAPS and array.max() > len(self.labels):
                raise ValueError(f"{name} holds a code of no label")
            if name not in LABEL_MAPS and not self.limits[name][0] < self.limits[name][1]:
                raise ValueError(f"{name} has the limits {self.limits[name]}")
        for name in PLACEMENT:
            if getattr(self, name).shape != (3,) or not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} is not three numbers")
        if (self.spacing <= 0).any() or (self.step < 1).any():
            raise ValueError("the spacing is not positive")
        whole = [self.origin, self.step, self.full, self.labels, *([] if self.slices is None else [self.slices])]
        if any(array.dtype.kind not in "iu" or array.ndim != 1 for array in whole):
            raise ValueError("an index is no whole number")
        if self.slices is not None and (len(self.slices) != shape[2] or (self.slices < 0).any()):
            raise ValueError("the slices are not numbered")


PLACEMENT = ("spacing", "origin", "step", "full")


class Stacks(Sequence[Stack]):
    """The stacks of an evaluation's folder, each read on access."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    @overload
    def __getitem__(self, index: int) -> Stack: ...

    @overload
    def __getitem__(self, index: slice) -> Stacks: ...

    def __getitem__(self, index: int | slice) -> Stack | Stacks:
        """Read one stack, or select several without reading them."""
        return Stacks(self._paths[index]) if isinstance(index, slice) else Stack.read(self._paths[index])

    def __len__(self) -> int:
        """Number of stacks."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Stack]:
        """Read one after the other."""
        return map(Stack.read, self._paths)


def save_stacks(stacks: Sequence[Stack], folder: Path) -> None:
    """Write the stacks into `viewer/` of an evaluation's folder, numbered in their order."""
    for number, stack in enumerate(stacks):
        stack.save(folder / STACKS / f"{number:03d}.npz")


def read_stacks(folder: Path) -> Stacks:
    """Return the stacks of an evaluation's folder in their order."""
    return Stacks(sorted((folder / STACKS).glob("*.npz")))


def _limits(images: Sequence[Array], percentiles: ValueRange = (0.5, 99.5)) -> ValueRange:
    """Return percentiles of several images together, so that a few extreme voxels do not use up the codes."""
    low, high = np.percentile(np.concatenate([np.ravel(image) for image in images]).astype(float), percentiles)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _codes(values: Array, limits: ValueRange) -> Codes:
    low, high = limits
    codes: Codes = np.clip(np.rint((values - low) * (LARGEST_CODE / (high - low))), 0, LARGEST_CODE).astype(
        np.uint8
    )
    return codes


def _label_codes(values: Array, labels: Array) -> Codes:
    """Return the code of each voxel's label; 0 for the background and for labels beyond the first 255."""
    table = np.append(labels, np.iinfo(np.int64).max)
    place = np.searchsorted(table, values)
    return np.where(table[place] == values, place + 1, 0).astype(np.uint8)


def _averaged(codes: Codes, count: Array, step: Array) -> Codes:
    """Average blocks of `step` voxels along the last three axes."""
    lead = codes.shape[:-3]
    blocks = codes.reshape(*lead, *np.stack([count, step], axis=1).ravel())
    axes = tuple(len(lead) + axis for axis in (1, 3, 5))
    means: Codes = np.rint(blocks.mean(axis=axes, dtype=np.float32)).astype(np.uint8)
    return means


def _pair(array: Array) -> ValueRange:
    low, high = (float(value) for value in array)
    if not max(abs(low), abs(high)) <= LARGEST_VALUE:  # a NaN neither
        raise ValueError("a limit is no number that an image has")
    return low, high
