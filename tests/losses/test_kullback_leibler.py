import math

import numpy as np
import pytest
import torch
from scipy import sparse

from heteroreg.losses import kullback_leibler, smoothness
from heteroreg.losses.kullback_leibler import grid_degree, mean_divergence_weight, variance_divergence

SHAPES = [(3, 4), (5, 1), (3, 4, 5)]


def laplacian(shape):
    """D and L = D - A of the grid graph, voxels in C order, edge by edge."""
    index = np.arange(math.prod(shape)).reshape(shape)
    pairs = [(np.delete(index, -1, axis).ravel(), np.delete(index, 0, axis).ravel()) for axis in range(len(shape))]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    adjacency = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(index.size,) * 2)
    adjacency = (adjacency + adjacency.T).tocsr()
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    return degree, sparse.diags_array(degree) - adjacency


def fields(shape, count=2):
    generator = torch.Generator().manual_seed(7)
    return (torch.randn(count, len(shape), *shape, generator=generator, dtype=torch.float64) for _ in range(2))


def test_the_degree_by_hand_in_2d():
    # 3 x 4: corners have 2 neighbours, borders 3, inside 4.
    expected = [[2, 3, 3, 2], [3, 4, 4, 3], [2, 3, 3, 2]]
    assert grid_degree((3, 4), torch.zeros(1))[0, 0].tolist() == expected


def test_the_degree_by_hand_in_3d():
    # 3 x 3 x 3: corners have 3 neighbours, edges 4, faces 5, the centre 6.
    outer, middle = [[3, 4, 3], [4, 5, 4], [3, 4, 3]], [[4, 5, 4], [5, 6, 5], [4, 5, 4]]
    assert grid_degree((3, 3, 3), torch.zeros(1))[0, 0].tolist() == [outer, middle, outer]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1), (2, 2, 2)])
def test_the_degree_is_that_of_the_graph(shape):
    degree, _ = laplacian(shape)
    np.testing.assert_array_equal(grid_degree(shape, torch.zeros(1, dtype=torch.float64)).ravel(), degree)


def test_by_hand():
    # 2 x 2 pixels, D = 2 everywhere, λ = 3, σ² = 1/2 in both components: λ·D·σ² - log σ² = 3 + log 2.
    # μ_0 rises by 1 along the first axis, μ_1 = 0: differences along axis 0 are 1 (component 0) and 0, mean of
    # squares 1/2; along axis 1 all 0. λ·½·(1/2 + 0)/2 = 3/8. Times ½·d = 1.
    mean = torch.tensor([[[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    log_variance = torch.full_like(mean, math.log(0.5))
    assert float(kullback_leibler(mean, log_variance, 3.0)) == pytest.approx(3 + math.log(2) + 3 / 8)


@pytest.mark.parametrize("shape", [(3, 4), (4, 4, 4)])
def test_against_the_sparse_laplacian(shape):
    # The trace is Σ D σ². μᵀLμ = Σ over edges of (∂μ)², axis by axis; the mean over the axes of the means needs the
    # edges of each axis, whose number differs between axes.
    d, weight = len(shape), 1.7
    mean, log_variance = fields(shape)
    degree, _ = laplacian(shape)
    variance = np.exp(log_variance.numpy()).reshape(2, d, -1)
    sigma = (weight * degree * variance - np.log(variance)).mean()
    precision = 0.0
    for axis in range(d):
        line = [n if k == axis else 1 for k, n in enumerate(shape)]
        _, along = laplacian(line)  # of one row of voxels
        matrix = sparse.eye_array(1)
        for k, n in enumerate(shape):
            matrix = sparse.kron(matrix, along if k == axis else sparse.eye_array(n))
        flat = mean.numpy().reshape(2 * d, -1)
        edges = math.prod(shape) // shape[axis] * (shape[axis] - 1)
        precision += sum(float(row @ (matrix @ row)) for row in flat) / (2 * d * edges) / d
    expected = 0.5 * d * (sigma + weight * 0.5 * precision)
    assert float(kullback_leibler(mean, log_variance, weight)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_sum_of_the_parts_that_training_takes(shape):
    mean, log_variance = fields(shape)
    parts = variance_divergence(log_variance, 2.0) + mean_divergence_weight(len(shape), 2.0) * smoothness(mean)
    torch.testing.assert_close(kullback_leibler(mean, log_variance, 2.0), parts)


def test_the_variance_is_best_at_the_inverse_of_the_precision():
    best = -torch.log(5.0 * grid_degree((4, 5), torch.zeros(1, dtype=torch.float64))).expand(1, 2, 4, 5)
    least = float(variance_divergence(best, 5.0))
    for step in (-0.1, 0.1):
        assert float(variance_divergence(best + step, 5.0)) > least


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 3)])
def test_the_gradient(shape):
    mean, log_variance = (field.requires_grad_() for field in fields(shape, 1))
    assert torch.autograd.gradcheck(lambda m, s: kullback_leibler(m, s, 2.0), (mean, log_variance))
