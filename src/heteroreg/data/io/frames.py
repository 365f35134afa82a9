"""Frames of a series, named `PATH#N` on the command line and in tables."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.system.errors import UserError

FRAME_NAME = re.compile(r"(?P<file>.*)#(?P<frame>[^#]*)", re.DOTALL)
FRAME_NUMBER = re.compile(r"[0-9]{1,9}")


def split_frame(path: Path) -> tuple[Path, int | None]:
    """Split a path into the file or folder and the number of the frame, from 0; None if no frame is named.

    An existing file or folder of that name takes precedence: `a#1` is the file `a#1` if it exists.

    Args:
        path: `cine.dcm#9`, `cine/#9`, or a plain path.

    Raises:
        UserError: The text after the `#` of an existing file is not a number.
    """
    match = FRAME_NAME.fullmatch(path.name)
    if match is None or _exists(path):
        return path, None
    file = path.with_name(match["file"]) if match["file"] else path.parent
    if not _exists(file):
        return path, None
    if not FRAME_NUMBER.fullmatch(match["frame"]):
        raise UserError(
            f"{path}: the text after # is not a frame; write a whole number, the first frame is {file}#0"
        )
    return file, int(match["frame"])


def name_frame(file: Path, frame: int) -> Path:
    """Return the path of a frame, the inverse of `split_frame`."""
    return file.with_name(f"{file.name}#{frame}")


def require_frame(name: object, frame: int | None, count: int) -> None:
    """Check that a frame is named if there are several, and that it exists.

    Args:
        name: The file or folder.
        frame: The number, from 0; None if no frame is named.
        count: Number of frames; 1 for a still image.

    Raises:
        UserError: The frame is missing, superfluous or does not exist.
    """
    if count == 1:
        if frame is not None:
            raise UserError(f"{name}#{frame}: is a still image without frames; leave out the #{frame}")
    elif frame is None:
        raise UserError(f"{name}: holds {count} frames; name one, from {name}#0 to {name}#{count - 1}")
    elif frame >= count:
        raise UserError(f"{name}#{frame}: there are {count} frames; name one, from {name}#0 to {name}#{count - 1}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long is reported when it is read
        return False
