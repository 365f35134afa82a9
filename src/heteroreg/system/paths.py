"""Paths of odd places: names that are not UTF-8, and no home folder."""

from __future__ import annotations

from pathlib import Path

from heteroreg.system.errors import UserError


def require_utf8(*paths: object) -> None:
    """Check that paths are text: ITK ends the whole process over a name with other bytes.

    Args:
        paths: Paths; other kinds of values are let pass.

    Raises:
        UserError: A path has bytes that are not UTF-8.
    """
    for path in paths:
        if isinstance(path, str | Path):
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise UserError(f"{path}: has a name that is not UTF-8; rename it") from None


def expanded(path: str | Path) -> Path:
    """Return a path with its `~` replaced by the home folder.

    Raises:
        UserError: The home folder is not known, as in some containers.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}; write the whole path") from error
