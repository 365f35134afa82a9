import pytest
import torch

from heteroreg.networks.drop_path import draw_kept, dropped

CPU = torch.device("cpu")


def test_blocks_are_left_out_at_rates_that_rise():
    torch.manual_seed(0)
    kept = draw_kept(0.3, 4, 2, 20_000, CPU)
    assert kept.shape == (4, 2, 20_000)
    for number, rate in enumerate((0.0, 0.1, 0.2, 0.3)):
        values = kept[number]
        # 40,000 draws: the share has a standard deviation of at most 0.0023, the mean of 0.0033.
        assert float((values == 0).float().mean()) == pytest.approx(rate, abs=0.01)
        assert float(values.mean()) == pytest.approx(1, abs=0.015)
        torch.testing.assert_close(values[values > 0].unique(), torch.tensor([1 / (1 - rate)]))


def test_branches_and_samples_are_left_out_independently():
    torch.manual_seed(0)
    first, second = (draw_kept(0.5, 2, 2, 20_000, CPU)[1] > 0).float()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03
    assert abs(float(torch.corrcoef(torch.stack([first[1:], first[:-1]]))[0, 1])) < 0.03


def test_the_numbers_are_those_of_the_generator_that_is_kept():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = draw_kept(0.5, 3, 2, 64, CPU)
    assert not torch.equal(first, draw_kept(0.5, 3, 2, 64, CPU))
    torch.set_rng_state(state)
    assert torch.equal(first, draw_kept(0.5, 3, 2, 64, CPU))


def test_a_branch_is_multiplied_by_sample():
    branch = torch.ones(3, 2, 2)
    assert dropped(branch, None) is branch
    assert dropped(branch, torch.tensor([0.0, 1.0, 2.0])).sum((1, 2)).tolist() == [0, 4, 8]
    assert dropped(branch.bfloat16(), torch.ones(3)).dtype == torch.bfloat16
