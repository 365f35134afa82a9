"""A few registrations kept for looking at, one slice each."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.errors import UserError
from heteroreg.evaluation.view import View
from heteroreg.files import atomic_file

Array = NDArray[Any]

FOLDER = "gallery"
# A displacement and a weight need no more digits to be looked at; intensities may be above what float16 holds.
STORED = {"displacement": np.float16, "weight": np.float16}


@dataclass(frozen=True)
class Case:
    """One slice of a registration, arrays [x, y] on the fixed grid.

    Attributes:
        id: The pair.
        slice: Index of the slice in its stack or volume; None for a 2D image.
        spacing: In mm, (2,).
        fixed: The fixed image.
        moving: The moving image, resampled onto the fixed grid.
        moved: The moved image.
        displacement: (2, *shape) in voxels, in the plane.
        fixed_labels: Label maps, None where there are none.
        moving_labels: Likewise.
        moved_labels: Likewise.
        noise_sd: Predicted noise, None where there is none.
        weight: Weight of the data term, likewise.
        true_noise_sd: True noise of fixed - moved, where known.
    """

    id: str
    slice: int | None
    spacing: Array
    fixed: Array
    moving: Array
    moved: Array
    displacement: Array
    fixed_labels: Array | None = None
    moving_labels: Array | None = None
    moved_labels: Array | None = None
    noise_sd: Array | None = None
    weight: Array | None = None
    true_noise_sd: Array | None = None

    @classmethod
    def of(cls, pair_id: str, view: View) -> Case:
        """The view itself if it is 2D, else its middle slice along the last axis."""
        if view.fixed.ndim == 3:
            view = view.at(view.slices // 2)
        names = [field.name for field in fields(cls) if field.name not in ("id", "slice", "spacing")]
        arrays = {name: getattr(view, name) for name in names}
        return cls(pair_id, view.slice, np.asarray(view.spacing, dtype=np.float64), **arrays)

    def save(self, path: str | Path) -> None:
        """Writes the case as a compressed `.npz`, atomically; no pickles in it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        stored: dict[str, Any] = {name: _stored(name, value) for name, value in values.items() if value is not None}
        with atomic_file(Path(path)) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **stored)

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """Reads a case that `save` wrote.

        Raises:
            UserError: The file is missing, damaged, or no case.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                values: dict[str, Any] = {name: _read(content[name]) for name in content.files}
            index = values.pop("slice", None)
            return cls(id=str(values.pop("id")), slice=None if index is None else int(index), **values)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: not a readable gallery case ({error}); evaluate again") from error


def save_gallery(cases: tuple[Case, ...], folder: Path) -> None:
    """Writes the cases into `gallery/` of an evaluation's folder, numbered in their order."""
    for number, case in enumerate(cases):
        case.save(folder / FOLDER / f"{number:03d}.npz")


def read_gallery(folder: Path) -> tuple[Case, ...]:
    """Reads the cases of an evaluation's folder; none where it has no gallery."""
    return tuple(Case.read(path) for path in sorted((folder / FOLDER).glob("*.npz")))


def spread(count: int, total: int) -> list[int]:
    """Up to `count` indices spread evenly over `total` things, first and last among them."""
    if count < 1 or total < 1:
        return []
    return sorted({int(index) for index in np.round(np.linspace(0, total - 1, min(count, total)))})


def _stored(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if name in STORED:
        return array.astype(STORED[name])
    if name.endswith("_labels"):
        return array.astype(np.min_scalar_type(int(array.max())) if array.min() >= 0 else np.int32)
    return array.astype(np.float32) if array.dtype == np.float64 and name != "spacing" else array


def _read(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float16 else array
