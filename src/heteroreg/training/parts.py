"""The method and the network of a training: rows of the tables, or a user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heteroreg.losses import Objective, TotalLoss
from heteroreg.methods import AnyRow, Method, Network, find_method, find_network, from_outside
from heteroreg.networks import DisplacementNetwork
from heteroreg.system.errors import UserError
from heteroreg.training.config import Config

MethodLike = Any  # a name, an import path, a `Method`, an objective, or what makes one
NetworkLike = Any  # a name, an import path, a `Network`, a module, or what makes one


@dataclass(frozen=True)
class Parts:
    """The method and the network that a configuration names.

    Attributes:
        config: The configuration, resolved.
        method: What training minimises.
        network: Estimator of the displacement.
    """

    config: Config
    method: Method
    network: Network

    @classmethod
    def of(
        cls, config: Config, where: Path | str, *, method: MethodLike = None, network: NetworkLike = None
    ) -> Parts:
        """Find the method and the network of a configuration.

        Code from outside heteroreg is never imported because a configuration names it, as that may come from a
        stranger: the caller has to give it.

        Args:
            config: The configuration.
            where: Run or file that it comes from, for error messages.
            method: The method, if it is not in the table.
            network: The network, if it is not in the table.

        Raises:
            UserError: The configuration names something from outside and it is not given, or something else is.
        """
        own = _matching("method", config.method, None if method is None else find_method(method), where)
        net = _matching("network", config.network, None if network is None else find_network(network), where)
        return cls(
            config,
            find_method(config.method) if own is None else replace(own, name=config.method),
            find_network(config.network) if net is None else replace(net, name=config.network),
        )

    def build(self) -> tuple[DisplacementNetwork, Objective]:
        """Return the displacement estimator and the objective, untrained."""
        config = self.config
        assert config.dims is not None
        uncertain = {"uncertain": True, "correlation": config.correlation} if self.method.uncertain else {}
        network = self.network.make(
            config.dims,
            size=config.size,
            int_steps=config.int_steps,
            head_sd=config.head_sd,
            kernel=config.kernel or 0.0,
            passes=config.passes,
            **uncertain,
        )
        settings = {"gamma": config.gamma, "beta": config.beta, **config.method_options}
        return network, self.method.make(config.dims, **settings)

    def total_loss(self) -> TotalLoss:
        """Return the total loss."""
        assert self.config.dims is not None
        return self.method.total_loss(self.config.dims, self.config.smoothness, self.config.alpha or 0.0)


def _matching(argument: str, recorded: str, given: AnyRow | None, where: Path | str) -> AnyRow | None:
    """Return what was given for something from outside; None for a row of the table."""
    if not from_outside(recorded):
        if given is not None and given.name != recorded:
            raise UserError(
                f"{argument}: {where} names {recorded}, not {given.name}; leave it out",
                argument=argument,
            )
        return None
    if given is None:
        raise UserError(
            f"{argument}: {where} names '{recorded}' from outside heteroreg, which is never imported by itself; if "
            f"you trust that code, give the object, or its import path package.module:name, as `{argument}`",
            argument=argument,
        )
    return given
