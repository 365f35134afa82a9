"""DICOM files: their headers, and the voxels of the files or frames that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.decoder import ask_decoder, decode
from heteroreg.data.io.itk import READERS

DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
DICOM_SERIES = "the DICOM series"  # in messages

# The headers read last, and the files they belong to: two frames of a series are often read one after the other.
_last: tuple[object, tuple[DicomHeader, ...]] | None = None


@dataclass(frozen=True)
class DicomHeader:
    """The header of a DICOM file, without its voxels.

    Attributes:
        file: Its path.
        series: Number of its series among the files that were read together.
        size: Columns and rows.
        frames: Number of images in the file.
        moving: True if these are 2D images that follow one another in time.
        spacing: Width and height of a pixel in mm; None if unknown.
        planes: Positions of its images: one for each frame of an enhanced object, otherwise a single one.
    """

    file: str
    series: int
    size: tuple[int, int]
    frames: int
    moving: bool
    spacing: tuple[float, ...] | None
    planes: tuple[DicomFrame, ...]


@dataclass(frozen=True)
class DicomFrame:
    """Position of a 2D image in space and time; unknown values are None.

    Attributes:
        position: Position of the first pixel in mm (LPS).
        orientation: Unit vectors along a row and along a column.
        spacing: Width and height of a pixel in mm.
        thickness: Distance to the next slice, or thickness of this one, in mm.
        times: Numbers that grow with time, the most reliable first.
        number: Its number in the series or file.
        kind: A number that is equal for images of one kind (magnitude, phase, an echo).
        scale: Slope and intercept of its values; None if it has none of its own.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    times: tuple[float | None, ...]
    number: float | None
    kind: int
    scale: tuple[float, ...] | None


def is_dicom(path: Path) -> bool:
    """Return True for a folder, a file with a DICOM ending, or an unknown ending with DICOM's first bytes."""
    if path.is_dir():
        return True
    name = path.name.lower()
    if name.endswith(DICOM_ENDINGS):
        return True
    if name.endswith(tuple(READERS)) or not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(132)[128:] == b"DICM"


def read_dicom_headers(path: Path) -> tuple[DicomHeader, ...]:
    """Read the header of a DICOM file, or those of the files in a folder in the order of their names.

    Raises:
        UserError: A file is damaged, or takes too long to read.
    """
    global _last
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    state = [(file, entry.st_size, entry.st_mtime_ns) for file in files for entry in [file.stat()]]
    last = _last  # another thread may replace it
    if last is None or last[0] != state:
        question = {
            "about": "headers", "path": str(path), "endings": DICOM_ENDINGS,
            "bytes": sum(size for _, size, _ in state),
        }  # fmt: skip
        answer, _ = ask_decoder(path, question, DICOM_SERIES)
        _last = last = state, tuple(_header(entry) for entry in answer["headers"])
    return last[1]


def read_dicom_voxels(
    path: Path, files: Sequence[str], frames: Sequence[int] | None = None
) -> tuple[NDArray[Any], Grid]:
    """Read the voxels of files, one after the other along the last axis, or of some frames of one file.

    Args:
        path: The path that the user named, for messages.
        files: The files.
        frames: Numbers of frames, from 0; None for all.

    Returns:
        The array [x, y, z], or [x, y, z, 3] in colour, and the grid as ITK understands it.

    Raises:
        UserError: As for `decoder.decode`.
    """
    found = decode(path, files, "GDCMImageIO", subject=DICOM_SERIES, frames=frames)
    array = found.array if found.components == 1 else np.moveaxis(found.array, -1, 0)
    return array.T, found.grid


def _header(entry: Mapping[str, Any]) -> DicomHeader:
    columns, rows = entry["size"]
    return DicomHeader(
        file=entry["file"],
        series=entry["series"],
        size=(columns, rows),
        frames=entry["frames"],
        moving=entry["moving"],
        spacing=tuple(entry["spacing"]) or None,
        planes=tuple(_plane(plane) for plane in entry["planes"]),
    )


def _plane(entry: Mapping[str, Any]) -> DicomFrame:
    return DicomFrame(
        position=tuple(entry["position"]) or None,
        orientation=tuple(entry["orientation"]) or None,
        spacing=tuple(entry["spacing"]) or None,
        thickness=entry["thickness"],
        times=tuple(entry["times"]),
        number=entry["number"],
        kind=entry["kind"],
        scale=tuple(entry["scale"]) or None,
    )
