"""Losses: functions of tensors, and thin modules over them that make an objective."""

from heteroreg.losses.adaptive import AdaFrame, AdaReg, adaframe_weight, adareg_weight
from heteroreg.losses.base import Losses, Objective
from heteroreg.losses.correlation import local_correlation
from heteroreg.losses.correspondence import AdaCS, scorer_loss
from heteroreg.losses.heteroscedastic import (
    foreground,
    gaussian_nll,
    reference_weight,
    relative_weight,
)
from heteroreg.losses.information import mutual_information
from heteroreg.losses.kullback_leibler import kullback_leibler
from heteroreg.losses.objectives import (
    Charbonnier,
    CollaborativeLoss,
    JointLikelihood,
    LocalCorrelation,
    MeanSquaredError,
    MutualInformation,
)
from heteroreg.losses.similarity import charbonnier, mean_squared_error
from heteroreg.losses.smoothness import smoothness
from heteroreg.losses.spread import spread_penalty
from heteroreg.losses.total import TotalLoss

__all__ = [
    "AdaCS",
    "AdaFrame",
    "AdaReg",
    "Charbonnier",
    "CollaborativeLoss",
    "JointLikelihood",
    "LocalCorrelation",
    "Losses",
    "MeanSquaredError",
    "MutualInformation",
    "Objective",
    "TotalLoss",
    "adaframe_weight",
    "adareg_weight",
    "charbonnier",
    "foreground",
    "gaussian_nll",
    "kullback_leibler",
    "local_correlation",
    "mean_squared_error",
    "mutual_information",
    "reference_weight",
    "relative_weight",
    "scorer_loss",
    "smoothness",
    "spread_penalty",
]
