"""Deformable registration of medical images in 2D and 3D, with a map of the noise.

Everything a user calls is here:

>>> import heteroreg as hr
>>> hr.load("undeformed")
Undeformed(slicewise=True, name='undeformed')
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from heteroreg._version import __version__

if TYPE_CHECKING:
    from heteroreg import losses as losses
    from heteroreg import methods as methods
    from heteroreg import networks as networks
    from heteroreg.comparison import compare as compare
    from heteroreg.data.check import check as check
    from heteroreg.data.cohort import Cohort as Cohort
    from heteroreg.data.cohort import Pair as Pair
    from heteroreg.data.grid import Grid as Grid
    from heteroreg.data.image import Image as Image
    from heteroreg.data.image import read_image as read_image
    from heteroreg.data.image import read_labels as read_labels
    from heteroreg.data.image import write_image as write_image
    from heteroreg.data.importing import import_cohort as import_cohort
    from heteroreg.data.io.reading import reading as reading
    from heteroreg.data.phantom import write_phantom
    from heteroreg.evaluation import Scores as Scores
    from heteroreg.evaluation import evaluate as evaluate
    from heteroreg.evaluation.overlap import dice as dice
    from heteroreg.evaluation.overlap import jaccard as jaccard
    from heteroreg.evaluation.surface import average_surface_distance as average_surface_distance
    from heteroreg.evaluation.surface import hausdorff as hausdorff
    from heteroreg.evaluation.surface import hausdorff95 as hausdorff95
    from heteroreg.export import export as export
    from heteroreg.hub.pull import pull as pull
    from heteroreg.hub.push import push as push
    from heteroreg.registration.base import BaseRegistrar as BaseRegistrar
    from heteroreg.registration.calibrate import calibrate as calibrate
    from heteroreg.registration.cohort import register_cohort as register_cohort
    from heteroreg.registration.load import load as load
    from heteroreg.registration.register import register as register
    from heteroreg.registration.result import Registrar as Registrar
    from heteroreg.registration.result import Registration as Registration
    from heteroreg.report import write_report as write_report
    from heteroreg.spatial.field import Field as Field
    from heteroreg.spatial.field import warp_image
    from heteroreg.spatial.regularity import folding_percent as folding_percent
    from heteroreg.spatial.regularity import sd_log_jacobian as sd_log_jacobian
    from heteroreg.study import run_study
    from heteroreg.system.errors import UserError as UserError
    from heteroreg.training import Config as Config
    from heteroreg.training import Run as Run
    from heteroreg.training import train as train

    phantom, study, warp = write_phantom, run_study, warp_image


# Each name is imported on first use, since PyTorch takes seconds and `heteroreg --help` does without it.
# Name → module; `module:name` if it has another name there; None for a module of this package.
_PUBLIC = {
    "BaseRegistrar": "heteroreg.registration.base",
    "Cohort": "heteroreg.data.cohort",
    "Config": "heteroreg.training",
    "Field": "heteroreg.spatial.field",
    "Grid": "heteroreg.data.grid",
    "Image": "heteroreg.data.image",
    "Pair": "heteroreg.data.cohort",
    "Registrar": "heteroreg.registration.result",
    "Registration": "heteroreg.registration.result",
    "Run": "heteroreg.training",
    "Scores": "heteroreg.evaluation",
    "UserError": "heteroreg.system.errors",
    "average_surface_distance": "heteroreg.evaluation.surface",
    "calibrate": "heteroreg.registration.calibrate:calibrate",
    "check": "heteroreg.data.check",
    "compare": "heteroreg.comparison",
    "dice": "heteroreg.evaluation.overlap",
    "evaluate": "heteroreg.evaluation",
    "export": "heteroreg.export",
    "folding_percent": "heteroreg.spatial.regularity",
    "hausdorff": "heteroreg.evaluation.surface",
    "hausdorff95": "heteroreg.evaluation.surface",
    "import_cohort": "heteroreg.data.importing",
    "jaccard": "heteroreg.evaluation.overlap",
    "load": "heteroreg.registration.load",
    "losses": None,
    "methods": None,
    "networks": None,
    "phantom": "heteroreg.data.phantom:write_phantom",
    "pull": "heteroreg.hub",
    "push": "heteroreg.hub",
    "read_image": "heteroreg.data.image",
    "read_labels": "heteroreg.data.image",
    "reading": "heteroreg.data.io.reading",
    "register": "heteroreg.registration.register",
    "register_cohort": "heteroreg.registration.cohort",
    "sd_log_jacobian": "heteroreg.spatial.regularity",
    "study": "heteroreg.study:run_study",
    "train": "heteroreg.training",
    "warp": "heteroreg.spatial.field:warp_image",
    "write_image": "heteroreg.data.image",
    "write_report": "heteroreg.report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'heteroreg' has no attribute '{name}'")
    where = _PUBLIC[name]
    if where is None:
        return import_module(f"heteroreg.{name}")
    module, _, other = where.partition(":")
    return getattr(import_module(module), other or name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """This package, in which a function is not hidden by the subpackage of the same name (`export`, `study`)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _PUBLIC.get(name):
            return  # Python sets a subpackage as an attribute when it is first imported
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
