"""Image files decoded in a separate process.

GDCM reads DICOM with half a dozen codecs. On damaged files they take gigabytes, loop for ever, or crash. libpng
prints its complaints to stderr, where Python cannot catch them. So DICOM and PNG files are decoded in a small
process with limits on memory and time and without a stderr. It starts with the first file and serves all others.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.system.errors import UserError
from heteroreg.system.limits import MOST_UNFOLDED, max_voxels
from heteroreg.system.memory import start_thread
from heteroreg.system.paths import require_utf8

# Time limit: for every question, and for every MB to be decoded. A large series takes seconds.
DECODER_SECONDS, DECODER_SECONDS_PER_MB = 60.0, 2.0
DECODER_PROGRAM = Path(__file__).with_name("decoder_process.py")

_process_lock = threading.Lock()
_process: subprocess.Popen[bytes] | None = None
_owner = 0  # the process that started it: after a fork the child starts its own


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        array: The voxels as ITK orders them, [z, y, x] or [z, y, x, component].
        grid: Their grid.
        components: Values in each voxel.
    """

    array: NDArray[Any]
    grid: Grid
    components: int


def decode(
    path: Path,
    files: Sequence[str],
    reader: str,
    *,
    subject: str = "the image",
    frames: Sequence[int] | None = None,
    header_only: bool = False,
    indices: bool = False,
) -> Decoded:
    """Decode files, one after the other along the last axis, or some frames of one file.

    Args:
        path: The path that the user named, for messages.
        files: The files.
        reader: ITK's name of the reader, such as `GDCMImageIO`.
        subject: The noun for messages, such as `the DICOM series`.
        frames: Numbers of frames, from 0; None for all.
        header_only: Read the grid alone; the array is then empty.
        indices: Read the indices of a PNG with a palette in place of its colours.

    Raises:
        UserError: The files are damaged, declare more voxels than HETEROREG_MAX_VOXELS or than they can hold, or
            take too long to decode.
    """
    question = {
        "about": "voxels", "files": files, "reader": reader, "frames": frames, "alone": path.is_file(),
        "voxels": max_voxels(), "header_only": header_only, "indices": indices,
        "bytes": sum(Path(file).stat().st_size for file in files),
    }  # fmt: skip
    answer, content = ask_decoder(path, question, subject)
    array = np.frombuffer(content, dtype=answer["dtype"]).reshape(answer["shape"])
    grid = Grid(*(tuple(answer[name]) for name in ("size", "spacing", "origin", "direction")))
    return Decoded(array, grid, answer["components"])


def ask_decoder(path: Path, question: dict[str, Any], subject: str) -> tuple[dict[str, Any], bytearray]:
    """Ask the process, within a time limit that grows with the size of the files.

    Args:
        path: The path that the user named, for messages.
        question: What `decoder_process` expects; `bytes` is the size of the files.
        subject: The noun for messages.

    Returns:
        The answer, and the bytes that follow it.

    Raises:
        UserError: The process refuses the files, crashes on them, or takes too long.
    """
    require_utf8(path, *question.get("files", ()))
    question = question | {"subject": subject, "most_unfolded": MOST_UNFOLDED}
    with _process_lock:
        process = _running()
        late = threading.Event()
        seconds = DECODER_SECONDS + DECODER_SECONDS_PER_MB * question["bytes"] / 1e6
        timer = threading.Timer(seconds, _kill, (process, late))
        timer.daemon = True
        start_thread(timer)
        try:
            answer, content = _exchange(process, question)
        except (OSError, EOFError, ValueError):
            stop_decoder()
            what = "takes too long to decode" if late.is_set() else "crashes the program that decodes it"
            raise UserError(f"{path}: {subject} {what}; it is damaged, export it again") from None
        finally:
            timer.cancel()
    if "error" in answer:
        raise UserError(f"{path}: {answer['error']}")
    return answer, content


def stop_decoder() -> None:
    """End the process, if this process started one; the next question starts another."""
    global _process
    if _process is not None and _owner == os.getpid():
        _process.kill()
        _process.wait()
        for stream in (_process.stdin, _process.stdout):
            if stream is not None:
                with suppress(OSError):  # a half-written question has no reader any more
                    stream.close()
    _process = None


def _exchange(process: subprocess.Popen[bytes], question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
    """Send one line, receive one line and the voxels that follow it."""
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


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _running() -> subprocess.Popen[bytes]:
    """Return the process, started if necessary."""
    global _process, _owner
    if _process is None or _owner != os.getpid() or _process.poll() is not None:
        stop_decoder()
        command = [sys.executable, "-P", str(DECODER_PROGRAM)]
        _process = subprocess.Popen(  # noqa: S603 - a file of the package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if _owner != os.getpid():
            atexit.register(stop_decoder)
        _owner = os.getpid()
    return _process


def _after_fork() -> None:
    """Give a forked child a lock that nobody holds: the thread that held its copy runs in the parent alone."""
    global _process_lock, _process
    _process_lock, _process = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
