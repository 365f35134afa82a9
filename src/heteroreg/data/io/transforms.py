"""Transform files of all formats, read and written as displacement fields."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.io.displacement import (
    displacement_from_itk,
    displacement_to_itk,
    read_displacement,
    write_displacement,
)
from heteroreg.data.io.foreign import read_foreign
from heteroreg.data.io.itk import check_grid
from heteroreg.data.io.learn2reg import is_learn2reg, is_learn2reg_name, read_learn2reg_field, write_learn2reg_field
from heteroreg.data.io.program import Program, ProgramError
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.system.limits import require_size
from heteroreg.system.paths import require_utf8

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
READER = Program(Path(__file__).with_name("transform_process.py"))
# Time limit: for every file, and for every MB. A field written as text is slow.
TRANSFORM_SECONDS, TRANSFORM_SECONDS_PER_MB = 60.0, 5.0
KIND_BYTES = 64 * 1024  # the beginning of a file that says of which kind it is
WRITTEN_ENDINGS = ITK_ENDINGS[:-1]  # .mat is for affine transforms


def read_transform(path: str | Path, like: Grid | None = None) -> tuple[Floats, Grid]:
    """Read a transform as a displacement field.

    - An ITK displacement field (NIfTI, MetaImage, NRRD), as `register` writes it, is on its own grid.
    - An ITK transform (`.h5`, `.hdf5`, `.tfm`, `.txt`, `.mat`) is on its own grid if it is a displacement field;
      any other, such as an affine transform, a B-spline or a composition, is sampled at the voxels of `like`.
    - A deformation of SPM (`y_*.nii`) or NiftyReg is converted; that of FNIRT is refused.
    - A field of Learn2Reg (NIfTI [x, y, z, 3] in voxels) does not define its grid, and is on `like`.

    Args:
        path: The file.
        like: The fixed image's grid.

    Returns:
        The displacement (d, *shape) in voxels of its grid, and the grid.

    Raises:
        UserError: The file is missing, damaged or not a transform, needs `like`, or does not match it.
    """
    path = Path(path)
    if path.name.lower().endswith(ITK_ENDINGS):
        return _from_itk(path, like)
    if (foreign := read_foreign(path)) is not None:
        return foreign
    if is_learn2reg(path):
        grid = _needed(path, like)
        return read_learn2reg_field(path, grid), grid
    return read_displacement(path)


def write_transform(displacement: Floats, grid: Grid, path: str | Path, moving: Grid | None = None) -> None:
    """Write a displacement in the format that the name of the file selects.

    `.h5`, `.hdf5`, `.tfm` and `.txt` are ITK transforms, `disp_*.nii.gz` is a field of Learn2Reg, and any other
    name is an ITK displacement field: NIfTI, MetaImage or NRRD.

    Args:
        displacement: (d, *shape) in voxels of `grid`.
        grid: The fixed image's grid.
        path: The file.
        moving: The moving image's grid, for Learn2Reg: its fields lead from voxel to voxel of both arrays.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(WRITTEN_ENDINGS):
        _write_itk(displacement, grid, path)
    elif name.endswith(ITK_ENDINGS):
        raise UserError(f"{path}: {path.suffix} files hold only affine transforms; end the name in .h5")
    elif is_learn2reg_name(path):
        write_learn2reg_field(displacement, grid, path, moving)
    else:
        write_displacement(displacement, grid, path)


@dataclass(frozen=True)
class ItkTransform:
    """The content of an ITK transform file.

    Attributes:
        name: ITK's name of the transform.
        dims: Dimension of the space, 2 or 3.
        images: Images of the origin and of the unit vectors (d + 1, d); None if it is not affine.
        vectors: The displacement field (…, d) in mm, in ITK's order of axes; None without a field.
        grid: Grid of the field.
    """

    name: str
    dims: int
    images: Floats | None = None
    vectors: Floats | None = None
    grid: Grid | None = None


def read_itk_transform(path: Path, like: Grid | None = None) -> ItkTransform:
    """Read an ITK transform file, in a process that serves all files.

    Args:
        path: The file.
        like: Grid on which to sample a transform that is not a displacement field.

    Raises:
        UserError: The file is missing, damaged, or not an ITK transform.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a transform")
    if not path.name.lower().endswith(ITK_ENDINGS):
        raise UserError(
            f"{path}: does not have the ending of an ITK transform, which is one of {', '.join(ITK_ENDINGS)}"
        )
    _refuse_other_kinds(path)
    try:
        found, content = READER.ask(_question(path, like), _seconds(path.stat().st_size))
    except ProgramError as error:
        raise UserError(
            f"{path}: crashes the program that reads ITK transforms; it is damaged, write or copy it again"
        ) from error
    if "error" in found:
        raise UserError(f"{path}: could not be read as an ITK transform ({found['error']}); is the file whole?")
    if found["dims"] not in (2, 3):
        raise UserError(f"{path}: transforms a space of {found['dims']} dimensions; use one with 2 or 3")
    images = np.array(found["images"]) if "images" in found else None
    answer = ItkTransform(found["name"], found["dims"], images)
    if "grid" not in found:
        return answer
    where = Grid(*(tuple(part) for part in found["grid"]))
    require_size(path, where.shape)
    check_grid(path, where)
    vectors = np.frombuffer(content, dtype=np.float64).reshape(*reversed(where.shape), where.dims)
    return replace(answer, vectors=vectors, grid=where)


def _refuse_other_kinds(path: Path) -> None:
    """Refuse the transforms of other programs, and the ones of ITK that SimpleITK does not know, by name.

    Raises:
        UserError: The file is one of them.
    """
    with path.open("rb") as handle:
        start = handle.read(KIND_BYTES)
    if b"(Transform " in start and b"TransformParameters" in start:
        raise UserError(
            f"{path}: is a parameter file of elastix; let elastix write an ITK transform with "
            '(WriteITKCompositeTransform "true") and (ITKTransformOutputFileNameExtension "tfm")'
        )
    if b"CenteredAffineTransform" in start or b"CenteredEuler" in start or b"CenteredRigid" in start:
        raise UserError(
            f"{path}: is a centred transform of ITK, which SimpleITK does not read; write it as an "
            "AffineTransform, in itk with its SetMatrix and SetOffset"
        )
    try:
        rows = [
            [float(word) for word in line.split()] for line in start.decode("ascii").splitlines() if line.strip()
        ]
    except ValueError:
        return
    if [len(row) for row in rows] == [4] * 4 and rows[3] == [0, 0, 0, 1]:
        raise UserError(
            f"{path}: is a matrix of FLIRT (FSL) or another program, which depends on both images; convert it with "
            "c3d_affine_tool -ref FIXED -src MOVING MATRIX -fsl2ras -oitk initial.txt"
        )


def _from_itk(path: Path, like: Grid | None) -> tuple[Floats, Grid]:
    found = read_itk_transform(path, like)
    if found.vectors is None or found.grid is None:
        like = _needed(path, like)
        raise UserError(
            f"{path}: transforms a space of {found.dims} dimensions, but the image has {like.dims}; use another"
        )
    return displacement_from_itk(found.vectors, found.grid, path), found.grid


def _needed(path: Path, like: Grid | None) -> Grid:
    if like is None:
        raise UserError(f"{path}: does not define its grid; give the fixed image as `like`", argument="like")
    return like


def _write_itk(displacement: Floats, grid: Grid, path: Path) -> None:
    vectors = sitk.GetArrayFromImage(displacement_to_itk(displacement, grid)).astype(np.float64)
    with atomic_file(path) as temporary:
        try:
            found = _written(temporary, grid, vectors)
        except (subprocess.SubprocessError, ValueError) as error:
            raise UserError(f"{path}: could not be written; is there space?") from error
        if "error" in found:
            reason = re.sub(r"\(0x[0-9a-f]+\)", "", found["error"])  # the address of an object of ITK
            raise UserError(f"{path}: could not be written ({reason}); is there space?")
        if not found["whole"]:
            raise UserError(f"{path}: could not be written (it came out incomplete); is there space?")


def _written(path: Path, grid: Grid, vectors: NDArray[np.float64]) -> dict[str, Any]:
    """Let the program write a field, and return its answer.

    Each file has a process of its own: whether HDF5 got all of it onto the disk shows when it ends.

    Raises:
        SubprocessError: It crashed, or took too long.
        ValueError: Its answer is not readable.
    """
    done = subprocess.run(  # noqa: S603 - a file of the package
        [sys.executable, "-P", str(READER.path)],
        input=json.dumps(_question(path, grid, write=True)).encode() + b"\n" + vectors.tobytes(),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_seconds(vectors.nbytes), check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _question(path: Path, grid: Grid | None, *, write: bool = False) -> dict[str, Any]:
    require_utf8(path)
    where = None if grid is None else (grid.shape, grid.spacing, grid.origin, grid.direction)
    return {"path": str(path.absolute()), "write": write, "grid": where}


def _seconds(size: int) -> float:
    """Return the time limit for a file of so many bytes."""
    return TRANSFORM_SECONDS + TRANSFORM_SECONDS_PER_MB * size / 1e6
