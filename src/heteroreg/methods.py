"""The methods: what each row of the paper minimises. Adding one is a function of losses and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any

from torch import Tensor, nn

from heteroreg.losses import (
    AdaCS,
    AdaFrame,
    AdaReg,
    Charbonnier,
    CollaborativeLoss,
    JointLikelihood,
    LocalCorrelation,
    MeanSquaredError,
    MutualInformation,
    spread_penalty,
)
from heteroreg.losses.kullback_leibler import IMAGE_SD, mean_divergence_weight, variance_divergence
from heteroreg.networks import (
    CoarseVariance,
    HalfVoxelMorph,
    SmallTransMorph,
    TransMorph,
    UNetScore,
    UNetVariance,
    VoxelMorph,
)
from heteroreg.system.errors import UserError

# Voxels of the velocity over which errors are alike, chosen on a phantom: see benchmarks/log.md.
ALIKE = 8.0


@dataclass(frozen=True)
class Method:
    """What training minimises.

    Attributes:
        name: Its name on the command line.
        summary: One line on what it is.
        objective: Makes the objective from the number of dimensions and the settings γ and β. An objective
            maps (moved, fixed) to `Losses` and has a `variance_estimator` or None.
        defaults: Settings of the training configuration that differ from its own defaults.
        uncertainty: The part of the regulariser that concerns the uncertainty of the displacement, of log σ_z² of
            the velocity and the settings λ and α; None where the method does without, and so does its network.
        smoothness_weight: What `smoothness` of the velocity counts in the loss, of the number of dimensions and λ.
    """

    name: str
    summary: str
    objective: Callable[[int, float, float], nn.Module]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Callable[[Tensor, float, float], Tensor] | None = None
    smoothness_weight: Callable[[int, float], float] = lambda _dims, smoothness: smoothness

    @property
    def uncertain(self) -> bool:
        """Whether the displacement has an uncertainty, which the network has to estimate."""
        return self.uncertainty is not None


METHODS = {
    method.name: method
    for method in (
        Method(
            "mse",
            "mean squared error: the noise is taken to be the same everywhere",
            lambda _dims, _gamma, _beta: MeanSquaredError(),
        ),
        Method(
            "charbonnier",
            "squared error that turns into absolute error where it is large: robust without a noise estimate",
            lambda _dims, _gamma, _beta: Charbonnier(),
        ),
        Method(
            "ncc",
            "local normalised cross-correlation: images match up to brightness and contrast that vary in space",
            lambda _dims, _gamma, _beta: LocalCorrelation(),
            {"smoothness": 0.3},  # it pulls at the displacement about 30 times as hard as the squared error
        ),
        Method(
            "mi",
            "mutual information: the intensities of one image tell those of the other",
            lambda _dims, _gamma, _beta: MutualInformation(),
            {"smoothness": 0.3},  # as ncc
        ),
        Method(
            "nll",
            "Gaussian negative log-likelihood, both estimators trained together",
            lambda dims, _gamma, _beta: JointLikelihood(UNetVariance(dims)),
            {"smoothness": 1.0},  # the data term is MSE divided by the variance
        ),
        Method(
            "beta-nll",
            "the same weighted by σ̂^{2β}",
            lambda dims, _gamma, beta: JointLikelihood(UNetVariance(dims), beta),
            {"smoothness": 0.1},
        ),
        Method(
            "adaframe",
            "squared error that counts less where it is large for its image (Wong 2021)",
            lambda _dims, _gamma, _beta: AdaFrame(),
            {"smoothness": 0.001},  # it pulls about a tenth as hard
        ),
        Method(
            "adareg",
            "squared error with less smoothness where the images do not match yet (Wong and Soatto 2019)",
            lambda _dims, _gamma, _beta: AdaReg(),
        ),
        Method(
            "adacs",
            "squared error weighted by a network's score of where there is something to match (AdaCS)",
            lambda dims, _gamma, _beta: AdaCS(UNetScore(dims)),
            {"smoothness": 0.005, "warm_start": 10 / 150},  # the weights leave half of the squared error
        ),
        Method(
            "hetero-paper",
            "collaborative training with the weighting as published (MICCAI 2024)",
            lambda dims, gamma, beta: CollaborativeLoss(
                UNetVariance(dims), gamma, beta, normalisation="reference", signal="fixed"
            ),
            {"warm_start": 10 / 150, "variance_alone": 10 / 150},  # 10 and 10 of 150 epochs
        ),
        Method(
            "hetero",
            "collaborative training with a coarse variance estimator and balanced weights: the best we know",
            lambda dims, gamma, beta: CollaborativeLoss(
                CoarseVariance(dims), gamma, beta, normalisation="balanced", signal="none"
            ),
            {"gamma": 0.25},  # chosen on validation pairs, see benchmarks/log.md
        ),
        Method(
            "vxm-diff",
            "probabilistic VoxelMorph: a distribution of velocities close to a smooth prior (Dalca 2019)",
            lambda _dims, _gamma, _beta: MeanSquaredError(),
            {"smoothness": 20.0},
            # The published loss is MSE/σ_I² + KL. Times σ_I² it has the same optimum, and the rate, the clipping of
            # the gradient and the size of the loss are those of the other methods.
            uncertainty=lambda log_variance, smoothness, _alpha: (
                IMAGE_SD**2 * variance_divergence(log_variance, smoothness)
            ),
            smoothness_weight=lambda dims, smoothness: IMAGE_SD**2 * mean_divergence_weight(dims, smoothness),
        ),
        Method(
            "sigma-z",
            "squared error with an uncertainty of the displacement (σ_z)",
            lambda _dims, _gamma, _beta: MeanSquaredError(),
            {"correlation": ALIKE},
            uncertainty=lambda log_variance, _smoothness, alpha: spread_penalty(log_variance, alpha),
        ),
        Method(
            "hetero-z",
            "`hetero` with an uncertainty of the displacement (σ_z)",
            lambda dims, gamma, beta: CollaborativeLoss(
                CoarseVariance(dims), gamma, beta, normalisation="balanced", signal="none"
            ),
            {"gamma": 0.25, "correlation": ALIKE},  # γ is that of `hetero`
            uncertainty=lambda log_variance, _smoothness, alpha: spread_penalty(log_variance, alpha),
        ),
    )
}

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "voxelmorph": VoxelMorph,
    "voxelmorph-half": HalfVoxelMorph,
    "transmorph": TransMorph,
    "transmorph-small": SmallTransMorph,
}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: There is none; the message lists the near names.
    """
    return METHODS[_known(name, METHODS, "method")]


def find_network(name: str) -> Callable[..., nn.Module]:
    """What makes the network of that name.

    Raises:
        UserError: There is none; the message lists the near names.
    """
    return NETWORKS[_known(name, NETWORKS, "network")]


def can_be_uncertain(network: str) -> bool:
    """Whether that network can estimate log σ_z²: it takes the keywords `uncertain` and `correlation`."""
    return {"uncertain", "correlation"} <= signature(find_network(network)).parameters.keys()


def _known(name: str, table: Mapping[str, object], kind: str) -> str:
    if name in table:
        return name
    near = get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
    raise UserError(
        f"no {kind} is called '{name}'; did you mean {' or '.join(near)}? `heteroreg methods` lists all"
    )
