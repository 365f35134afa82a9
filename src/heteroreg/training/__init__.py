"""Training: the configuration, the loop, and the run that it leaves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heteroreg.training.config import Config
    from heteroreg.training.loop import train
    from heteroreg.training.run import Run

# Loaded when first used: the settings are read without PyTorch, by the completion of the command line.
_LAZY = {"Config": "config", "Run": "run", "train": "loop"}

__all__ = ["Config", "Run", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
