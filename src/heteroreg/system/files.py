"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
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
        if not _is_content(path) and path.is_file():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and put it in place once the block has ended well.

    An existing folder is replaced only if it is empty or an earlier output of the same kind, which the
    presence of `marker` shows; anything else is the user's and stays.

    Args:
        path: Where the folder is to appear.
        marker: The name of a file that every finished folder of this kind holds.

    Yields:
        The folder to write into.

    Raises:
        UserError: `path` exists and holds something else.
    """
    path = Path(path)
    require_free(path, marker)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:KEPT]}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name[:KEPT]}-old-", dir=path.parent))
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_free(path: Path, marker: str) -> None:
    """Check that an output folder may be written: absent, empty, or an earlier output of the same kind.

    Raises:
        UserError: `path` is a file, or a folder that holds something else.
    """
    if path.is_file():
        raise UserError(f"{path}: is a file; name a folder to write to")
    if path.is_dir() and any(map(_is_content, path.iterdir())) and not (path / marker).is_file():
        raise UserError(f"{path}: exists and holds something else (no {marker}); choose another folder or empty it")


def _is_content(path: Path) -> bool:
    """Return True for a file that is not left over from a killed `atomic_file`."""
    return re.match(r"\.\d+-", path.name) is None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
