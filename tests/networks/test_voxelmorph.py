import pytest
import torch

from heteroreg.networks import HalfVoxelMorph, VoxelMorph
from heteroreg.networks.displacement import displacement_of
from heteroreg.spatial import compose, integrate, resize_displacement

SHAPES = [(16, 16), (17, 17), (31, 31), (33, 47), (64, 16), (16, 16, 16), (17, 19, 21), (16, 31, 18)]


def images(shape, seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 1, *shape, generator=generator) for _ in range(2))


def moving_network(dims, head_sd=0.3, network=VoxelMorph, **options):
    torch.manual_seed(1)
    return network(dims, head_sd=head_sd, **options).requires_grad_(False)


# By hand, 2D (weights 9·in·out, and out biases): encoder 2→16 304, 16→32 4,640, 32→32 twice 18,496; decoder
# 32→32 9,248, then (32+32)→32 three times 55,392; full resolution (32+16)→32 13,856, 32→16 4,624, 16→16 2,320;
# head 16→2 290. Sum 109,170. 3D likewise with 27·in·out and 3 outputs.
@pytest.mark.parametrize(("dims", "count"), [(2, 109_170), (3, 327_331)])
def test_the_published_number_of_parameters(dims, count):
    assert sum(p.numel() for p in VoxelMorph(dims).parameters()) == count


# The features of full resolution are not joined: 16 channels less into 32, 9·16·32 = 4,608 or 27·16·32 = 13,824.
@pytest.mark.parametrize(("dims", "count"), [(2, 109_170 - 4_608), (3, 327_331 - 13_824)])
def test_the_half_one_lacks_only_the_join_of_full_resolution(dims, count):
    assert sum(p.numel() for p in HalfVoxelMorph(dims).parameters()) == count


@pytest.mark.parametrize("network", [VoxelMorph, HalfVoxelMorph])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_gives_fields_of_that_size(shape, network):
    d = len(shape)
    field = moving_network(d, network=network)(*images(shape))
    assert field.forward.shape == field.backward.shape == (2, d, *shape)
    assert field.velocity.shape == (2, d, *[(n + 1) // 2 for n in shape])
    assert field.velocity_log_variance is None
    assert all(torch.isfinite(t).all() for t in field[:3])
    assert float(field.forward.abs().max()) > 0.1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 1, 15, 32), (1, 1, 15, 32)),  # too small
        ((1, 1, 32, 32), (1, 1, 32, 31)),  # not alike
        ((1, 2, 32, 32), (1, 2, 32, 32)),  # two channels
        ((1, 1, 32, 32, 32), (1, 1, 32, 32, 32)),  # 3D for a 2D network
        ((1, 32, 32), (1, 32, 32)),  # no batch
    ],
)
def test_unfit_images_are_named_by_their_shapes(first, second):
    with pytest.raises(ValueError, match="at least 16 voxels") as error:
        VoxelMorph(2)(torch.zeros(first), torch.zeros(second))
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


def test_the_state_knows_nothing_of_the_size():
    first, second = moving_network(2), VoxelMorph(2)
    shapes = {name: tuple(tensor.shape) for name, tensor in first.state_dict().items()}
    first(*images((48, 32)))
    assert shapes == {name: tuple(tensor.shape) for name, tensor in first.state_dict().items()}
    assert list(first.state_dict()) == [name for name, _ in first.named_parameters()]
    second.load_state_dict(first.state_dict())
    pair = tuple(images((19, 40)))
    torch.testing.assert_close(first(*pair).forward, second(*pair).forward, atol=0, rtol=0)


def test_the_published_start_is_the_identity_nearly():
    torch.manual_seed(0)
    assert 0 < float(VoxelMorph(2)(*images((32, 32))).forward.detach().abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(33, 32), (18, 16, 17)])
def test_without_integration_the_displacement_is_the_velocity(shape):
    field = moving_network(len(shape), int_steps=0)(*images(shape))
    torch.testing.assert_close(field.forward, resize_displacement(field.velocity, shape))
    torch.testing.assert_close(field.backward, -field.forward)
    assert float(field.forward.abs().max()) > 0.1


def test_with_integration_it_is_the_integral():
    field = moving_network(2)(*images((32, 40)))
    torch.testing.assert_close(field.forward, resize_displacement(integrate(field.velocity, 7), (32, 40)))


@pytest.mark.parametrize("shape", [(64, 48), (24, 28, 22)])
def test_backward_is_the_inverse_of_forward(shape):
    # Smooth images: the velocity of an untrained network is as rough as what it sees.
    d = len(shape)
    mode = "bilinear" if d == 2 else "trilinear"
    pair = [
        torch.nn.functional.interpolate(image, size=shape, mode=mode)
        for image in images([n // 8 for n in shape], 3)
    ]
    field = moving_network(d, head_sd=3.0)(*pair)
    inner = (..., *[slice(5, -5)] * d)
    assert float(field.forward[inner].abs().max()) > 1.0
    for first, second in ((field.forward, field.backward), (field.backward, field.forward)):
        left = compose(first, second)[inner].abs()
        assert float(left.mean()) < 0.03 * float(field.forward[inner].abs().mean())
        assert float(left.max()) < 0.25


def test_a_velocity_at_full_resolution_is_halved():
    # u = v = 3 voxels on 33 is 3·16/32 = 1.5 voxels on 17.
    field = displacement_of(torch.full((1, 2, 33, 33), 3.0), (33, 33), 7)
    torch.testing.assert_close(field.velocity, torch.full((1, 2, 17, 17), 1.5))
    torch.testing.assert_close(field.forward, torch.full((1, 2, 33, 33), 3.0))
    torch.testing.assert_close(field.backward, torch.full((1, 2, 33, 33), -3.0))


@pytest.mark.parametrize("dims", [2, 3])
def test_positions_keep_their_digits_in_low_precision(dims):
    net, pair = moving_network(dims), tuple(images((16,) * dims))
    exact = net(*pair)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(*pair)
    for tensor in low[:3]:
        assert tensor.dtype == torch.float32
    assert 0 < float((low.forward - exact.forward).abs().max()) < 0.1 * float(exact.forward.abs().max())
