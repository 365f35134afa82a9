"""Scores on the validation pairs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heteroreg.data.samples.samples import Samples
from heteroreg.losses import TotalLoss
from heteroreg.spatial import jacobian_determinant, warp, warp_labels

SAMPLES_AT_ONCE = 16


@dataclass(frozen=True)
class Validation:
    """Scores on the validation pairs.

    Attributes:
        loss: Total loss, the mean over samples.
        dice: Per label the mean over patients of the mean over samples that have the label in both images.
        folding_percent: Share of voxels where the map folds.
        displacement: Mean length of the displacement in voxels.
        undeformed: Mean Dice over labels of the images as they are; None without labels.
    """

    loss: float
    dice: Mapping[int, float]
    folding_percent: float
    displacement: float
    undeformed: float | None = None

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice over labels; None without labels."""
        return _mean(self.dice)

    @property
    def score(self) -> float:
        """Score that chooses the best checkpoint: Dice, or the negative loss without labels."""
        return -self.loss if self.mean_dice is None else self.mean_dice

    def figures(self) -> dict[str, float]:
        """Return the scores by the names of their columns in `metrics.csv`."""
        found = {
            "val_loss": self.loss,
            "val_folding_percent": self.folding_percent,
            "val_displacement_voxels": self.displacement,
        }
        if self.mean_dice is not None:
            found |= {"val_dice": self.mean_dice} | {
                f"val_dice_{label}": value for label, value in self.dice.items()
            }
        if self.undeformed is not None:
            found["val_dice_undeformed"] = self.undeformed
        return found


@torch.no_grad()
def validate(
    network: nn.Module, objective: nn.Module, samples: Samples, total: TotalLoss, device: torch.device
) -> Validation:
    """Register every validation sample, moving onto fixed.

    Args:
        network: The displacement estimator.
        objective: From (moved, fixed) to `Losses`.
        samples: The validation pairs.
        total: Total loss of the training.
        device: Where to compute.
    """
    network.eval()
    objective.eval()
    losses, folded, lengths = [], [], []
    dice, undeformed = _Dice(), _Dice()
    for first in range(0, len(samples), SAMPLES_AT_ONCE):
        part = range(first, min(first + SAMPLES_AT_ONCE, len(samples)))
        moving, fixed = (image.contiguous() for image in samples.images(part).to(device).chunk(2, dim=1))
        result = network(moving, fixed)
        field = result.forward
        loss = objective(warp(moving, field), fixed)
        terms = total.terms(loss, result.velocity, result.velocity_log_variance, field)
        losses.append(terms["loss"] * len(moving))
        folded.append((jacobian_determinant(field) <= 0).float().sum())
        lengths.append(field.norm(dim=1).sum())
        if samples.labelled:
            labels, truth = samples.labels(part).to(device).chunk(2, dim=1)
            moved = warp_labels(labels, field)
            for index in range(len(moving)):
                patient = samples.patients[int(samples.pair[first + index])]
                dice.add(patient, dice_of(labels[index], moved[index], truth[index]))
                undeformed.add(patient, dice_of(labels[index], labels[index], truth[index]))
    network.train()
    objective.train()
    voxels = len(samples) * math.prod(samples.size)
    return Validation(
        loss=float(torch.stack(losses).sum()) / len(samples),
        dice=dice.means(),
        folding_percent=100 * float(torch.stack(folded).sum()) / voxels,
        displacement=float(torch.stack(lengths).sum()) / voxels,
        undeformed=_mean(undeformed.means()),
    )


class _Dice:
    """Dice of each label, of each patient's samples."""

    def __init__(self) -> None:
        self._values: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, patient: str, scores: Mapping[int, float]) -> None:
        """Add the scores of a sample by label."""
        for label, value in scores.items():
            self._values[label][patient].append(value)

    def means(self) -> dict[int, float]:
        """Return per label the mean over patients of the mean over their samples."""
        return {
            label: sum(sum(v) / len(v) for v in patients.values()) / len(patients)
            for label, patients in sorted(self._values.items())
        }


def _mean(dice: Mapping[int, float]) -> float | None:
    return sum(dice.values()) / len(dice) if dice else None


def dice_of(moving: Tensor, moved: Tensor, fixed: Tensor) -> dict[int, float]:
    """Return Dice of each label that is in both the moving and the fixed label map: 2·|A ∩ B| / (|A| + |B|)."""
    shared = set(moving.unique().tolist()) & set(fixed.unique().tolist()) - {0}
    result = {}
    for label in shared:
        a, b = moved == label, fixed == label
        result[int(label)] = 2 * float((a & b).sum()) / float(a.sum() + b.sum())
    return result
