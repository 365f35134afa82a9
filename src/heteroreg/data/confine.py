"""The files that an untrusted cohort may name: those in its own folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from heteroreg.data.io.dicom import is_dicom
from heteroreg.data.io.frames import split_frame
from heteroreg.data.io.headers import check_text_header
from heteroreg.data.io.itk import READERS
from heteroreg.system.errors import UserError

# Transforms that are whole in one file; HDF5 may refer to others.
TRANSFORMS = (".tfm", ".txt", ".mat")


def require_inside(folder: Path, name: str, where: str, endings: Collection[str] = tuple(READERS)) -> None:
    """Check that a file, and the files that it refers to, are inside a folder.

    Links and `..` are resolved first. Each file of a folder (a DICOM series) is checked, also the data file that a
    MetaImage or NRRD header names, and the file of a frame.

    Args:
        folder: The folder.
        name: The file's name relative to the folder.
        where: The place that names it, for the message.
        endings: Of the names that are allowed.

    Raises:
        UserError: It is outside the folder, or its format may refer to other files.
    """
    try:
        _require_inside(folder, folder / name, name, where, endings)
    except (OSError, ValueError, RuntimeError) as error:  # too long, no permission, or links in a circle
        raise UserError(f"{where}: '{name}' is not a path ({error}); correct it") from error


def _require_inside(folder: Path, path: Path, name: str, where: str, endings: Collection[str]) -> None:
    path, _ = split_frame(path)
    _require(folder, path, name, where)
    if path.is_dir():
        for file in path.iterdir():
            _require(folder, file, f"{name}/{file.name}", where)
        return
    if not path.is_file() or is_dicom(
        path
    ):  # a missing file is reported when it is read; DICOM refers to no others
        return
    if not path.name.lower().endswith(tuple(endings)):
        raise UserError(
            f"{where}: '{name}' has none of the endings {', '.join(endings)} and is not DICOM; a confined cohort "
            "may name no other files"
        )
    header = check_text_header(path)
    if header is not None:
        _require(folder, header.data, f"{name} with the data in {header.data}", where)


def _require(folder: Path, path: Path, name: str, where: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{where}: '{name}' lies outside the folder of the confined cohort")
