import pytest
import torch
from torch import nn

from heteroreg.data.samples.samples import Samples
from heteroreg.losses import MeanSquaredError, TotalLoss
from heteroreg.networks import Displacement
from heteroreg.training.validation import dice_of, validate


class Shift(nn.Module):
    """Moves everything by so many voxels along the first axis."""

    def __init__(self, voxels):
        super().__init__()
        self.voxels = voxels

    def forward(self, moving, fixed):
        field = torch.zeros(len(moving), 2, *moving.shape[2:])
        field[:, 0] = self.voxels
        return Displacement(field, field, -field)


def samples(labels=True):
    """Twenty samples of three patients; the fixed image is the moving one, 3 voxels on."""
    generator = torch.Generator().manual_seed(0)
    moving = torch.zeros(20, 24, 24)
    moving[:, 8:14, 6:12] = 0.5 + torch.rand(20, 1, 1, generator=generator) / 2
    arrays = {"moving": moving, "fixed": moving.roll(-3, dims=1)}
    if labels:
        arrays |= {f"{name}_labels": (image > 0).int() * 4 for name, image in arrays.items()}
    pairs = [slice(0, 7), slice(7, 14), slice(14, 20)]
    return Samples(
        tuple({name: array[part] for name, array in arrays.items()} for part in pairs),
        ("a", "b", "c"),
        ("a", "b", "c"),
    )


def test_the_right_shift_scores_1():
    scores = validate(Shift(3.0), MeanSquaredError(), samples(), TotalLoss(0.02), torch.device("cpu"))
    assert scores.dice == {4: 1.0}
    assert scores.loss == pytest.approx(0, abs=1e-10)
    assert scores.displacement == pytest.approx(3)
    assert scores.folding_percent == 0
    assert scores.score == scores.mean_dice == 1


def test_no_shift_by_hand():
    # 6 rows of which 3 are shared: Dice 2·3/(6 + 6) = 0.5.
    data = samples()
    scores = validate(Shift(0.0), MeanSquaredError(), data, TotalLoss(0.02), torch.device("cpu"))
    assert scores.dice == {4: 0.5}
    moving, fixed = data.images(range(20)).unbind(dim=1)
    assert scores.loss == pytest.approx(float(((moving - fixed) ** 2).mean()), rel=1e-5)


def test_patients_count_alike_whatever_their_slices():
    # One patient with 1 slice of Dice 1, another with 3 of Dice 0.5: (1 + 0.5)/2.
    arrays = samples().arrays[0]
    first = {name: array[:1] for name, array in arrays.items()}
    first["fixed_labels"] = first["moving_labels"]
    some = Samples((first, {name: array[1:4] for name, array in arrays.items()}), ("a", "b"), ("a", "b"))
    assert validate(Shift(0.0), MeanSquaredError(), some, TotalLoss(0), torch.device("cpu")).mean_dice == 0.75


def test_without_labels_the_score_is_the_negative_loss():
    scores = validate(Shift(1.0), MeanSquaredError(), samples(labels=False), TotalLoss(0.02), torch.device("cpu"))
    assert scores.dice == {}
    assert scores.mean_dice is None
    assert scores.score == -scores.loss < 0


def test_folding_is_counted():
    class Mirror(Shift):
        def forward(self, moving, fixed):
            field = super().forward(moving, fixed).forward
            field[:, 0] = -2 * torch.arange(24.0).view(24, 1)
            return Displacement(field, field, -field)

    scores = validate(Mirror(0.0), MeanSquaredError(), samples(), TotalLoss(0), torch.device("cpu"))
    assert scores.folding_percent == 100


def test_the_networks_learn_on_afterwards():
    network, objective = Shift(0.0), MeanSquaredError()
    validate(network, objective, samples(), TotalLoss(0), torch.device("cpu"))
    assert network.training
    assert objective.training


def test_dice_by_hand():
    moving = torch.tensor([1, 1, 2, 2, 3, 0])
    moved = torch.tensor([1, 2, 2, 2, 3, 0])
    fixed = torch.tensor([1, 1, 2, 2, 0, 4])
    # Label 1: 2·1/(1 + 2); label 2: 2·2/(3 + 2); 3 is not in fixed, 4 not in moving.
    assert dice_of(moving, moved, fixed) == pytest.approx({1: 2 / 3, 2: 0.8})
