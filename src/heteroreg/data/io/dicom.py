"""DICOM files, read in a process of their own: their headers, and the voxels of those that are wanted.

DICOM is read by GDCM with half a dozen codecs. On damaged files they take gigabytes, loop for ever, or end the
process. So they run where that does no harm: in a small process with a limit on memory and time, which is started
with the first series and stays for the next.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.itk import READERS
from heteroreg.system.errors import UserError
from heteroreg.system.limits import max_voxels

# For a series, and beside it for every MB; a large one takes seconds.
DICOM_SECONDS, DICOM_SECONDS_PER_MB = 60.0, 2.0
DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
DICOM_PROGRAM = Path(__file__).with_name("dicom_process.py")

_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_owner = 0
# The headers that were read last, and of which files: two frames of a series are mostly asked for in a row.
_last: tuple[object, tuple[DicomHeader, ...]] | None = None


@dataclass(frozen=True)
class DicomHeader:
    """What a file says before its voxels are read.

    Attributes:
        file: Its path.
        series: The number of its series, among the files that were asked for together.
        size: Columns and rows.
        frames: How many images it holds.
        moving: Whether these are 2D images that follow one another in time.
        spacing: Width and height of a pixel in mm, where that is known.
        planes: The places of its images: of all frames of an enhanced object, of others one.
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
    """Where a 2D image lies in space and time; what is not known is None.

    Attributes:
        position: Of the first pixel, in mm (LPS).
        orientation: Unit vectors along a row and along a column.
        spacing: Width and height of a pixel in mm.
        thickness: Distance to the next slice, or thickness of this one, in mm.
        times: Numbers that grow with time, the most telling first.
        number: Its number in the series or file.
        kind: The same for images of one kind (magnitude, phase, an echo).
        scale: Slope and intercept of its values, where it has its own.
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
    """Whether a path is read as DICOM: a folder, a file with its ending, or with its first bytes under no other."""
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
    """The headers of a DICOM file, or of those in a folder, in the order of their names.

    Raises:
        UserError: One is damaged, or takes too long.
    """
    global _last
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    state = [(file, entry.st_size, entry.st_mtime_ns) for file in files for entry in [file.stat()]]
    if _last is None or _last[0] != state:
        question = {"about": "headers", "path": str(path), "bytes": sum(size for _, size, _ in state)}
        answer, _ = _answer(path, question)
        _last = state, tuple(_header(entry) for entry in answer["headers"])
    return _last[1]


def read_dicom_voxels(
    path: Path, files: Sequence[str], frames: Sequence[int] | None = None
) -> tuple[NDArray[Any], Grid]:
    """The voxels of files, one after the other along the last axis, or those of some frames of one file.

    Args:
        path: What the user named, for messages.
        files: The files.
        frames: Numbers of frames, from 0; None for all.

    Returns:
        The array [x, y, z], or [x, y, z, 3] in colour, and the grid as ITK understands it.

    Raises:
        UserError: They are damaged, declare more voxels than HETEROREG_MAX_VOXELS or than the files can hold, or
            take too long to decode.
    """
    question = {
        "about": "voxels", "files": files, "frames": frames, "alone": path.is_file(), "voxels": max_voxels(),
        "bytes": sum(Path(file).stat().st_size for file in files),
    }  # fmt: skip
    answer, content = _answer(path, question)
    shape = tuple(answer["shape"])
    array = np.frombuffer(content, dtype=answer["dtype"]).reshape(shape)
    size = shape[2::-1]
    grid = Grid(size, *(tuple(answer[name]) for name in ("spacing", "origin", "direction")))
    colours = answer["components"] > 1
    return (np.moveaxis(array, -1, 0).T if colours else array.T), grid


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


def _answer(path: Path, question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
    """Asks the process, within the time that files of this size may take."""
    with _lock:
        process = _running()
        late = threading.Event()
        timer = threading.Timer(
            DICOM_SECONDS + DICOM_SECONDS_PER_MB * question["bytes"] / 1e6, _end, (process, late)
        )
        timer.daemon = True
        timer.start()
        try:
            answer, content = _ask(process, question)
        except (OSError, EOFError, ValueError):
            _stop()
            what = "takes too long to decode" if late.is_set() else "ends the program that decodes it"
            raise UserError(f"{path}: the DICOM series {what}; it is damaged, export it again") from None
        finally:
            timer.cancel()
    if "error" in answer:
        raise UserError(f"{path}: {answer['error']}")
    return answer, content


def _ask(process: subprocess.Popen[bytes], question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
    """One line there, one line back, and the voxels behind it."""
    writer, reader = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    writer.write(json.dumps(question).encode() + b"\n")
    writer.flush()
    answer = json.loads(reader.readline() or b"no answer")
    content = bytearray(answer.get("length", 0))
    view, done = memoryview(content), 0
    while done < len(content):
        count = reader.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return answer, content


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _running() -> subprocess.Popen[bytes]:
    """The process; after a fork the child has one of its own."""
    global _process, _owner
    if _process is None or _owner != os.getpid() or _process.poll() is not None:
        _stop()
        command = [sys.executable, "-P", str(DICOM_PROGRAM)]
        _process = subprocess.Popen(  # noqa: S603 - a file of the package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        _owner = os.getpid()
    return _process


@atexit.register
def _stop() -> None:
    global _process
    if _process is not None and _owner == os.getpid():
        _process.kill()
        _process.wait()
        for stream in (_process.stdin, _process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was left to write has nobody to read it
                    stream.close()
    _process = None
