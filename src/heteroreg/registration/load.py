"""One way to a registrar, whatever it is called."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import read_grid
from heteroreg.data.samples.preparation import SMALLEST_AXIS
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.calibrated import OtherModelError, with_calibration
from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.registration.elastix import require_elastix
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.names import REGISTRARS
from heteroreg.registration.result import Registrar, Registration
from heteroreg.registration.shared import may_be_shared
from heteroreg.system.errors import UserError
from heteroreg.system.paths import expanded
from heteroreg.system.run_files import BUNDLED, CONFIG
from heteroreg.training.parts import MethodLike, NetworkLike
from heteroreg.training.run import Run
from heteroreg.uncertainty.calibration_file import FILE as CALIBRATION_FILE
from heteroreg.uncertainty.calibration_file import FOLDER as CALIBRATION

Loadable: TypeAlias = "str | Path | Run"
LoadableT = TypeVar("LoadableT", bound=Loadable)


def load(
    what: Loadable,
    *,
    device: str | None = None,
    checkpoint: str = "best",
    precision: str = "auto",
    samples: int | None = None,
    refine: int = 0,
    threads: int | None = None,
    method: MethodLike = None,
    network: NetworkLike = None,
    calibration: str | Path | bool = True,
) -> BaseRegistrar:
    """Load a registrar.

    Args:
        what: The folder of a run, or of a model that `push` wrote; a `Run`; `phantom` or `phantom-3d`, the bundled
            models for slices and for volumes; `elastix`; `undeformed`; or `owner/name`, a model on Hugging Face.
            For a folder with one of these names give another path to it, such as `./elastix`.
        device: Where a model computes; a GPU if there is one by default.
        checkpoint: `best` on the validation pairs, or `last`; for a model.
        precision: `32-true`, `bf16-mixed`, or `auto`: bf16 where it is faster; for a model.
        samples: Number of displacement samples (methods with uncertainty only); by default 32 for a 2D and 16 for a
            3D network.
        refine: Steps of instance optimisation for each pair, from the model's estimate, see `refinement.refine`, or
            from that of elastix, see `refinement.refine_displacement`.
        threads: Threads of elastix for one pair; 1 by default.
        method: The method of a run that was trained with one from outside heteroreg: the object, or its import path
            `package.module:name`. What a run names is never imported by itself.
        network: Likewise the network.
        calibration: Folder of a calibration that `calibrate` made of this registrar. True takes that in the folder
            of the run, if there is one; False takes none.

    Raises:
        UserError: There is no such registrar; its checkpoint is damaged or of a newer version; elastix is not
            installed; an argument does not fit the registrar.

    Examples:
        >>> import heteroreg as hr
        >>> hr.load("undeformed")
        Undeformed(slicewise=True, name='undeformed')
        >>> hr.load("phantom", device="cpu")
        ModelRegistrar('phantom', method 'hetero', network 'pyramid', 2D, cpu)
    """
    options: dict[str, Any] = {
        "checkpoint": checkpoint, "device": device, "precision": precision, "samples": samples, "refine": refine,
        "method": method, "network": network,
    }  # fmt: skip
    registrar = _load(what, threads, options)
    if not isinstance(calibration, bool):
        return with_calibration(registrar, expanded(calibration))
    if calibration and isinstance(registrar, ModelRegistrar):
        return _with_own_calibration(registrar)
    return registrar


def _with_own_calibration(registrar: ModelRegistrar) -> BaseRegistrar:
    """Return a model with the calibration in the folder of its run, if there is one that is its own.

    The model may have changed since, by more training or by `refine`: that is no reason not to use it.
    """
    folder = registrar.run.folder / CALIBRATION
    if not (folder / CALIBRATION_FILE).is_file():
        return registrar
    if registrar.run.folder in BUNDLED.values():
        if not registrar.refine:  # the calibration is that of the model as it comes
            registrar.use_calibration(with_calibration(registrar, folder))
        return registrar
    try:
        return with_calibration(registrar, folder)
    except OtherModelError:
        warnings.warn(
            f"{folder}: this calibration is not used: the model or its `refine` has changed; calibrate again",
            stacklevel=3,
        )
        return registrar


def _load(what: Loadable, threads: int | None, options: dict[str, Any]) -> BaseRegistrar:
    """Return a registrar without its calibration; `options` are those of a model."""
    if threads is not None and what != "elastix":
        raise UserError(f"threads: is for elastix, not for {_name(what)}", argument="threads")
    if what in ("elastix", "undeformed"):
        for argument in ("method", "network"):
            if options[argument] is not None:
                raise UserError(f"{argument}: is for a run, not for {what}", argument=argument)
        if options["samples"] is not None:
            raise UserError(f"samples: {what} has no displacement uncertainty", argument="samples")
        if what == "undeformed":
            if options["refine"]:
                raise UserError("refine: undeformed has no displacement to refine", argument="refine")
            return Undeformed()
        require_elastix()  # before the work, not at its first pair
        return Elastix(threads or 1, refine=options["refine"])
    if isinstance(what, Run):
        return ModelRegistrar(what, **options)
    folder = BUNDLED.get(str(what)) or expanded(what)
    if (folder / CONFIG).is_file():
        return ModelRegistrar(Run.read(folder), **options)
    problem = f"{what}: is not the folder of a run (no {CONFIG})"
    if may_be_shared(what):
        try:
            return ModelRegistrar.from_pretrained(what, **options)
        except UserError as error:
            if error.argument is not None:
                raise
            raise UserError(f"{problem}, nor a model on Hugging Face ({error})") from error
    near = get_close_matches(str(what).lower(), REGISTRARS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"give a run, owner/name, or {' or '.join(REGISTRARS)}"
    raise UserError(f"{problem}; {hint}")


def as_registrar(what: Registrar | Loadable, cohort: Cohort) -> Registrar:
    """Return a registrar as it is; load anything else, of the bundled models the one that fits the cohort."""
    return load(bundled_for(what, cohort)) if isinstance(what, str | Path | Run) else what


def bundled_for(what: LoadableT, images: Cohort | Grid) -> LoadableT | str:
    """Return `phantom-3d` for `phantom` where the images are volumes, and anything else as it is.

    Args:
        what: What is to be loaded.
        images: The grid of the fixed image, or a cohort, whose first pair decides.
    """
    if what != "phantom" or (isinstance(images, Cohort) and not len(images)):
        return what
    grid = read_grid(images[0].fixed) if isinstance(images, Cohort) else images
    return "phantom-3d" if grid.is_volume and min(grid.shape) >= SMALLEST_AXIS else what


def remarks(what: str | Path, registration: Registration) -> list[str]:
    """Return what the user should know about a registration and the model behind it, one line each."""
    lines = []
    if what in BUNDLED:
        lines.append(
            "registered by the bundled model, trained on phantoms alone; one trained on your own images is likely "
            "to be better"
        )
        if registration.error is not None:
            lines.append(
                "the error bars come from phantoms alone too; `heteroreg calibrate` makes those of your own images"
            )
    if registration.slicewise and not registration.grid.thick_slices:
        lines.append("each slice was registered in its own plane; motion through the plane needs a 3D model")
    return lines


def _name(what: Loadable) -> str:
    return str(what.folder) if isinstance(what, Run) else str(what)
