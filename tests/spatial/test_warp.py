import numpy as np
import pytest
import torch
from scipy import ndimage

from heteroreg.spatial import identity, sample, warp, warp_labels

SHAPES = [(12, 12), (17, 9), (8, 9, 7), (16, 5, 11)]


def random_pair(shape, rng, length=3.0):
    image = rng.normal(size=shape)
    displacement = rng.uniform(-length, length, size=(len(shape), *shape))
    return image, displacement


def tensor(array):
    return torch.from_numpy(np.asarray(array))[None]


def scipy_positions(displacement):
    axes = np.meshgrid(*[np.arange(n) for n in displacement.shape[1:]], indexing="ij")
    return np.stack(axes) + displacement


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("nearest", 0)])
def test_border_equals_scipy(shape, mode, order, rng):
    image, u = random_pair(shape, rng)
    moved = warp(tensor(image)[None], tensor(u), mode=mode)[0, 0].numpy()
    expected = ndimage.map_coordinates(image, scipy_positions(u), order=order, mode="nearest")
    np.testing.assert_allclose(moved, expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_zeros_begin_half_a_voxel_beyond_the_outer_centres(shape, rng):
    image, u = random_pair(shape, rng, length=4.0)
    positions = scipy_positions(u)
    moved = warp(tensor(image)[None], tensor(u), outside="zeros")[0, 0].numpy()
    expected = ndimage.map_coordinates(image, positions, order=1, mode="nearest")
    for axis, n in enumerate(shape):
        expected[(positions[axis] < -0.5) | (positions[axis] > n - 0.5)] = 0
    assert (expected == 0).mean() > 0.05  # the case occurs
    np.testing.assert_allclose(moved, expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_displacement_is_the_image_to_the_last_digits(shape, rng):
    image = torch.from_numpy(rng.normal(size=(2, 3, *shape)).astype(np.float32))
    moved = warp(image, torch.zeros(2, len(shape), *shape))
    torch.testing.assert_close(moved, image, atol=2e-5, rtol=0)


def test_channel_i_moves_along_axis_i():
    image = torch.zeros(1, 1, 6, 8)
    image[0, 0, 4, 5] = 1
    u = torch.zeros(1, 2, 6, 8)
    u[:, 0], u[:, 1] = 2, 3  # moved(x, y) = image(x + 2, y + 3): the point comes to (2, 2)
    assert warp(image, u)[0, 0].nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize("outside", ["border", "zeros"])
def test_an_axis_of_one_voxel_has_only_position_0(outside, rng):
    image = torch.from_numpy(rng.normal(size=(1, 1, 9, 1)))
    u = torch.zeros(1, 2, 9, 1, dtype=torch.double)
    u[:, 0] = 0.5
    moved = warp(image, u, outside=outside)[0, 0, :, 0]
    line = image[0, 0, :, 0]
    torch.testing.assert_close(moved[:-1], (line[:-1] + line[1:]) / 2)
    torch.testing.assert_close(moved[-1], line[-1])


def test_one_displacement_for_a_batch_and_one_image_for_many_positions(rng):
    images = torch.from_numpy(rng.normal(size=(3, 2, 7, 8)))
    u = torch.from_numpy(rng.uniform(-2, 2, size=(3, 2, 7, 8)))
    together = warp(images, u[:1])
    for k in range(3):
        torch.testing.assert_close(together[k], warp(images[k : k + 1], u[:1])[0])
    many = warp(images[:1], u)
    for k in range(3):
        torch.testing.assert_close(many[k], warp(images[:1], u[k : k + 1])[0])


def test_positions_of_another_shape_than_the_image(rng):
    image = rng.normal(size=(9, 11))
    positions = np.stack([rng.uniform(0, 8, (4, 5)), rng.uniform(0, 10, (4, 5))])
    values = sample(tensor(image)[None], tensor(positions))[0, 0].numpy()
    np.testing.assert_allclose(values, ndimage.map_coordinates(image, positions, order=1), atol=1e-10)


def test_wrong_number_of_channels_is_named():
    with pytest.raises(ValueError, match=r"positions need 2 channels.*\(8, 8\).*\(1, 3, 8, 8\)"):
        sample(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))


def test_identity_holds_the_indices():
    grid = identity((2, 3), torch.zeros(1))
    assert grid.tolist() == [[[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]]


@pytest.mark.parametrize("shape", [(13, 10), (7, 8, 9)])
def test_labels_are_the_strongest_of_the_warped_one_hot(shape, rng):
    coarse = rng.integers(0, 4, size=[(n + 2) // 3 for n in shape]) * 7  # labels 0, 7, 14, 21 in blocks
    labels = np.kron(coarse, np.ones((3,) * len(shape), dtype=int))[tuple(slice(0, n) for n in shape)]
    u = rng.uniform(-2.5, 2.5, size=(len(shape), *shape))
    positions = scipy_positions(u)
    beyond = np.zeros(shape, dtype=bool)
    for axis, n in enumerate(shape):
        beyond |= (positions[axis] < -0.5) | (positions[axis] > n - 0.5)
    values = np.unique(labels)
    one_hot = np.stack(
        [ndimage.map_coordinates((labels == v).astype(float), positions, order=1, mode="nearest") for v in values]
    )
    expected = np.where(beyond, 0, values[one_hot.argmax(0)])
    moved = warp_labels(tensor(labels)[None], tensor(u))
    assert moved.dtype == torch.int64
    ranks = np.sort(one_hot, axis=0)
    clear = ranks[-1] - ranks[-2] > 1e-9  # rounding decides a tie
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(moved[0, 0].numpy()[clear], expected[clear])


def test_labels_do_not_mix_and_beyond_is_background():
    labels = torch.full((1, 1, 8, 8), 5, dtype=torch.int32)  # no background in the map itself
    labels[:, :, 4:] = 9
    u = torch.zeros(1, 2, 8, 8)
    u[:, 0] = 3.4
    moved = warp_labels(labels, u)
    assert moved.dtype == torch.int32
    # Rows 0 and 1 see positions 3.4 (60 % label 5) and 4.4; from row 5 on (8.4) they lie beyond 7.5.
    assert moved[0, 0, :, 0].tolist() == [5, 9, 9, 9, 9, 0, 0, 0]


def test_labels_of_a_batch(rng):
    labels = torch.from_numpy(rng.integers(0, 3, size=(2, 1, 10, 10)))
    u = torch.from_numpy(rng.uniform(-2, 2, size=(2, 2, 10, 10)))
    both = warp_labels(labels, u)
    for k in range(2):
        torch.testing.assert_close(both[k : k + 1], warp_labels(labels[k : k + 1], u[k : k + 1]))


@pytest.mark.parametrize("shape", [(5, 6), (4, 3, 5)])
@pytest.mark.parametrize("outside", ["border", "zeros"])
def test_gradients(shape, outside, rng):
    image, _ = random_pair(shape, rng)
    # Positions inside the image and off the voxel centres, where linear interpolation has kinks.
    positions = np.stack([rng.integers(0, n - 1, size=shape) + rng.uniform(0.2, 0.8, size=shape) for n in shape])
    u = positions - scipy_positions(np.zeros((len(shape), *shape)))
    first = tensor(image)[None].requires_grad_()
    second = tensor(u).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, d: warp(i, d, outside=outside), (first, second))


@pytest.mark.parametrize("shape", [(20, 20), (9, 8, 7)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_positions_that_are_no_numbers_do_no_harm(shape, value, rng):
    # As in a training that diverges: the loss must say so, and the process must live on.
    image, u = random_pair(shape, rng)
    u[(0, *[3] * len(shape))] = value
    first = torch.from_numpy(image)[None, None].float().requires_grad_()
    second = torch.from_numpy(u)[None].float().requires_grad_()
    moved = warp(first, second)
    moved.nansum().backward()
    bad = moved.isnan()
    assert int(bad.sum()) == int(np.isnan(value))
    assert bool(bad[(0, 0, *[3] * len(shape))]) == np.isnan(value)


def test_fields_full_of_nan_pass_backward():
    image = torch.rand(2, 1, 64, 64, requires_grad=True)
    for _ in range(5):
        warp(image, torch.full((2, 2, 64, 64), torch.nan, requires_grad=True)).sum().backward()
