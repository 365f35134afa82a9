"""Cache of prepared samples in files that every process maps into its memory, without a copy."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file

FOLDER, LIMIT = "HETEROREG_CACHE", "HETEROREG_CACHE_LIMIT"
OFF = ("", "0", "off")
GIGABYTE = 10**9
DEFAULT_LIMIT = 20 * GIGABYTE
# Linux allows a process 65,530 mappings; PyTorch needs some of them.
MAPPINGS = 32768
# Free space below the limit after a clean-up, so that not every new entry needs one.
SLACK = 0.05
ENTRY_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
LEFT_BEHIND = re.compile(r"\..*[0-9a-f]{64}\.safetensors")
LEFT_BEHIND_SECONDS = 24 * 3600
# Size limit of a file's header; space on the disk left for other uses, such as checkpoints.
HEADER, SPARE = 1024, GIGABYTE
# Name of the metadata of a file: its key and the checksum of its arrays.
SEAL = "seal"

Entry = dict[str, Tensor]


class SampleCache:
    """Arrays by a key that identifies their origin, in one safetensors file for each key.

    Files are written atomically and named by their content, so that processes may write the same entry at once. A
    file that is removed while it is mapped stays readable until it is released.

    Args:
        folder: Folder of the files; None keeps everything in memory.
        limit: Total size of the files in bytes. The least recently used entries are removed first, except those
            that this object has returned or was told to keep. Entries without space are kept in memory.
    """

    def __init__(self, folder: Path | None, limit: float = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._writable = folder is not None
        self._kept: set[str] = set()
        self._mapped = 0
        self._held = 0  # bytes in the folder, as far as known
        self._unseen = math.inf  # bytes written since the folder was looked at

    @classmethod
    def of_environment(cls) -> SampleCache:
        """Return the cache that the environment variables configure.

        `HETEROREG_CACHE` is its folder; empty, `0` and `off` mean none. Without it the folder is
        `$XDG_CACHE_HOME/heteroreg` or `~/.cache/heteroreg`; a user without a home folder has none.
        `HETEROREG_CACHE_LIMIT` is its size in gigabytes.

        Raises:
            UserError: The limit is not a positive number.
        """
        named = os.environ.get(FOLDER)
        if named is not None and named.strip().lower() in OFF:
            return cls(None)
        text = os.environ.get(LIMIT, "").strip()
        try:
            limit = float(text) * GIGABYTE if text else DEFAULT_LIMIT
        except ValueError:
            limit = math.nan
        if not limit > 0:
            raise UserError(f"{LIMIT}={text}: write the size of the cache in gigabytes, such as 20")
        base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "heteroreg"
        try:
            base = base.expanduser()
        except RuntimeError:  # no home folder, as in some containers
            return cls(None)
        return cls(base / "samples", limit)

    def keep(self, keys: Iterable[str]) -> None:
        """Names entries that are about to be used, so that they are not removed to make room for others."""
        self._kept.update(keys)

    def get(self, key: str) -> Entry | None:
        """Return the arrays of a key, mapped from their file; None if the file is missing or damaged."""
        if self.folder is None or self._mapped >= MAPPINGS:
            return None
        path = self._path(self.folder, key)
        try:
            entry = _read(path, key)
        except (OSError, SafetensorError, ValueError, TypeError, RuntimeError):
            return None  # missing or damaged: it is prepared again
        self._mapped += 1
        self._kept.add(key)
        with suppress(OSError):  # a read-only cache is still useful
            os.utime(path)
        return entry

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> Entry:
        """Store arrays and return them like `get`, or in memory if there is no space for the file."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self.folder is None or not self._writable or self._mapped >= MAPPINGS:
            return tensors
        try:
            self._write(self.folder, key, tensors)
        except (OSError, SafetensorError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
            self._writable = False  # warn once, not for every pair
            warnings.warn(
                f"{self.folder}: samples cannot be kept there ({reason}) and stay in memory; set {FOLDER} to "
                f"another folder or {LIMIT} to another size in GB",
                stacklevel=2,
            )
        return self.get(key) or tensors

    def _write(self, folder: Path, key: str, tensors: Entry) -> None:
        # The files hold images of patients, so only the user may read them.
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        size = HEADER + sum(tensor.nbytes for tensor in tensors.values())
        self._make_room(folder, size)
        if shutil.disk_usage(folder).free < size + SPARE:
            raise OSError(errno.ENOSPC, "the disk is nearly full")
        with atomic_file(self._path(folder, key)) as temporary:
            save_file(tensors, temporary, metadata={SEAL: f"{key} {_checksum(tensors)}"})
        self._held += size
        self._unseen += size

    def _make_room(self, folder: Path, size: int) -> None:
        """Remove entries until `size` more bytes fit.

        Raises:
            OSError: They cannot fit; nothing was removed.
        """
        # Other processes write too, so the folder is listed again after every hundredth of the limit.
        if self._unseen + size <= self.limit / 100 and self._held + size <= self.limit:
            return
        files = sorted(_entries(folder))
        self._held, self._unseen = sum(held for _, held, _ in files), 0
        free = [(held, path) for _, held, path in files if path.stem not in self._kept]
        if self._held - sum(held for held, _ in free) + size > self.limit:
            raise OSError(errno.EDQUOT, f"they take more than the limit of {self.limit / GIGABYTE:g} GB")
        if self._held + size <= self.limit:
            return
        for held, path in free:
            with suppress(OSError):  # another process removed it first, or the system still uses it
                path.unlink()
            self._held -= held
            if self._held + size <= (1 - SLACK) * self.limit:
                return

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.safetensors"


def _entries(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield the time of last use, size and path of each entry; remove leftovers of killed processes."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            stat = path.stat()
            if ENTRY_NAME.fullmatch(path.name):
                yield stat.st_mtime_ns, stat.st_size, path
            elif LEFT_BEHIND.fullmatch(path.name) and time.time() - stat.st_mtime > LEFT_BEHIND_SECONDS:
                path.unlink()


def _read(path: Path, key: str) -> Entry:
    """Map the arrays of a file.

    Raises:
        ValueError: The checksum does not match.
    """
    with safe_open(path, framework="pt") as file:
        meta = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if meta.get(SEAL) != f"{key} {_checksum(tensors)}":
        raise ValueError(f"{path}: damaged")
    return tensors


def _checksum(tensors: Entry) -> str:
    """Return CRC-32 over names, types, shapes and values."""
    value = 0
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.numpy().data, value)
    return f"{value:08x}"
