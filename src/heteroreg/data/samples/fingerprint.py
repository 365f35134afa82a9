"""Fingerprints of image files that depend on their content, not on names or time stamps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from heteroreg.data.io.frames import split_frame
from heteroreg.data.io.headers import check_text_header
from heteroreg.data.io.pairs_of_files import TWIN_ENDINGS
from heteroreg.system.errors import UserError


class Fingerprints:
    """SHA-256 of the content of images; every file is read once.

    It covers all files of an image and the parts of their names that affect reading: the ending, the names in the
    folder of a DICOM series, and the number of a frame.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[str | None, object]] = {}

    def of(self, path: Path) -> str | None:
        """Return the fingerprint of an image.

        Returns:
            64 hexadecimal digits; None if the header refers to lists or patterns of files, which are not followed.

        Raises:
            UserError: The file is missing or cannot be read.
        """
        file, frame = split_frame(path)
        if file not in self._known:
            state = _state(file)
            self._known[file] = _digest(file), state
        digest = self._known[file][0]
        if digest is None or frame is None:
            return digest
        return hashlib.sha256(f"{digest}#{frame}".encode()).hexdigest()

    def hold(self, path: Path) -> bool:
        """Return True if the image has not changed since its fingerprint was taken."""
        file, _ = split_frame(path)
        state = self._known[file][1]
        return state is not None and state == _state(file)


def files_of(path: Path) -> list[Path] | None:
    """Return the files of an image; None if they cannot be determined."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    name = path.name.lower()
    twin = next((ending for ending in TWIN_ENDINGS if name.endswith(ending)), None)
    if twin:
        stem = path.name[: -len(twin)].lower()
        return sorted(
            f for f in path.parent.iterdir() if f.name.lower() in {stem + ending for ending in TWIN_ENDINGS}
        )
    try:
        header = check_text_header(path)
    except UserError:
        return None  # a damaged header is reported when the image is read
    if header is None or header.data == path:
        return [path]
    return [path, header.data] if header.data.is_file() else None


def _digest(path: Path) -> str | None:
    try:
        files = files_of(path)
        if files is None:
            return None
        parts = [(_role(file, path), _sha256(file)) for file in files]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise UserError(
            f"{path}: could not be read ({error.strerror}); check its permissions and the disk"
        ) from error
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _role(file: Path, path: Path) -> str:
    """Return the part of a file's name that affects how it is read."""
    return file.name if path.is_dir() else "".join(file.suffixes[-2:]).lower()


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _state(path: Path) -> object:
    """Return size and times of the files, which show that a file is written while it is being read."""
    try:
        return [(f, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f in files_of(path) or () for s in [f.stat()]]
    except OSError:
        return None
