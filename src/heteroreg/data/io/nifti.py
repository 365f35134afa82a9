"""NIfTI voxels, decoded here so that damaged files are noticed.

ITK fills the missing part of a truncated file with zeros and ignores the checksum of a compressed file. A
registration of such an image would look plausible and be wrong.
"""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size, require_stored

NIFTI_HEADER_BYTES = 540  # of NIfTI-2, the longer of the two headers
# Bytes after the voxels that are tolerated: some writers fill up the last block.
PADDING_BYTES = 1024**2
NIFTI_PIECE_BYTES = 1024**2
# Largest distance from the origin, in mm: beyond the size of a planet, positions have no digits left.
FURTHEST_MM = 1e10
SHORTEST_MM = 1e-6  # side of a voxel

# nibabel logs the repairs it makes to a header. This logger is outside the user's logging and prints nothing.
_QUIET = logging.Logger("heteroreg.nifti")
_QUIET.addHandler(logging.NullHandler())


def read_nifti_voxels(path: Path) -> NDArray[Any]:
    """Decode a whole NIfTI-1 or NIfTI-2 file with its intensity scaling, axes in the order of the file.

    The header is read first. A compressed file is decompressed only up to the size that its header declares.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        The array [x, y, z, …]; integers stay integers if the header asks for no scaling.

    Raises:
        UserError: The file is truncated, damaged, too large, or not a NIfTI file.
    """
    with _open(path) as (stream, compressed):
        content = _read(path, stream, compressed=compressed)
    try:
        return np.asanyarray(ArrayProxy(io.BytesIO(content), _header(content)))
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise _unreadable(path, error) from error


def check_nifti_voxels(path: Path) -> None:
    """Check that a NIfTI file is whole, in pieces, so that it needs little memory.

    Raises:
        UserError: As for `read_nifti_voxels`.
    """
    with _open(path) as (stream, compressed):
        start = stream.read(NIFTI_HEADER_BYTES)
        expected, found = _expected(path, start, compressed=compressed), len(start)
        while piece := stream.read(NIFTI_PIECE_BYTES):  # to the end, where gzip compares length and checksum
            found += len(piece)
            if compressed:
                _require_fit(path, found, expected)
        _require_whole(path, found, expected)


def read_nifti_header(path: Path) -> Any:
    """Read and check the header of a NIfTI file; return it as nibabel's object.

    Raises:
        UserError: As for `read_nifti_voxels`, without reading the voxels.
    """
    with _open(path) as (stream, compressed):
        start = stream.read(NIFTI_HEADER_BYTES)
        _expected(path, start, compressed=compressed)
    return _header(start)


def has_time_unit_alone(path: Path) -> bool:
    """Return True for a NIfTI file whose header has a unit of time and none of space."""
    units = int(read_nifti_header(path)["xyzt_units"])
    return units & 0b111 == 0 and units & 0b111000 in (8, 16, 24)  # s, ms, us


def check_nifti_header(path: Path) -> None:
    """Check the size, type and position that a NIfTI header declares.

    Raises:
        UserError: As for `read_nifti_header`.
    """
    read_nifti_header(path)


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, bool]]:
    """Give the decompressed content of a file, and True if it is compressed."""
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
    """Return the number of bytes that the header declares, checked."""
    shape, item, offset = _check_header(path, start)
    require_size(path, shape)
    expected = offset + int(np.prod(shape, dtype=object)) * item
    require_stored(path, expected, path.stat().st_size, compressed=compressed)
    return expected


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, *, compressed: bool) -> bytes:
    """Read as many bytes as the header declares."""
    start = stream.read(NIFTI_HEADER_BYTES)
    expected = _expected(path, start, compressed=compressed)
    content = start[:expected] + stream.read(max(0, expected - len(start)))
    _require_whole(path, len(content), expected)
    if compressed:  # reading to the end makes gzip compare length and checksum
        _require_fit(path, len(content) + len(stream.read(PADDING_BYTES + 1)), expected)
    return content


def _require_whole(path: Path, found: int, expected: int) -> None:
    if found < expected:
        raise UserError(f"{path}: holds {found} bytes but its header declares {expected}; copy it again")


def _require_fit(path: Path, found: int, expected: int) -> None:
    if found > expected + PADDING_BYTES:
        raise UserError(
            f"{path}: holds far more than the {expected} bytes that its header declares; convert it again"
        )


def _check_header(path: Path, start: bytes) -> tuple[tuple[int, ...], int, int]:
    """Return the shape, the bytes of a voxel, and the position of the first voxel."""
    try:
        header = _header(start)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype, offset = header.get_data_dtype(), float(header["vox_offset"])
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    magic = bytes(header["magic"].tobytes())
    if magic[:3] not in (b"n+1", b"n+2"):
        raise _unreadable(path, f"its magic string is {magic!r}")
    if not 1 <= header["dim"][0] <= 7:
        raise _unreadable(path, f"it declares {header['dim'][0]} axes")
    if not 0 <= offset <= 2**31:
        raise _unreadable(path, f"its voxels begin at byte {offset}")
    if dtype.kind not in "biuf" and not (dtype.kind == "V" and dtype.names):
        raise _unreadable(path, f"its voxels are of type {dtype}")
    first = max(int(offset), 544 if magic[:3] == b"n+2" else 352)
    # ITK takes the codes of the forms as they are, also those that nibabel's repair has set to 0.
    check_placement(path, type(header)(start[: header.template_dtype.itemsize], check=False))
    return shape, dtype.itemsize, first


def check_placement(path: Path, raw: Any) -> None:
    """Check the numbers of a header, as it is in the file, that place the voxels in space.

    Raises:
        UserError: They are not finite, or so small that ITK would divide by them.
    """
    if not (np.abs(_placement(raw)) <= FURTHEST_MM).all():  # ITK's search for the axes would not end
        raise _unreadable(path, "its position in space is not a finite number")
    rows = np.asarray([raw[f"srow_{axis}"][:3] for axis in "xyz"], dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=0)
    if raw["sform_code"] != 0 and ((lengths > 0) & (lengths < SHORTEST_MM)).any():  # ITK would divide by them
        raise _unreadable(path, f"its sform declares voxels of {' x '.join(f'{n:.3g}' for n in lengths)} mm")
    size = np.abs(rows)
    odd = size[(size > 0) & (size < np.finfo(np.float32).tiny)]
    if raw["sform_code"] != 0 and odd.size:  # ITK's search for the axes would fail, on standard error
        raise _unreadable(path, f"its sform holds the number {odd[0]:.3g}, too small for its type")
    steps = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    if ((steps > 0) & (steps < SHORTEST_MM)).any():
        raise _unreadable(path, f"it declares voxels of {' x '.join(f'{step:.3g}' for step in steps)} mm")


def _placement(header: Any) -> NDArray[np.float64]:
    """Return the numbers that place the voxels in space, of the forms that are in use."""
    names = [f"quatern_{axis}" for axis in "bcd"] + [f"qoffset_{axis}" for axis in "xyz"]
    parts = [header["pixdim"][:4]]
    parts += [header[name] for name in names if header["qform_code"] != 0]
    parts += [header[f"srow_{axis}"] for axis in "xyz" if header["sform_code"] != 0]
    with np.errstate(invalid="ignore"):  # the caller reports NaN
        return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])


def _header(content: bytes) -> Any:
    """Return nibabel's header of a file that begins with these bytes, repaired as `nibabel.load` repairs it."""
    nifti2 = content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    kind = nib.Nifti2Header if nifti2 else nib.Nifti1Header
    header = kind(content[: kind.template_dtype.itemsize], check=False)
    header.check_fix(logger=_QUIET)
    return header


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(f"{path}: not a readable NIfTI file ({reason}); convert or copy it again")
