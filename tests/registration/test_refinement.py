"""Refinement of single pairs: the loss of the training falls, and nothing else changes."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor

import heteroreg as hr
from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import Image, read_image
from heteroreg.losses import TotalLoss, smoothness
from heteroreg.losses.objectives import MeanSquaredError
from heteroreg.networks.displacement import Displacement, integrated
from heteroreg.registration.classical import Classical, Elastix
from heteroreg.registration.load import load
from heteroreg.registration.refinement import refine, refine_displacement
from heteroreg.spatial import compose, integrate, warp
from heteroreg.system.errors import UserError
from heteroreg.training import Run


def blobs(shift: float) -> Tensor:
    """Two pairs of blobs (2, 1, 24, 24), the second moved twice as far."""
    x, y = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    return torch.stack([torch.exp(-((x - 12 - k * shift) ** 2 + (y - 11) ** 2) / 18) for k in (1, 2)])[:, None]


def still(shape: tuple[int, int] = (24, 24)) -> Displacement:
    velocity = torch.zeros(2, 2, 12, 12)
    return Displacement(velocity, *integrated(velocity, shape, 7))


def loss(found: Displacement, moving: Tensor, fixed: Tensor, weight: float) -> float:
    there = (warp(moving, found.forward) - fixed).square().mean()
    back = (warp(fixed, found.backward) - moving).square().mean()
    return float((there + back) / 2 + weight * smoothness(found.velocity))


def test_the_loss_falls_and_the_blob_comes_over() -> None:
    moving, fixed = blobs(1.0), blobs(0.0)
    found = refine(still(), moving, fixed, MeanSquaredError(), TotalLoss(1e-3), 7, 100)
    assert loss(found, moving, fixed, 1e-3) < 0.15 * loss(still(), moving, fixed, 1e-3)
    # In the middle of the blob the way is that of the blob: 1 and 2 voxels along the first axis.
    way = found.forward[:, :, 12, 11]
    torch.testing.assert_close(way, torch.tensor([[1.0, 0.0], [2.0, 0.0]]), atol=0.25, rtol=0)
    assert float(found.forward[:, :, :3].abs().max()) < 0.5  # nothing to see there, nothing moves
    assert float(compose(found.forward, found.backward).abs().max()) < 0.25


def test_pairs_do_not_depend_on_their_batch() -> None:
    moving, fixed = blobs(1.0), blobs(0.0)
    together = refine(still(), moving, fixed, MeanSquaredError(), TotalLoss(1e-3), 7, 30)
    alone = refine(
        Displacement(*(t[1:] for t in still()[:3])),
        moving[1:],
        fixed[1:],
        MeanSquaredError(),
        TotalLoss(1e-3),
        7,
        30,
    )
    torch.testing.assert_close(together.forward[1:], alone.forward, atol=1e-3, rtol=0)


def test_more_smoothness_moves_less() -> None:
    moving, fixed = blobs(1.0), blobs(0.0)
    stiff, soft = (refine(still(), moving, fixed, MeanSquaredError(), TotalLoss(w), 7, 40) for w in (10.0, 1e-3))
    assert float(stiff.forward.abs().max()) < 0.5 * float(soft.forward.abs().max())


def test_a_model_refines_with_its_own_loss(run_2d: Run, cohort_2d: Cohort) -> None:
    pair = cohort_2d.split("test")[0]
    moving, fixed = read_image(pair.moving), read_image(pair.fixed)
    plain, refined = hr.load(run_2d.folder), hr.load(run_2d.folder, refine=40)
    learned = [p.requires_grad for p in refined.objective.parameters()]
    before, after = plain.register(moving, fixed), refined.register(moving, fixed)
    assert [p.requires_grad for p in refined.objective.parameters()] == learned
    assert any(learned)
    assert all(p.grad is None for p in refined.network.parameters())
    assert "refine" not in before.info
    assert after.info["refine"] == 40

    # Of the weights of one registration: those of the other are others.
    residuals = [(before.weight.array * (r.moved.array - fixed.array) ** 2).mean() for r in (before, after)]
    assert residuals[1] < residuals[0]
    assert np.abs(after.displacement - before.displacement).max() > 0.2
    again = hr.load(run_2d.folder, refine=40).register(moving, fixed)
    np.testing.assert_array_equal(again.displacement, after.displacement)


@pytest.mark.slow
def test_stacks_and_volumes(run_2d: Run, run_3d: Run, cohort_3d: Cohort) -> None:
    pair = cohort_3d.split("test")[0]
    for run in (run_2d, run_3d):
        before, after = (hr.load(run.folder, refine=n).register(pair.moving, pair.fixed) for n in (0, 3))
        assert after.displacement.shape == before.displacement.shape
        assert np.abs(after.displacement - before.displacement).max() > 0.01
        assert np.isfinite(after.inverse_displacement).all()


def test_the_command(run_2d: Run, cohort_2d: Cohort, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pair = cohort_2d.split("test")[0]
    arguments = [pair.moving, pair.fixed, "--model", run_2d.folder, "--out", tmp_path / "out", "--refine", 2]
    monkeypatch.setattr("sys.argv", ["heteroreg", "register", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert '"refine": 2' in (tmp_path / "out" / "summary.json").read_text()


def test_what_cannot_be_refined(run_2d: Run) -> None:
    with pytest.raises(UserError, match="refine: undeformed has no displacement to refine"):
        load("undeformed", refine=3)
    with pytest.raises(UserError, match="whole number from 0 up"):
        hr.load(run_2d.folder, refine=-1)


def known(shape: tuple[int, ...], size: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a smooth displacement of up to `size` voxels that is 0 at the border, and a textured pair of it."""
    axes = torch.meshgrid(*(torch.linspace(0, torch.pi, n) for n in shape), indexing="ij")
    bump = torch.stack([torch.sin(axis) for axis in axes]).prod(0)
    turns = torch.stack([torch.cos((i + 1) * axis) for i, axis in enumerate(axes)])
    displacement = integrate((size * bump * turns)[None], 7)
    places = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    waves = torch.stack([torch.sin(place * (0.55 + 0.1 * i)) for i, place in enumerate(places)]).sum(0)
    moving = (waves - waves.min()) / (waves.max() - waves.min())
    return displacement, moving[None, None], warp(moving[None, None], displacement)


@pytest.mark.parametrize(("shape", "size"), [((48, 40), 3.0), ((28, 32, 24), 2.0)])
def test_a_displacement_of_no_network_comes_near_the_true_one(shape: tuple[int, ...], size: float) -> None:
    true, moving, fixed = known(shape, size)
    rough = 0.6 * true
    found, inverse = refine_displacement(rough, moving, fixed, 60)
    inner = (slice(None), *[slice(4, -4)] * len(shape))

    def error(displacement: Tensor) -> float:
        return float((displacement - true)[0][inner].norm(dim=0).mean())

    assert error(found) < 0.5 * error(rough)
    assert float(compose(found, inverse)[0][inner].norm(dim=0).mean()) < 0.05
    # Without a step it is the displacement itself, up to the resolution of the velocity.
    same, _ = refine_displacement(rough, moving, fixed, 0)
    assert float((same - rough).abs().mean()) < 0.02 * float(rough.abs().max())


class Rough(Classical):
    """A program that finds three fifths of the way."""

    name = "rough"

    def _align(self, moving, fixed, spacing):
        return 0.6 * known(moving.shape, 3.0)[0][0].numpy()


def test_a_program_is_refined_slice_by_slice() -> None:
    true, moving, fixed = known((48, 40), 3.0)
    images = [np.repeat(one[0, 0].numpy()[..., None], 3, axis=2) for one in (moving, fixed)]
    images[0][..., 2] = 0.5  # a slice that shows nothing
    pair = [Image.from_array(array, (1.0, 1.0, 8.0)) for array in images]
    plain, refined = Rough(), Rough()
    refined.refine = 40
    before, after = (registrar.register(*pair) for registrar in (plain, refined))
    assert "refine" not in before.info
    assert after.info["refine"] == 40
    assert after.slicewise
    for k in (0, 1):
        errors = [np.abs(found.displacement[:2, ..., k] - true[0].numpy()).mean() for found in (before, after)]
        assert errors[1] < 0.5 * errors[0]
    assert not after.displacement[..., 2].any()
    assert not after.displacement[2].any()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("itk") is None, reason="itk-elastix is not installed")
def test_elastix_is_refined() -> None:
    true, moving, fixed = known((48, 40), 3.0)
    pair = [one[0, 0].numpy() for one in (moving, fixed)]
    settings = {"NumberOfResolutions": "1", "MaximumNumberOfIterations": "30", "FinalGridSpacingInVoxels": "16"}
    plain, refined = (Elastix(settings=settings, refine=n) for n in (0, 40))
    assert plain.fingerprint() != refined.fingerprint()
    assert (plain.identity, refined.identity) == ("elastix", "elastix, refined by 40")
    errors = [
        np.linalg.norm(one.register(*pair, spacing=1.0).displacement - true[0].numpy(), axis=0).mean()
        for one in (plain, refined)
    ]
    assert errors[1] < 0.7 * errors[0]
    assert isinstance(load("elastix", refine=3), Elastix)
