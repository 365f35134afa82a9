"""A run: the folder that training leaves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from heteroreg.losses import Objective
from heteroreg.networks import DisplacementNetwork
from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CHECKPOINTS, CONFIG, METRICS
from heteroreg.training import checkpoint
from heteroreg.training.config import Config
from heteroreg.training.parts import MethodLike, NetworkLike, Parts


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model with its history.

    Attributes:
        folder: Where it is.
        config: The configuration, resolved.

    Examples:
        >>> from importlib.resources import files
        >>> run = Run.read(str(files("heteroreg.registration") / "models" / "phantom"))
        >>> run.config.method, run.config.dims
        ('hetero', 2)
    """

    folder: Path
    config: Config

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Run({str(self.folder)!r}, method {config.method!r}, network {config.network!r}, {config.dims}D, "
            f"{config.steps} steps)"
        )

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Open the folder of a run.

        Raises:
            UserError: It is not the folder of a run.
        """
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"{folder}: is not the folder of a run (no {CONFIG}); name one that `heteroreg train` made"
            )
        config = Config.read(folder / CONFIG)
        if config.dims is None or config.size is None:
            raise UserError(f"{folder / CONFIG}: has no dims or no size, which that of a run has; train again")
        return cls(folder, config)

    @property
    def metrics(self) -> pd.DataFrame:
        """`metrics.csv`: a row per logged step. A last one that a crash cut short is left out."""
        text = (self.folder / METRICS).read_text(encoding="utf-8")
        return pd.read_csv(io.StringIO(text[: text.rfind("\n") + 1]))

    def validation_in_words(self) -> str:
        """Return the validation Dice of the best checkpoint beside that of no registration; empty without one."""
        metrics = self.metrics
        if "val_dice" not in metrics or not metrics["val_dice"].notna().any():
            return ""
        best = metrics.nlargest(1, "val_dice").iloc[0]
        undeformed = metrics.get("val_dice_undeformed", pd.Series(dtype=float)).max()
        beside = "" if pd.isna(undeformed) else f" (undeformed {undeformed:.3f})"
        return f", validation Dice {best['val_dice']:.3f}{beside} at step {best['step']:.0f}"

    def checkpoint(self, name: str) -> Path:
        """Return the folder of the checkpoint `last` or `best`."""
        return self.folder / CHECKPOINTS / name

    def best_or_last(self) -> Path:
        """Return the folder of the best checkpoint; of the last, if there was no validation."""
        best = self.checkpoint("best")
        return best if (best / checkpoint.STATE).is_file() else self.checkpoint("last")

    def parts(self, *, network: NetworkLike = None, method: MethodLike = None) -> Parts:
        """Return the network and the method of the run.

        Args:
            network: The network, if the run was trained with one from outside heteroreg: the object, or its import
                path `package.module:name`.
            method: Likewise the method.

        Raises:
            UserError: The run needs one of them and it is not given, or was trained with another.
        """
        return Parts.of(self.config, self.folder, network=network, method=method)

    def modules(
        self, name: str = "best", *, network: NetworkLike = None, method: MethodLike = None
    ) -> tuple[DisplacementNetwork, Objective]:
        """Return the trained displacement estimator and objective, in evaluation mode.

        Args:
            name: The checkpoint: `best` on the validation pairs, or `last`. Without validation there is only
                the last.
            network: As in `parts`.
            method: As in `parts`.

        Raises:
            UserError: The checkpoint is missing or damaged, or has another name; or as `parts`.
        """
        if name not in ("best", "last"):
            raise UserError(f"{self.folder}: has no checkpoint '{name}'; choose best or last")
        folder = self.best_or_last() if name == "best" else self.checkpoint("last")
        parts = self.parts(network=network, method=method)
        tensors, _ = checkpoint.read(folder)
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced; the caller's numbers stay
            estimator, objective = parts.build()
        checkpoint.restore_module(estimator, tensors, "network", folder)
        checkpoint.restore_module(objective, tensors, "objective", folder)
        return estimator.eval(), objective.eval()


def is_former_run(folder: Path) -> bool:
    """True for a run that version 0.1.0 wrote, which left no marker."""
    file = folder / CONFIG
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith("schema_version:")
