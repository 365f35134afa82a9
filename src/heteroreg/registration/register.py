"""Registration of one pair in one call."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from heteroreg.data.grid import Grid
from heteroreg.data.image import read_grid
from heteroreg.data.inputs import ImageLike, Spacing, as_image
from heteroreg.registration.alignment import Initial, aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.likeness import less_similar
from heteroreg.registration.load import Loadable, bundled_for, load
from heteroreg.registration.result import Registration
from heteroreg.system.warn import warn_user
from heteroreg.training.parts import MethodLike, NetworkLike


def register(
    moving: ImageLike,
    fixed: ImageLike,
    model: Loadable | BaseRegistrar = "phantom",
    *,
    moving_labels: ImageLike | None = None,
    spacing: Spacing | None = None,
    initial: Initial | None = None,
    device: str | None = None,
    samples: int | None = None,
    refine: int = 0,
    threads: int | None = None,
    method: MethodLike = None,
    network: NetworkLike = None,
    calibration: str | Path | bool = True,
) -> Registration:
    """Register moving to fixed in one call.

    For many pairs, load the registrar once: `hr.load(model).register(moving, fixed)`. A warning says where moved is
    less similar to fixed than moving was.

    Args:
        moving: A path (`PATH#N` is frame N of a series), an `Image`, an image of SimpleITK, ITK or nibabel, or an
            array or tensor [x, y(, z)].
        fixed: Likewise.
        model: The registrar, or anything that `load` takes; by default the bundled model of the fixed image's
            dimension.
        moving_labels: Label map of the moving image, warped with it.
        spacing: Distance in mm between the voxels of arrays and tensors: a number, or one for each axis.
        initial: The alignment to begin with: the file of an affine ITK transform from points of fixed to points of
            moving; `grid` (the world coordinates), `centre` (of the fields of view), `mass` (centres of mass),
            `rigid` or `affine` (by mutual information). By default the one that the model was trained with.
        device: As for `load`, likewise the others. They do not apply to a registrar that is loaded already.
        samples: Number of displacement samples (methods with uncertainty only).
        refine: Steps of instance optimisation.
        threads: Threads of elastix.
        method: Method of your own that the run was trained with.
        network: Likewise the network.
        calibration: As for `load`.

    Raises:
        UserError: As `load` and `BaseRegistrar.register`; `initial` cannot be used.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> moving, fixed = np.random.default_rng(0).random((2, 32, 32))
        >>> hr.register(moving, fixed, "undeformed", spacing=1.5)
        Registration('array' to 'array', 32×32 voxels, 1.5×1.5 mm, by undeformed)
    """
    registrar = (
        model
        if isinstance(model, BaseRegistrar)
        else load(
            bundled_for(model, _grid(fixed, spacing)) if model == "phantom" else model,
            device=device,
            samples=samples,
            refine=refine,
            threads=threads,
            method=method,
            network=network,
            calibration=calibration,
        )
    )
    begun = aligned(registrar, initial)
    found = cast("BaseRegistrar", begun).register(moving, fixed, moving_labels, spacing=spacing)
    if doubt := less_similar(found):
        warn_user(doubt)
    return found


def _grid(fixed: ImageLike, spacing: Spacing | None) -> Grid:
    return read_grid(fixed) if isinstance(fixed, str | Path) else as_image(fixed, spacing).grid
