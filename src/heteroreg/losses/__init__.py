"""What training minimises: functions of tensors, and thin modules over them that make an objective."""

from heteroreg.losses.heteroscedastic import (
    foreground,
    gaussian_nll,
    reference_weight,
    relative_weight,
)
from heteroreg.losses.objectives import CollaborativeLoss, JointLikelihood, Losses, MeanSquaredError
from heteroreg.losses.similarity import mean_squared_error
from heteroreg.losses.smoothness import smoothness

__all__ = [
    "CollaborativeLoss",
    "JointLikelihood",
    "Losses",
    "MeanSquaredError",
    "foreground",
    "gaussian_nll",
    "mean_squared_error",
    "reference_weight",
    "relative_weight",
    "smoothness",
]
