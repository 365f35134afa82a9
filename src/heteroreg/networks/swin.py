"""The Swin transformer: attention within windows that are shifted from block to block.

From the papers: Liu et al., *Swin Transformer: Hierarchical Vision Transformer using Shifted Windows*, ICCV 2021,
with the third dimension as in Liu et al., *Video Swin Transformer*, CVPR 2022. Tokens are (N, *grid, C), with the
features last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heteroreg.networks.drop_path import draw_kept, dropped

INITIAL_SD = 0.02


class Windows(NamedTuple):
    """A partition of a grid of tokens into windows.

    Attributes:
        grid: Tokens along each axis.
        size: Those of a window along each axis.
        shift: By how many tokens the windows are shifted along each axis.
    """

    grid: tuple[int, ...]
    size: tuple[int, ...]
    shift: tuple[int, ...]

    @classmethod
    def of(cls, grid: Sequence[int], window: int, shifted: bool) -> Windows:
        """Return windows of a width, or of the whole axis if that is shorter; nothing is then shifted along it."""
        size = tuple(min(n, window) for n in grid)
        return cls(tuple(grid), size, tuple(window // 2 if shifted and n > window else 0 for n in grid))

    @property
    def padding(self) -> tuple[int, ...]:
        """Number of tokens to add at the far end of each axis, so that windows fill it."""
        return tuple(-n % width for n, width in zip(self.grid, self.size, strict=True))

    def cut(self, tokens: Tensor) -> Tensor:
        """Return the windows (N, *counts, tokens of a window, C) of tokens (N, *grid, C)."""
        if any(self.padding):
            tokens = F.pad(tokens, [0, 0, *chain.from_iterable((0, more) for more in reversed(self.padding))])
        if any(self.shift):
            tokens = tokens.roll([-by for by in self.shift], self._axes)
        return blocks_of(tokens, self.size)

    def put_together(self, windows: Tensor) -> Tensor:
        """Return tokens (N, *grid, C) from the windows that `cut` made."""
        tokens = tokens_of(windows, self.size)
        if any(self.shift):
            tokens = tokens.roll(self.shift, self._axes)
        if any(self.padding):
            tokens = tokens[(slice(None), *(slice(n) for n in self.grid))]
        return tokens

    def mask(self, device: torch.device) -> Tensor | None:
        """Return the mask that is added to the logits (windows, 1, tokens, tokens): 0, or -∞ between tokens apart.

        Rolling brings tokens from both ends of an axis into one window. They attend each other only if they are
        neighbours before: if they lie in the same window of the plane, shifted and without end. And none attends
        the padding.
        """
        return _mask(self, device) if any(self.shift) or any(self.padding) else None

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.grid) + 1))


@lru_cache(maxsize=16)  # two sizes of images with four stages; those of volumes take some 70 MB each
def _mask(windows: Windows, device: torch.device) -> Tensor:
    # A registration, which runs in inference mode, may be the first to ask, and training the next.
    with torch.inference_mode(False):
        numbers = []
        for n, width, by, more in zip(*windows, windows.padding, strict=True):
            numbers.append(_numbers(torch.arange(n + more), n, width, by).roll(-by))
        return _apart(numbers, windows.size).to(device)


def _numbers(position: Tensor, n: int | Tensor, width: int, by: int | Tensor) -> Tensor:
    """Return the number of the window of each position along an axis; padding has a number of its own."""
    return 2 * (torch.div(position - by, width, rounding_mode="floor") + 1) + (position >= n)


def _apart(numbers: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return (windows, 1, tokens, tokens): 0, or -∞ between tokens of a window with different numbers."""
    labels = torch.zeros(1, *(1 for _ in numbers), 1, dtype=torch.long)
    for axis, number in enumerate(numbers):
        shape = [-1 if other == axis else 1 for other in range(len(numbers))]
        labels = labels * (number.max() + 1) + number.view(1, *shape, 1)
    labels = blocks_of(labels, size).flatten(0, -3).squeeze(-1)
    apart = labels[:, None, :, None] != labels[:, None, None, :]
    return torch.zeros(apart.shape).masked_fill(apart, -math.inf)


@dataclass(frozen=True)
class OpenWindows:
    """`Windows` of a grid whose size is known only when an exported network runs.

    The windows always have their full width. Along an axis that is shorter the tokens fill a part of the only one,
    and the mask leaves the rest out: the same attention as within a window of the whole axis. Whether windows are
    shifted is computed, not decided: tokens are taken by indices.

    Attributes:
        grid: Tokens along each axis; symbols.
        size: Those of a window along each axis.
        shifted: Whether the windows are shifted by half of their width along axes that are longer.
    """

    grid: tuple[int, ...]
    size: tuple[int, ...]
    shifted: bool

    def _axis(self, n: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the number of tokens, the shift, and where each token of the padded and rolled axis was before."""
        length = torch.arange(n).max() + 1
        by = (length > width) * (width // 2 if self.shifted else 0)
        position = torch.arange((n + width - 1) // width * width)
        return length, by, torch.remainder(position + by, position.max() + 1)

    def cut(self, tokens: Tensor) -> Tensor:
        """See `Windows.cut`; values of the padding are masked later."""
        for axis, (n, width) in enumerate(zip(self.grid, self.size, strict=True), start=1):
            length, _, place = self._axis(n, width)
            tokens = tokens.index_select(axis, torch.minimum(place, length - 1))
        return blocks_of(tokens, self.size)

    def put_together(self, windows: Tensor) -> Tensor:
        """See `Windows.put_together`."""
        tokens = tokens_of(windows, self.size)
        for axis, (n, width) in enumerate(zip(self.grid, self.size, strict=True), start=1):
            _, by, place = self._axis(n, width)
            tokens = tokens.index_select(axis, torch.remainder(torch.arange(n) - by, place.max() + 1))
        return tokens

    def mask(self, device: torch.device) -> Tensor:
        """See `Windows.mask`."""
        numbers = []
        for n, width in zip(self.grid, self.size, strict=True):
            length, by, place = self._axis(n, width)
            numbers.append(_numbers(place, length, width, by))
        return _apart(numbers, self.size).to(device)


def windows_of(grid: Sequence[int], window: int, shifted: bool) -> Windows | OpenWindows:
    """Return the windows of a grid of tokens; see `Windows.of`."""
    if not all(isinstance(n, int) for n in grid):
        return OpenWindows(tuple(grid), (window,) * len(grid), shifted)
    return Windows.of(grid, window, shifted)


def blocks_of(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """Return blocks of neighbours (N, *counts, product of size, C) of tokens; the size divides their grid."""
    batch, *grid, features = tokens.shape
    dims = len(grid)
    counts = [n // width for n, width in zip(grid, size, strict=True)]
    pairs = chain.from_iterable(zip(counts, size, strict=True))
    order = (0, *(1 + 2 * i for i in range(dims)), *(2 + 2 * i for i in range(dims)), 1 + 2 * dims)
    return tokens.reshape(batch, *pairs, features).permute(order).reshape(batch, *counts, math.prod(size), features)


def tokens_of(blocks: Tensor, size: Sequence[int]) -> Tensor:
    """Return tokens (N, *grid, C) from the blocks that `blocks_of` made."""
    batch, *counts, _, features = blocks.shape
    dims = len(counts)
    grid = [count * width for count, width in zip(counts, size, strict=True)]
    order = (0, *chain.from_iterable((1 + i, 1 + dims + i) for i in range(dims)), 1 + 2 * dims)
    return blocks.reshape(batch, *counts, *size, features).permute(order).reshape(batch, *grid, features)


class WindowAttention(nn.Module):
    """Attention with several heads and a bias by relative position: softmax(q kᵀ / √D + b(i - j)) v.

    Args:
        dims: 2 or 3.
        features: C; D is C / heads.
        heads: Heads.
        window: Tokens of a window along each axis, at most.
    """

    def __init__(self, dims: int, features: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(features, 3 * features, bias=False)
        self.output = nn.Linear(features, features)
        self.bias = nn.Parameter(torch.empty(heads, *[2 * window - 1] * dims))
        nn.init.trunc_normal_(self.bias, std=INITIAL_SD)

    def forward(self, tokens: Tensor, windows: Windows | OpenWindows) -> Tensor:
        """Return (N, *counts, tokens of a window, C) of windows of that shape."""
        batch, *counts, length, features = tokens.shape
        count = math.prod(counts)
        qkv = self.qkv(tokens).view(batch, count, length, 3, self.heads, features // self.heads)
        # Windows count as heads, so that the mask is the same for the whole batch.
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
        logits = self.relative_bias(windows.size)
        mask = windows.mask(tokens.device)
        logits = logits.expand(count, -1, -1, -1) if mask is None else logits + mask
        logits = logits.flatten(0, 1)[None].to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=logits)
        mixed = mixed.unflatten(1, (count, self.heads)).transpose(2, 3)
        result: Tensor = self.output(mixed.reshape(tokens.shape))
        return result

    def relative_bias(self, size: Sequence[int]) -> Tensor:
        """Return b(i - j) (heads, tokens, tokens) for tokens i and j of a window of that size.

        The bias is kept for i - j from -(window - 1) to window - 1; a smaller window needs the middle of it. Along
        an axis, row i takes the `width` values up to that of i - 0, in reverse: no table of indices is needed.
        """
        bias: Tensor = self.bias
        for axis, width in enumerate(size, start=1):
            bias = bias.narrow(axis, self.window - width, 2 * width - 1).unfold(axis, width, 1)
        dims, length = len(size), math.prod(size)
        return bias.flip(tuple(1 + dims + i for i in range(dims))).reshape(-1, length, length)


class SwinBlock(nn.Module):
    """Attention within windows and a perceptron for each token, each normalised before and added to its input.

    Args:
        dims: 2 or 3.
        features: C.
        heads: Of the attention.
        window: Tokens of a window along each axis, at most.
        shifted: Whether the windows are shifted by half of their width.
        mlp_ratio: Hidden features of the perceptron over C.
    """

    def __init__(
        self, dims: int, features: int, heads: int, window: int, shifted: bool, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.attention_norm = nn.LayerNorm(features)
        self.attention = WindowAttention(dims, features, heads, window)
        self.mlp_norm = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            nn.Linear(features, mlp_ratio * features), nn.GELU(), nn.Linear(mlp_ratio * features, features)
        )

    def forward(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return tokens (N, *grid, C) for tokens of that shape.

        Args:
            tokens: (N, *grid, C).
            kept: (2, N), what the two branches of each sample are multiplied with; see `drop_path`.
        """
        attention, mlp = (None, None) if kept is None else kept.unbind(0)
        tokens = tokens + dropped(self._attend(self.attention_norm(tokens)), attention)
        return tokens + dropped(self.mlp(self.mlp_norm(tokens)), mlp)

    def _attend(self, tokens: Tensor) -> Tensor:
        windows = windows_of(tokens.shape[1:-1], self.window, self.shifted)
        return windows.put_together(self.attention(windows.cut(tokens), windows))


class PatchMerging(nn.Module):
    """A layer that halves the grid: the features of 2^d neighbours, normalised, become twice the features of one.

    Args:
        dims: 2 or 3.
        features: C.
    """

    def __init__(self, dims: int, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2**dims * features)
        self.reduction = nn.Linear(2**dims * features, 2 * features, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (N, *grid / 2, 2C) for tokens (N, *grid, C), with a grid of even sides."""
        neighbours = blocks_of(tokens, [2] * (tokens.ndim - 2)).flatten(-2)
        reduced: Tensor = self.reduction(self.norm(neighbours))
        # What the blocks add to keeps all its digits.
        return reduced.to(self.reduction.weight.dtype)


class Swin(nn.Module):
    """The encoder: patches become tokens, and each stage after the first halves the grid and doubles the features.

    Args:
        dims: 2 or 3.
        inputs: Channels of the images.
        patch: Voxels of a patch along each axis.
        features: Those of the first stage.
        depths: Blocks of each stage; every second one has shifted windows.
        heads: Heads of each stage.
        window: Tokens of a window along each axis, at most.
        drop_path: Rate at which the last block is left out in training; it rises linearly from 0 at the first.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        patch: int,
        features: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.depths = tuple(depths)
        self.features = tuple(features * 2**stage for stage in range(len(depths)))
        self.drop_path = drop_path
        self.embedding = nn.Linear(patch**dims * inputs, features)
        self.embedding_norm = nn.LayerNorm(features)
        self.blocks = nn.ModuleList(
            SwinBlock(dims, width, head, window, shifted=bool(number % 2))
            for width, depth, head in zip(self.features, depths, heads, strict=True)
            for number in range(depth)
        )
        self.mergings = nn.ModuleList(PatchMerging(dims, width) for width in self.features[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.features)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_SD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def multiple(self) -> int:
        """Number of which the sides of images must be multiples."""
        return self.patch << len(self.depths) - 1

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features (N, C, *grid) after each stage, from the finest, of images (N, inputs, *shape).

        The sides of the images have to be multiples of `multiple`.
        """
        patches = blocks_of(images.movedim(1, -1), [self.patch] * (images.ndim - 2)).flatten(-2)
        tokens = self.embedding_norm(self.embedding(patches).to(self.embedding.weight.dtype))
        blocks = iter(self.blocks)
        kept: Iterator[Tensor | None] = repeat(None)
        if self.training and self.drop_path:
            kept = iter(draw_kept(self.drop_path, len(self.blocks), 2, len(images), images.device))
        levels = []
        for stage, depth in enumerate(self.depths):
            if stage:
                tokens = self.mergings[stage - 1](tokens)
            for _ in range(depth):
                tokens = next(blocks)(tokens, next(kept))
            levels.append(self.norms[stage](tokens).movedim(tokens.ndim - 1, 1))
        return levels
