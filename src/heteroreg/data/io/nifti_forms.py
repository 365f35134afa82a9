"""The two positions in space that a NIfTI file can declare, qform and sform, and the voxel sizes beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heteroreg.data.grid import Grid
from heteroreg.data.io.nifti import read_nifti_header
from heteroreg.data.io.reading import current
from heteroreg.system.arrays import Doubles
from heteroreg.system.errors import UserError

# Differences up to this share of a voxel are rounding errors.
SAME_PLACE = 0.1


def placed_grid(path: Path, grid: Grid) -> Grid:
    """Return the grid of a NIfTI file in the frame that the user chose, see `reading`.

    Args:
        path: The file.
        grid: The grid as ITK gives it; returned if nothing is chosen or the file has no such frame.

    Raises:
        UserError: The chosen frame is sheared.
    """
    frame = current().nifti_frame
    form = None if frame is None else _forms(path).get(frame)
    if form is None:
        return grid
    chosen = Grid.of_nifti_affine(grid.shape, form)
    n = min(grid.dims, 3)
    spacing = (*chosen.spacing[:n], *grid.spacing[n:])
    if not chosen.orthogonal or min(chosen.spacing) <= 0:
        raise UserError(f"{path}: its {frame} is sheared or flat; resample it to a plain grid, or use the other")
    return replace(chosen, spacing=spacing)


def plane_grid(path: Path, shape: tuple[int, ...]) -> Grid | None:
    """Return the grid of a 2D file that lies in a sagittal or coronal plane: a volume of one slice.

    Returns:
        The grid (x, y, 1); None if the file gives no such plane.
    """
    header = read_nifti_header(path)
    grid = Grid.of_nifti_affine((*shape, 1), header.get_best_affine())
    return grid if grid.orthogonal and min(grid.spacing) > 0 else None


def disagreement(path: Path, grid: Grid) -> str:
    """Describe how far apart qform, sform and voxel sizes of a file put its voxels; empty if they agree.

    Args:
        path: A NIfTI file.
        grid: The grid that is used.
    """
    forms = _forms(path)
    n = min(grid.dims, 3)
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in grid.shape[:n]], indexing="ij"), -1).reshape(-1, n)
    places = {name: _positions(form, corners) for name, form in forms.items()}
    used = grid.physical(np.pad(corners, ((0, 0), (0, grid.dims - n))))[:, :n]
    away = {name: float(np.linalg.norm(place[:, :n] - used, axis=1).max()) for name, place in places.items()}
    limit = SAME_PLACE * min(grid.spacing[:n])
    apart = {name: distance for name, distance in away.items() if distance > limit}
    if not apart or current().nifti_frame in forms:
        return ""
    other, distance = max(apart.items(), key=lambda item: item[1])
    agreeing = [name for name in forms if name not in apart]
    steps = np.linalg.norm(forms[other][:n, :n], axis=0)
    if not np.allclose(steps, grid.spacing[:n], rtol=0.01):
        sizes = ("×".join(f"{step:.4g}" for step in part) for part in (grid.spacing[:n], steps))
        what = "voxels of {} mm by its pixdim, {} mm by its {}".format(*sizes, other)
        return f"{path}: has {what}, up to {distance:.0f} mm apart; {_choice('pixdim', other)}"
    first = agreeing[0] if agreeing else "qform"
    return f"{path}: its qform and sform differ by {distance:.0f} mm; {_choice(first, other)}"


def _choice(used: str, other: str) -> str:
    return f"ITK's choice, the {used}, is used; --nifti-frame {other}, or hr.reading in Python, takes the other"


def _forms(path: Path) -> dict[str, Doubles]:
    """Return the matrices (4, 4) that the file declares, RAS."""
    header: Any = read_nifti_header(path)
    found: dict[str, Doubles] = {}
    for name in ("qform", "sform"):
        if int(header[f"{name}_code"]) > 0:
            try:
                form = np.asarray(getattr(header, f"get_{name}")(), dtype=np.float64)
            except Exception:  # noqa: S112 - nibabel raises many kinds on a damaged quaternion, which ITK repairs
                continue
            if np.isfinite(form).all():
                found[name] = form
    return found


def _positions(form: Doubles, corners: Doubles) -> Doubles:
    n = corners.shape[1]
    ras = corners @ form[:3, :n].T + form[:3, 3]
    return np.asarray(ras * (-1.0, -1.0, 1.0))
