"""What an image file holds, in one number, whatever its name and time stamp say."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from heteroreg.errors import UserError

# Formats that may keep their voxels in files of their own, and where their headers name them.
DETACHED = {
    ".mhd": rb"^ElementDataFile\s*=\s*(.+?)\s*$",
    ".mha": rb"^ElementDataFile\s*=\s*(.+?)\s*$",
    ".nhdr": rb"^data ?file:\s*(.+?)\s*$",
    ".nrrd": rb"^data ?file:\s*(.+?)\s*$",
}
TWINS = (".hdr", ".img", ".img.gz")
HEADER = 65536


class Fingerprints:
    """SHA-256 of the content of images, every file read once.

    It covers all files that an image is made of, and what of their names decides how they are read: the ending,
    and within the folder of a DICOM series the names.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[str | None, object]] = {}

    def of(self, path: Path) -> str | None:
        """The fingerprint of an image.

        Returns:
            64 hexadecimal digits; None where the header spreads the voxels over files in a way that is not
            followed here (lists and patterns of files).

        Raises:
            UserError: The file is missing or cannot be read.
        """
        if path not in self._known:
            state = _state(path)
            self._known[path] = _digest(path), state
        return self._known[path][0]

    def hold(self, path: Path) -> bool:
        """Whether the image is still the one that the fingerprint was taken of."""
        state = self._known[path][1]
        return state is not None and state == _state(path)


def files_of(path: Path) -> list[Path] | None:
    """The files that an image is read from; None if that cannot be told."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    name = path.name.lower()
    twin = next((ending for ending in TWINS if name.endswith(ending)), None)
    if twin:
        stem = path.name[: -len(twin)].lower()
        return sorted(f for f in path.parent.iterdir() if f.name.lower() in {stem + ending for ending in TWINS})
    pattern = DETACHED.get(path.suffix.lower())
    if pattern is None:
        return [path]
    with path.open("rb") as handle:
        header = handle.read(HEADER)
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]  # voxels follow the empty line
    found = re.search(pattern, header, re.MULTILINE | re.IGNORECASE)
    if found is None or found[1] in (b"LOCAL", b"Local", b"local"):
        return [path]
    data = path.parent / os.fsdecode(found[1])
    return [path, data] if data.is_file() else None


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
    """What of a file's name matters for how it is read."""
    return file.name if path.is_dir() else "".join(file.suffixes[-2:]).lower()


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _state(path: Path) -> object:
    """What changes when a file is written to while it is being read; not to be relied on for longer."""
    try:
        return [(f, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f in files_of(path) or () for s in [f.stat()]]
    except OSError:
        return None
