"""Images in two files, .hdr and .img, whose voxels must be whole."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import nibabel as nib
import nibabel.spm99analyze

from heteroreg.data.io.nifti import check_placement
from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size

TWIN_ENDINGS = (".hdr", ".img", ".img.gz")


def check_pair_of_files(path: Path) -> None:
    """Check that the voxels of a NIfTI or Analyze image in two files are whole: ITK reads what is missing as 0.

    Args:
        path: Either of the two; files with another ending are not looked at.

    Raises:
        UserError: A file is missing, the header is damaged, or voxels are missing.
    """
    name = path.name.lower()
    ending = next((one for one in TWIN_ENDINGS if name.endswith(one)), None)
    if ending is None:
        return
    stem = path.name[: -len(ending)].lower()
    beside = {file.name.lower(): file for file in path.parent.iterdir()}
    header = beside.get(f"{stem}.hdr")
    data = beside.get(f"{stem}.img") or beside.get(f"{stem}.img.gz")
    if header is None or data is None:
        raise UserError(f"{path}: has no {'.hdr' if header is None else '.img'} file beside it; copy both")
    expected = _expected(header)
    try:
        with gzip.open(data, "rb") if data.name.lower().endswith(".gz") else data.open("rb") as handle:
            found = 0
            while found < expected and (piece := handle.read(2**20)):
                found += len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{data}: the compressed data are damaged or cut short ({error}); copy it again") from error
    if found < expected:
        raise UserError(f"{data}: holds {found} bytes but {header.name} declares {expected}; copy it again")


def _expected(path: Path) -> int:
    """Return the bytes of the data file up to the last voxel."""
    with path.open("rb") as handle:
        start = handle.read(540)
    nifti = start[344:347] == b"ni1" if len(start) >= 348 else False
    kind = nib.nifti1.Nifti1PairHeader if nifti else nib.spm99analyze.Spm99AnalyzeHeader
    try:
        header = kind(start[: kind.template_dtype.itemsize], check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype, offset = header.get_data_dtype(), float(header["vox_offset"])
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise UserError(f"{path}: not a readable header ({error}); convert or copy the image again") from error
    if nifti:
        check_placement(path, header)
    if dtype.kind not in "iuf" and not dtype.names:
        raise UserError(f"{path}: its voxels are of type {dtype}; convert the image")
    if not shape or min(shape) < 0 or not 0 <= offset < 2**31:
        raise UserError(f"{path}: not a readable header (shape {shape}); convert or copy the image again")
    require_size(path, shape)
    return int(offset) + math.prod(shape) * int(dtype.itemsize)
