"""A few registrations kept for looking at, one slice each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from heteroreg.evaluation.archive import read_arrays, save_arrays
from heteroreg.evaluation.view import View
from heteroreg.system.arrays import Array
from heteroreg.system.errors import UserError
from heteroreg.system.limits import ARCHIVE_BYTES, require_small
from heteroreg.system.text import has_controls

FOLDER = "gallery"
# A displacement and a weight need no more digits to be looked at; intensities may be above what float16 holds.
STORED = {"displacement": np.float16, "weight": np.float16}
LARGEST = 1e30


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
        displacement_sd: Predicted uncertainty of the displacement in mm, None where there is none.
        end_point_error: Length of the error of the displacement in mm, where the truth is known.
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
    displacement_sd: Array | None = None
    end_point_error: Array | None = None

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
        save_arrays(Path(path), stored)

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """Reads a case that `save` wrote.

        Raises:
            UserError: The file is missing, damaged, or no case.
        """
        require_small(Path(path), ARCHIVE_BYTES)
        try:
            values: dict[str, Any] = read_arrays(Path(path))
            index = values.pop("slice", None)
            case = cls(id=str(values.pop("id")), slice=None if index is None else int(index), **values)
            case._check()
        except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
            raise UserError(f"{path}: not a readable gallery case ({error}); evaluate again") from error
        return case

    def _check(self) -> None:
        """Raises ValueError unless the arrays are those of one slice."""
        if not self.id or has_controls(self.id):
            raise ValueError("the id is no name")
        if self.slice is not None and not 0 <= self.slice < 2**31:
            raise ValueError(f"the slice is {self.slice}")
        shape = self.fixed.shape
        for field in fields(self)[2:]:
            array = getattr(self, field.name)
            if array is None:
                continue
            expected = {"spacing": (2,), "displacement": (2, *shape)}.get(field.name, shape)
            if array.shape != expected or len(shape) != 2:
                raise ValueError(f"{field.name} has the shape {array.shape}")
            whole = field.name.endswith("_labels")
            if array.dtype.kind not in ("biu" if whole else "biuf") or not np.isfinite(array).all():
                raise ValueError(f"{field.name} does not hold numbers")
            if array.size and np.abs(array.astype(np.float64)).max() > LARGEST:
                raise ValueError(f"{field.name} holds numbers that no image has")
        if not (self.spacing > 0).all():
            raise ValueError("the spacing is not positive")


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
        most = float(np.finfo(STORED[name]).max)
        return np.asarray(np.clip(array, -most, most), dtype=STORED[name])
    if name.endswith("_labels"):
        return array.astype(np.min_scalar_type(int(array.max())) if array.min() >= 0 else np.int32)
    return array.astype(np.float32) if array.dtype == np.float64 and name != "spacing" else array
