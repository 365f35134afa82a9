import pytest
import torch
import torch.nn.functional as F

from heteroreg.losses import gaussian_nll
from heteroreg.networks import CoarseVariance, UNetVariance
from heteroreg.networks.variance import MAX_LOG_VARIANCE, MIN_LOG_VARIANCE


def images(shape, count=2):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 1, *shape, generator=generator) for _ in range(2))


@pytest.mark.parametrize("estimator", [UNetVariance, CoarseVariance])
@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (40, 31), (16, 17, 20)])
def test_any_size_gives_a_map_of_that_size(estimator, shape):
    log_variance = estimator(len(shape))(*images(shape))
    assert log_variance.shape == (2, 1, *shape)
    assert torch.isfinite(log_variance).all()


@pytest.mark.parametrize("estimator", [UNetVariance, CoarseVariance])
def test_unfit_images_are_named(estimator):
    with pytest.raises(ValueError, match=r"at least 16 voxels.*\(1, 1, 12, 16\)"):
        estimator(2)(torch.zeros(1, 1, 12, 16), torch.zeros(1, 1, 12, 16))


def test_the_unet_is_that_of_the_paper():
    # The displacement estimator's, but for the head: 16→1 with 9·16 + 1 = 145 parameters instead of 290.
    assert sum(p.numel() for p in UNetVariance(2).parameters()) == 109_170 - 145


def test_the_coarse_estimator_is_small():
    # 2→16: 9·2·16 + 16 = 304; 16→32: 4,640; 32→32: 9,248; head 32→1: 289.
    assert sum(p.numel() for p in CoarseVariance(2).parameters()) == 304 + 4640 + 9248 + 289


@pytest.mark.parametrize(("estimator", "start"), [(UNetVariance, 0.0), (CoarseVariance, -4.0)])
def test_it_starts_from_one_value(estimator, start):
    log_variance = estimator(2)(*images((32, 32)))
    torch.testing.assert_close(log_variance, torch.full_like(log_variance, start), atol=1e-2, rtol=0)


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("shape", [(64, 48), (32, 16, 16)])
def test_the_coarse_map_is_interpolated_from_few_values(levels, shape):
    torch.manual_seed(0)
    estimator = CoarseVariance(len(shape), levels=levels)
    torch.nn.init.normal_(estimator.head.weight)
    with torch.no_grad():
        log_variance = estimator(*images(shape)).clamp(-13, 3)
    assert float(log_variance.std()) > 0.05
    # Linear interpolation with the corners unaligned: cells of 2^levels voxels begin half a cell in, and
    # within a cell second differences along an axis vanish.
    cell = 2**levels
    first = cell // 2
    for axis in range(len(shape)):
        line = log_variance.movedim(2 + axis, -1)
        cells = line[..., first : first + cell].diff(n=2, dim=-1)
        unclamped = (line[..., first : first + cell].abs() < 13).all(-1, keepdim=True) & (
            line[..., first : first + cell] < 3
        ).all(-1, keepdim=True)
        assert float((cells * unclamped).abs().max()) < 1e-4


@pytest.mark.parametrize("estimator", [UNetVariance, CoarseVariance])
@pytest.mark.parametrize(("bias", "bound"), [(100.0, MAX_LOG_VARIANCE), (-100.0, MIN_LOG_VARIANCE)])
def test_the_variance_is_bounded(estimator, bias, bound):
    net = estimator(2)
    torch.nn.init.constant_(net.head.bias, bias)
    assert (net(*images((16, 16))) == bound).all()


@pytest.mark.parametrize("estimator", [UNetVariance, CoarseVariance])
def test_low_precision_keeps_the_logarithm_in_float32(estimator):
    net, pair = estimator(2), tuple(images((16, 16)))
    with torch.autocast("cpu", torch.bfloat16):
        low = net(*pair)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, net(*pair), atol=1e-2, rtol=0)


def true_sd(shape):
    """A standard deviation that grows smoothly from 0.05 to 0.25 along both axes."""
    x, y = torch.meshgrid(*[torch.linspace(0, 1, n) for n in shape], indexing="ij")
    return (0.05 + 0.2 * (0.7 * x + 0.3 * (0.5 - 0.5 * torch.cos(2 * torch.pi * y))))[None, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "steps", "batch"),
    [(lambda: UNetVariance(2, initial=-4.0), 200, 2), (lambda: CoarseVariance(2), 350, 4)],
    ids=["unet", "coarse"],
)
def test_known_noise_is_found_again(make, steps, batch):
    torch.manual_seed(0)
    shape, net = (32, 32), make()
    sd = true_sd(shape)
    # The same image measured twice, once with noise. A ramp in it tells a network, which has no positions,
    # where it is.
    x, y = torch.meshgrid(*[torch.linspace(0, 1, n) for n in shape], indexing="ij")
    clean = F.interpolate(torch.rand(1, 1, 4, 4), size=shape, mode="bilinear") * 0.2 + 0.4 * x + 0.3 * y
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        fixed = clean.expand(batch, -1, -1, -1)
        moved = fixed + sd * torch.randn(batch, 1, *shape)
        loss = gaussian_nll(moved, fixed, net(moved, fixed), beta=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        fixed = clean.expand(16, -1, -1, -1)
        found = (0.5 * net(fixed + sd * torch.randn(16, 1, *shape), fixed)).exp().mean(0, keepdim=True)
    correlation = torch.corrcoef(torch.stack([found.flatten(), sd.flatten()]))[0, 1]
    assert float(correlation) > 0.9
    ratio = found / sd
    assert float(ratio.mean()) == pytest.approx(1, abs=0.15)
    assert float((ratio - 1).abs().mean()) < 0.15
