r"""LayerNorm, linear, GELU, linear and residual of a transformer block.

.. math:: out = x + W_2 \, \mathrm{gelu}(W_1 \mathrm{LayerNorm}(x) + b_1) + b_2

of tokens x of C channels, with a hidden layer of F channels.

One kernel where C allows it: a program keeps its tokens, normed, and their sums in registers and
goes through the hidden units in blocks, so that the hidden tensor never exists. The registers are
what ends this. As ptxas and LLVM report them for triton 3.8, C of 384, filled up to 512, takes 254
or 255 of the 255 registers of sm_80 and sm_90 for no more than 32 tokens, and spills on gfx942,
where it also takes all shared memory; in TF32, C of 192 spills on sm_90. Fewer tokens to a
program would read all weights, 2.4 MB of 16-bit numbers for C of 384, once for every 16 tokens.
Such widths go through two kernels, norm + linear + GELU and linear + residual, in ordinary tiles.
They have few tokens: the hidden tensor between the two, 4.7 MB for the 1536 tokens that a picture
of 768x512 leaves STF at C of 384, stays in the L2 cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.common import dot_precision, gelu, multiprocessors

__all__ = ["contract_kernel", "expand_kernel", "feed_forward", "fused_kernel"]


class Blocks(NamedTuple):
    """A kernel's blocks of tokens, output channels and summed channels, and how it is run."""

    tokens: int
    outputs: int
    sums: int
    num_warps: int
    num_stages: int


@triton.jit
def fused_kernel(
    x_ptr,
    norm_weight_ptr,
    norm_bias_ptr,
    weight1_ptr,
    bias1_ptr,
    weight2_ptr,
    bias2_ptr,
    out_ptr,
    tokens,
    eps,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A block of tokens from end to end; BLOCK_C is C filled up to a power of two."""
    token = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    channel = tl.arange(0, BLOCK_C)
    inside = channel < C
    place = token[:, None] * C + channel[None, :]
    there = (token < tokens)[:, None] & inside[None, :]

    x = tl.load(x_ptr + place, mask=there, other=0.0).to(tl.float32)
    mean = tl.sum(x, 1) / C
    centred = tl.where(inside[None, :], x - mean[:, None], 0.0)
    deviation = tl.sqrt(tl.sum(centred * centred, 1) / C + eps)
    norm_weight = tl.load(norm_weight_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    norm_bias = tl.load(norm_bias_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    normed = centred / deviation[:, None] * norm_weight[None, :] + norm_bias[None, :]
    normed = normed.to(weight1_ptr.dtype.element_ty)

    total = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, HIDDEN, BLOCK_H):
        unit = start + tl.arange(0, BLOCK_H)
        exists = unit < HIDDEN
        weight1 = tl.load(
            weight1_ptr + unit[None, :] * C + channel[:, None],
            mask=inside[:, None] & exists[None, :],
            other=0.0,
        )
        bias1 = tl.load(bias1_ptr + unit, mask=exists, other=0.0).to(tl.float32)
        hidden = gelu(tl.dot(normed, weight1, input_precision=PRECISION) + bias1[None, :])
        weight2 = tl.load(
            weight2_ptr + channel[None, :] * HIDDEN + unit[:, None],
            mask=exists[:, None] & inside[None, :],
            other=0.0,
        )
        total = tl.dot(hidden.to(weight2.dtype), weight2, total, input_precision=PRECISION)

    bias2 = tl.load(bias2_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    # Read once more, from the cache: held all the way, x would cost as many registers as the sum.
    x = tl.load(x_ptr + place, mask=there, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, (x + (total + bias2[None, :])).to(out_ptr.dtype.element_ty), there)


@triton.jit
def expand_kernel(
    x_ptr,
    norm_weight_ptr,
    norm_bias_ptr,
    weight1_ptr,
    bias1_ptr,
    hidden_ptr,
    tokens,
    eps,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The first half, gelu(W1 LayerNorm(x) + b1), for a block of tokens and hidden units."""
    token = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    unit = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    present = (token < tokens)[:, None]
    exists = unit < HIDDEN

    # The statistics in two passes over the tokens, which stay in the cache.
    total = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, C, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        there = present & (channel < C)[None, :]
        x = tl.load(x_ptr + token[:, None] * C + channel[None, :], mask=there, other=0.0)
        total += x.to(tl.float32)
    mean = tl.sum(total, 1) / C
    total = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, C, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        inside = channel < C
        there = present & inside[None, :]
        x = tl.load(x_ptr + token[:, None] * C + channel[None, :], mask=there, other=0.0)
        centred = tl.where(inside[None, :], x.to(tl.float32) - mean[:, None], 0.0)
        total += centred * centred
    deviation = tl.sqrt(tl.sum(total, 1) / C + eps)

    hidden = tl.zeros((BLOCK_T, BLOCK_H), tl.float32)
    for start in range(0, C, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        inside = channel < C
        there = present & inside[None, :]
        x = tl.load(x_ptr + token[:, None] * C + channel[None, :], mask=there, other=0.0)
        centred = tl.where(inside[None, :], x.to(tl.float32) - mean[:, None], 0.0)
        norm_weight = tl.load(norm_weight_ptr + channel, mask=inside, other=0.0).to(tl.float32)
        norm_bias = tl.load(norm_bias_ptr + channel, mask=inside, other=0.0).to(tl.float32)
        normed = centred / deviation[:, None] * norm_weight[None, :] + norm_bias[None, :]
        weight1 = tl.load(
            weight1_ptr + unit[None, :] * C + channel[:, None],
            mask=inside[:, None] & exists[None, :],
            other=0.0,
        )
        hidden = tl.dot(normed.to(weight1.dtype), weight1, hidden, input_precision=PRECISION)

    bias1 = tl.load(bias1_ptr + unit, mask=exists, other=0.0).to(tl.float32)
    hidden = gelu(hidden + bias1[None, :]).to(hidden_ptr.dtype.element_ty)
    tl.store(
        hidden_ptr + token[:, None] * HIDDEN + unit[None, :], hidden, present & exists[None, :]
    )


@triton.jit
def contract_kernel(
    hidden_ptr,
    weight2_ptr,
    bias2_ptr,
    x_ptr,
    out_ptr,
    tokens,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The second half, x + W2 hidden + b2, for a block of tokens and output channels."""
    token = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    present = (token < tokens)[:, None]
    inside = channel < C

    total = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for start in range(0, HIDDEN, BLOCK_H):
        unit = start + tl.arange(0, BLOCK_H)
        exists = unit < HIDDEN
        hidden = tl.load(
            hidden_ptr + token[:, None] * HIDDEN + unit[None, :],
            mask=present & exists[None, :],
            other=0.0,
        )
        weight2 = tl.load(
            weight2_ptr + channel[None, :] * HIDDEN + unit[:, None],
            mask=exists[:, None] & inside[None, :],
            other=0.0,
        )
        total = tl.dot(hidden, weight2, total, input_precision=PRECISION)

    bias2 = tl.load(bias2_ptr + channel, mask=inside, other=0.0).to(tl.float32)
    place = token[:, None] * C + channel[None, :]
    there = present & inside[None, :]
    x = tl.load(x_ptr + place, mask=there, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, (x + (total + bias2[None, :])).to(out_ptr.dtype.element_ty), there)


# Widths up to this one are fused, the others split, by the bytes of an element.
_WIDEST_FUSED = {2: 256, 4: 128}

# By the bytes of an element and BLOCK_C: for as many tokens as occupy every multiprocessor, and
# for fewer.
_FUSED = {
    (2, 64): (Blocks(64, 64, 32, 4, 2), Blocks(16, 64, 32, 4, 2)),
    (2, 128): (Blocks(64, 128, 64, 8, 2), Blocks(16, 128, 64, 4, 2)),
    (2, 256): (Blocks(32, 256, 32, 8, 2), Blocks(16, 256, 32, 4, 2)),
    (4, 64): (Blocks(32, 64, 16, 4, 2), Blocks(16, 64, 32, 4, 2)),
    (4, 128): (Blocks(32, 128, 16, 4, 2), Blocks(16, 128, 32, 4, 2)),
}
_SPLIT = {
    2: (Blocks(64, 64, 64, 4, 3), Blocks(16, 64, 64, 4, 3)),
    4: (Blocks(64, 64, 16, 8, 2), Blocks(16, 64, 16, 4, 2)),
}


def fused_blocks(tokens: int, channels: int, itemsize: int, processors: int) -> Blocks | None:
    """Blocks of :func:`fused_kernel`, or None where the two halves run one after the other."""
    if channels > _WIDEST_FUSED[itemsize]:
        return None
    width = max(64, triton.next_power_of_2(channels))
    large, small = _FUSED[itemsize, width]
    return large if triton.cdiv(tokens, large.tokens) >= processors else small


def split_blocks(tokens: int, outputs: int, itemsize: int, processors: int) -> Blocks:
    """Blocks of :func:`expand_kernel` and :func:`contract_kernel`."""
    large, small = _SPLIT[itemsize]
    programs = triton.cdiv(tokens, large.tokens) * triton.cdiv(outputs, large.outputs)
    return large if programs >= processors else small


def feed_forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
    *,
    out: Tensor,
) -> Tensor:
    """Writes x + W2 gelu(W1 LayerNorm(x) + b1) + b2 to `out`.

    Args:
        x: (..., C) contiguous; float32, bfloat16 or float16, as all operands.
        norm_weight: (C,).
        norm_bias: (C,).
        weight1: (F, C) contiguous.
        bias1: (F,).
        weight2: (C, F) contiguous.
        bias2: (C,).
        eps: Added to the variance.
        out: (..., C) contiguous; may be `x` itself.
    """
    hidden_channels, channels = weight1.shape
    tokens = x.numel() // channels
    if tokens == 0:
        return out
    processors = multiprocessors(x.device)
    sizes = {"C": channels, "HIDDEN": hidden_channels, "PRECISION": dot_precision(x.dtype)}
    norm_and_first = (x, norm_weight, norm_bias, weight1, bias1)
    with torch.cuda.device_of(x):
        fused = fused_blocks(tokens, channels, x.itemsize, processors)
        if fused is not None:
            fused_kernel[(triton.cdiv(tokens, fused.tokens),)](
                *norm_and_first,
                weight2,
                bias2,
                out,
                tokens,
                eps,
                **sizes,
                BLOCK_T=fused.tokens,
                BLOCK_C=fused.outputs,
                BLOCK_H=fused.sums,
                num_warps=fused.num_warps,
                num_stages=fused.num_stages,
            )
            return out
        hidden = x.new_empty(tokens, hidden_channels)
        blocks = split_blocks(tokens, hidden_channels, x.itemsize, processors)
        expand_kernel[_grid(tokens, hidden_channels, blocks)](
            *norm_and_first,
            hidden,
            tokens,
            eps,
            **sizes,
            BLOCK_T=blocks.tokens,
            BLOCK_H=blocks.outputs,
            BLOCK_C=blocks.sums,
            num_warps=blocks.num_warps,
            num_stages=blocks.num_stages,
        )
        blocks = split_blocks(tokens, channels, x.itemsize, processors)
        contract_kernel[_grid(tokens, channels, blocks)](
            hidden,
            weight2,
            bias2,
            x,
            out,
            tokens,
            **sizes,
            BLOCK_T=blocks.tokens,
            BLOCK_C=blocks.outputs,
            BLOCK_H=blocks.sums,
            num_warps=blocks.num_warps,
            num_stages=blocks.num_stages,
        )
    return out


def _grid(tokens: int, outputs: int, blocks: Blocks) -> tuple[int, int]:
    return triton.cdiv(tokens, blocks.tokens), triton.cdiv(outputs, blocks.outputs)
