import numpy as np
import pytest
import torch
from scipy.linalg import expm

from heteroreg.spatial import compose, identity, integrate, jacobian_determinant, logarithm

ROTATION = np.array([[0.0, -0.3], [0.3, 0.0]])
SCALING = np.diag([0.2, -0.15])
SHEAR = np.array([[0.05, 0.2], [-0.1, 0.1]])
ROTATION_3D = np.array([[0.0, -0.2, 0.1], [0.2, 0.0, -0.15], [-0.1, 0.15, 0.0]])


def centred(shape):
    grid = identity(shape, torch.zeros(1, dtype=torch.double))
    middle = torch.tensor([(n - 1) / 2 for n in shape], dtype=torch.double)
    return grid - middle.view(1, -1, *[1] * len(shape))


def linear_field(matrix, shape):
    return torch.einsum("ij,nj...->ni...", torch.from_numpy(np.asarray(matrix)), centred(shape))


def inside(field, margin):
    return field[(..., *[slice(margin, -margin)] * (field.ndim - 2))]


@pytest.mark.parametrize("matrix", [ROTATION, SCALING, SHEAR, ROTATION_3D])
def test_a_linear_velocity_gives_the_matrix_exponential(matrix):
    # dx/dt = A (x - c) has the flow x(1) = c + exp(A)(x - c): u = (exp(A) - 1)(x - c).
    shape = (41, 33) if len(matrix) == 2 else (25, 21, 23)
    exact = linear_field(expm(matrix) - np.eye(len(matrix)), shape)
    got = integrate(linear_field(matrix, shape), 10)
    # n squarings are (1 + A/2ⁿ)^(2ⁿ): the error is about |A|²/2ⁿ⁺¹ of the distance from the centre, 0.1/2048·20.
    inner = 9 if len(matrix) == 2 else 7  # paths that start here stay in the image
    assert float((inside(got, inner) - inside(exact, inner)).abs().max()) < 2e-3
    assert float(inside(exact, inner).abs().max()) > 0.5


def test_the_error_halves_with_every_squaring():
    shape = (33, 33)
    exact = linear_field(expm(ROTATION) - np.eye(2), shape)
    errors = [
        float((integrate(linear_field(ROTATION, shape), n) - exact)[..., 9:-9, 9:-9].abs().max()) for n in (4, 5, 6)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_constant_velocity_is_a_translation(dims):
    velocity = torch.ones(1, dims, *[12] * dims) * torch.arange(1, dims + 1).view(1, -1, *[1] * dims) * 0.75
    torch.testing.assert_close(integrate(velocity, 7), velocity, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(40, 36), (24, 20, 22)])
def test_the_negative_velocity_gives_the_inverse(shape):
    # A smooth velocity that vanishes at the border, so that nothing leaves the image.
    grid = centred(shape)
    bumps = [torch.sin(torch.pi * identity(shape, grid)[:, i] / (n - 1)) for i, n in enumerate(shape)]
    window = torch.stack(bumps).prod(0)
    swirl = torch.cat([torch.sin(grid[:, :1] / 5 + 0.3 * k) * window[:, None] for k in range(len(shape))], dim=1)
    velocity = 2.5 * swirl
    forward, backward = integrate(velocity, 7), integrate(-velocity, 7)
    assert float(forward.abs().max()) > 1.5
    for pair in ((forward, backward), (backward, forward)):
        assert float(compose(*pair).abs().max()) < 0.05


def test_no_steps_take_the_velocity_as_it_is(rng):
    velocity = torch.from_numpy(rng.normal(size=(2, 2, 6, 7)))
    torch.testing.assert_close(integrate(velocity, 0), velocity, atol=0, rtol=0)


def test_gradients(rng):
    velocity = torch.from_numpy(rng.uniform(0.2, 0.4, size=(1, 2, 4, 5)))
    velocity[:, :, 2:] *= -1
    assert torch.autograd.gradcheck(lambda v: integrate(v, 3), velocity.requires_grad_())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_a_velocity_that_is_no_number_does_no_harm(value):
    velocity = torch.rand(2, 2, 24, 24)
    velocity[1, 0, 5, 6] = value
    velocity.requires_grad_()
    displacement = integrate(velocity, 7)
    displacement.nansum().backward()
    assert bool(displacement[1, :, 5, 6].isnan().all()) == (abs(value) != 3e38)
    assert int(displacement.isnan().sum()) in (0, 2)


@pytest.mark.parametrize("size", [2.0, 6.0])
def test_the_logarithm_is_the_velocity(size):
    """Of a field whose velocity is known; 0 at the border, where sampling would end it otherwise."""
    x, y = torch.meshgrid(torch.linspace(0, torch.pi, 48), torch.linspace(0, torch.pi, 40), indexing="ij")
    bump = torch.sin(x) * torch.sin(y)
    velocity = size * torch.stack([bump * torch.cos(2 * y), bump * torch.sin(x)])[None]
    found = logarithm(integrate(velocity, 7), 7)
    assert float((found - velocity).abs().mean()) < 0.02  # voxels
    torch.testing.assert_close(integrate(found, 7), integrate(velocity, 7), atol=0.1, rtol=0)


def test_the_logarithm_of_a_fold_is_a_field_near_it_that_does_not_fold():
    x = torch.arange(48.0).expand(1, 1, 40, 48).movedim(-1, -2)
    fold = torch.cat([-6 * torch.sin((x - 24) / 3) * torch.exp(-(((x - 24) / 6) ** 2)), torch.zeros_like(x)], dim=1)
    both = torch.cat([fold, torch.zeros_like(fold)])
    assert float(jacobian_determinant(both).amin()) < -0.5
    found = logarithm(both, 7)
    assert torch.isfinite(found).all()
    assert not found[1].any()  # fields of a batch do not depend on each other
    moved = integrate(found, 7)
    assert float(jacobian_determinant(moved).amin()) > -0.05
    assert float((moved - both).square().mean()) < 0.5 * float(both.square().mean())
