"""DICOM series, decoded in a process of their own.

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
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.itk import check_grid
from heteroreg.errors import UserError
from heteroreg.limits import max_voxels

# For a series, and beside it for every MB; a large one takes seconds.
SECONDS, SECONDS_PER_MB = 60.0, 2.0
PROGRAM = Path(__file__).with_name("dicom_process.py")

_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_owner = 0


def read_series(folder: Path) -> tuple[NDArray[Any], Grid]:
    """Reads a folder of one DICOM series.

    Returns:
        The array [x, y, z] and its grid.

    Raises:
        UserError: The folder holds none or several series, or the series is damaged, declares more voxels than
            HETEROREG_MAX_VOXELS or than its files can hold, or takes too long to decode.
    """
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    question = {"folder": str(folder), "voxels": max_voxels(), "bytes": size}
    with _lock:
        process = _running()
        late = threading.Event()
        timer = threading.Timer(SECONDS + SECONDS_PER_MB * size / 1e6, _end, (process, late))
        timer.daemon = True
        timer.start()
        try:
            answer, content = _ask(process, question)
        except (OSError, EOFError, ValueError):
            _stop()
            what = "takes too long to decode" if late.is_set() else "ends the program that decodes it"
            raise UserError(f"{folder}: the DICOM series {what}; it is damaged, export it again") from None
        finally:
            timer.cancel()
    if "error" in answer:
        raise UserError(f"{folder}: {answer['error']}")
    grid = Grid(*(tuple(answer[name]) for name in ("shape", "spacing", "origin", "direction")))
    check_grid(folder, grid)
    array = np.frombuffer(content, dtype=answer["dtype"]).reshape(grid.shape[::-1])
    return array.T, grid


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
        command = [sys.executable, "-P", str(PROGRAM)]
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
