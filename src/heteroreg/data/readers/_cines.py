"""Series of frames as pairs of images, whatever files hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.cohort import Pair
from heteroreg.data.image import read_frames
from heteroreg.data.io.dicom import DICOM_ENDINGS
from heteroreg.data.io.frames import name_frame
from heteroreg.data.patients import stem
from heteroreg.data.readers._files import stem_of
from heteroreg.data.splits import SPLIT_OF_FOLDER, part_of
from heteroreg.system.errors import UserError
from heteroreg.system.text import read_table

LABELS_SUFFIX = re.compile(r"[_-](?:labels?|gt|seg|segmentation|mask)", re.IGNORECASE)
FRAME_COLUMNS = ("id", "ED", "ES")
ED_ES, FIRST_EACH = "ed-es", "first-each"
PAIRINGS = (ED_ES, FIRST_EACH)


@dataclass(frozen=True)
class Cine:
    """A series of several frames.

    Attributes:
        id: Its path below the source, which is the id of the pair.
        path: Its file or folder.
        count: Number of frames.
    """

    id: str
    path: Path
    count: int


@dataclass(frozen=True)
class ChosenFrames:
    """The frames that the user gives: the same for all series, or for each id; neither if the labels decide."""

    all: tuple[int, int] | None
    by_id: Mapping[str, tuple[int, int]]
    file: Path | None = None

    @classmethod
    def read(cls, text: str | None) -> ChosenFrames:
        if text is None:
            return cls(None, {})
        if both := _numbers(text.split(",")):
            return cls(both, {})
        path = Path(text)
        if not path.is_file():
            raise UserError(
                f"frames: '{text}' is neither ED,ES, two numbers from 0 such as 0,9, nor a CSV table",
                argument="frames",
            )
        by_id = {}
        for number, row in read_table(path, FRAME_COLUMNS)[1]:
            both = _numbers([row["ED"], row["ES"]])
            if both is None:
                raise UserError(f"{path}: line {number} needs two different frame numbers from 0 in ED and ES")
            by_id[row["id"]] = both
        return cls(None, by_id, path)

    def of(self, cine: Cine) -> tuple[int, int] | None:
        if self.file is not None and cine.id not in self.by_id:
            raise UserError(f"{self.file}: has no line for '{cine.id}' ({cine.path}); add it")
        found = self.by_id.get(cine.id, self.all)
        if found is not None and max(found) >= cine.count:
            raise UserError(
                f"{self.file or 'frames'}: names the frame {max(found)} of {cine.path}, whose frames are 0 to "
                f"{cine.count - 1}; name another",
                argument=None if self.file else "frames",
            )
        return found


def _numbers(texts: list[str]) -> tuple[int, int] | None:
    if len(texts) != 2 or not all(re.fullmatch(r"\s*[0-9]{1,6}\s*", text) for text in texts):
        return None
    first, second = map(int, texts)
    return None if first == second else (first, second)


def pairs_of(source: Path, cine: Cine, frames: ChosenFrames, label: int | None, pairing: str | None) -> list[Pair]:
    """Return the pairs of a series.

    Args:
        source: The folder of the data set.
        cine: The series.
        frames: The frames that the user gives.
        label: The label whose size finds ED and ES.
        pairing: `first-each` pairs the first frame with every other; otherwise ED is paired with ES.

    Raises:
        UserError: ED and ES are unknown, a frame does not exist, or the label maps have another number of frames.
    """
    labels = labels_beside(cine.path)
    sizes = None if labels is None else _sizes(labels, cine, None if pairing == FIRST_EACH else label)
    if pairing == FIRST_EACH:
        both = [(0, k) for k in range(1, cine.count)]
    else:
        both = [frames.of(cine) or _extremes(cine, labels, sizes)]
    folders = folders_of(source, cine.path)
    named = [part for part in folders if part.lower() not in SPLIT_OF_FOLDER]

    def labels_of(first: int, one: int) -> tuple[Path | None, Path | None]:
        unlabelled = pairing == FIRST_EACH and sizes is not None and min(sizes[first], sizes[one]) == 0
        if labels is None or unlabelled:
            return None, None
        return name_frame(labels, first), name_frame(labels, one)

    return [
        Pair(
            id=cine.id if len(both) == 1 else f"{cine.id}_{one}",
            patient=named[0] if named else stem(cine.id),
            moving=name_frame(cine.path, first),
            fixed=name_frame(cine.path, one),
            moving_labels=labels_of(first, one)[0],
            fixed_labels=labels_of(first, one)[1],
            split=part_of(Path(*folders)),
        )
        for first, one in both
    ]


def folders_of(source: Path, path: Path) -> tuple[str, ...]:
    """Return the names of the folders between the source and a series."""
    return () if path == source else path.parent.relative_to(source).parts


def check_pairing(pairing: str | None, frames: str | None) -> None:
    """Check how pairs are to be made.

    Raises:
        UserError: There is no such way, or it contradicts given frames.
    """
    if pairing not in (None, *PAIRINGS):
        raise UserError(f"pairs: '{pairing}' is unknown; choose {' or '.join(PAIRINGS)}", argument="pairs")
    if pairing == FIRST_EACH and frames is not None:
        raise UserError("frames: are those of ED and ES; leave them out with `pairs=first-each`", argument="frames")


def labels_beside(path: Path) -> Path | None:
    """Return the file with the label maps of a series."""
    found = []
    for file in sorted(path.parent.iterdir()):
        name = stem_of(file) if file.is_file() else None
        if name and name.startswith(series_stem(path)) and LABELS_SUFFIX.fullmatch(name[len(series_stem(path)) :]):
            found.append(file)
    if len(found) > 1:
        raise UserError(f"{found[1]}: has label maps of the same series as {found[0].name}; remove one of them")
    return found[0] if found else None


def _sizes(labels: Path, cine: Cine, label: int | None) -> NDArray[np.int64]:
    """Return the number of voxels with the label in each frame."""
    array = read_frames(labels)
    if array.ndim not in (3, 4) or array.shape[-1] != cine.count:
        raise UserError(
            f"{labels}: has the shape {array.shape}, but {cine.path} has {cine.count} frames; its last axis "
            "must be time"
        )
    inside = array > 0 if label is None else array == label
    return np.asarray(inside.reshape(-1, cine.count).sum(axis=0))


def _extremes(cine: Cine, labels: Path | None, sizes: NDArray[np.int64] | None) -> tuple[int, int]:
    """Return the frames with the largest and the smallest area of the label, among those that have it."""
    if labels is None or sizes is None:
        raise UserError(
            f"{cine.path}: the ED and ES frames among its {cine.count} are unknown; give `frames`, or put its "
            f"label maps beside it ({series_stem(cine.path)}_gt.nii.gz, with time as its last axis)"
        )
    labelled = np.flatnonzero(sizes)
    if len(set(sizes[labelled].tolist())) < 2:
        raise UserError(
            f"{labels}: its labels do not distinguish ED from ES ({len(labelled)} of {cine.count} frames have "
            "any); give `frames`, or another `label`"
        )
    return int(labelled[sizes[labelled].argmax()]), int(labelled[sizes[labelled].argmin()])


def series_stem(path: Path) -> str:
    """Return the name of a series without its ending; a folder's name may hold dots."""
    if path.suffix.lower() in DICOM_ENDINGS:
        return path.stem
    return (stem_of(path) if path.is_file() else None) or path.name


def require_unique(cines: Sequence[Cine]) -> None:
    """Check that the series have names of their own.

    Raises:
        UserError: Two have the same.
    """
    ids = [cine.id for cine in cines]
    repeated = [cine.path for cine in cines if ids.count(cine.id) > 1]
    if repeated:
        raise UserError(f"{repeated[1]}: would get the same id as {repeated[0]}; rename one of them")
