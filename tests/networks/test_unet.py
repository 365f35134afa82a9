import pytest
import torch

from heteroreg.networks import UNet
from heteroreg.networks.unet import crop_to, pad_to_multiple


def test_padding_repeats_the_edge_at_the_far_end():
    images = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(images, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    torch.testing.assert_close(crop_to(padded, (2, 3)), images)
    whole = torch.zeros(1, 1, 4, 8)
    assert pad_to_multiple(whole, 4) is whole


@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (16, 17, 19)])
def test_features_have_the_shape_of_the_images(shape):
    assert UNet(len(shape))(torch.rand(2, 2, *shape)).shape == (2, 16, *shape)


def test_a_shift_by_a_whole_period_shifts_the_features():
    # Pooling four times makes the network equivariant to shifts by 16 voxels, away from the border: what it
    # sees (at most 16·4 voxels each way here) is the same.
    torch.manual_seed(0)
    net = UNet(2).requires_grad_(False)
    image = torch.zeros(1, 2, 256, 32)
    image[:, :, 120:124, 10:20] = 1
    features = net(image)
    shifted = net(image.roll(16, dims=2))
    torch.testing.assert_close(features.roll(16, dims=2)[:, :, 100:160], shifted[:, :, 100:160], atol=1e-6, rtol=0)
    assert float((features - shifted).abs().max()) > 1e-3


@pytest.mark.parametrize("shape", [(32, 48), (16, 32, 16)])
@pytest.mark.parametrize("coarse", [False, True])
def test_it_is_the_plain_network_layer_by_layer(shape, coarse):
    # The same layers in the plain order: upsampled, joined, convolved; activated, then pooled.
    torch.manual_seed(0)
    net = UNet(len(shape), coarse=coarse).requires_grad_(False)
    pool = torch.nn.functional.max_pool2d if len(shape) == 2 else torch.nn.functional.max_pool3d
    images = torch.rand(2, 2, *shape)
    features, levels = images, []
    for layer in net.encoder:
        levels.append(layer(features))
        features = pool(levels[-1], 2)
    for number, layer in enumerate(net.decoder):
        features = layer(features)
        if number < 3 or not coarse:
            up = torch.nn.functional.interpolate(features, scale_factor=2, mode="nearest")
            features = torch.cat([up, levels.pop()], dim=1)
    for layer in net.final:
        features = layer(features)
    torch.testing.assert_close(net(images), features)
