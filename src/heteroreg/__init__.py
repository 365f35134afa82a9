"""Deep registration of noisy medical images that says where it may be wrong."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heteroreg import losses, networks
    from heteroreg.comparison import compare
    from heteroreg.data.cohort import Cohort, Pair
    from heteroreg.data.image import Image
    from heteroreg.evaluation import Scores, evaluate
    from heteroreg.registration.cohort import register_cohort
    from heteroreg.registration.model import load
    from heteroreg.registration.result import Registrar, Registration
    from heteroreg.system.errors import UserError
    from heteroreg.training import Config, Run, train

__version__ = "0.1.0"

# Loaded when first asked for: PyTorch takes seconds, and `heteroreg --help` needs none of it.
_WHERE = {
    "Cohort": "heteroreg.data.cohort",
    "Config": "heteroreg.training",
    "Image": "heteroreg.data.image",
    "Pair": "heteroreg.data.cohort",
    "Registrar": "heteroreg.registration.result",
    "Registration": "heteroreg.registration.result",
    "Run": "heteroreg.training",
    "Scores": "heteroreg.evaluation",
    "UserError": "heteroreg.system.errors",
    "compare": "heteroreg.comparison",
    "evaluate": "heteroreg.evaluation",
    "load": "heteroreg.registration.model",
    "register_cohort": "heteroreg.registration.cohort",
    "train": "heteroreg.training",
}
_MODULES = ("losses", "networks")

__all__ = [
    "Cohort",
    "Config",
    "Image",
    "Pair",
    "Registrar",
    "Registration",
    "Run",
    "Scores",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "losses",
    "networks",
    "register_cohort",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"heteroreg.{name}")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'heteroreg' has no attribute '{name}'")
