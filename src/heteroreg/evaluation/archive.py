"""Named arrays in one compressed `.npz`, without pickles and with size limits."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heteroreg.system.arrays import Array
from heteroreg.system.files import atomic_file
from heteroreg.system.limits import ARCHIVE_BYTES


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write the arrays atomically."""
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def read_arrays(path: Path) -> dict[str, Array]:
    """Read arrays that `save_arrays` wrote; half precision comes back as single.

    Raises:
        ValueError: An array declares more than the file holds, contains objects, or has another format version.
            NumPy and zipfile raise many other kinds on damaged files.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > ARCHIVE_BYTES:
            raise ValueError(f"its arrays are larger than {ARCHIVE_BYTES} bytes")
        for member in members:
            with archive.open(member) as handle:
                if np.lib.format.read_magic(handle) != (1, 0):
                    raise ValueError(f"{member.filename} is of another version")
                shape, by_columns, dtype = np.lib.format.read_array_header_1_0(handle)
                count = math.prod(shape)
                if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize > member.file_size:
                    raise ValueError(f"{member.filename} declares an array of {shape} {dtype}")
                content = handle.read(count * dtype.itemsize)
            array = np.frombuffer(content, dtype, count).reshape(shape, order="F" if by_columns else "C")
            name = member.filename.removesuffix(".npy")
            arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return arrays
