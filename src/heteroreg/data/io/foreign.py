"""Deformations that other programs write as NIfTI, and that look like ITK's: told apart by their headers.

SPM (`y_*.nii`) and NiftyReg write the positions in moving, in mm in NIfTI's frame; FNIRT displacements in its own
scaled voxels. ITK writes displacements in mm, LPS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heteroreg.data.grid import LPS_TO_RAS, Grid
from heteroreg.data.io.displacement import to_voxels
from heteroreg.data.io.itk import NIFTI_ENDINGS, check_grid
from heteroreg.data.io.nifti import read_nifti_header, read_nifti_voxels
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

# Codes of intent that FSL uses; NiftyReg's kinds of transform, by intent_p1.
FSL_CODES = range(2006, 2020)
NIFTYREG_KINDS = {0.0: "positions", 1.0: "displacements"}


def read_foreign(path: Path) -> tuple[Floats, Grid] | None:
    """Read a deformation of SPM or NiftyReg.

    Args:
        path: Any file.

    Returns:
        The displacement (3, *shape) in voxels of its grid, and the grid; None if the file is not one of them.

    Raises:
        UserError: It is a warp of FNIRT, or NiftyReg's of a kind that cannot be converted; or it is damaged.
    """
    if not path.name.lower().endswith(NIFTI_ENDINGS) or not path.is_file():
        return None
    header = read_nifti_header(path)
    code, name = int(header["intent_code"]), header["intent_name"].item().decode("latin-1").strip("\0 ")
    about = header["descrip"].item().decode("latin-1")
    if code in FSL_CODES:
        raise UserError(
            f"{path}: is a warp of FNIRT (FSL), whose unit depends on two other images; convert it to ITK's with "
            "wb_command -convert-warpfield -from-fnirt … -to-itk"
        )
    if name.startswith("NREG"):
        kind = NIFTYREG_KINDS.get(float(header["intent_p1"]))
        if kind is None:
            raise UserError(
                f"{path}: is a control point grid or velocity of NiftyReg; write its deformation with "
                "reg_transform -def, which can be converted"
            )
        return _converted(path, header, absolute=kind == "positions")
    if name == "Mapping" or (code == 1007 and "deformation" in about.lower()):
        return _converted(path, header, absolute=True)
    return None


def _converted(path: Path, header: Any, *, absolute: bool) -> tuple[Floats, Grid]:
    values = read_nifti_voxels(path)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path}: holds {values.dtype}; a deformation holds real numbers")
    with np.errstate(all="ignore"):  # what overflows is not finite, which is reported below
        vectors = np.asarray(values, dtype=np.float64)
    if vectors.ndim == 5 and vectors.shape[3] == 1:
        vectors = vectors[:, :, :, 0]
    if vectors.ndim != 4 or vectors.shape[3] != 3:
        raise UserError(f"{path}: has the shape {vectors.shape}; a deformation of a volume has (x, y, z, 1, 3)")
    grid = Grid.of_nifti_affine(vectors.shape[:3], header.get_best_affine())  # both programs take the sform
    check_grid(path, grid)
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: has NaN or infinite values; write the deformation without a mask")
    vectors = vectors * LPS_TO_RAS
    if absolute:
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
        vectors = vectors - grid.physical(index)
    return to_voxels(np.moveaxis(vectors, -1, 0), grid), grid
