"""Folders of DICOM cine series and echo clips, with two frames of each as a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.data.io.dicom import DicomHeader, read_dicom_headers
from heteroreg.data.io.dicom_series import arrange_series
from heteroreg.data.readers._cines import (
    ChosenFrames,
    Cine,
    check_pairing,
    folders_of,
    pairs_of,
    require_unique,
    series_stem,
)
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.system.errors import UserError
from heteroreg.system.progress import progress


def read_dicom(
    source: Path,
    *,
    frames: str | None = None,
    label: int | None = None,
    pairs: str | None = None,
    left_out: LeftOut | None = None,
    show: bool = False,
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
        pairs: `ed-es`, one pair for each series, or `first-each`, its first frame with every other.
        left_out: Notes images that are not used.
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
    check_pairing(pairs, frames)
    left_out = LeftOut() if left_out is None else left_out
    cines = list(_cines(source, left_out, show))
    if not cines:
        raise UserError(f"{source}: contains no DICOM series of several frames")
    require_unique(cines)
    table = ChosenFrames.read(frames)
    found = [pair for cine in cines for pair in pairs_of(source, cine, table, label, pairs)]
    left_out.add_unused(source, [path for pair in found for path in pair.files], "images that are not DICOM")
    return found


def _cines(source: Path, left_out: LeftOut, show: bool) -> Iterator[Cine]:
    """Return the series of several frames in a folder and its subfolders, or in a file."""
    places = [source]
    if source.is_dir():
        places += sorted(path for path in source.rglob("*") if path.is_dir() and not path.name.startswith("."))
    with progress("reading DICOM headers", len(places), show=show) as report:
        for done, place in enumerate(places, start=1):
            for path, headers in _series(place, left_out):
                if (count := len(arrange_series(path, headers).frames)) > 1:
                    yield Cine("_".join([*folders_of(source, path), series_stem(path)]), path, count)
                else:
                    left_out.add("images or volumes of a single time", path)
            report(done)


def _series(place: Path, left_out: LeftOut) -> list[tuple[Path, Sequence[DicomHeader]]]:
    """Return the series of a folder or file: each file with several frames, or all placed single images."""
    headers = read_dicom_headers(place)
    several = [header for header in headers if header.frames > 1]
    if several or not any(plane.position for header in headers for plane in header.planes):
        for header in headers:
            if header.frames == 1:
                left_out.add("still images", Path(header.file))
        return [(Path(header.file), [header]) for header in several]
    count = len({header.series for header in headers})
    if count > 1:
        raise UserError(f"{place}: contains {count} DICOM series; put each into its own folder")
    return [(place, headers)]
