import pytest
import torch
import torch.nn.functional as F

from heteroreg.losses import smoothness
from heteroreg.networks import SmallTransMorph, TransMorph
from heteroreg.networks.transmorph import NormalisedConvolution, Upward
from heteroreg.spatial import compose, integrate, resize_displacement

SHAPES = [(16, 16), (17, 31), (130, 96), (16, 16, 16), (20, 17, 24)]


class Tiny(TransMorph):
    """The architecture of TransMorph, to full resolution, in little."""

    embed = 16
    depths = (2, 2)
    heads = (2, 4)
    window = {2: 4, 3: 2}  # noqa: RUF012


def images(shape, seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 1, *shape, generator=generator) for _ in range(2)]


def moving_network(network, dims, head_sd=0.3, **options):
    torch.manual_seed(1)
    return network(dims, head_sd=head_sd, **options).requires_grad_(False).eval()


def count(module):
    return sum(p.numel() for p in module.parameters())


# By hand, 2D. A block of C features and h heads: norms 4C, query, key and value 3C², bias 15²·h, output C² + C,
# perceptron 8C² + 5C: 12C² + 10C + 225h. Stages of 96, 192, 384, 768 with 2, 2, 4, 2 blocks: 2·112,452 + 2·445,188
# + 4·1,775,112 + 2·7,087,368 = 22,390,464. Mergings 8C + 8C²: 74,496 + 296,448 + 1,182,720 = 1,553,664. Embedding
# 2·16·96 + 96 + 192 = 3,360; norms of the stages 2·1,440 = 2,880. Decoder, 9·(in + out)·out + 9·out²: to 384
# 5,308,416, to 192 1,327,104, to 96 331,776, to 48 82,944, to 16 11,520; skips 2→48 864, 2→16 288; head 290.
def test_the_published_number_of_parameters():
    encoder = 22_390_464 + 1_553_664 + 3_360 + 2_880
    decoder = 5_308_416 + 1_327_104 + 331_776 + 82_944 + 11_520 + 864 + 288 + 290
    with torch.device("meta"):
        network = TransMorph(2)
    assert count(network.encoder) == encoder
    assert count(network) == encoder + decoder == 31_013_570
    assert 30.95e6 < count(network) < 31.05e6


# What the docstrings say.
@pytest.mark.parametrize(
    ("network", "dims", "millions"),
    [(TransMorph, 3, 46.9), (SmallTransMorph, 2, 0.8), (SmallTransMorph, 3, 1.2)],
)
def test_the_number_of_parameters(network, dims, millions):
    with torch.device("meta"):
        assert round(count(network(dims)) / 1e6, 1) == millions
    assert f"{millions} M" in network.__doc__


def test_the_published_configuration():
    with torch.device("meta"):
        encoder = TransMorph(2).encoder
    assert [norm.normalized_shape for norm in encoder.norms] == [(96,), (192,), (384,), (768,)]
    assert [block.attention.heads for block in encoder.blocks] == [4, 4, 4, 4, 8, 8, 8, 8, 8, 8]
    assert [block.shifted for block in encoder.blocks] == [False, True] * 5
    assert {block.window for block in encoder.blocks} == {8}
    assert (encoder.patch, encoder.drop_path) == (4, 0.3)


@pytest.mark.parametrize("network", [Tiny, SmallTransMorph])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_gives_fields_of_that_size(shape, network):
    d = len(shape)
    field = moving_network(network, d)(*images(shape))
    assert field.forward.shape == field.backward.shape == (2, d, *shape)
    assert field.velocity.shape == (2, d, *[(n + 1) // 2 for n in shape])
    assert field.velocity_log_variance is None
    assert all(torch.isfinite(t).all() for t in field[:3])
    assert float(field.forward.abs().max()) > 0.1


@pytest.mark.parametrize("int_steps", [0, 7])
def test_an_uncertain_one_draws_samples_in_training_alone(int_steps):
    torch.manual_seed(0)
    network = TransMorph(2, int_steps=int_steps, uncertain=True)
    network.encoder.eval()  # leaves no branches out
    torch.nn.init.constant_(network.log_variance_head.bias, 0.0)
    pair = images((32, 32), count=1)
    first, second = network(*pair), network(*pair)
    torch.testing.assert_close(first.velocity, second.velocity)
    assert (first.forward - second.forward).abs().mean() > 0.1
    assert first.velocity_log_variance.shape == first.velocity.shape
    network.eval()
    torch.testing.assert_close(network(*pair).forward, network(*pair).forward)


def test_the_published_one_takes_the_smallest_images():
    # 16 voxels are 4 tokens; padded to 32 they are 8, 4, 2 and 1.
    field = moving_network(TransMorph, 2)(*images((16, 17), count=1))
    assert field.forward.shape == (1, 2, 16, 17)
    assert field.forward.isfinite().all()


@pytest.mark.parametrize("first", [(1, 1, 15, 32), (1, 2, 32, 32), (1, 1, 32, 32, 32), (1, 32, 32)])
def test_unfit_images_are_named_by_their_shapes(first):
    with pytest.raises(ValueError, match="at least 16 voxels") as error:
        Tiny(2)(torch.zeros(first), torch.zeros(first))
    assert str(first) in str(error.value)


def test_the_state_knows_nothing_of_the_size():
    first, second = moving_network(SmallTransMorph, 2), SmallTransMorph(2).requires_grad_(False).eval()
    first(*images((48, 32)))
    assert list(first.state_dict()) == [name for name, _ in first.named_parameters()]
    second.load_state_dict(first.state_dict())
    pair = images((19, 40))
    torch.testing.assert_close(first(*pair).forward, second(*pair).forward, atol=0, rtol=0)


def test_the_published_start_is_the_identity_nearly():
    torch.manual_seed(0)
    assert 0 < float(Tiny(2)(*images((32, 32))).forward.detach().abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(33, 32), (18, 16, 17)])
def test_without_integration_the_output_is_the_displacement(shape):
    field = moving_network(Tiny, len(shape), int_steps=0)(*images(shape))
    assert field.forward.shape == (2, len(shape), *shape)
    assert field.velocity is field.forward
    torch.testing.assert_close(field.backward, -field.forward, atol=0, rtol=0)
    small = moving_network(SmallTransMorph, len(shape), int_steps=0)(*images(shape))
    torch.testing.assert_close(small.forward, resize_displacement(small.velocity, shape))
    torch.testing.assert_close(small.backward, -small.forward)


def test_with_integration_it_is_the_integral():
    field = moving_network(Tiny, 2)(*images((32, 40)))
    torch.testing.assert_close(field.forward, resize_displacement(integrate(field.velocity, 7), (32, 40)))


@pytest.mark.parametrize("network", [Tiny, SmallTransMorph])
@pytest.mark.parametrize("int_steps", [0, 7])
def test_roughness_is_that_of_the_field_at_any_resolution(network, int_steps):
    # The head gives the same ramp of 0.1 voxels a voxel along the first axis wherever it ends: 2·(0.1² + 0 + …)
    # over 2 axes and 2 components is 2·0.01/2/2 = 0.005.
    network = moving_network(network, 2, int_steps=int_steps)

    def ramp(features):
        n, m = features.shape[2:]
        along = torch.arange(float(n)).view(1, 1, n, 1).expand(1, 1, n, m) * 0.1
        return torch.cat([along, torch.zeros_like(along)], dim=1)

    network.head.forward = ramp
    field = network(*images((33, 33), count=1))
    assert float(smoothness(field.velocity)) == pytest.approx(0.005, rel=1e-5)


@pytest.mark.parametrize("network", [Tiny, SmallTransMorph])
@pytest.mark.parametrize("shape", [(64, 48), (24, 28, 22)])
def test_backward_is_the_inverse_of_forward(shape, network):
    # The velocity of an untrained network is as rough as what it sees, and a rough one folds: smooth it.
    d = len(shape)
    net = moving_network(network, d, head_sd=1.0)
    head = net.head.forward

    def smooth_head(features):
        output = head(features)
        coarse = F.interpolate(output, size=[4] * d, mode="area")
        # At most a quarter of the way from one of the 4 to the next.
        coarse = coarse / coarse.abs().max() * min(output.shape[2:]) / 16
        return F.interpolate(coarse, size=output.shape[2:], mode="bilinear" if d == 2 else "trilinear")

    net.head.forward = smooth_head
    field = net(*images(shape))
    inner = (..., *[slice(5, -5)] * d)
    assert float(field.forward[inner].abs().max()) > 0.5
    for first, second in ((field.forward, field.backward), (field.backward, field.forward)):
        left = compose(first, second)[inner].abs()
        assert float(left.mean()) < 0.03 * float(field.forward[inner].abs().mean())
        assert float(left.max()) < 0.25


@pytest.mark.parametrize("network", [Tiny, SmallTransMorph])
@pytest.mark.parametrize("dims", [2, 3])
def test_every_parameter_learns(network, dims):
    torch.manual_seed(0)
    net = network(dims, head_sd=0.1).eval()
    # Large enough for windows that are shifted along one axis.
    field = net(*images((64, 32, 16)[:dims], count=1))
    (field.forward.square().mean() + field.backward.square().mean()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_give_finite_gradients(value):
    torch.manual_seed(0)
    net, image = SmallTransMorph(2, head_sd=0.1), torch.full((1, 1, 16, 16), value)
    net(image, image).forward.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_samples_know_nothing_of_one_another():
    net = moving_network(Tiny, 2)
    moving, fixed = images((40, 20), count=3)
    whole = net(moving, fixed).forward
    for index in range(3):
        alone = net(moving[index : index + 1], fixed[index : index + 1]).forward
        torch.testing.assert_close(whole[index : index + 1], alone, atol=1e-4, rtol=1e-4)


def test_training_leaves_branches_out_and_evaluation_does_not():
    net, pair = moving_network(SmallTransMorph, 2), images((32, 32))
    first, second = net(*pair).forward, net(*pair).forward
    assert torch.equal(first, second)
    net.train()
    torch.manual_seed(5)
    third, fourth = net(*pair).forward, net(*pair).forward
    assert not torch.equal(third, fourth)
    torch.manual_seed(5)
    assert torch.equal(net(*pair).forward, third)
    net.encoder.drop_path = 0.0
    assert torch.equal(net(*pair).forward, first)


@pytest.mark.parametrize("network", [Tiny, SmallTransMorph])
@pytest.mark.parametrize("shape", [(32, 24), (16, 16, 16)])
def test_low_precision(shape, network):
    # Each gradient is off by some 15 %. Those of convolutions over few voxels, where they are wrong, are so by
    # orders of magnitude.
    torch.manual_seed(1)
    net, pair = network(len(shape), head_sd=0.1).eval(), images(shape)
    exact = net(*pair)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(*pair)
    for tensor in low[:3]:
        assert tensor.dtype == torch.float32
    difference = (low.forward - exact.forward).detach().abs()
    assert 0 < float(difference.max()) < 0.1 * float(exact.forward.detach().abs().max())
    towards, parameters = torch.randn_like(exact.forward), list(net.parameters())
    off = [
        float((a - b).norm() / (b.norm() + 1e-6))  # a window of one token has nothing to choose: its gradient is 0
        for a, b in zip(
            torch.autograd.grad(low.forward, parameters, towards),
            torch.autograd.grad(exact.forward, parameters, towards),
            strict=True,
        )
    ]
    assert max(off) < 0.6
    assert sum(off) / len(off) < 0.25


def test_double_precision_is_kept():
    net = moving_network(Tiny, 2).double()
    assert net(*(image.double() for image in images((16, 16)))).forward.dtype == torch.float64


@pytest.mark.parametrize("shape", [(6, 5), (2, 2), (4, 3, 2)])
def test_a_convolution_is_normalised_by_sample_and_feature(shape):
    torch.manual_seed(0)
    layer, features = NormalisedConvolution(len(shape), 3, 4), torch.randn(2, 3, *shape)
    convolved = layer.convolution(features).flatten(2)
    mean, variance = convolved.mean(2, keepdim=True), convolved.var(2, correction=0, keepdim=True)
    normed = (convolved - mean) / (variance + 1e-5).sqrt()
    expected = torch.where(normed > 0, normed, 0.01 * normed)
    torch.testing.assert_close(layer(features).flatten(2), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4)])
def test_a_step_up_joins_the_skip(shape):
    torch.manual_seed(0)
    layer = Upward(len(shape), 5, 3)
    coarse, skip = torch.randn(2, 5, *shape), torch.randn(2, 3, *(2 * n for n in shape))
    up = F.interpolate(coarse, scale_factor=2, mode="bilinear" if len(shape) == 2 else "trilinear")
    expected = layer.layers[1](layer.layers[0](torch.cat([up, skip], dim=1)))
    torch.testing.assert_close(layer(coarse, skip), expected)
    assert expected.shape == skip.shape
