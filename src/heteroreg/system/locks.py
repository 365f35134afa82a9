"""One writer per folder: a lock that ends with its process."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from heteroreg.system.errors import UserError
from heteroreg.system.memory import start_thread

fcntl: Any = import_module("fcntl") if os.name == "posix" else None  # on Windows the process's number decides

LOCK_FILE = ".heteroreg.lock"
HEARTBEAT = 15.0  # seconds between two signs of life of a writer
SILENCE = 60.0  # seconds without one after which a writer on another machine counts as dead
MOUNTS = Path("/proc/self/mounts")
# File systems that live on one machine: the kernel itself knows there whether a lock is held.
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", "apfs", "ramfs", "bcachefs"}


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder as its only writer; create it if it does not exist.

    The lock is `flock` on a file in the folder, which the kernel releases when the process ends, however it ends.
    Network file systems may not pass such locks on to other machines. There, the lock also counts as held while its
    file shows a sign of life from another machine within the last minute. A job that SLURM has requeued takes over
    from its former self at once.

    Args:
        folder: The folder.

    Raises:
        UserError: Another process writes to the folder; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = _acquire(folder)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(folder / LOCK_FILE, done), daemon=True)
    try:
        start_thread(heart)
        yield
    finally:
        try:
            done.set()
            if heart.ident is not None:
                heart.join()
            with suppress(OSError):
                (folder / LOCK_FILE).unlink()
        finally:  # also when a signal interrupts the lines above: the process may live on
            _HELD.discard(handle)
            os.close(handle)


def is_written(folder: Path) -> bool:
    """True if a living process holds the folder."""
    return _writer(folder) is not None


def require_no_writer(folder: Path) -> None:
    """Raise `UserError` if a living process holds the folder."""
    owner = _writer(folder)
    if owner is not None:
        raise _is_held(folder, owner)


def _writer(folder: Path) -> Mapping[str, Any] | None:
    """Return who holds the folder; None if nobody does."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:
        return None
    try:
        return _owner(handle) if not _take(handle) or _alive_elsewhere(handle, folder) else None
    finally:
        os.close(handle)


def _is_held(folder: Path, owner: Mapping[str, Any]) -> UserError:
    return UserError(
        f"{folder}: is being written by {_who(owner)}; wait until it has finished, or choose another folder"
    )


def _acquire(folder: Path) -> int:
    path = folder / LOCK_FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            if not _take(handle) or _alive_elsewhere(handle, folder):
                raise _is_held(folder, _owner(handle))
            if not _is_still(handle, path):  # its former holder has removed it in the meantime
                os.close(handle)
                continue
            _sign(handle, path)
        except BaseException:
            os.close(handle)
            raise
        _close_after_fork()
        _HELD.add(handle)
        return handle


def _sign(handle: int, path: Path) -> None:
    """Write into the file of a lock who holds it; remove the file where there is no room for that."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_myself()).encode(), 0)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path.parent)) from error


def _take(handle: int) -> bool:
    """Take the kernel's lock; False if another process holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: the number of the process decides, as on Windows
            pass
    owner = _owner(handle)
    return owner.get("host") != socket.gethostname() or not _runs(owner.get("pid"))


def _alive_elsewhere(handle: int, folder: Path) -> bool:
    owner = _owner(handle)
    if not owner or owner.get("host") == socket.gethostname() or _is_local(folder):
        return False
    if owner.get("slurm") and owner["slurm"] == _myself()["slurm"]:  # SLURM ends a job before it starts it again
        return False
    return time.time() - os.fstat(handle).st_mtime < SILENCE


def _is_local(folder: Path) -> bool:
    """True if the folder lies on a file system of this machine alone."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    place, best, kind = str(folder.resolve()), "", ""
    for line in lines:
        _, point, name, *_ = line.split(" ")
        point = point.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in point else point
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind in LOCAL


def _myself() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "slurm": os.environ.get("SLURM_JOB_ID")}


def _owner(handle: int) -> Mapping[str, Any]:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
    except (ValueError, OSError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _who(owner: Mapping[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}" if {"pid", "host"} <= owner.keys() else "another process"


def _runs(pid: Any) -> bool:
    if not isinstance(pid, int) or pid < 1 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(path)


_HELD: set[int] = set()
_FORKS: list[bool] = []


def _close_after_fork() -> None:
    """Let no forked child keep the lock of a parent that has ended."""
    if not _FORKS and hasattr(os, "register_at_fork"):
        _FORKS.append(True)
        os.register_at_fork(after_in_child=_close_inherited)


def _close_inherited() -> None:
    for handle in _HELD:
        with suppress(OSError):
            os.close(handle)
    _HELD.clear()
