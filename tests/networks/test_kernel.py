"""The Gaussian kernel of the velocity: in the networks, the configuration, the refinement."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heteroreg.losses import TotalLoss
from heteroreg.losses.objectives import MeanSquaredError
from heteroreg.methods import NETWORKS, Network
from heteroreg.networks.displacement import Displacement, displacement_of, integrated
from heteroreg.registration.refinement import refine
from heteroreg.spatial import integrate, resize_displacement, smooth
from heteroreg.system.errors import UserError
from heteroreg.training import Config
from heteroreg.training.parts import Parts


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "transmorph"])
def test_every_network_smooths_its_velocity(network: str) -> None:
    torch.manual_seed(0)
    plain = NETWORKS[network].make(2, head_sd=0.1).eval()
    smoothed = NETWORKS[network].make(2, head_sd=0.1, kernel=1.5).eval()
    smoothed.load_state_dict(plain.state_dict())
    images = torch.rand(2, 1, 1, 32, 48)
    rough, found = plain(*images), smoothed(*images)
    velocity = smooth(rough.velocity, 1.5)
    torch.testing.assert_close(found.velocity, velocity)
    torch.testing.assert_close(found.forward, resize_displacement(integrate(velocity, 7), (32, 48)))
    assert found.velocity.diff(dim=2).square().mean() < 0.5 * rough.velocity.diff(dim=2).square().mean()


def test_transmorph_as_published_smooths_its_displacement() -> None:
    torch.manual_seed(0)
    plain, smoothed = (
        NETWORKS["transmorph"].make(2, int_steps=0, head_sd=0.1, kernel=sd).eval() for sd in (0.0, 2.0)
    )
    smoothed.load_state_dict(plain.state_dict())
    images = torch.rand(2, 1, 1, 32, 32)
    torch.testing.assert_close(smoothed(*images).forward, smooth(plain(*images).forward, 2.0))


def test_a_network_that_takes_no_kernel_is_told() -> None:
    class Own(nn.Module):
        def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> Displacement:
            return displacement_of(torch.zeros(1, 2, 8, 8), moving.shape[2:], 7)

    row = Network("own", "mine", Own)
    row.make(2, kernel=0.0)
    with pytest.raises(UserError, match="kernel: own does not smooth its velocity; leave it out"):
        row.make(2, kernel=1.0)


def test_a_network_without_levels_is_told_of_passes() -> None:
    assert NETWORKS["pyramid"].make(3, passes=2).passes == 2  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="passes: voxelmorph has no levels to go through"):
        NETWORKS["voxelmorph"].make(3, passes=2)


def test_a_backbone_of_ones_own_smooths() -> None:
    row = Network("backbone", "mine", nn.Conv2d(2, 4, 3, padding=1))
    assert row.make(2, kernel=1.0).kernel == 1.0


def test_a_run_of_an_earlier_version_has_none() -> None:
    config = Config.build({"dims": 3, "network": "pyramid"})
    assert config.kernel is None
    network, _ = Parts.of(config, "the run").build()
    assert network.kernel == 0.0


@pytest.mark.parametrize("value", [-1, 17, "wide"])
def test_values_that_are_refused(value: object) -> None:
    with pytest.raises(UserError, match="kernel"):
        Config.build({"kernel": value})


def test_refinement_changes_the_velocity_by_what_is_smooth() -> None:
    """Of noise in the images nothing remains that is finer than the kernel."""
    torch.manual_seed(0)
    moving, fixed = torch.rand(2, 1, 1, 48, 48)
    velocity = torch.zeros(1, 2, 24, 24)
    start = Displacement(velocity, *integrated(velocity, (48, 48), 7))
    rough = refine(start, moving, fixed, MeanSquaredError(), TotalLoss(0.0), 7, 20)
    found = refine(start, moving, fixed, MeanSquaredError(), TotalLoss(0.0), 7, 20, kernel=2.0)

    def fine(velocity: torch.Tensor) -> float:
        return float((velocity - smooth(velocity, 1.0)).square().mean() / velocity.square().mean())

    assert fine(rough.velocity) > 0.1
    assert fine(found.velocity) < 0.1 * fine(rough.velocity)
