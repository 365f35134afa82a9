"""Mutual information: images are similar if one predicts the other's intensities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heteroreg.losses.precision import single

BINS = 32


def mutual_information(moved: Tensor, fixed: Tensor, bins: int = BINS, ratio: float = 1.0) -> Tensor:
    """Return the mutual information in nats of the intensities of two images, the mean over the images.

    Each voxel counts in every bin, by a Gaussian window about its intensity (Parzen) that adds up to 1 over the
    bins. The bins lie at 0, 1/(B - 1), …, 1, intensities are clamped to [0, 1]:

        w_k(x) ∝ exp(-(I(x) - k/(B - 1))² / 2s²),  s = ratio / (B - 1)
        p_kl = E_Ω[w_k(Î_f) · w_l(I_f)],  p_k and p_l its sums
        MI = Σ_kl p_kl · log(p_kl / (p_k · p_l))

    (Viola and Wells, IJCV 1997; Mattes et al., TMI 2003.) It is 0 where one of the images is constant.

    Args:
        moved: Î_f (N, 1, *shape).
        fixed: I_f (N, 1, *shape).
        bins: B.
        ratio: Width of the window as a share of the distance of two bins.

    Returns:
        A scalar, 0 or more.
    """
    with torch.autocast(moved.device.type, enabled=False):
        positions = [single(image).flatten(1).clamp(0, 1) * (bins - 1) for image in (moved, fixed)]
        information: Tensor = _MutualInformation.apply(*positions, bins, ratio)  # type: ignore[no-untyped-call]
        return information.mean()


class _MutualInformation(torch.autograd.Function):
    """MI (N) of positions (N, V) on the axis of the bins, with its gradient.

    The windows, bins times voxels, are by far the largest tensors. The gradient is known as soon as the
    histogram is, so that it is taken at once, image by image: no more than the windows of one image are ever
    held, and none are computed twice.

    With centre c_k, weights w and their mean position m = Σ w_k c_k, dw_k/dx = w_k (c_k - m) / ratio². The
    derivative of MI by p_kl is log(p_kl / (p_k · p_l)), but for a constant, which vanishes since the weights add
    up to 1.
    """

    @staticmethod
    def forward(ctx: Any, moved: Tensor, fixed: Tensor, bins: int, ratio: float) -> Tensor:
        centres = torch.arange(bins, device=moved.device, dtype=moved.dtype)
        gradients = [torch.zeros_like(image) for image in (moved, fixed)]
        values = []
        for index, pair in enumerate(zip(moved, fixed, strict=True)):
            windows = [_window(positions, centres, ratio) for positions in pair]
            joint = windows[0] @ windows[1].T / moved.shape[1]
            logarithm = _log(joint) - _log(joint.sum(1, keepdim=True)) - _log(joint.sum(0, keepdim=True))
            values.append((joint * logarithm).sum())
            for image, by in enumerate((logarithm, logarithm.T)):
                if ctx.needs_input_grad[image]:
                    slope = _slope(windows[image], by @ windows[1 - image], centres)
                    gradients[image][index] = slope / (ratio**2 * moved.shape[1])
        ctx.save_for_backward(*gradients)
        return torch.stack(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        slopes = (upstream[:, None] * gradient for gradient in ctx.saved_tensors)
        moved, fixed = (
            slope if needed else None for slope, needed in zip(slopes, ctx.needs_input_grad[:2], strict=True)
        )
        return moved, fixed, None, None


def _window(positions: Tensor, centres: Tensor, ratio: float) -> Tensor:
    """Return the weights (B, V) of voxels at positions (V) in the bins."""
    # -(x - c)²/2 without -x²/2, which all bins share; about the middle, where the numbers are smallest.
    middle = (len(centres) - 1) / 2
    centred = (centres - middle)[:, None] / ratio**2
    offset = -0.5 * (centres - middle)[:, None].square() / ratio**2
    return torch.addcmul(offset, centred, (positions - middle)[None]).softmax(dim=0)


def _slope(window: Tensor, by: Tensor, centres: Tensor) -> Tensor:
    """Return Σ_k by_k · w_k · (c_k - m) for each voxel; overwrites `by` (B, V)."""
    product = by.mul_(window)
    return centres @ product - (centres @ window) * product.sum(0)


def _log(share: Tensor) -> Tensor:
    """Return the logarithm, finite if a share has underflowed to 0."""
    return share.clamp(min=torch.finfo(share.dtype).tiny).log()
