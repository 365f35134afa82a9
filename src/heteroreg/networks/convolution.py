"""Convolutions with activation: on few voxels, with pooling, and over upsampled features."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
CONVOLVED = {2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}
POOLINGS = {2: F.max_pool2d, 3: F.max_pool3d}
FEW_VOXELS = 4  # voxels along an axis below which a 3D convolution stays in the precision of its weights


def last(features: Tensor) -> Tensor:
    """Return the features with the channels last in memory."""
    # In an exported graph the layout has no meaning, and the exporter does not know it.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return features
    return features.contiguous(memory_format=CHANNELS_LAST[features.ndim - 2])


def output_layer(dims: int, features: int, outputs: int, sd: float, bias: float = 0.0) -> nn.Conv2d | nn.Conv3d:
    """Return the last convolution of a network, of width 3, with small initial weights.

    Args:
        dims: 2 or 3.
        features: Features that it takes.
        outputs: Channels that it gives.
        sd: Standard deviation of the initial weights.
        bias: Initial bias.
    """
    layer = CONVOLUTIONS[dims](features, outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=sd)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer


class Convolution(nn.Sequential):
    """A convolution of width 3 that keeps the shape, followed by LeakyReLU 0.2.

    Args:
        dims: 2 or 3.
        inputs: Features that it takes.
        outputs: Features that it gives.
        stride: 2 gives every second voxel, the first included.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, stride: int = 1) -> None:
        # In a sequence, so that the parameters have the names that the checkpoints know.
        convolution = CONVOLUTIONS[dims](inputs, outputs, 3, stride=stride, padding=1)
        super().__init__(convolution, nn.LeakyReLU(0.2, inplace=True))
        self.dims = dims
        self._kept: tuple[Tensor, Tensor] | None = None

    @property
    def weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias."""
        convolution = self[0]
        assert isinstance(convolution, nn.Conv2d | nn.Conv3d)
        return convolution.weight, convolution.bias

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, *shape) for features (N, inputs, *shape)."""
        result: Tensor = self[1](self._convolved(features))
        return result

    def pooled(self, features: Tensor) -> Tensor:
        """Return the same followed by max-pooling (N, outputs, *shape / 2), pooled before it is activated.

        The activation rises everywhere, so that the order changes nothing but the work: 1/2^d of the activations.
        """
        result: Tensor = self[1](POOLINGS[self.dims](self._convolved(features), 2))
        return result

    def _convolved(self, features: Tensor) -> Tensor:
        with exact_if_small(features.shape[2:], features.device):
            result: Tensor = self[0](features.to(_precision(self, features)))
            return result

    def joined(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the same for coarse features, upsampled by nearest neighbours and joined with fine ones.

        The same as `self(cat([interpolate(coarse, scale_factor=2), fine]))` but for rounding. A kernel of width
        3 sees only two coarse voxels along each axis of an upsampled image, so that its weights can be added up
        beforehand, w₄(t) = w₃(t) + w₃(t - 1), with which a transposed convolution of stride 2 does the rest. That
        takes (2/3)^d of the multiplications, and neither the upsampled nor the joined features are ever made.
        """
        with exact_if_small(fine.shape[2:], fine.device):
            kernel, rest = self._kept or self._split(coarse.shape[1])
            precision = _precision(self, fine)
            result: Tensor = TRANSPOSED[self.dims](coarse.to(precision), kernel, stride=2, padding=1)
            result.add_(CONVOLVED[self.dims](fine.to(precision), rest, self.weight_and_bias[1], padding=1))
            activated: Tensor = self[1](result)
            return activated

    def keep(self, inner: int) -> None:
        """Keep the kernels of `joined` for `inner` coarse features; the weights must not change afterwards."""
        self._kept = self._split(inner)

    def _split(self, inner: int) -> tuple[Tensor, Tensor]:
        """Return the weights of a transposed convolution for the coarse features, and those for the fine ones."""
        dims, weight = self.dims, self.weight_and_bias[0]
        kernel = weight[:, :inner]
        for axis in range(dims):
            before = [0, 0] * (dims - 1 - axis) + [1, 0]
            after = [0, 0] * (dims - 1 - axis) + [0, 1]
            kernel = F.pad(kernel, before) + F.pad(kernel, after)
        # What is transposed has its kernel turned round. The axes in a tuple: torch.compile (2.13) reads an
        # unpacked range wrongly.
        axes = tuple(range(2, dims + 2))
        kernel = kernel.transpose(0, 1).flip(axes).contiguous(memory_format=CHANNELS_LAST[dims])
        return kernel, weight[:, inner:]


def convolutions(modules: nn.ModuleList) -> list[Convolution]:
    """Return the convolutions of a list, typed."""
    return cast("list[Convolution]", list(modules))


def exact_if_small(shape: torch.Size, device: torch.device) -> AbstractContextManager[Any]:
    """Keep autocast away from 3D convolutions over few voxels.

    oneDNN's bfloat16 gradient of their weights is wrong by orders of magnitude where an axis has two voxels, and
    writes where it should not (PyTorch 2.13 on CPUs). So few voxels cost nothing in float32.
    """
    # First whether autocast is on at all: in an export it is not, and there sizes cannot be compared.
    small = torch.is_autocast_enabled(device.type) and len(shape) == 3 and min(shape) < FEW_VOXELS
    return torch.autocast(device.type, enabled=False) if small else nullcontext()


def _precision(layer: Convolution, features: Tensor) -> torch.dtype:
    """Return the type of features that the weights take; autocast, if it is on, converts them itself."""
    return features.dtype if torch.is_autocast_enabled(features.device.type) else layer.weight_and_bias[0].dtype
