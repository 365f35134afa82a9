import numpy as np
import pytest
import torch

from heteroreg.spatial import identity, jacobian_determinant


def grid(shape):
    return identity(shape, torch.zeros(1, dtype=torch.double))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.2, 0.3], [-0.1, 0.8]],  # det = 0.96 + 0.03 = 0.99
        [[-1.0, 0.0], [0.0, 1.0]],  # a mirror: det = -1
        [[1.1, 0.2, 0.0], [0.0, 0.9, -0.3], [0.4, 0.1, 1.3]],
    ],
)
def test_of_an_affine_map_is_its_determinant(matrix):
    shape = (7, 6, 5)[: len(matrix)]
    field = torch.einsum("ij,nj...->ni...", torch.tensor(matrix) - torch.eye(len(matrix)), grid(shape).float())
    expected = torch.full((1, *shape), float(np.linalg.det(matrix)))
    torch.testing.assert_close(jacobian_determinant(field), expected, atol=1e-5, rtol=0)


def test_of_a_quadratic_field():
    # u = (a x² + b y, c x y): det = (1 + 2 a x)(1 + c x) - b c y. Central differences are exact for quadratics.
    a, b, c = 0.01, 0.2, 0.02
    x, y = grid((12, 9))[0]
    field = torch.stack([a * x**2 + b * y, c * x * y])[None]
    exact = (1 + 2 * a * x) * (1 + c * x) - b * c * y
    got = jacobian_determinant(field)[0]
    torch.testing.assert_close(got[1:-1, 1:-1], exact[1:-1, 1:-1], atol=1e-12, rtol=0)
    # At the border the slope of x² is one-sided: (1 - 0)/1 = 1 instead of 0 at x = 0.
    torch.testing.assert_close(got[0, 1:-1], ((1 + a) * torch.ones_like(y[0]) - b * c * y[0])[1:-1])


def test_of_a_wave_in_3d():
    x, y, z = grid((40, 6, 5))[0]
    k = 2 * np.pi / 40
    field = torch.stack([1.5 * torch.sin(k * x), 0 * y, 0.1 * z])[None]
    # Central differences of sin: k cos(kx) · sin(k)/k.
    exact = (1 + 1.5 * torch.cos(k * x) * np.sin(k)) * 1.1
    torch.testing.assert_close(jacobian_determinant(field)[0, 1:-1], exact[1:-1], atol=1e-12, rtol=0)


def test_folding_is_negative():
    field = torch.zeros(1, 2, 9, 9)
    field[:, 0] = -2 * grid((9, 9))[0, 0].float()  # x becomes -x
    assert (jacobian_determinant(field) == -1).all()


def test_an_axis_of_one_voxel_has_no_slope():
    field = torch.zeros(2, 3, 6, 6, 1)
    field[:, 0] = 0.5 * torch.arange(6.0).view(6, 1, 1)
    torch.testing.assert_close(jacobian_determinant(field), torch.full((2, 6, 6, 1), 1.5))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_gradients(shape, rng):
    field = torch.from_numpy(rng.normal(scale=0.3, size=(1, len(shape), *shape))).requires_grad_()
    assert torch.autograd.gradcheck(jacobian_determinant, field)
