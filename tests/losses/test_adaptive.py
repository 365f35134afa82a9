import numpy as np
import pytest
import torch

from heteroreg.losses import AdaFrame, AdaReg, adaframe_weight, adareg_weight


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)[None, None]


# Residuals 0.1 and 0.3, mean 0.2, standard deviation 0.1. The zeros are background: they change nothing.
MOVED, FIXED = tensor([[0.5, 0.2, 0.0, 0.0]]), tensor([[0.6, 0.5, 0.0, 0.0]])


def test_adaframe_by_hand():
    # ρ = -1 and 1, a = 0.1/0.2 = ½, b = 10 (1 - cos 0.2π) = 10 (1 - 0.809017) = 1.909830.
    # 1 - σ(-½ - 1.909830) = 1/(1 + e^-2.409830) = 0.917574, 1 - σ(½ - 1.909830) = 1/(1 + e^-1.409830) = 0.803739.
    weight = adaframe_weight(MOVED, FIXED)
    assert weight[0, 0, 0, :2].tolist() == pytest.approx([0.917574, 0.803739], abs=1e-6)


def test_adareg_by_hand():
    # exp(-50 · 0.1 · 0.2) = e⁻¹, exp(-50 · 0.3 · 0.2) = e⁻³, and 1 in the background.
    weight = adareg_weight(MOVED, FIXED)
    assert weight[0, 0, 0].tolist() == pytest.approx([0.367879, 0.049787, 1, 1], abs=1e-6)


@pytest.mark.parametrize("shape", [(12, 13), (6, 7, 8)])
def test_as_by_definition(shape, rng):
    moved, fixed = rng.uniform(0.1, 1, size=(2, 3, 1, *shape))
    moved[:, :, :4], fixed[:, :, :4] = 0, 0
    adaframe = adaframe_weight(torch.from_numpy(moved), torch.from_numpy(fixed), 0.2, 5.0).numpy()
    adareg = adareg_weight(torch.from_numpy(moved), torch.from_numpy(fixed), 30.0).numpy()
    for index in range(3):
        residual = np.abs(fixed[index] - moved[index])
        inside = residual[:, 4:]
        steep, shift = 0.2 / (inside.mean() + 1e-7), 5 * (1 - np.cos(np.pi * inside.mean()))
        argument = steep * (residual - inside.mean()) / (inside.std() + 1e-7) - shift
        np.testing.assert_allclose(adaframe[index], 1 - 1 / (1 + np.exp(-argument)), rtol=1e-6)
        np.testing.assert_allclose(adareg[index], np.exp(-30 * residual * inside.mean()), rtol=1e-10)


def test_at_first_adaframe_weighs_all_alike_and_later_less_what_stands_out():
    residual = torch.linspace(0.01, 1, 100, dtype=torch.float64).reshape(1, 1, 10, 10)
    early, late = (adaframe_weight(scale * residual, torch.zeros_like(residual)) for scale in (1.0, 0.05))
    assert float(early.min()) > 0.99
    assert float(late.max()) > 0.9
    assert float(late.min()) < 0.01


@pytest.mark.parametrize("weigh", [adaframe_weight, adareg_weight])
@pytest.mark.parametrize("level", [(0.0, 0.0), (0.4, 0.4), (0.0, 1.0)], ids=["empty", "equal", "saturated"])
def test_odd_images_have_finite_weights_without_gradient(weigh, level):
    moved = torch.full((2, 1, 8, 8), level[0], requires_grad=True)
    weight = weigh(moved, torch.full((2, 1, 8, 8), level[1]))
    assert not weight.requires_grad
    assert ((weight >= 0) & (weight <= 1)).all()


def test_each_image_is_weighed_on_its_own():
    for weigh in (adaframe_weight, adareg_weight):
        both = weigh(torch.cat([MOVED, 0.3 * MOVED]), torch.cat([FIXED, FIXED]))
        torch.testing.assert_close(both[:1], weigh(MOVED, FIXED))
        torch.testing.assert_close(both[1:], weigh(0.3 * MOVED, FIXED))


def test_adaframe_weighs_the_data():
    moved = MOVED.clone().requires_grad_()
    losses = AdaFrame()(moved, FIXED)
    weight = adaframe_weight(MOVED, FIXED)
    torch.testing.assert_close(losses.weight, weight)
    torch.testing.assert_close(losses.displacement, (weight * (FIXED - MOVED) ** 2).mean())
    assert losses.variance is losses.log_variance is losses.smoothness_weight is None
    losses.displacement.backward()
    torch.testing.assert_close(moved.grad, weight * 2 * (MOVED - FIXED) / 4)  # ∂/∂Î_f with the weight a constant


def test_adareg_weighs_the_smoothness():
    losses = AdaReg()(MOVED, FIXED)
    torch.testing.assert_close(losses.displacement, ((FIXED - MOVED) ** 2).mean())
    torch.testing.assert_close(losses.smoothness_weight, adareg_weight(MOVED, FIXED))
    assert losses.variance is losses.log_variance is losses.weight is None


def test_in_a_warm_start_nothing_is_weighed():
    for objective in (AdaFrame(), AdaReg()):
        losses = objective(MOVED, FIXED, weighted=False)
        torch.testing.assert_close(losses.displacement, ((FIXED - MOVED) ** 2).mean())
        assert losses.weight is losses.smoothness_weight is None
