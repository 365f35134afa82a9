"""The voxels of a NIfTI file, read so that a damaged file is noticed.

ITK fills the missing part of a truncated file with zeros without a word, and does not look at the checksum of
a compressed one. A registration of such an image would look plausible and be wrong.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from heteroreg.errors import UserError


def read_voxels(path: Path) -> NDArray[Any]:
    """Decodes a NIfTI-1 or NIfTI-2 file whole, with its intensity scaling, axes in the order of the file.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        The array [x, y, z, …]; integers stay integers where the header asks for no scaling.

    Raises:
        UserError: The file is truncated, damaged, or no NIfTI file.
    """
    content = path.read_bytes()
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)  # checks length and checksum
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(
            f"{path}: the compressed data are damaged or cut short ({error}); copy the file again"
        ) from error
    try:
        kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image
        image = kind.from_bytes(content)
        # The header's own vox_offset is 0 once nibabel has read it.
        size = image.header.get_data_dtype().itemsize
        expected = int(image.dataobj.offset) + int(np.prod(image.shape)) * size
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise UserError(f"{path}: not a readable NIfTI file ({error}); convert or copy it again") from error
    if len(content) < expected:
        raise UserError(
            f"{path}: holds {len(content)} bytes where its header promises {expected}; copy the file again"
        )
    return np.asanyarray(image.dataobj)
