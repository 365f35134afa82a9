"""The folder that training leaves."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from heteroreg.losses import Objective, TotalLoss
from heteroreg.methods import find_method, find_network
from heteroreg.networks import DisplacementNetwork
from heteroreg.system.errors import UserError
from heteroreg.system.run_files import CHECKPOINTS, CONFIG, METRICS
from heteroreg.training import checkpoint
from heteroreg.training.config import Config


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model with its history.

    Attributes:
        folder: Where it is.
        config: The configuration, resolved.
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
        """Opens the folder of a run.

        Raises:
            UserError: It is none.
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

    def checkpoint(self, name: str) -> Path:
        """The folder of the checkpoint `last` or `best`."""
        return self.folder / CHECKPOINTS / name

    def modules(self, name: str = "best") -> tuple[DisplacementNetwork, Objective]:
        """The trained displacement estimator and objective, in evaluation mode.

        Args:
            name: The checkpoint: `best` on the validation pairs, or `last`. Without validation there is only
                the last.

        Raises:
            UserError: The checkpoint is missing or damaged, or there is none of that name.
        """
        if name not in ("best", "last"):
            raise UserError(f"{self.folder}: has no checkpoint '{name}'; choose best or last")
        folder = self.checkpoint(name)
        folder = folder if (folder / checkpoint.STATE).is_file() else self.checkpoint("last")
        tensors, _ = checkpoint.load(folder)
        network, objective = build(self.config)
        checkpoint.restore_module(network, tensors, "network", folder)
        checkpoint.restore_module(objective, tensors, "objective", folder)
        return network.eval(), objective.eval()


def build(config: Config) -> tuple[DisplacementNetwork, Objective]:
    """Return the displacement estimator and the objective of a resolved configuration, untrained."""
    assert config.dims is not None
    method = find_method(config.method)
    # Not every network knows these keywords.
    options = {"uncertain": True, "correlation": config.correlation} if method.uncertain else {}
    network = find_network(config.network).make(
        config.dims, size=config.size, int_steps=config.int_steps, head_sd=config.head_sd, **options
    )
    return network, method.make(config.dims, gamma=config.gamma, beta=config.beta, **config.method_options)


def total_loss(config: Config) -> TotalLoss:
    """Return the total loss of a resolved configuration."""
    assert config.dims is not None
    return find_method(config.method).total_loss(config.dims, config.smoothness, config.alpha)
