"""Folders of DICOM cine series and echo clips, with two frames of each as a pair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.cohort import Pair
from heteroreg.data.image import read_frames
from heteroreg.data.io.dicom import DICOM_ENDINGS, DicomHeader, read_dicom_headers
from heteroreg.data.io.dicom_series import arrange_series
from heteroreg.data.io.frames import name_frame
from heteroreg.data.readers._files import stem_of
from heteroreg.data.splits import SPLIT_OF_FOLDER, part_of
from heteroreg.system.errors import UserError
from heteroreg.system.progress import progress
from heteroreg.system.text import read_table

LABELS_SUFFIX = re.compile(r"[_-](?:labels?|gt|seg|segmentation|mask)", re.IGNORECASE)
FRAME_COLUMNS = ("id", "ED", "ES")


@dataclass(frozen=True)
class _Cine:
    """A series of several frames.

    Attributes:
        id: Its path below the source, which is the id of the pair.
        path: Its file or folder.
        count: Number of frames.
    """

    id: str
    path: Path
    count: int


def read_dicom(
    source: Path, *, frames: str | None = None, label: int | None = None, show: bool = False
) -> list[Pair]:
    """Find the cine series and clips in a folder and its subfolders: moving is end-diastole, fixed end-systole.

    A series is a folder of single images or a file with several frames. Still images are skipped. The label maps
    of a series are in a file beside it, with the same name and `_gt`, `_seg` or `_labels`; its last axis is time.
    The identity of the patient in the files is not used: the path is the id of a pair, its first folder that of
    the patient.

    Args:
        source: The folder, or a single file.
        frames: `ED,ES`, the numbers of the two frames of every series, from 0; or a CSV file with the columns id,
            ED and ES. By default they are found from the labels: among the frames with the label, ED is the one
            with the largest area and ES the one with the smallest.
        label: The label whose area decides; by default that of all labels.
        show: Show the progress on stderr if it takes longer than two seconds.

    Returns:
        A pair for each series, with frames of it as images (`cine#9`).

    Raises:
        UserError: There is no series, a series has neither labels nor given frames, a frame does not exist, or the
            label maps have another number of frames than the series.
    """
    source = Path(source).absolute()
    if label is not None and frames is not None:
        raise UserError("label: finds the frames; leave it out if `frames` gives them", argument="label")
    if not source.exists():
        raise UserError(f"{source}: no such folder; name the folder with the series")
    cines = list(_cines(source, show))
    if not cines:
        raise UserError(f"{source}: contains no DICOM series of several frames")
    ids = [cine.id for cine in cines]
    repeated = [cine.path for cine in cines if ids.count(cine.id) > 1]
    if repeated:
        raise UserError(f"{repeated[1]}: would get the same id as {repeated[0]}; rename one of them")
    table = _Frames.read(frames)
    return [_pair(source, cine, table, label) for cine in cines]


@dataclass(frozen=True)
class _Frames:
    """The frames that the user gives: the same for all series, or for each id; neither if the labels decide."""

    all: tuple[int, int] | None
    by_id: Mapping[str, tuple[int, int]]
    file: Path | None = None

    @classmethod
    def read(cls, text: str | None) -> _Frames:
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

    def of(self, cine: _Cine) -> tuple[int, int] | None:
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


def _pair(source: Path, cine: _Cine, frames: _Frames, label: int | None) -> Pair:
    labels = _labels_beside(cine.path)
    sizes = None if labels is None else _sizes(labels, cine, label)
    ed, es = frames.of(cine) or _extremes(cine, labels, sizes)
    folders = _folders(source, cine.path)
    named = [part for part in folders if part.lower() not in SPLIT_OF_FOLDER]
    return Pair(
        id=cine.id,
        patient=named[0] if named else cine.id,
        moving=name_frame(cine.path, ed),
        fixed=name_frame(cine.path, es),
        moving_labels=None if labels is None else name_frame(labels, ed),
        fixed_labels=None if labels is None else name_frame(labels, es),
        split=part_of(Path(*folders)),
    )


def _cines(source: Path, show: bool) -> Iterator[_Cine]:
    """Return the series of several frames in a folder and its subfolders, or in a file."""
    places = [source]
    if source.is_dir():
        places += sorted(path for path in source.rglob("*") if path.is_dir() and not path.name.startswith("."))
    with progress("reading DICOM headers", len(places), show=show) as report:
        for done, place in enumerate(places, start=1):
            for path, headers in _series(place):
                if (count := len(arrange_series(path, headers).frames)) > 1:
                    yield _Cine("_".join([*_folders(source, path), _stem(path)]), path, count)
            report(done)


def _series(place: Path) -> list[tuple[Path, Sequence[DicomHeader]]]:
    """Return the series of a folder or file: each file with several frames, or all placed single images."""
    headers = read_dicom_headers(place)
    several = [header for header in headers if header.frames > 1]
    if several or not any(plane.position for header in headers for plane in header.planes):
        return [(Path(header.file), [header]) for header in several]
    count = len({header.series for header in headers})
    if count > 1:
        raise UserError(f"{place}: contains {count} DICOM series; put each into its own folder")
    return [(place, headers)]


def _folders(source: Path, path: Path) -> tuple[str, ...]:
    """Return the names of the folders between the source and a series."""
    return () if path == source else path.parent.relative_to(source).parts


def _stem(path: Path) -> str:
    return path.stem if path.suffix.lower() in DICOM_ENDINGS else path.name


def _labels_beside(path: Path) -> Path | None:
    """Return the file with the label maps of a series."""
    found = []
    for file in sorted(path.parent.iterdir()):
        name = stem_of(file) if file.is_file() else None
        if name and name.startswith(_stem(path)) and LABELS_SUFFIX.fullmatch(name[len(_stem(path)) :]):
            found.append(file)
    if len(found) > 1:
        raise UserError(f"{found[1]}: has label maps of the same series as {found[0].name}; remove one of them")
    return found[0] if found else None


def _sizes(labels: Path, cine: _Cine, label: int | None) -> NDArray[np.int64]:
    """Return the number of voxels with the label in each frame."""
    array = read_frames(labels)
    if array.ndim not in (3, 4) or array.shape[-1] != cine.count:
        raise UserError(
            f"{labels}: has the shape {array.shape}, but {cine.path} has {cine.count} frames; its last axis "
            "must be time"
        )
    inside = array > 0 if label is None else array == label
    return np.asarray(inside.reshape(-1, cine.count).sum(axis=0))


def _extremes(cine: _Cine, labels: Path | None, sizes: NDArray[np.int64] | None) -> tuple[int, int]:
    """Return the frames with the largest and the smallest area of the label, among those that have it."""
    if labels is None or sizes is None:
        raise UserError(
            f"{cine.path}: the ED and ES frames among its {cine.count} are unknown; give `frames`, or put its "
            f"label maps beside it ({_stem(cine.path)}_gt.nii.gz, with time as its last axis)"
        )
    labelled = np.flatnonzero(sizes)
    if len(set(sizes[labelled].tolist())) < 2:
        raise UserError(
            f"{labels}: its labels do not distinguish ED from ES ({len(labelled)} of {cine.count} frames have "
            "any); give `frames`, or another `label`"
        )
    return int(labelled[sizes[labelled].argmax()]), int(labelled[sizes[labelled].argmin()])
