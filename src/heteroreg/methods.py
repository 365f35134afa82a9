"""The tables of methods and networks.

Reading them needs no PyTorch: the objectives and networks that they name are imported when they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, TypeVar

from heteroreg.system.errors import UserError
from heteroreg.system.references import call_with_known, import_object, import_path, is_import_path, takes

if TYPE_CHECKING:
    from torch import nn

    from heteroreg.losses.base import Objective
    from heteroreg.losses.total import TotalLoss
    from heteroreg.networks.base import DisplacementNetwork

# Settings of `Config` that an objective may take as arguments; all others of its arguments are its own options.
SHARED_SETTINGS = ("gamma", "beta")
# Voxels of the velocity over which errors correlate; chosen on a phantom, see benchmarks/log.md.
CORRELATION_LENGTH = 8.0
# Highest learning rate by dimension. At higher ones a 3D network falls back to the identity, see benchmarks/log.md.
LEARNING_RATES: Mapping[int, float] = {2: 3e-3, 3: 5e-4}
# SD in voxels of the Gaussian that smooths the velocity, by dimension.
NO_KERNEL: Mapping[int, float] = {2: 0.0, 3: 0.0}
CUSTOM = "custom: "  # begins the name of an object without an import path


@dataclass(frozen=True)
class Method:
    """A row of the table of methods: what training minimises.

    An import path, `package.module:name`, may stand for each function or class: it is imported when it is used.

    Attributes:
        name: Name on the command line.
        summary: One line about it.
        objective: Makes the objective; takes any of `dims`, `gamma`, `beta` by name, and options of its own. Or the
            objective itself, which is copied.
        defaults: Settings of `Config` that differ from its own defaults.
        estimator: Makes the network that is the first argument of `objective`, from `dims`; None if it has none.
        fixed: Arguments of `objective` that this method does not let vary.
        uncertainty: Regulariser of the displacement's uncertainty. Maps log σ_z² of the velocity, and any of
            `smoothness` (λ) and `alpha` (α) by name, to a scalar. None for methods without this uncertainty.
        smoothness_weight: Weight of the smoothness in the loss, from `dims` and `smoothness`; None: λ itself.

    Examples:
        >>> from heteroreg.losses import MeanSquaredError
        >>> method = Method("mine", "squared error, smoother", MeanSquaredError, defaults={"smoothness": 0.05})
        >>> method.make(2)
        MeanSquaredError()
        >>> find_method("ncc").make(2, window=5)
        LocalCorrelation(window=5, epsilon=1e-05)
    """

    name: str
    summary: str
    objective: str | nn.Module | Callable[..., nn.Module]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    estimator: str | Callable[..., nn.Module] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: str | Callable[..., Any] | None = None
    smoothness_weight: str | Callable[..., float] | None = None

    @property
    def uncertain(self) -> bool:
        """True if the displacement has an uncertainty, which the network has to estimate."""
        return self.uncertainty is not None

    @property
    def takes_alpha(self) -> bool:
        """True if the regulariser of the displacement's uncertainty takes α."""
        return self.uncertainty is not None and takes(_resolved(self.uncertainty), "alpha")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Arguments of the objective that may vary, by name."""
        made = _resolved(self.objective)
        if _is_module(made):
            return {}
        found = list(_signature(made).items())[0 if self.estimator is None else 1 :]
        return {
            name: parameter
            for name, parameter in found
            if name not in ("dims", *self.fixed)
            and parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        }

    @property
    def options(self) -> Mapping[str, Parameter]:
        """The method's own options: arguments of the objective that are not settings of every method."""
        return {name: one for name, one in self.parameters.items() if name not in SHARED_SETTINGS}

    def settings(self) -> dict[str, Any]:
        """Return the settings of `Config` that differ from its defaults, those of the objective among them."""
        shared = {name: one.default for name, one in self.parameters.items() if name in SHARED_SETTINGS}
        return {name: value for name, value in shared.items() if value is not Parameter.empty} | {**self.defaults}

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with the types that the objective asks for.

        Raises:
            UserError: The objective has no such option, or the value has another type.
        """
        from pydantic import TypeAdapter, ValidationError

        known, checked = self.options, {}
        for name, value in options.items():
            where = f"method_options: {name}"
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise UserError(f"{where}: is no option of {self.name}; {has}", argument="method_options")
            kind = known[name].annotation
            try:
                checked[name] = value if kind is Parameter.empty else TypeAdapter(kind).validate_python(value)
            except ValidationError as error:
                raise UserError(f"{where}: {error.errors()[0]['msg']}", argument="method_options") from error
        return checked

    def make(self, dims: int, **settings: Any) -> Objective:
        """Make the objective, untrained.

        Args:
            dims: 2 or 3.
            **settings: γ and β as `gamma` and `beta`, used if the objective takes them, and options of its own.

        Raises:
            UserError: The objective has no such option, or needs an argument that nobody gave.
        """
        from heteroreg.losses.adapt import as_objective

        made = _resolved(self.objective)
        options = {name: value for name, value in settings.items() if name not in SHARED_SETTINGS}
        options = self.check_options(options)
        if _is_module(made):
            return as_objective(deepcopy(made), self.name)
        known = self.parameters
        arguments = {name: settings[name] for name in SHARED_SETTINGS if name in known and name in settings}
        arguments |= options | {**self.fixed}
        lacking = [n for n, one in known.items() if one.default is Parameter.empty and n not in arguments]
        if lacking:
            raise UserError(
                f"method: {self.name}: needs a value for {', '.join(lacking)}; give it in `method_options`, or "
                "give the objective itself, or a `Method` with `fixed` or `estimator`",
                argument="method",
            )
        parts = [] if self.estimator is None else [_resolved(self.estimator)(dims)]
        return as_objective(call_with_known(made, *parts, dims=dims, **arguments), self.name)

    def total_loss(self, dims: int, smoothness: float, alpha: float = 0.0) -> TotalLoss:
        """Return the loss that training, validation and refinement share.

        Args:
            dims: 2 or 3.
            smoothness: λ.
            alpha: α, for methods with an uncertainty of the displacement.
        """
        from heteroreg.losses.total import TotalLoss

        weight = smoothness
        if self.smoothness_weight is not None:
            weight = _resolved(self.smoothness_weight)(dims, smoothness)
        uncertainty = None
        if self.uncertainty is not None:
            penalty, given = _resolved(self.uncertainty), {"smoothness": smoothness, "alpha": alpha}

            def uncertainty(log_variance: Any) -> Any:
                return call_with_known(penalty, log_variance, **given)

        return TotalLoss(weight, uncertainty)


@dataclass(frozen=True)
class Network:
    """A row of the table of networks: an estimator of the displacement.

    Attributes:
        name: Name on the command line.
        summary: One line about it.
        factory: Makes the network; takes any of `dims`, `int_steps`, `head_sd`, `uncertain`, `correlation`,
            `kernel` and `passes` by name. Or the network itself, which is copied. What it makes maps (moving,
            fixed) to a `Displacement`, or two images as channels, (N, 2, *shape), to features.
        learning_rates: Highest learning rate of the training, by dimension, if the user gives none.
        kernels: SD of the Gaussian that smooths the velocity, by dimension, if the user gives none.

    Examples:
        >>> network = find_network("voxelmorph").make(2)
        >>> network.dims, network.int_steps
        (2, 7)
    """

    name: str
    summary: str
    factory: str | nn.Module | Callable[..., nn.Module]
    learning_rates: Mapping[int, float] = field(default_factory=lambda: LEARNING_RATES)
    kernels: Mapping[int, float] = field(default_factory=lambda: NO_KERNEL)

    @property
    def can_be_uncertain(self) -> bool:
        """True if the factory takes `uncertain` and `correlation`."""
        factory = _resolved(self.factory)
        return takes(factory, "uncertain") and takes(factory, "correlation")

    def make(self, dims: int, *, size: Sequence[int] | None = None, **settings: Any) -> DisplacementNetwork:
        """Make the network, untrained.

        Args:
            dims: 2 or 3.
            size: Voxels of the images that it will be trained on; a backbone is tried on them.
            **settings: `int_steps`, `head_sd`, `uncertain`, `correlation`, `kernel`, `passes`; those that the
                factory takes are used.

        Raises:
            UserError: A kernel or several passes are given, and the network takes none.
        """
        from heteroreg.networks.adapt import as_displacement_network

        factory = _resolved(self.factory)
        made = deepcopy(factory) if _is_module(factory) else call_with_known(factory, dims=dims, **settings)
        passes = settings.pop("passes", 1)
        network = as_displacement_network(made, dims, self.name, size=size, **settings)
        if settings.get("kernel") and network.kernel != settings["kernel"]:
            raise UserError(
                f"kernel: {self.name} does not smooth its velocity; leave it out, or let its factory take `kernel`",
                argument="kernel",
            )
        if passes != getattr(network, "passes", 1):
            raise UserError(
                f"passes: {self.name} has no levels to go through; leave it out, or choose pyramid",
                argument="passes",
            )
        return network


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "mse",
            "mean squared error: the same noise level everywhere",
            "heteroreg.losses:MeanSquaredError",
        ),
        Method(
            "charbonnier",
            "squared error that becomes absolute error where it is large: robust without a noise estimate",
            "heteroreg.losses:Charbonnier",
        ),
        Method(
            "ncc",
            "local normalised cross-correlation: invariant to local brightness and contrast",
            "heteroreg.losses:LocalCorrelation",
            defaults={"smoothness": 0.3},  # its gradient is about 30 times that of the squared error
        ),
        Method(
            "mi",
            "mutual information: one image's intensities predict the other's",
            "heteroreg.losses:MutualInformation",
            defaults={"smoothness": 0.3},  # as ncc
        ),
        Method(
            "nll",
            "Gaussian negative log-likelihood, both estimators trained jointly",
            "heteroreg.losses:JointLikelihood",
            estimator="heteroreg.networks:UNetVariance",
            fixed={"beta": 0.0},
            defaults={"smoothness": 1.0},  # the data term is MSE divided by the variance
        ),
        Method(
            "beta-nll",
            "Gaussian negative log-likelihood weighted by σ̂^{2β}",
            "heteroreg.losses:JointLikelihood",
            estimator="heteroreg.networks:UNetVariance",
            defaults={"smoothness": 0.1, "beta": 0.5},
        ),
        Method(
            "adaframe",
            "squared error with less weight on large residuals of an image (Wong 2021)",
            "heteroreg.losses:AdaFrame",
            defaults={"smoothness": 0.001},  # its gradient is about a tenth
        ),
        Method(
            "adareg",
            "squared error with less smoothness where the images do not match yet (Wong and Soatto 2019)",
            "heteroreg.losses:AdaReg",
        ),
        Method(
            "adacs",
            "squared error weighted by a learned score of correspondence (AdaCS)",
            "heteroreg.losses:AdaCS",
            estimator="heteroreg.networks:UNetScore",
            defaults={"smoothness": 0.005, "warm_start": 10 / 150},  # the weights leave half of the squared error
        ),
        Method(
            "hetero-paper",
            "collaborative training with the weighting as published (MICCAI 2024)",
            "heteroreg.losses:CollaborativeLoss",
            estimator="heteroreg.networks:UNetVariance",
            fixed={"normalisation": "reference", "signal": "fixed"},
            # 10 and 10 of 150 epochs
            defaults={"gamma": 0.5, "warm_start": 10 / 150, "variance_alone": 10 / 150},
        ),
        Method(
            "hetero",
            "collaborative training with a coarse variance estimator and balanced weights: the best we know",
            "heteroreg.losses:CollaborativeLoss",
            estimator="heteroreg.networks:CoarseVariance",
        ),
        Method(
            "vxm-diff",
            "probabilistic VoxelMorph: a distribution of velocities close to a smooth prior (Dalca 2019)",
            "heteroreg.losses:MeanSquaredError",
            defaults={"smoothness": 20.0},
            uncertainty="heteroreg.losses.kullback_leibler:scaled_variance_divergence",
            smoothness_weight="heteroreg.losses.kullback_leibler:scaled_mean_weight",
        ),
        Method(
            "sigma-z",
            "squared error with an uncertainty of the displacement (σ_z)",
            "heteroreg.losses:MeanSquaredError",
            defaults={"correlation": CORRELATION_LENGTH},
            uncertainty="heteroreg.losses:spread_penalty",
        ),
        Method(
            "hetero-z",
            "`hetero` with an uncertainty of the displacement (σ_z)",
            "heteroreg.losses:CollaborativeLoss",
            estimator="heteroreg.networks:CoarseVariance",
            defaults={"correlation": CORRELATION_LENGTH},
            uncertainty="heteroreg.losses:spread_penalty",
        ),
    )
}

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("voxelmorph", "U-Net with an integrated velocity field", "heteroreg.networks:VoxelMorph"),
        Network(
            "voxelmorph-half",
            "VoxelMorph whose last convolutions have half the resolution: faster",
            "heteroreg.networks:HalfVoxelMorph",
        ),
        Network(
            "pyramid",
            "coarse to fine: each level warps features and corrects the velocity",
            "heteroreg.networks:Pyramid",
            {2: 1e-3, 3: 5e-4},
            {2: 0.0, 3: 1.0},
        ),
        Network(
            "pyramid-symmetric",
            "pyramid whose displacements in both orders are inverse to each other",
            "heteroreg.networks:SymmetricPyramid",
            {2: 1e-3, 3: 5e-4},
            {2: 0.0, 3: 1.0},
        ),
        Network(
            "transmorph",
            "Swin transformer with a convolutional decoder, at the paper's size",
            "heteroreg.networks:TransMorph",
        ),
        Network(
            "transmorph-small",
            "TransMorph with fewer stages and features: trains on two cores",
            "heteroreg.networks:SmallTransMorph",
        ),
    )
}

AnyRow = TypeVar("AnyRow", Method, Network)


def find_method(method: str | Method | nn.Module | Callable[..., nn.Module]) -> Method:
    """Return the method that a name, an import path or an object stands for.

    Args:
        method: A name of `METHODS`, `package.module:name`, a `Method`, an objective, or what makes an objective.

    Returns:
        The method. From outside the table, its name is its import path, or `custom: ClassName` if it has none.

    Raises:
        UserError: There is no such method; the message lists similar names.
    """
    return _find(method, METHODS, Method, "method")


def find_network(network: str | Network | nn.Module | Callable[..., nn.Module]) -> Network:
    """Return the network that a name, an import path or an object stands for.

    Args:
        network: A name of `NETWORKS`, `package.module:name`, a `Network`, a module, or what makes one.

    Returns:
        The network. From outside the table, its name is its import path, or `custom: ClassName` if it has none.

    Raises:
        UserError: There is no such network; the message lists similar names.
    """
    return _find(network, NETWORKS, Network, "network")


def from_outside(name: str) -> bool:
    """Return True for the name of a method or network from outside the tables."""
    return is_import_path(name) or name.startswith(CUSTOM)


def _find(thing: Any, table: Mapping[str, AnyRow], row: type[AnyRow], argument: str) -> AnyRow:
    if isinstance(thing, str):
        if thing in table:
            return table[thing]
        if not is_import_path(thing):
            raise _unknown(thing, table, argument)
        return _from_object(import_object(thing, argument), thing, row, argument)
    if isinstance(thing, row) and table.get(thing.name) is thing:
        return thing
    own = thing.name if isinstance(thing, row) else getattr(thing, "__name__", type(thing).__name__)
    return _from_object(thing, import_path(thing) or f"{CUSTOM}{own}", row, argument)


def _from_object(thing: Any, name: str, row: type[AnyRow], argument: str) -> AnyRow:
    if isinstance(thing, row):
        return replace(thing, name=name)
    if not callable(thing):
        raise UserError(f"{argument}: {name}: is neither a module nor a function that makes one", argument=argument)
    summary = (getattr(thing, "__doc__", None) or name).strip().splitlines()[0]
    return row(name, summary, thing)


def _unknown(name: str, table: Mapping[str, object], argument: str) -> UserError:
    near = get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
    return UserError(
        f"{argument}: no {argument} is called '{name}'; did you mean {' or '.join(near)}? "
        "`heteroreg methods` lists all; for your own, write package.module:name",
        argument=argument,
    )


def _is_module(thing: object) -> bool:
    """Return True for a torch module, not its class; without an import of torch."""
    return hasattr(thing, "state_dict") and not isinstance(thing, type)


def _resolved(reference: Any) -> Any:
    return import_object(reference) if isinstance(reference, str) else reference


def _signature(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return signature(function, eval_str=True).parameters
    except NameError:  # a type that is imported for type checkers only
        return signature(function).parameters
    except ValueError:  # a class written in C has none that can be read
        return {}
