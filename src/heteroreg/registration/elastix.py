"""Registration of two arrays on one grid by elastix."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError

BSPLINE = Path(__file__).with_name("bspline.txt")
LOG = "elastix.log"
# These override the parameter file.
REQUIRED_PARAMETERS = {
    "WriteResultImage": "false",  # the caller warps the image itself, from its own voxels
    "FixedInternalImagePixelType": "float",
    "MovingInternalImagePixelType": "float",
    "UseDirectionCosines": "true",
}
_pool_lock = threading.Lock()


def require_elastix() -> str:
    """Return the version of itk-elastix.

    Raises:
        UserError: It is not installed.
    """
    try:
        return version("itk-elastix")
    except PackageNotFoundError as error:
        raise UserError("elastix: is not installed; pip install 'heteroreg[elastix]'") from error


def align(
    moving: Floats,
    fixed: Floats,
    spacing: Sequence[float],
    parameters: Path = BSPLINE,
    settings: Mapping[str, str | Sequence[str]] | None = None,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Register two arrays on one grid with elastix.

    elastix optimises a transform T, from points of fixed to points of moving, so that moving(T(x)) resembles
    fixed(x) (Klein et al., IEEE Trans. Med. Imaging 2010). The axes of the grid are given as those of space, so
    T(x) - x divided by the spacing is the displacement in voxels.

    Each call begins with the same random numbers and gives the same displacement bit for bit.

    Args:
        moving: Array [x, y(, z)].
        fixed: Array of the same shape.
        spacing: Spacing along each axis, in mm.
        parameters: A parameter file in elastix' format.
        settings: Parameters that replace those of the file.
        threads: Number of threads of elastix.

    Returns:
        u (d, *shape) in voxels: moving(x + u(x)) resembles fixed(x).

    Raises:
        UserError: elastix is not installed, cannot read the parameter file, or fails, with its own reason.
    """
    require_elastix()
    itk: Any = import_module("itk")  # takes seconds
    kind = itk.Image[itk.F, fixed.ndim]
    images = [_image(itk, array, spacing) for array in (fixed, moving)]
    method = itk.ElastixRegistrationMethod[kind, kind].New(*images)
    method.SetParameterObject(_parameters(itk, parameters, {**(settings or {}), **REQUIRED_PARAMETERS}))
    method.SetNumberOfThreads(threads)
    method.SetLogToConsole(False)
    with _thread_pool(itk), TemporaryDirectory() as folder:
        method.SetOutputDirectory(folder)
        method.SetLogToFile(True)
        method.SetLogFileName(LOG)
        try:
            method.UpdateLargestPossibleRegion()
        except RuntimeError as error:
            raise UserError(f"elastix failed ({_reason(Path(folder) / LOG)})") from error
        field = itk.TransformixFilter[kind].New(images[1])
        field.SetTransformParameterObject(method.GetTransformParameterObject())
        field.SetComputeDeformationField(True)
        field.SetOutputDirectory(folder)  # it writes the field there too
        field.SetLogToConsole(False)
        field.UpdateLargestPossibleRegion()
    vectors = itk.array_from_image(field.GetOutputDeformationField()).astype(np.float64)
    return np.asarray(vectors.T / np.reshape(spacing, (-1, *[1] * fixed.ndim)), dtype=np.float64, order="C")


@contextmanager
def _thread_pool(itk: Any) -> Iterator[None]:
    """Let ITK run threads in its own pool; afterwards its global settings are those from before.

    With oneTBB, the default of its wheels, elastix ends in a segmentation fault for two threads or more: there it
    adds to the derivative of a thread without a buffer (AdvancedMeanSquares, itk-elastix 0.25).
    """
    threads = itk.MultiThreaderBase
    with _pool_lock:
        names = ("GlobalDefaultThreader", "GlobalMaximumNumberOfThreads", "GlobalDefaultNumberOfThreads")
        before = {name: getattr(threads, f"Get{name}")() for name in names}
        threads.SetGlobalDefaultThreader(itk.MultiThreaderBaseEnums.Threader_Pool)
        try:
            yield
        finally:
            for name, value in before.items():
                getattr(threads, f"Set{name}")(value)


def _image(itk: Any, array: Floats, spacing: Sequence[float]) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(array.T, dtype=np.float32))
    image.SetSpacing([float(step) for step in spacing])
    return image


def _parameters(itk: Any, path: Path, settings: Mapping[str, str | Sequence[str]]) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a parameter file of elastix")
    parameters = itk.ParameterObject.New()
    try:
        parameters.ReadParameterFile(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: is not a parameter file of elastix ({_last_words(str(error))})") from error
    for name, value in settings.items():
        parameters.SetParameter(0, name, [value] if isinstance(value, str) else list(value))
    return parameters


def _reason(log: Path) -> str:
    """Return the first error in the log of elastix."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = re.search(r"^Description: (.+)$", text, re.MULTILINE)
    return _last_words(found[1]) if found else "it does not say why"


def _last_words(text: str) -> str:
    """Return the last line of a message of ITK, without the address of the object."""
    line = (text.strip().splitlines() or ["it does not say why"])[-1]
    return re.sub(r"^(?:ITK ERROR: )?(?:\w+\(0x[0-9a-f]+\): )?", "", line).strip()


def _after_fork() -> None:
    """Renew the lock in a forked child: another thread of the parent may have held it."""
    global _pool_lock
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
