"""The voxels of a NIfTI file, read so that a damaged file is noticed.

ITK fills the missing part of a truncated file with zeros without a word, and does not look at the checksum of
a compressed one. A registration of such an image would look plausible and be wrong.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size, require_stored

# nibabel tells on stderr what it mends in a header; what cannot be mended is raised.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)

HEADER = 540  # bytes of the longer of the two kinds
# Bytes behind the voxels that are put up with: some writers fill up the last block.
PADDING = 1024**2
# Nothing that is placed in space lies further away, in mm: beyond a planet's size positions have no digits left.
FURTHEST_MM = 1e10


def read_nifti_voxels(path: Path) -> NDArray[Any]:
    """Decodes a NIfTI-1 or NIfTI-2 file whole, with its intensity scaling, axes in the order of the file.

    The header is read first. No more is unfolded of a compressed file than it declares.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        The array [x, y, z, …]; integers stay integers where the header asks for no scaling.

    Raises:
        UserError: The file is truncated, damaged, too large, or no NIfTI file.
    """
    with _open(path) as (stream, compressed):
        content = _read(path, stream, compressed=compressed)
    try:
        return np.asanyarray(_kind(content).from_bytes(content).dataobj)
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise _unreadable(path, error) from error


def check_nifti_header(path: Path) -> None:
    """Checks what the header of a NIfTI file declares, and nothing else of it.

    Raises:
        UserError: As for `read_voxels`.
    """
    with _open(path) as (stream, compressed):
        _expected(path, stream.read(HEADER), compressed=compressed)


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, bool]]:
    """The content of a file, unfolded if it is compressed, and whether it is."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            with gzip.open(file, "rb") if compressed else file as stream:
                yield stream, compressed
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{path}: the compressed data are damaged or cut short ({error}); copy the file again"
            ) from error


def _expected(path: Path, start: bytes, *, compressed: bool) -> int:
    """The bytes that the header promises, checked."""
    shape, item, offset = _check_header(path, start)
    require_size(path, shape)
    expected = offset + int(np.prod(shape, dtype=object)) * item
    require_stored(path, expected, path.stat().st_size, compressed=compressed)
    return expected


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, *, compressed: bool) -> bytes:
    """As many bytes as the header promises."""
    start = stream.read(HEADER)
    expected = _expected(path, start, compressed=compressed)
    content = start[:expected] + stream.read(max(0, expected - len(start)))
    if len(content) < expected:
        raise UserError(
            f"{path}: holds {len(content)} bytes where its header promises {expected}; copy the file again"
        )
    if compressed and len(stream.read(PADDING + 1)) > PADDING:  # at the end length and checksum are compared
        raise UserError(
            f"{path}: holds far more than the {expected} bytes that its header promises; convert it again"
        )
    return content


def _check_header(path: Path, start: bytes) -> tuple[tuple[int, ...], int, int]:
    """Shape, bytes of a voxel, and where the voxels begin."""
    try:
        kind = _kind(start).header_class
        header = kind(start[: kind.template_dtype.itemsize])
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype, offset = header.get_data_dtype(), float(header["vox_offset"])
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    magic = bytes(header["magic"].tobytes())
    if magic[:3] not in (b"n+1", b"n+2"):
        raise _unreadable(path, f"its magic string is {magic!r}")
    if not 0 <= offset <= 2**31:
        raise _unreadable(path, f"its voxels begin at byte {offset}")
    if dtype.kind not in "biuf" and not (dtype.kind == "V" and dtype.names):
        raise _unreadable(path, f"its voxels are of type {dtype}")
    first = max(int(offset), 544 if magic[:3] == b"n+2" else 352)
    if not (np.abs(_placement(header)) <= FURTHEST_MM).all():  # ITK's search for the axes would not end
        raise _unreadable(path, "its place in space is no number")
    return shape, dtype.itemsize, first


def _placement(header: Any) -> NDArray[np.float64]:
    """The numbers that place the voxels in space, of the forms that are in use."""
    names = [f"quatern_{axis}" for axis in "bcd"] + [f"qoffset_{axis}" for axis in "xyz"]
    parts = [header["pixdim"][:4]]
    parts += [header[name] for name in names if header["qform_code"] != 0]
    parts += [header[f"srow_{axis}"] for axis in "xyz" if header["sform_code"] != 0]
    with np.errstate(invalid="ignore"):  # of NaN, which is told by the caller
        return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])


def _kind(content: bytes) -> Any:
    return nib.Nifti2Image if content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a readable NIfTI file ({reason}); convert or copy it again")
