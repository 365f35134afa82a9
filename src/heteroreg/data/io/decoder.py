"""Image files decoded in a separate process.

GDCM reads DICOM with half a dozen codecs. On damaged files they take gigabytes, loop for ever, or crash. libpng
prints its complaints to stderr, where Python cannot catch them. So DICOM and PNG files are decoded in a small
process with limits on memory and time and without a stderr. It starts with the first file and serves all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.program import Program, ProgramError
from heteroreg.system.errors import UserError
from heteroreg.system.limits import MOST_UNFOLDED, max_voxels
from heteroreg.system.paths import require_utf8

# Time limit: for every question, and for every MB to be decoded. A large series takes seconds.
DECODER_SECONDS, DECODER_SECONDS_PER_MB = 60.0, 2.0
DECODER = Program(Path(__file__).with_name("decoder_process.py"))


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
    try:
        answer, content = DECODER.ask(question, DECODER_SECONDS + DECODER_SECONDS_PER_MB * question["bytes"] / 1e6)
    except ProgramError as error:
        what = "takes too long to decode" if error.late else "crashes the program that decodes it"
        raise UserError(f"{path}: {subject} {what}; it is damaged, export it again") from None
    if "error" in answer:
        raise UserError(f"{path}: {answer['error']}")
    return answer, content
