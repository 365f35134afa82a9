"""One frame of a series, named as `PATH#N`: wherever an image is named, on the command line and in tables."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.system.errors import UserError

FRAME_NAME = re.compile(r"(?P<file>.*)#(?P<frame>[^#]*)", re.DOTALL)
FRAME_NUMBER = re.compile(r"[0-9]{1,9}")


def split_frame(path: Path) -> tuple[Path, int | None]:
    """The file or folder, and the number of the frame, from 0; None where no frame is named.

    A file or folder of that very name comes first: `a#1` is the file `a#1` where there is one.

    Args:
        path: `cine.dcm#9`, `cine/#9`, or a plain path.

    Raises:
        UserError: What follows the `#` of a file that exists is no number.
    """
    match = FRAME_NAME.fullmatch(path.name)
    if match is None or _exists(path):
        return path, None
    file = path.with_name(match["file"]) if match["file"] else path.parent
    if not _exists(file):
        return path, None
    if not FRAME_NUMBER.fullmatch(match["frame"]):
        raise UserError(f"{path}: after the # stands no frame; write a whole number, the first frame is {file}#0")
    return file, int(match["frame"])


def name_frame(file: Path, frame: int) -> Path:
    """The path of a frame: what `split_frame` takes apart."""
    return file.with_name(f"{file.name}#{frame}")


def require_frame(name: object, frame: int | None, count: int) -> None:
    """Checks that a frame is named where there are several, and that it exists.

    Args:
        name: The file or folder.
        frame: The number, from 0; None where none is named.
        count: How many frames there are; 1 is a still image.

    Raises:
        UserError: It does not fit.
    """
    if count == 1:
        if frame is not None:
            raise UserError(f"{name}#{frame}: is a still image, which has no frames; leave out the #{frame}")
    elif frame is None:
        raise UserError(f"{name}: holds {count} frames; name one, from {name}#0 to {name}#{count - 1}")
    elif frame >= count:
        raise UserError(f"{name}#{frame}: there are {count} frames; name one, from {name}#0 to {name}#{count - 1}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long to be a name: told when it is read
        return False
