"""Output folders: what may be written where. The one place that decides it.

A folder that heteroreg writes holds `heteroreg.json`: the kind of output, and the files that belong to it. Only
those files are ever replaced or removed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from heteroreg.system.errors import UserError
from heteroreg.system.files import flush, is_leftover, write_text
from heteroreg.system.locks import LOCK_FILE, is_written, only_writer, require_no_writer

MARKER_FILE = "heteroreg.json"
MARKER_VERSION = 1
STAGE = ".heteroreg-stage-"
COMPLETE = "complete"
# Files that systems and editors leave anywhere: neither in the way nor ever removed.
IGNORED = (LOCK_FILE, ".DS_Store", "Thumbs.db", "desktop.ini", ".nfs*", ".ipynb_checkpoints", "lost+found")
NAMES = {
    "calibration": "a calibration",
    "cohort": "a cohort",
    "comparison": "a comparison",
    "demo": "a demo",
    "evaluation": "an evaluation",
    "model": "a shared model",
    "registration": "a registration",
    "registrations": "the registrations of a cohort",
    "run": "a run",
    "study": "a study",
    "submission": "a submission",
}


def require_output(path: str | Path, kind: str, inputs: Iterable[str | Path] = ()) -> None:
    """Check, before any work, that an output may be written to a folder.

    It may if the folder does not exist and can be made, if it is empty, or if it holds an earlier output of the
    same kind and nothing else.

    Args:
        path: The folder.
        kind: A key of `NAMES`.
        inputs: Files that the output is made from.

    Raises:
        UserError: The folder holds another kind of output, an input, or a file that heteroreg did not write; or it
            cannot be written, or another process writes to it.
    """
    folder = Path(path).resolve()
    _require_place(Path(path), folder)
    require_no_writer(folder)
    recover(folder)
    _require_no_input(path, folder, inputs)
    if folder.is_dir():
        _require_own(Path(path), folder, kind)


def require_file(path: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Check, before any work, that an output may be written to a file.

    Args:
        path: The file. An existing one is replaced, as by any program, unless it is an input.
        inputs: Files that the output is made from; None for one that is not given.

    Raises:
        UserError: It is a folder, or an input.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file to write")
    for source in (given for given in inputs if given is not None):
        file = str(source).partition("#")[0]  # `file#frame` is one frame of it
        if path.resolve() in (Path(source).resolve(), Path(file).resolve()):
            raise UserError(f"{path}: is the input {source}; choose another file")


@contextmanager
def output_folder(path: str | Path, kind: str, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """Give a folder to write into; put its files into `path` once the block has ended well.

    The files are written below a temporary folder inside of `path`, so that mount points, links and folders in a
    parent that cannot be written work. A kill at any moment leaves the earlier output or the new one: from the
    moment at which all new files are on the disk, whoever looks at the folder next completes it (see `recover`).

    Args:
        path: Where the output is to appear; created with its parents.
        kind: A key of `NAMES`.
        inputs: Files that the output is made from.

    Yields:
        The folder to write into.

    Raises:
        UserError: As in `require_output`; or another process writes to the folder.
    """
    require_output(path, kind, inputs)
    folder = Path(path).resolve()
    with _removed_if_empty(folder), only_writer(folder):
        _settle(folder)
        stage = folder / f"{STAGE}{secrets.token_hex(4)}"
        stage.mkdir()
        try:
            with _named_as_in(stage, Path(path)):
                yield stage
                _require_own(Path(path), folder, kind)  # someone may have put files there in the meantime
                files = sorted(_files(stage))
                for name in files:
                    flush(stage / name)
                write_text(stage / COMPLETE, json.dumps(_marker(kind, files), indent=2) + "\n")
                _commit(folder, stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _named_as_in(stage: Path, path: Path) -> Iterator[None]:
    """Let errors of the block name the files below `path`, as the user knows it, in place of the hidden stage."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace(str(stage), str(path)),)
        raise
    except OSError as error:
        if error.filename is None or not Path(error.filename).is_relative_to(stage):
            raise
        name = path / Path(error.filename).relative_to(stage)
        raise OSError(error.errno, error.strerror, str(name)) from error


def require_growing(
    path: str | Path,
    kind: str,
    inputs: Iterable[str | Path] = (),
    former: Callable[[Path], bool] = lambda _: False,
) -> None:
    """Check, before any work, that `growing_folder` can hold a folder.

    Args:
        path: The folder.
        kind: A key of `NAMES`.
        inputs: Files that the output is made from.
        former: Returns True for a folder of this kind that version 0.1.0 wrote, which had no marker.

    Raises:
        UserError: The folder holds something else, an input, or cannot be written.
    """
    folder = Path(path).resolve()
    _require_place(Path(path), folder)
    _require_no_input(path, folder, inputs)
    marker = read_marker(folder)
    if marker is None and not former(folder) and (foreign := _foreign(folder, set())):
        raise _in_the_way(Path(path), foreign)
    if marker is not None and marker["kind"] != kind:
        raise _other_kind(Path(path), marker["kind"], kind)


@contextmanager
def growing_folder(
    path: str | Path,
    kind: str,
    inputs: Iterable[str | Path] = (),
    former: Callable[[Path], bool] = lambda _: False,
) -> Iterator[Path]:
    """Hold a folder that grows over several starts, such as a run or a study, as its only writer.

    Nothing in it is removed. The marker is written when the folder is new; it goes again if the work fails before
    it has written anything.

    Args:
        path: The folder; created with its parents.
        kind: A key of `NAMES`.
        inputs: Files that the output is made from.
        former: Returns True for a folder of this kind that version 0.1.0 wrote, which had no marker.

    Yields:
        The folder.

    Raises:
        UserError: As in `require_growing`; or another process writes to the folder.
    """
    require_growing(path, kind, inputs, former)
    folder = Path(path).resolve()
    with _removed_if_empty(folder), only_writer(folder):
        require_growing(path, kind, inputs, former)  # it may have changed before it was held
        is_new = read_marker(folder) is None
        try:
            if is_new:
                write_text(folder / MARKER_FILE, json.dumps(_marker(kind, []), indent=2) + "\n")
            yield folder
        except BaseException:
            if is_new and {path.name for path in folder.iterdir()} <= {MARKER_FILE, LOCK_FILE}:
                (folder / MARKER_FILE).unlink(missing_ok=True)  # the work failed before it wrote anything
            raise


def read_marker(folder: Path) -> dict[str, Any] | None:
    """Read the marker of an output; return None for a folder without a marker of heteroreg.

    Raises:
        UserError: A newer version wrote it.
    """
    try:
        marker = json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))
        known = marker["kind"] in NAMES and all(isinstance(name, str) for name in marker["files"])
        version = int(marker["schema_version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if version > MARKER_VERSION:
        raise UserError(f"{folder / MARKER_FILE}: was written by a newer heteroreg; update heteroreg")
    return dict(marker) if known else None


def recover(folder: str | Path) -> None:
    """Complete an output whose writer was killed while it put the files in place.

    Call it before an output is read. It does nothing while a writer is alive.

    Args:
        folder: The folder of an output.

    Raises:
        UserError: The output is incomplete, and the folder cannot be written.
    """
    folder = Path(folder)
    if not any((stage / COMPLETE).is_file() for stage in _stages(folder)) or is_written(folder):
        return
    try:
        with only_writer(folder):
            _settle(folder)
    except OSError as error:
        raise UserError(f"{folder}: its writer was killed, and the output cannot be completed ({error})") from error


def _settle(folder: Path) -> None:
    """Complete or remove what killed writers have left; only for the holder of the folder."""
    for stage in _stages(folder):
        if (stage / COMPLETE).is_file():
            _commit(folder, stage)
        shutil.rmtree(stage, ignore_errors=True)


def _stages(folder: Path) -> list[Path]:
    return sorted(stage for stage in folder.glob(f"{STAGE}*") if not stage.is_symlink())


def _commit(folder: Path, stage: Path) -> None:
    """Put the files of a complete stage in place; a second call goes on where a killed one has ended."""
    marker = json.loads((stage / COMPLETE).read_text(encoding="utf-8"))
    former = set((read_marker(folder) or {"files": []})["files"])
    # A folder may come from anyone: neither its lists of files nor its links lead out of it.
    listed = [name for name in marker["files"] if _is_below(name, stage) and _is_below(name, folder)]
    ready = [name for name in listed if (stage / name).is_file()]
    if foreign := [name for name in ready if (folder / name).exists() and name not in former]:
        raise _in_the_way(folder, foreign)
    for name in ready:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage / name, folder / name)
    gone = [name for name in former - set(marker["files"]) if _is_below(name, folder)]
    for name in sorted(gone, reverse=True):
        with suppress(OSError):
            (folder / name).unlink()
        for parent in list(Path(name).parents)[:-1]:
            with suppress(OSError):
                (folder / parent).rmdir()
    os.replace(stage / COMPLETE, folder / MARKER_FILE)


def _require_own(path: Path, folder: Path, kind: str) -> None:
    marker = read_marker(folder)
    listed = set(marker["files"]) | {MARKER_FILE} if marker else set()
    if foreign := _foreign(folder, listed):
        raise _in_the_way(path, foreign)
    if marker and marker["kind"] != kind:
        raise _other_kind(path, marker["kind"], kind)


def _require_place(path: Path, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{path}: is a file; name a folder to write to")
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written, since {place} does not allow it; choose another folder")


def _foreign(folder: Path, listed: set[str]) -> list[str]:
    """Names of the files that heteroreg did not write, of folders without any file, and of links to folders."""
    parents = {str(parent) for name in listed for parent in Path(name).parents}
    found = []
    for top, folders, files in os.walk(folder):
        here = Path(top).relative_to(folder)
        folders[:] = [name for name in folders if not _is_ignored(name)]
        found += [str(here / name) for name in files if not _is_ignored(name) and str(here / name) not in listed]
        # What lies behind a link is not ours, even where the link has the name of a folder that is.
        links = {name for name in folders if (folder / here / name).is_symlink()}
        found += [str(here / name) for name in folders if str(here / name) not in parents or name in links]
        folders[:] = [name for name in folders if str(here / name) in parents]
    return sorted(found)


def _is_ignored(name: str) -> bool:
    return name.startswith(STAGE) or is_leftover(name) or any(fnmatch(name, pattern) for pattern in IGNORED)


def _is_below(name: str, folder: Path) -> bool:
    """True if a file of this name lies in the folder, and no folder on the way is a link."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return False
    return not any((folder / parent).is_symlink() for parent in list(Path(name).parents)[:-1])


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folders that are made for an output if the work fails and they are empty."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        for new in made:
            with suppress(OSError):
                new.rmdir()
        raise


def _require_no_input(path: str | Path, folder: Path, inputs: Iterable[str | Path]) -> None:
    for source in inputs:
        if Path(source).resolve().is_relative_to(folder):
            raise UserError(f"{path}: holds the input {source}; choose another folder")


def _marker(kind: str, files: list[str]) -> dict[str, Any]:
    return {"kind": kind, "schema_version": MARKER_VERSION, "files": files}


def _in_the_way(path: Path, foreign: list[str]) -> UserError:
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return UserError(
        f"{path}: holds files that heteroreg did not write there ({foreign[0]}{more}); choose another folder, "
        "or move them away"
    )


def _other_kind(path: Path, found: str, wanted: str) -> UserError:
    return UserError(f"{path}: holds {NAMES[found]}, and {NAMES[wanted]} would replace it; choose another folder")
