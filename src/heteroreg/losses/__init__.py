"""What training minimises: functions of tensors, and thin modules over them that make an objective."""

from heteroreg.losses.heteroscedastic import (
    foreground,
    gaussian_nll,
    reference_weight,
    relative_weight,
)
from heteroreg.losses.kullback_leibler import kullback_leibler
from heteroreg.losses.objectives import CollaborativeLoss, JointLikelihood, Losses, MeanSquaredError
from heteroreg.losses.similarity import mean_squared_error
from heteroreg.losses.smoothness import smoothness
from heteroreg.losses.spread import spread_penalty

__all__ = [
    "CollaborativeLoss",
    "JointLikelihood",
    "Losses",
    "MeanSquaredError",
    "foreground",
    "gaussian_nll",
    "kullback_leibler",
    "mean_squared_error",
    "reference_weight",
    "relative_weight",
    "smoothness",
    "spread_penalty",
]
