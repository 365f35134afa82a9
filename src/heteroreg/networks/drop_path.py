"""Stochastic depth: in training, branches of a residual network are left out at random."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_kept(rate: float, blocks: int, branches: int, batch: int, device: torch.device) -> Tensor:
    """Draw the factors of branches: 0 with the probability r of their block, otherwise 1 / (1 - r).

    r rises linearly from 0 at the first block to the rate at the last. The mean is 1, so that nothing changes
    when all are kept, in evaluation (Huang et al., *Deep Networks with Stochastic Depth*, ECCV 2016; scaled as
    in Larsson et al., *FractalNet*, ICLR 2017).

    The numbers come from PyTorch's generator of the CPU on all devices: that is the one whose state a checkpoint
    keeps. They are drawn at once and copied from pinned memory, so that a GPU is not waited for.

    Args:
        rate: r of the last block, below 1.
        blocks: Blocks.
        branches: Branches of a block.
        batch: N; samples are left out independently of one another.
        device: Where the numbers are needed.

    Returns:
        (blocks, branches, N).
    """
    rates = torch.linspace(0, rate, blocks).view(-1, 1, 1)
    kept = (torch.rand(blocks, branches, batch) >= rates) / (1 - rates)
    return kept.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else kept


def dropped(branch: Tensor, kept: Tensor | None) -> Tensor:
    """Multiply a branch (N, …) with N numbers of `draw_kept`, if there are any."""
    return branch if kept is None else branch * kept.view(-1, *[1] * (branch.ndim - 1)).to(branch.dtype)
