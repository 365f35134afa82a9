"""Lower limit of a step's time: the operations of its convolutions over the rate of one large convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from heteroreg.networks.convolution import Convolution

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
CHANNELS = 64
# Large enough that the rate no longer grows.
LARGE = {2: (8, 256, 256), 3: (1, 64, 64, 64)}


def convolution_operations(call: Callable[[], object]) -> int:
    """Floating-point operations of all convolutions of a call, forward and backward, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    return sum(n for operator, n in counts.items() if "convolution" in str(operator))


@contextmanager
def as_written() -> Iterator[None]:
    """Joins upsampled features before they are convolved, as the network is written, not as it is computed."""
    quick = Convolution.joined

    def joined(self: Convolution, coarse: Tensor, fine: Tensor) -> Tensor:
        result: Tensor = self(torch.cat([F.interpolate(coarse, scale_factor=2, mode="nearest"), fine], dim=1))
        return result

    Convolution.joined = joined  # type: ignore[method-assign]
    try:
        yield
    finally:
        Convolution.joined = quick  # type: ignore[method-assign]


class LargeConvolution:
    """Forward and backward pass of a convolution of width 3 from 64 to 64 channels, on a large batch.

    Args:
        dims: 2 or 3.
        precision: `32-true` or `bf16-mixed`.
        channels_last: The layout; the faster one counts.
        size: Pairs and voxels (N, *shape).
    """

    def __init__(
        self, dims: int, precision: str, channels_last: bool = True, size: tuple[int, ...] | None = None
    ) -> None:
        count, *shape = size or LARGE[dims]
        layout = LAYOUTS[dims] if channels_last else torch.contiguous_format
        kind = TYPES[precision]
        self.layer = CONVOLUTION[dims](CHANNELS, CHANNELS, 3, padding=1, bias=False).to(kind)
        self.layer.weight.data = self.layer.weight.data.contiguous(memory_format=layout)
        self.features = torch.randn(count, CHANNELS, *shape, dtype=kind).contiguous(memory_format=layout)
        self.features.requires_grad_()
        self.gradient = torch.randn_like(self.features)
        # A multiplication and an addition for each weight and voxel, three times: output, both gradients.
        self.operations = 3 * 2 * self.layer.weight.numel() * self.features[:, 0].numel()

    def __call__(self) -> None:
        """One forward and one backward pass."""
        self.features.grad = None
        self.layer.weight.grad = None
        output: Tensor = self.layer(self.features)
        torch.autograd.backward(output, self.gradient)
