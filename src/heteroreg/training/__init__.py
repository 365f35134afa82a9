"""Training: the configuration, the loop, and what a run leaves."""

from heteroreg.training.config import Config
from heteroreg.training.loop import train
from heteroreg.training.run import Run

__all__ = ["Config", "Run", "train"]
