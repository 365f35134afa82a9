"""Files that must lie in one folder: what an untrusted cohort may name."""

from __future__ import annotations

from pathlib import Path

from heteroreg.data.io.dicom import is_dicom
from heteroreg.data.io.frames import split_frame
from heteroreg.data.io.headers import check_text_header
from heteroreg.data.io.itk import READERS
from heteroreg.system.errors import UserError


def require_inside(folder: Path, name: str, where: str) -> None:
    """Checks that a file lies in a folder, and so does what it refers to.

    Links and `..` are followed first. A folder is a DICOM series: each of its files counts. A MetaImage or NRRD
    header may name another file with the voxels: that counts too. Of a frame, the file that it is in counts.

    Args:
        folder: The folder.
        name: The file as it is named, relative to the folder.
        where: Where it is named, for the message.

    Raises:
        UserError: It leads out of the folder, or is of a format that could refer to others.
    """
    try:
        _require_inside(folder, folder / name, name, where)
    except (OSError, ValueError, RuntimeError) as error:  # too long, no permission, or links in a circle
        raise UserError(f"{where}: '{name}' is no path ({error}); correct it") from error


def _require_inside(folder: Path, path: Path, name: str, where: str) -> None:
    path, _ = split_frame(path)
    _require(folder, path, name, where)
    if path.is_dir():
        for file in path.iterdir():
            _require(folder, file, f"{name}/{file.name}", where)
        return
    if not path.is_file() or is_dicom(path):  # that it is missing is told when it is read; DICOM names no others
        return
    if not path.name.lower().endswith(tuple(READERS)):
        raise UserError(
            f"{where}: '{name}' ends in none of {', '.join(READERS)} and is no DICOM file; a confined cohort may "
            "name no others"
        )
    header = check_text_header(path)
    if header is not None:
        _require(folder, header.data, f"{name} with the data in {header.data}", where)


def _require(folder: Path, path: Path, name: str, where: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{where}: '{name}' lies outside the folder of the cohort, which is confined to it")
