"""Begin a training with the weights of another run."""

from __future__ import annotations

from heteroreg.system.errors import UserError
from heteroreg.system.paths import expanded
from heteroreg.system.run_files import BUNDLED
from heteroreg.training import checkpoint
from heteroreg.training.config import Config
from heteroreg.training.run import Run
from heteroreg.training.state import State

# Parameters that a network has only if its displacement has an uncertainty.
UNCERTAINTY = "log_variance_head."


def initial_run(init: str) -> Run:
    """Return the run that `init` names.

    Args:
        init: The folder of a run, or the name of a bundled model.

    Raises:
        UserError: It is not the folder of a run.
    """
    return Run.read(BUNDLED.get(init) or expanded(init))


def require_alike(config: Config) -> None:
    """Check that the weights of `config.init` fit the network of a configuration.

    Raises:
        UserError: It is no run, or has another network or dimension.
    """
    if config.init is None:
        return
    other = initial_run(config.init).config
    for name, own, its in (("network", config.network, other.network), ("dims", config.dims, other.dims)):
        if own != its:
            raise UserError(
                f"init: {config.init} has {name} {its}, and the training {own}; choose {its}, or another run",
                argument="init",
            )


def begin(state: State, config: Config) -> None:
    """Give the networks the weights of the best checkpoint of `config.init`, if it is set.

    The head of the displacement's uncertainty is new if only one of the two methods has it. The objective's
    networks are taken over where they are the same.

    Raises:
        UserError: The weights do not fit.
    """
    if config.init is None:
        return
    folder = initial_run(config.init).best_or_last()
    tensors, _ = checkpoint.read(folder)
    own = state.network.state_dict()
    found = checkpoint.part(tensors, "network")
    kept = {name: value for name, value in own.items() if name.startswith(UNCERTAINTY) and name not in found}
    wanted = {name: value for name, value in found.items() if name in own or not name.startswith(UNCERTAINTY)}
    prefixed = {f"network.{name}": value for name, value in (wanted | kept).items()}
    checkpoint.restore_module(state.network, prefixed, "network", folder)
    objective = {name: value.shape for name, value in state.objective.state_dict().items()}
    if objective == {name: value.shape for name, value in checkpoint.part(tensors, "objective").items()}:
        checkpoint.restore_module(state.objective, tensors, "objective", folder)
