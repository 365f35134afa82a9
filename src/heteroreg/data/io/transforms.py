"""Transform files of all kinds as displacement fields, and displacement fields as files of all kinds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.io.displacement import (
    displacement_from_itk,
    displacement_to_itk,
    read_displacement,
    write_displacement,
)
from heteroreg.data.io.itk import check_grid
from heteroreg.data.io.learn2reg import is_learn2reg, is_learn2reg_name, read_learn2reg_field, write_learn2reg_field
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.system.limits import require_size

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
TRANSFORM_PROGRAM = Path(__file__).with_name("transform_process.py")
# For a file, and beside it for every MB: a field as text is slow.
TRANSFORM_SECONDS, TRANSFORM_SECONDS_PER_MB = 60.0, 5.0
WRITTEN_ENDINGS = ITK_ENDINGS[:-1]  # .mat is for affine transforms


def read_transform(path: str | Path, like: Grid | None = None) -> tuple[Floats, Grid]:
    """Reads a transform as a displacement field.

    - An ITK displacement field (NIfTI, MetaImage, NRRD), as `register` writes it: on its own grid.
    - An ITK transform (`.h5`, `.hdf5`, `.tfm`, `.txt`, `.mat`): a displacement field on its own grid; any other
      one, such as an affine transform, a B-spline or a composition, as the displacements of the voxels of `like`.
    - A field of Learn2Reg (NIfTI [x, y, z, 3] in voxels), which does not say where it lies: on `like`.

    Args:
        path: The file.
        like: The fixed image's grid.

    Returns:
        The displacement (d, *shape) in voxels of its grid, and the grid.

    Raises:
        UserError: The file is missing, damaged or no transform, it needs `like`, or does not fit it.
    """
    path = Path(path)
    if path.name.lower().endswith(ITK_ENDINGS):
        return _from_itk(path, like)
    if is_learn2reg(path):
        grid = _needed(path, like)
        return read_learn2reg_field(path, grid), grid
    return read_displacement(path)


def write_transform(displacement: Floats, grid: Grid, path: str | Path) -> None:
    """Writes a displacement; the name of the file chooses the format.

    `.h5`, `.hdf5`, `.tfm` and `.txt`: an ITK transform. `disp_*.nii.gz`: a field of Learn2Reg. Else an ITK
    displacement field: NIfTI, MetaImage or NRRD.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: The fixed image's grid.
        path: Where to.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(WRITTEN_ENDINGS):
        _write_itk(displacement, grid, path)
    elif name.endswith(ITK_ENDINGS):
        raise UserError(f"{path}: {path.suffix} files hold affine transforms alone; end the name in .h5")
    elif is_learn2reg_name(path):
        write_learn2reg_field(displacement, grid, path)
    else:
        write_displacement(displacement, grid, path)


@dataclass(frozen=True)
class ItkTransform:
    """What a transform file of ITK holds.

    Attributes:
        name: ITK's name of the transform.
        dims: Of the space that it transforms, 2 or 3.
        images: Where the origin and the unit vectors go (d + 1, d), if it is affine.
        vectors: The displacement field (…, d) in mm, first axis last, as ITK has arrays, if there is one.
        grid: Where that lies.
    """

    name: str
    dims: int
    images: Floats | None = None
    vectors: Floats | None = None
    grid: Grid | None = None


def read_itk_transform(path: Path, like: Grid | None = None) -> ItkTransform:
    """Reads a transform file of ITK, in a process of its own.

    Args:
        path: The file.
        like: Where to sample a transform that is no displacement field.

    Raises:
        UserError: The file is missing, damaged, or of another kind.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a transform")
    if not path.name.lower().endswith(ITK_ENDINGS):
        raise UserError(f"{path}: is no ITK transform by its ending; those end in {', '.join(ITK_ENDINGS)}")
    try:
        found, content = _ask(path, write=False, grid=like, size=path.stat().st_size)
    except (subprocess.SubprocessError, ValueError) as error:
        raise UserError(
            f"{path}: ends the program that reads ITK transforms; it is damaged, write or copy it again"
        ) from error
    if "error" in found:
        raise UserError(f"{path}: could not be read as an ITK transform ({found['error']}); is the file whole?")
    if found["dims"] not in (2, 3):
        raise UserError(f"{path}: transforms a space of {found['dims']} dimensions; 2 or 3 are needed")
    images = np.array(found["images"]) if "images" in found else None
    answer = ItkTransform(found["name"], found["dims"], images)
    if "grid" not in found:
        return answer
    where = Grid(*(tuple(part) for part in found["grid"]))
    require_size(path, where.shape)
    check_grid(path, where)
    vectors = np.frombuffer(content, dtype=np.float64).reshape(*reversed(where.shape), where.dims)
    return replace(answer, vectors=vectors, grid=where)


def _from_itk(path: Path, like: Grid | None) -> tuple[Floats, Grid]:
    found = read_itk_transform(path, like)
    if found.vectors is None or found.grid is None:
        like = _needed(path, like)
        raise UserError(f"{path}: transforms a space of {found.dims} dimensions, and the image has {like.dims}")
    return displacement_from_itk(found.vectors, found.grid, path), found.grid


def _needed(path: Path, like: Grid | None) -> Grid:
    if like is None:
        raise UserError(f"{path}: does not say on which grid it lies; name the fixed image with --like")
    return like


def _write_itk(displacement: Floats, grid: Grid, path: Path) -> None:
    vectors = sitk.GetArrayFromImage(displacement_to_itk(displacement, grid)).astype(np.float64)
    with atomic_file(path) as temporary:
        try:
            found, _ = _ask(temporary, write=True, grid=grid, size=vectors.nbytes, content=vectors.tobytes())
        except (subprocess.SubprocessError, ValueError) as error:
            raise UserError(f"{path}: could not be written; is there room?") from error
        if "error" in found:
            raise UserError(f"{path}: could not be written ({found['error']}); is there room?")
        if not found["whole"]:
            raise UserError(f"{path}: could not be written (it came out incomplete); is there room?")


def _ask(
    path: Path, *, write: bool, grid: Grid | None, size: int, content: bytes = b""
) -> tuple[dict[str, Any], bytes]:
    """Asks the program, within the time that a file of this size may take.

    Raises:
        SubprocessError: It ended before its time, or was late.
        ValueError: What it answers is no answer.
    """
    where = None if grid is None else (grid.shape, grid.spacing, grid.origin, grid.direction)
    question = json.dumps({"path": str(path), "write": write, "grid": where})
    done = subprocess.run(  # noqa: S603 - a file of the package
        [sys.executable, "-P", str(TRANSFORM_PROGRAM)],
        input=question.encode() + b"\n" + content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        timeout=TRANSFORM_SECONDS + TRANSFORM_SECONDS_PER_MB * size / 1e6, check=True,
    )  # fmt: skip
    line, _, rest = done.stdout.partition(b"\n")
    return json.loads(line), rest
