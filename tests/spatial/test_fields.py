import numpy as np
import pytest
import torch

from heteroreg.spatial import compose, identity, invert, resize_displacement, warp


def linear_field(matrix, offset, shape):
    """u(x) = A·x + b on a grid."""
    grid = identity(shape, torch.zeros(1, dtype=torch.double))
    shift = torch.tensor(offset, dtype=torch.double).view(1, -1, *[1] * len(shape))
    return torch.einsum("ij,nj...->ni...", torch.tensor(matrix, dtype=torch.double), grid) + shift


def smooth_field(shape, length, rng):
    """A field that is smooth, random, and vanishes at the border."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, size=(1, len(shape), *[5] * len(shape))))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    fine = torch.nn.functional.interpolate(coarse, size=shape, mode=mode, align_corners=True)
    grid = identity(shape, fine)
    window = torch.stack([torch.sin(torch.pi * grid[0, i] / (n - 1)) for i, n in enumerate(shape)]).prod(0)
    return length * fine * window


@pytest.mark.parametrize("shape", [(32, 29), (17, 18, 16)])
def test_composed_warps_are_warps_in_sequence(shape, rng):
    # On an image that is linear in space no interpolation errs, inside where both stay in the image.
    slopes = torch.tensor([0.7, -1.3, 0.4][: len(shape)], dtype=torch.double).view(1, -1, *[1] * len(shape))
    image = (identity(shape, slopes) * slopes).sum(1, keepdim=True)
    first, second = smooth_field(shape, 2.0, rng), smooth_field(shape, 1.5, rng)
    together = warp(image, compose(first, second))
    torch.testing.assert_close(together, warp(warp(image, first), second), atol=0.06, rtol=0)
    # And in the order that the docstring says: the other order differs.
    assert float((together - warp(warp(image, second), first)).abs().max()) > 0.1


def test_composition_of_linear_maps_is_exact():
    # φ₁(x) = 1.1 x + 1, φ₂(x) = 0.9 x + 0.5: φ₁(φ₂(x)) = 0.99 x + 1.55, so u = -0.01 x + 1.55.
    shape = (40,) * 2
    first = linear_field([[0.1, 0], [0, 0.1]], [1.0, 1.0], shape)
    second = linear_field([[-0.1, 0], [0, -0.1]], [0.5, 0.5], shape)
    expected = linear_field([[-0.01, 0], [0, -0.01]], [1.55, 1.55], shape)
    torch.testing.assert_close(compose(first, second), expected, atol=1e-9, rtol=0)


def test_the_inverse_of_an_affine_map():
    # φ(x) = c + M(x - c) has φ⁻¹(x) = c + M⁻¹(x - c).
    matrix = np.array([[1.08, 0.1], [-0.06, 0.95]])
    shape, centre = (48, 40), np.array([23.5, 19.5])
    forward = linear_field((matrix - np.eye(2)).tolist(), (centre - matrix @ centre).tolist(), shape)
    back = np.linalg.inv(matrix)
    expected = linear_field((back - np.eye(2)).tolist(), (centre - back @ centre).tolist(), shape)
    got = invert(forward, iterations=100, tolerance=1e-10)
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(got[inner], expected[inner], atol=1e-8, rtol=0)


@pytest.mark.parametrize("shape", [(40, 44), (20, 22, 18)])
def test_the_inverse_undoes(shape, rng):
    forward = smooth_field(shape, 1.5, rng)
    inverse = invert(forward, tolerance=1e-8)
    assert float(forward.abs().max()) > 0.5
    # u⁻¹ = -u ∘ (id + u⁻¹) is what the iteration solves: exact up to its tolerance.
    assert float(compose(forward, inverse).abs().max()) < 1e-6
    # The other order interpolates the inverse, which has kinks: a coarse grid leaves a tenth.
    assert float(compose(inverse, forward).abs().mean()) < 0.1 * float(forward.abs().mean())


def test_inversion_stops_at_its_tolerance(rng):
    forward = smooth_field((30, 30), 1.5, rng)
    rough = invert(forward, iterations=1)
    torch.testing.assert_close(rough, -warp(forward, -forward))


def test_damping_inverts_what_stretches_far():
    # φ(x) = c + 2.5 (x - c) has slope 1.5: the plain iteration multiplies its error by -1.5, half steps by
    # 0.5 - 0.5 · 1.5 = -0.25. φ⁻¹(x) = c + 0.4 (x - c), so u⁻¹ = -0.6 (x - c).
    shape, centre = (40, 40), np.array([20.0, 20.0])
    forward = linear_field([[1.5, 0], [0, 1.5]], (-1.5 * centre).tolist(), shape)
    expected = linear_field([[-0.6, 0], [0, -0.6]], (0.6 * centre).tolist(), shape)
    damped = invert(forward, iterations=60, tolerance=1e-10, damping=0.5)
    torch.testing.assert_close(damped, expected, atol=1e-8, rtol=0)
    assert float((invert(forward, iterations=60) - expected).abs().max()) > 1


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_the_inverse_of_a_fold_is_finite_and_bounded(damping):
    # φ(x) = c - (x - c): a mirror, which folds everywhere.
    forward = linear_field([[-2.0, 0], [0, -2.0]], [31.0, 31.0], (32, 32)) + 1
    inverse = invert(forward, damping=damping)
    assert torch.isfinite(inverse).all()
    assert float(inverse.abs().max()) <= float(forward.abs().max())


@pytest.mark.parametrize(("old", "new"), [((9, 13), (17, 5)), ((8, 8), (16, 15)), ((7, 6, 9), (13, 11, 5))])
def test_linear_fields_are_resized_exactly_and_come_back(old, new):
    d = len(old)
    matrix = [[0.2, -0.1, 0.05], [0.03, 0.15, -0.2], [0.1, 0.0, -0.05]]
    matrix = [row[:d] for row in matrix[:d]]
    field = linear_field(matrix, [0.5, -1.0, 0.25][:d], old)
    resized = resize_displacement(field, new)
    # Position x of the old grid is s·x of the new one, s = (m - 1)/(n - 1) along each axis; so u'(x') =
    # s·u(x'/s) = S·A·S⁻¹·x' + S·b.
    s = np.array([(m - 1) / (n - 1) for m, n in zip(new, old, strict=True)])
    expected = linear_field(
        (np.diag(s) @ np.array(matrix) @ np.diag(1 / s)).tolist(), (s * [0.5, -1.0, 0.25][:d]).tolist(), new
    )
    torch.testing.assert_close(resized, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(resize_displacement(resized, old), field, atol=1e-9, rtol=0)


def test_resizing_to_the_same_shape_changes_nothing(rng):
    field = torch.from_numpy(rng.normal(size=(1, 2, 5, 6)))
    assert resize_displacement(field, (5, 6)) is field


def test_an_axis_of_one_voxel_is_resized_to_finite_values():
    resized = resize_displacement(torch.ones(1, 3, 8, 8, 1), (15, 8, 1))
    torch.testing.assert_close(resized[0, 0], torch.full((15, 8, 1), 2.0))  # (15 - 1)/(8 - 1) = 2
    assert torch.isfinite(resized).all()
