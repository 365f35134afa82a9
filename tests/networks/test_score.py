import pytest
import torch

from heteroreg.networks import UNetScore, UNetVariance


def images(shape):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2, 1, *shape, generator=generator) for _ in range(2))


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (16, 17, 20)])
def test_any_size_gives_scores_of_that_size(shape):
    score = UNetScore(len(shape))(*images(shape))
    assert score.shape == (2, 1, *shape)
    torch.testing.assert_close(score, torch.full_like(score, 0.8808), atol=1e-3, rtol=0)  # σ(2)


def test_it_is_the_network_of_the_variance():
    score, variance = UNetScore(2), UNetVariance(2)
    assert {n: p.shape for n, p in score.named_parameters()} == {n: p.shape for n, p in variance.named_parameters()}


def test_scores_stay_between_0_and_1_under_autocast():
    torch.manual_seed(0)
    scorer = UNetScore(2)
    torch.nn.init.normal_(scorer.head.weight, std=10)
    with torch.autocast("cpu", torch.bfloat16):
        score = scorer(*images((32, 32)))
    assert score.dtype == torch.float32
    assert ((score >= 0) & (score <= 1)).all()
    assert float(score.detach().std()) > 0.01


def test_unfit_images_are_named():
    with pytest.raises(ValueError, match=r"at least 16 voxels.*\(1, 1, 12, 16\)"):
        UNetScore(2)(torch.zeros(1, 1, 12, 16), torch.zeros(1, 1, 12, 16))
