import numpy as np
import pytest
import torch

from heteroreg.losses import Losses, TotalLoss
from heteroreg.losses.outside import outside
from heteroreg.spatial import warp


def shift(voxels, shape=(32, 20)):
    field = torch.zeros(1, len(shape), *shape)
    field[:, 0] = voxels
    return field


def test_it_is_zero_with_no_gradient_within_the_margin():
    field = shift(3.2).requires_grad_()  # 0.1 · 32
    value = outside(field)
    value.backward()
    assert value.item() == 0
    assert not field.grad.any()


def test_it_is_what_a_loop_gives():
    generator = torch.Generator().manual_seed(0)
    for shape in ((17, 24), (9, 12, 10)):
        field = torch.randn(2, len(shape), *shape, generator=generator) * 12
        expected = []
        for axis, size in enumerate(shape):
            found = []
            for sample in field:
                for index in np.ndindex(*[-(-n // 4) for n in shape]):
                    at = tuple(4 * i for i in index)
                    position = at[axis] + float(sample[(axis, *at)])
                    beyond = max(-position, position - (size - 1), 0) - 0.1 * size
                    found.append((max(beyond, 0) / size) ** 2)
            expected.append(np.mean(found))
        assert outside(field).item() == pytest.approx(sum(expected), rel=1e-5)


def test_leaving_the_image_costs_more_than_staying_where_the_residual_alone_would_reward_it():
    """A bright spot on black, at another place in each image: outside, black is compared with black."""
    moving, fixed = torch.zeros(2, 1, 1, 32, 20).unbind()
    moving[..., 4:12, 4:12], fixed[..., 16:28, 8:16] = 1.0, 0.6

    def losses(field):
        residual = Losses((warp(moving, field) - fixed).square().mean())
        terms = TotalLoss(0.01).terms(residual, torch.zeros(1, 2, 16, 10), displacement=field)
        return terms["data"].item(), terms["loss"].item()

    staying, leaving = losses(shift(0.0)), losses(shift(40.0))
    assert leaving[0] < staying[0]
    assert leaving[1] > staying[1]


def test_the_gradient_leads_back():
    field = shift(40.0).requires_grad_()
    outside(field).backward()
    assert (field.grad[:, 0] >= 0).all()
    assert field.grad[:, 0].max() > 0
    assert not field.grad[:, 1].any()
