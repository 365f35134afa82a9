"""The transformer against loops over tokens."""

import itertools
import math

import numpy as np
import pytest
import torch

from heteroreg.networks.swin import (
    OpenWindows,
    PatchMerging,
    Swin,
    SwinBlock,
    WindowAttention,
    Windows,
    blocks_of,
    tokens_of,
)

# Window 4: whole windows, padded ones, axes as long as a window, one longer, and shorter.
GRIDS = [(8, 8), (5, 9), (4, 6), (3, 10), (1, 5), (2, 2), (5, 4, 6), (3, 8, 1)]


def attention_by_loops(attention, tokens, shifted):
    """Every token attends those that lie in its window. Nothing is cut, rolled or padded.

    The windows of an axis begin at every multiple of the width, or half a width further on, without end in both
    directions; the shift and the width are those of `Windows.of`.
    """
    weights = {name: value.detach().numpy() for name, value in attention.state_dict().items()}
    window, heads = attention.window, attention.heads
    batch, *grid, features = tokens.shape
    width = [min(n, window) for n in grid]
    shift = [window // 2 if shifted and n > window else 0 for n in grid]
    depth = features // heads
    places = list(itertools.product(*map(range, grid)))

    def in_window(place):
        return [math.floor((p - s) / w) for p, s, w in zip(place, shift, width, strict=True)]

    result = np.zeros(tokens.shape)
    for sample in range(batch):
        qkv = {place: weights["qkv.weight"] @ tokens[(sample, *place)].numpy() for place in places}
        for i in places:
            mixed = []
            for head in range(heads):
                part = slice(head * depth, (head + 1) * depth)
                query = qkv[i][:features][part]
                near = [j for j in places if in_window(i) == in_window(j)]
                logits = [
                    query @ qkv[j][features : 2 * features][part] / math.sqrt(depth)
                    + weights["bias"][(head, *(a - b + window - 1 for a, b in zip(i, j, strict=True)))]
                    for j in near
                ]
                share = np.exp(logits) / np.exp(logits).sum()
                mixed.append(sum(s * qkv[j][2 * features :][part] for s, j in zip(share, near, strict=True)))
            result[(sample, *i)] = weights["output.weight"] @ np.concatenate(mixed) + weights["output.bias"]
    return result


def open_windows(grid, window, shifted):
    return OpenWindows(tuple(grid), (window,) * len(grid), shifted)


@pytest.mark.parametrize("make", [Windows.of, open_windows])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_attention_is_that_of_a_loop_over_tokens(grid, shifted, make):
    torch.manual_seed(0)
    attention = WindowAttention(len(grid), 6, 2, 4).double().requires_grad_(False)
    attention.bias.normal_()
    tokens = torch.randn(2, *grid, 6, dtype=torch.double)
    windows = make(grid, 4, shifted)
    expected = attention_by_loops(attention, tokens, shifted)
    for learning in (False, True):  # PyTorch computes attention in another way where gradients are wanted
        attention.requires_grad_(learning)
        found = windows.put_together(attention(windows.cut(tokens), windows))
        np.testing.assert_allclose(found.detach(), expected, atol=1e-12)


def test_the_shift_by_hand():
    # 6 tokens, windows of 4, shifted by 2, padded to 8. Rolled: 2 3 4 5 | 6 7 0 1, where 6 and 7 are padding. 0 and
    # 1 are at the other end: they attend each other alone.
    windows = Windows.of((6,), 4, shifted=True)
    assert (windows.size, windows.shift, windows.padding) == ((4,), (2,), (2,))
    cut = windows.cut(torch.arange(1.0, 7).view(1, 6, 1))
    assert cut.flatten().tolist() == [3, 4, 5, 6, 0, 0, 1, 2]
    mask = windows.mask(cut.device)
    yes, no = 0, -math.inf
    assert mask[:, 0].tolist() == [[[yes] * 4] * 4, [[yes, yes, no, no]] * 2 + [[no, no, yes, yes]] * 2]


def test_padding_is_not_attended():
    # 6 tokens in windows of 4: the second holds tokens 4 and 5, and two of padding.
    mask = Windows.of((6,), 4, shifted=False).mask(torch.device("cpu"))
    assert mask[1, 0].isneginf().tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2
    assert not mask[0].isneginf().any()


@pytest.mark.parametrize(("grid", "shifted"), [((8, 4), False), ((4, 3), True), ((2, 2, 2), True)])
def test_no_mask_where_none_is_needed(grid, shifted):
    assert Windows.of(grid, 4, shifted).mask(torch.device("cpu")) is None


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
def test_cut_and_put_together(grid, shifted):
    tokens = torch.randn(2, *grid, 3)
    windows = Windows.of(grid, 4, shifted)
    torch.testing.assert_close(windows.put_together(windows.cut(tokens)), tokens, atol=0, rtol=0)


def test_blocks_of_neighbours_by_hand():
    tokens = torch.arange(24).view(1, 4, 6, 1)
    blocks = blocks_of(tokens, (2, 3))
    assert blocks.shape == (1, 2, 2, 6, 1)
    assert blocks[0, 0, 0].flatten().tolist() == [0, 1, 2, 6, 7, 8]
    assert blocks[0, 1, 1].flatten().tolist() == [15, 16, 17, 21, 22, 23]
    assert torch.equal(tokens_of(blocks, (2, 3)), tokens)


@pytest.mark.parametrize("size", [(4, 4), (2, 4), (1, 3)])
def test_a_smaller_window_takes_the_middle_of_the_bias(size):
    attention = WindowAttention(2, 4, 1, 4).requires_grad_(False)
    attention.bias.copy_(torch.arange(49.0).view(1, 7, 7))
    bias = attention.relative_bias(size)[0].view(*size, *size)
    for i, j in itertools.product(*[list(itertools.product(*map(range, size)))] * 2):
        assert bias[i + j] == 7 * (i[0] - j[0] + 3) + (i[1] - j[1] + 3)


def test_every_bias_has_its_gradient():
    # The sum of all logits has, for b(δ), as many terms as there are pairs of tokens so far apart: 2 - |δ| of 2.
    attention = WindowAttention(1, 2, 1, 3)
    attention.relative_bias((2,)).sum().backward()
    assert attention.bias.grad.tolist() == [[0, 1, 2, 1, 0]]


@pytest.mark.parametrize("dims", [2, 3])
def test_merging_joins_neighbours(dims):
    torch.manual_seed(0)
    merging = PatchMerging(dims, 3)
    tokens = torch.randn(2, *(4, 6, 2)[:dims], 3)
    corners = itertools.product(*[(slice(0, None, 2), slice(1, None, 2))] * dims)
    joined = torch.cat([tokens[(slice(None), *corner)] for corner in corners], dim=-1)
    mean = joined.mean(-1, keepdim=True)
    normed = (joined - mean) / (joined.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(merging(tokens), normed @ merging.reduction.weight.T)
    assert merging(tokens).shape == (2, *(2, 3, 1)[:dims], 6)


def test_a_block_is_what_it_says():
    torch.manual_seed(0)
    block, tokens = SwinBlock(2, 4, 2, 4, shifted=True), torch.randn(3, 6, 5, 4)
    windows = Windows.of((6, 5), 4, shifted=True)
    attended = windows.put_together(block.attention(windows.cut(block.attention_norm(tokens)), windows))
    middle = tokens + attended
    perceived = block.mlp(block.mlp_norm(middle))
    torch.testing.assert_close(block(tokens), middle + perceived)
    # Each sample has its own two numbers.
    kept = torch.tensor([[0.0, 1.0, 2.0], [0.0, 2.0, 0.0]])
    found = block(tokens, kept)
    torch.testing.assert_close(found[0], tokens[0], atol=0, rtol=0)
    torch.testing.assert_close(found[1], middle[1] + 2 * perceived[1])
    torch.testing.assert_close(found[2], tokens[2] + 2 * attended[2])


def test_a_shift_by_a_window_shifts_the_tokens():
    torch.manual_seed(0)
    plain = SwinBlock(2, 4, 2, 4, shifted=False).requires_grad_(False)
    tokens = torch.randn(1, 12, 8, 4)
    torch.testing.assert_close(plain(tokens.roll(4, 1)), plain(tokens).roll(4, 1))
    assert float((plain(tokens.roll(1, 1)) - plain(tokens).roll(1, 1)).abs().max()) > 1e-3
    # With shifted windows only those that do not go over the end: tokens 2 to 9 of 12.
    shifted = SwinBlock(2, 4, 2, 4, shifted=True).requires_grad_(False)
    torch.testing.assert_close(shifted(tokens.roll(4, 1))[:, 6:10], shifted(tokens).roll(4, 1)[:, 6:10])


def test_shifted_windows_join_what_plain_ones_part():
    torch.manual_seed(0)
    tokens = torch.randn(1, 8, 4, requires_grad=True)
    for shifted, seen in ((False, {0, 1, 2, 3}), (True, {2, 3, 4, 5})):
        block = SwinBlock(1, 4, 2, 4, shifted=shifted)
        (gradient,) = torch.autograd.grad(block(tokens)[0, 3].square().sum(), tokens)
        assert set(gradient[0].abs().sum(-1).nonzero().flatten().tolist()) == seen


def test_stages_halve_the_grid_and_double_the_features():
    encoder = Swin(3, 2, 4, 8, (1, 2, 1), (1, 2, 4), 4, 0.0)
    assert encoder.multiple == 16
    levels = encoder(torch.rand(2, 2, 16, 32, 48))
    assert [tuple(level.shape) for level in levels] == [(2, 8, 4, 8, 12), (2, 16, 2, 4, 6), (2, 32, 1, 2, 3)]
    assert [block.shifted for block in encoder.blocks] == [False, False, True, False]


def test_an_embedded_patch_is_a_convolution():
    # The published embedding is a convolution of width and stride 4 with the same weights in another order.
    torch.manual_seed(0)
    encoder = Swin(2, 2, 4, 8, (1,), (2,), 4, 0.0)
    kernel = encoder.embedding.weight.view(8, 4, 4, 2).permute(0, 3, 1, 2)
    images = torch.rand(2, 2, 8, 12)
    patches = blocks_of(images.movedim(1, -1), (4, 4)).flatten(-2)
    expected = torch.nn.functional.conv2d(images, kernel, encoder.embedding.bias, stride=4)
    torch.testing.assert_close(encoder.embedding(patches).movedim(-1, 1), expected)


def test_a_mask_made_in_inference_serves_training():
    windows = Windows.of((11, 13), 4, shifted=True)
    block, tokens = SwinBlock(2, 4, 2, 4, shifted=True), torch.randn(1, 11, 13, 4)
    with torch.inference_mode():
        block(tokens)
    assert not windows.mask(tokens.device).is_inference()
    block(tokens).sum().backward()
    assert block.attention.bias.grad.isfinite().all()


def test_a_mask_lies_where_it_is_asked_for():
    windows = Windows.of((11, 13), 4, shifted=True)
    assert windows.mask(torch.device("cpu")).device.type == "cpu"
    assert windows.mask(torch.device("meta")).device.type == "meta"
    assert windows.mask(torch.device("cpu")).device.type == "cpu"
