"""The gallery of an evaluation: one slice each of a few registrations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from heteroreg.evaluation.archive import read_arrays, save_arrays
from heteroreg.registration.maps import LABEL_MAPS, Maps
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError
from heteroreg.system.limits import ARCHIVE_BYTES, require_small
from heteroreg.system.text import has_controls

GALLERY = "gallery"
# Half precision is enough to look at these two; intensities can be above what it holds.
HALF_PRECISION = ("displacement", "weight")
LARGEST_VALUE = 1e30  # no image holds larger numbers


@dataclass(frozen=True, kw_only=True)
class Case(Maps):
    """One registration of the gallery: the maps [x, y] of one slice, with the pair that they belong to.

    Attributes:
        id: Id of the pair.
        slice: Index of the slice in its stack or volume; None for a 2D image.
    """

    id: str
    slice: int | None

    @classmethod
    def of(cls, pair_id: str, maps: Maps) -> Case:
        """Return 2D maps as they are, and the middle slice along the last axis of 3D maps."""
        index = maps.shape[-1] // 2 if len(maps.shape) == 3 else None
        shown = maps if index is None else maps.at(index)
        shown = replace(shown, true_error=None, initial_labels=None)  # for scores alone
        return cls(id=pair_id, slice=index, spacing=shown.spacing, **cast("dict[str, Any]", shown.arrays()))

    def save(self, path: str | Path) -> None:
        """Write the case atomically as a compressed `.npz` without pickles."""
        head: dict[str, Any] = {"id": self.id, "spacing": np.asarray(self.spacing, dtype=np.float64)}
        if self.slice is not None:
            head["slice"] = self.slice
        save_arrays(Path(path), head | {name: _stored(name, array) for name, array in self.arrays().items()})

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """Read a case that `save` wrote.

        Raises:
            UserError: The file is missing, damaged, or no case.
        """
        require_small(Path(path), ARCHIVE_BYTES)
        try:
            values: dict[str, Any] = read_arrays(Path(path))
            index = values.pop("slice", None)
            spacing = tuple(float(size) for size in values.pop("spacing"))
            case = cls(
                id=str(values.pop("id")), slice=None if index is None else int(index), spacing=spacing, **values
            )
            case._check()
        except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
            raise UserError(f"{path}: not a readable gallery case ({error}); evaluate again") from error
        return case

    def _check(self) -> None:
        """Raise ValueError unless the arrays are those of one slice."""
        if not self.id or has_controls(self.id):
            raise ValueError("the id is no name")
        if self.slice is not None and not 0 <= self.slice < 2**31:
            raise ValueError(f"the slice is {self.slice}")
        if len(self.spacing) != 2 or not all(size > 0 for size in self.spacing):
            raise ValueError(f"the spacing is {self.spacing}")
        for name, array in self.arrays().items():
            expected = (2, *self.shape) if name == "displacement" else self.shape
            if array.shape != expected or len(self.shape) != 2:
                raise ValueError(f"{name} has the shape {array.shape}")
            if array.dtype.kind not in ("biu" if name in LABEL_MAPS else "biuf") or not np.isfinite(array).all():
                raise ValueError(f"{name} does not hold numbers")
            if array.size and np.abs(array.astype(np.float64)).max() > LARGEST_VALUE:
                raise ValueError(f"{name} holds numbers that no image has")


def save_gallery(cases: tuple[Case, ...], folder: Path) -> None:
    """Write the cases into `gallery/` of an evaluation's folder, numbered in their order."""
    for number, case in enumerate(cases):
        case.save(folder / GALLERY / f"{number:03d}.npz")


def read_gallery(folder: Path) -> tuple[Case, ...]:
    """Read the cases of an evaluation's folder; an empty tuple if it has no gallery."""
    return tuple(Case.read(path) for path in sorted((folder / GALLERY).glob("*.npz")))


def spread_evenly(count: int, total: int) -> list[int]:
    """Return up to `count` indices spread evenly over `total` things, from the first to the last."""
    if count < 1 or total < 1:
        return []
    return sorted({int(index) for index in np.round(np.linspace(0, total - 1, min(count, total)))})


def _stored(name: str, array: Array) -> Array:
    if name in HALF_PRECISION:
        most = float(np.finfo(np.float16).max)
        return np.asarray(np.clip(array, -most, most), dtype=np.float16)
    if name in LABEL_MAPS:
        return array.astype(np.min_scalar_type(int(array.max())) if array.min() >= 0 else np.int32)
    return array.astype(np.float32) if array.dtype == np.float64 else array
