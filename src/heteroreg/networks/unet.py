"""The U-Net that all estimators are built on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from heteroreg.networks.convolution import CHANNELS_LAST, POOLINGS, Convolution, convolutions, last


def channels_last(module: nn.Module, dims: int) -> None:
    """Lay the weights out with the channels last: twice as fast on CPUs and on tensor cores."""
    for parameter in module.parameters():
        if parameter.ndim == dims + 2:
            parameter.data = parameter.data.contiguous(memory_format=CHANNELS_LAST[dims])


class UNet(nn.Module):
    """The U-Net of VoxelMorph (Balakrishnan et al., TMI 2019).

    One convolution on each level: down by max-pooling, up by nearest neighbours, with the features of each
    level joined on the way up, then convolutions at full resolution. Images of any size are padded at the far
    ends to a multiple of 2^levels by repeating the edge, and the features cropped back.

    Args:
        dims: 2 or 3.
        inputs: Channels of the input.
        encoder: Features on the way down, from full resolution.
        decoder: Features on the way up, from the bottom; as many as in the encoder.
        final: Features of the convolutions at full resolution.
        coarse: Ends at half the resolution: the last convolutions lie there, and the features of the full one are
            not joined. In 2D a quarter, in 3D an eighth of their work.
    """

    def __init__(
        self,
        dims: int,
        inputs: int = 2,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32),
        final: Sequence[int] = (32, 16, 16),
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.dims = dims
        self.coarse = coarse
        self.features = final[-1]
        down = [inputs, *encoder]
        self.encoder = nn.ModuleList(Convolution(dims, before, after) for before, after in pairwise(down))
        # On the way up each convolution but the first also sees the features of its level on the way down.
        joined = [0, *reversed(encoder)]
        up = [encoder[-1], *decoder]
        self.decoder = nn.ModuleList(
            Convolution(dims, before + skip, after)
            for before, skip, after in zip(up[:-1], joined[:-1], up[1:], strict=True)
        )
        last = [decoder[-1] + (0 if coarse else joined[-1]), *final]
        self.final = nn.ModuleList(Convolution(dims, before, after) for before, after in pairwise(last))
        channels_last(self, dims)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, features, *shape), or half of the shape rounded up, of images (N, inputs, *shape)."""
        shape = [(n + 1) // 2 if self.coarse else n for n in images.shape[2:]]
        features = last(pad_to_multiple(images, 2 ** len(self.encoder)))
        levels = []
        for level, layer in enumerate(convolutions(self.encoder)):
            if self.coarse and level == 0:  # not joined later
                features = layer.pooled(features)
                continue
            features = layer(features)
            levels.append(features)
            features = POOLINGS[self.dims](features, 2)
        features = self.decoder[0](features)
        joining, after = self._after_first()
        for layer in joining:
            features = layer.joined(features, levels.pop())
        for layer in after:
            features = layer(features)
        return crop_to(features, shape)

    def keep_kernels(self) -> None:
        """Make the kernels of every pass once; the weights must not change afterwards."""
        before = convolutions(self.decoder)[0]
        for layer in self._after_first()[0]:
            layer.keep(before.weight_and_bias[0].shape[0])
            before = layer

    def _after_first(self) -> tuple[list[Convolution], list[Convolution]]:
        """Return the convolutions after the first of the decoder: those that join features, and the rest."""
        joining = len(self.decoder) - 1 if self.coarse else len(self.decoder)
        after = [*convolutions(self.decoder)[1:], *convolutions(self.final)]
        return after[:joining], after[joining:]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad the far end of every axis to a multiple by repeating the edge."""
    # In a trace, for an export, sizes are no numbers: what there is to pad is known only when it runs.
    padding = [p for n in reversed(images.shape[2:]) for p in (0, (n + multiple - 1) // multiple * multiple - n)]
    needless = all(isinstance(p, int) and not p for p in padding)
    return images if needless else F.pad(images, padding, mode="replicate")


def crop_to(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Remove what `pad_to_multiple` added."""
    index: list[Any] = [..., *(slice(0, n) for n in shape)]
    return images[tuple(index)]
