import pytest
import torch
from torch import nn

from heteroreg.data.dataset import Samples
from heteroreg.losses import MeanSquaredError
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
    moving = torch.zeros(20, 1, 24, 24)
    moving[:, :, 8:14, 6:12] = 0.5 + torch.rand(20, 1, 1, 1, generator=generator) / 2
    fixed = moving.roll(-3, dims=2)
    maps = [(image > 0).int() * 4 for image in (moving, fixed)]
    return Samples(
        moving, fixed, *(maps if labels else (None, None)), torch.arange(20) // 7, ("a", "b", "c"), ("a", "b", "c")
    )


def test_the_right_shift_scores_1():
    scores = validate(Shift(3.0), MeanSquaredError(), samples(), 0.02, torch.device("cpu"))
    assert scores.dice == {4: 1.0}
    assert scores.loss == pytest.approx(0, abs=1e-10)
    assert scores.displacement == pytest.approx(3)
    assert scores.folding_percent == 0
    assert scores.score == scores.mean_dice == 1


def test_no_shift_by_hand():
    # 6 rows of which 3 are shared: Dice 2·3/(6 + 6) = 0.5.
    data = samples()
    scores = validate(Shift(0.0), MeanSquaredError(), data, 0.02, torch.device("cpu"))
    assert scores.dice == {4: 0.5}
    assert scores.loss == pytest.approx(float(((data.moving - data.fixed) ** 2).mean()), rel=1e-5)


def test_patients_count_alike_whatever_their_slices():
    # One patient with 1 slice of Dice 1, another with 3 of Dice 0.5: (1 + 0.5)/2.
    data = samples()
    fixed = data.moving_labels[:4].clone()
    fixed[1:] = data.fixed_labels[1:4]
    some = Samples(
        data.moving[:4],
        data.fixed[:4],
        data.moving_labels[:4],
        fixed,
        torch.tensor([0, 1, 1, 1]),
        ("a", "b"),
        ("a", "b"),
    )
    assert validate(Shift(0.0), MeanSquaredError(), some, 0, torch.device("cpu")).mean_dice == 0.75


def test_without_labels_the_score_is_the_negative_loss():
    scores = validate(Shift(1.0), MeanSquaredError(), samples(labels=False), 0.02, torch.device("cpu"))
    assert scores.dice == {}
    assert scores.mean_dice is None
    assert scores.score == -scores.loss < 0


def test_folding_is_counted():
    class Mirror(Shift):
        def forward(self, moving, fixed):
            field = super().forward(moving, fixed).forward
            field[:, 0] = -2 * torch.arange(24.0).view(24, 1)
            return Displacement(field, field, -field)

    scores = validate(Mirror(0.0), MeanSquaredError(), samples(), 0, torch.device("cpu"))
    assert scores.folding_percent == 100


def test_the_networks_learn_on_afterwards():
    network, objective = Shift(0.0), MeanSquaredError()
    validate(network, objective, samples(), 0, torch.device("cpu"))
    assert network.training
    assert objective.training


def test_dice_by_hand():
    moving = torch.tensor([1, 1, 2, 2, 3, 0])
    moved = torch.tensor([1, 2, 2, 2, 3, 0])
    fixed = torch.tensor([1, 1, 2, 2, 0, 4])
    # Label 1: 2·1/(1 + 2); label 2: 2·2/(3 + 2); 3 is not in fixed, 4 not in moving.
    assert dice_of(moving, moved, fixed) == pytest.approx({1: 2 / 3, 2: 0.8})
