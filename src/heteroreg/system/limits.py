"""Size limits, checked before a file is read.

A header of a hundred bytes can declare an image of a petabyte, and a compressed file can unfold to a thousand times
its size. Both are checked before memory is taken.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from heteroreg.system.errors import UserError

MAX_VOXELS = "HETEROREG_MAX_VOXELS"
# 512 × 512 × 4096 voxels: above any image in use, and 4 GiB as float32.
USUAL_VOXELS = 2**30
# Deflate, which gzip, zlib and PNG use, makes at most 1032 bytes out of one.
MOST_UNFOLDED = 1032

TEXT_BYTES = 1024**2  # a configuration, the state of a checkpoint, a summary: a few kB in practice
TABLE_BYTES = 64 * 1024**2  # a cohort or scores: about 100 bytes for each pair or slice
WEIGHTS_BYTES = 1024**3  # the tensors of a model: 190 MB for the largest network
ARCHIVE_BYTES = 256 * 1024**2  # the arrays of one gallery case: a few slices


def max_voxels() -> int:
    """Return the largest number of voxels that an image may have: HETEROREG_MAX_VOXELS, or 2³⁰.

    Raises:
        UserError: The variable is not a positive whole number.
    """
    text = os.environ.get(MAX_VOXELS, str(USUAL_VOXELS))
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < 1:
        raise UserError(f"{MAX_VOXELS}={text}: must be a whole number above 0")
    return limit


def require_size(name: object, shape: Sequence[int]) -> None:
    """Check the size that a header declares.

    Raises:
        UserError: An axis has no voxel, or there are more voxels than `max_voxels`.
    """
    written, limit = " x ".join(map(str, shape)), max_voxels()
    if not shape or min(shape) < 1:
        raise UserError(f"{name}: its header declares {written or 'no'} voxels; copy or convert the file again")
    if math.prod(shape) > limit:
        raise UserError(
            f"{name}: its header declares {written} voxels, more than the limit of {limit}; if the image is that "
            f"large, set the environment variable {MAX_VOXELS}"
        )


def require_stored(name: object, needed: int, stored: int, *, compressed: bool) -> None:
    """Check that a file is large enough for what its header declares.

    Args:
        name: The file.
        needed: Bytes that the header promises.
        stored: Bytes that are there.
        compressed: Whether they may unfold; if it is not known, they may.

    Raises:
        UserError: It is not.
    """
    if needed > stored * (MOST_UNFOLDED if compressed else 1) + MOST_UNFOLDED:
        raise UserError(
            f"{name}: holds {stored} bytes{' of compressed data' if compressed else ''} where its header promises "
            f"{needed}; is the file whole? Copy it again"
        )


def require_small(path: Path, limit: int) -> None:
    """Check that a file that is read whole is not larger than anyone needs.

    Raises:
        UserError: It is, or it is no plain file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    if path.stat().st_size > limit:
        raise UserError(f"{path}: has {path.stat().st_size} bytes, more than the {limit} that such a file may have")
