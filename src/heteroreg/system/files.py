"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heteroreg.system.errors import UserError

# Characters of a name that its temporary sibling keeps: with more, a long name would become too long.
KEPT = 40


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there once the block has ended well.

    The temporary file keeps the whole ending (`.nii.gz`), since image writers choose the format by it. It is
    flushed to the disk before the move, so that a crash leaves either the old content or the new.

    Args:
        path: Where the file is to appear. Its folder is created.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of two machines, or of two containers, may have the same number.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name[-KEPT:]}")
    try:
        with _named(path):
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder into another one.

    Raises:
        OSError: A file could not be written; the error names it, where that of `shutil.copytree` lists them all.
    """
    for path in filter(Path.is_file, source.rglob("*")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _named(copy):
            copy.write_bytes(path.read_bytes())


def flush(path: Path) -> None:
    """Flush a file to the disk."""
    with _named(path), path.open("rb+") as handle:
        os.fsync(handle.fileno())


def append(path: Path, data: bytes) -> None:
    """Append to a file; if that fails, as on a full disk, the file stays as it was."""
    with path.open("ab", buffering=0) as handle:
        size, left = handle.seek(0, os.SEEK_END), memoryview(data)
        try:
            with _named(path):
                while left:
                    left = left[os.write(handle.fileno(), left) :]
        except BaseException:
            handle.truncate(size)
            raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in an error of the block: a write does not know it, and a temporary file hides it."""
    try:
        yield
    except OSError as error:
        hidden = error.filename is None or Path(str(error.filename)).name.startswith(f".{os.getpid()}-")
        if error.errno is None or not hidden:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed `atomic_file` left in a folder and those below.

    Only for a folder that no other process writes to.
    """
    for path in folder.rglob(".*"):
        if is_leftover(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8.

    Raises:
        UserError: The text names a file whose name is not UTF-8.
    """
    with atomic_file(path) as temporary:
        try:
            temporary.write_text(text, encoding="utf-8")
        except UnicodeEncodeError as error:
            start = text.rfind("\n", 0, error.start) + 1
            odd = text[max(start, error.start - 60) : error.end + 20].splitlines()[0]
            raise UserError(f"{path}: cannot hold a name that is not UTF-8 ('{odd}'); rename that file") from None


def is_leftover(name: str) -> bool:
    """True for the name of a temporary file that `atomic_file` leaves when it is killed."""
    return re.match(r"\.\d+-[0-9a-f]{8}-", name) is not None
