r"""Element-wise steps with the same result on every machine: ``lic_fast/ops/exact.py`` in Triton.

.. math::
    a &= \mathrm{clamp}(\mathrm{round}(x \cdot \Delta^{-1}) + z,\ 0,\ 2^{bits} - 1) \\
    \hat y' &= \hat y + \tfrac12 \tanh(l)

Each function is the sequence of single IEEE-754 operations on float32 that its namesake there is,
in the same order, so that it gives the same bits; what they approximate is written there. It holds
only where no product is fused with a sum, which Triton does unless it is told not to: every launch
of a kernel that calls them takes :data:`OPTIONS`. Quotients are ``tl.div_rn``, for ``/`` is an
approximation on NVIDIA; on AMD both are the division of IEEE-754. Only finite operands are defined.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from lic_fast.kernels.common import arranged, offset, round_half_even

__all__ = [
    "BLOCK",
    "OPTIONS",
    "activated",
    "add_residual",
    "add_residual_kernel",
    "quantize",
    "quantize_kernel",
    "quantized",
]

OPTIONS = {"enable_fp_fusion": False}
"""What every launch of a kernel of exact steps is compiled with."""

BLOCK = 512
"""Elements of a program of the kernels of this file."""

# The constants of lic_fast/ops/exact.py, which a test compares.
LIMIT = tl.constexpr(4.5)
ERF = tl.constexpr(
    tuple(
        float.fromhex(c)
        for c in (
            "0x1.98481cp-2",
            "-0x1.0e45e4p-4",
            "0x1.3a165cp-7",
            "-0x1.0fff3ep-10",
            "0x1.5584d4p-14",
            "-0x1.2abf0ep-18",
            "0x1.55a842p-23",
            "-0x1.c78d42p-29",
            "0x1.0b13eep-35",
        )
    )
)
EXP = tl.constexpr(
    tuple(
        float.fromhex(c)
        for c in (
            "0x1.000000p+0",
            "0x1.fffffcp-2",
            "0x1.55541ap-3",
            "0x1.555826p-5",
            "0x1.126794p-7",
            "0x1.6ae71ep-10",
        )
    )
)
LOG2_E = tl.constexpr(float.fromhex("0x1.715476p+0"))
LN_2_HIGH = tl.constexpr(float.fromhex("0x1.62e400p-1"))
LN_2_LOW = tl.constexpr(float.fromhex("0x1.7f7d1cp-20"))
LEAKY_SLOPE = tl.constexpr(float.fromhex("0x1.47ae14p-7"))


@triton.jit
def gelu(x):
    """The product of x and a polynomial for the normal distribution function."""
    v = tl.minimum(tl.maximum(x, -LIMIT), LIMIT)
    t = v * v
    p = t * ERF[8] + ERF[7]
    for i in tl.static_range(7):
        p = p * t + ERF[6 - i]
    p = v * p + 0.5
    return x * tl.minimum(tl.maximum(p, 0.0), 1.0)


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """By "none", "relu", "leaky_relu" or "gelu"."""
    if ACTIVATION == "relu":
        x = tl.where(x > 0, x, 0.0)
    if ACTIVATION == "leaky_relu":
        x = tl.where(x > 0, x, x * LEAKY_SLOPE)
    if ACTIVATION == "gelu":
        x = gelu(x)
    return x


@triton.jit
def exp(x):
    """Of x <= 0."""
    x = tl.maximum(x, -87.0)
    n = round_half_even(x * LOG2_E)
    r = x - n * LN_2_HIGH
    r = r - n * LN_2_LOW
    p = r * EXP[5] + EXP[4]
    for i in tl.static_range(4):
        p = p * r + EXP[3 - i]
    p = p * r + 1.0
    power = ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    return p * power


@triton.jit
def tanh(x):
    """(1 - e) / (1 + e) with e = exp(-2 |x|), and the sign of x."""
    e = exp(tl.abs(x) * -2.0)
    quotient = tl.div_rn(1.0 - e, 1.0 + e)
    sign = x.to(tl.int32, bitcast=True) & -2147483648
    return (quotient.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def quantized(x, inverse_step, zero, BITS: tl.constexpr):
    """Activations of an integer layer, int32 in 0..2^BITS - 1."""
    moved = round_half_even(x * inverse_step) + zero.to(tl.float32)
    most: tl.constexpr = 2.0**BITS - 1.0
    return tl.minimum(tl.maximum(moved, 0.0), most).to(tl.int32)


@triton.jit
def store_halves(low_ptr, high_ptr, at, activations, mask):
    """The low seven bits, and the high ones where there are any, as bytes."""
    tl.store(low_ptr + at, (activations & 127).to(tl.uint8), mask=mask)
    if high_ptr is not None:
        tl.store(high_ptr + at, (activations >> 7).to(tl.uint8), mask=mask)


@triton.jit
def quantize_kernel(
    x_ptr,
    inverse_step_ptr,
    zero_ptr,
    low_ptr,
    high_ptr,
    count,
    height,
    width,
    channels,
    x_image,
    x_row,
    x_column,
    x_channel,
    BLOCK: tl.constexpr,
):
    """Of a map with any strides into maps with channels last; one of 7 bits has no high half."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, height, width, channels, x_image, x_row, x_column, x_channel)
    x = tl.load(x_ptr + at, mask=there, other=0.0)
    inverse_step = tl.load(inverse_step_ptr + i % channels, mask=there, other=0.0)
    zero = tl.load(zero_ptr + i % channels, mask=there, other=0)
    activations = quantized(x, inverse_step, zero, 7 if high_ptr is None else 14)
    store_halves(low_ptr, high_ptr, i, activations, there)


@triton.jit
def add_residual_kernel(
    quantized_ptr,
    lrp_ptr,
    out_ptr,
    count,
    size1,
    size2,
    size3,
    quantized0,
    quantized1,
    quantized2,
    quantized3,
    lrp0,
    lrp1,
    lrp2,
    lrp3,
    BLOCK: tl.constexpr,
):
    """Quantized + tanh(lrp) / 2."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < count
    at = offset(i, size1, size2, size3, quantized0, quantized1, quantized2, quantized3)
    quantized = tl.load(quantized_ptr + at, mask=there, other=0.0)
    at = offset(i, size1, size2, size3, lrp0, lrp1, lrp2, lrp3)
    lrp = tl.load(lrp_ptr + at, mask=there, other=0.0)
    tl.store(out_ptr + i, quantized + 0.5 * tanh(lrp), mask=there)


def quantize(x: Tensor, inverse_step: Tensor, zero: Tensor, *, out: Sequence[Tensor]) -> None:
    """Writes the activations that stand for x.

    Args:
        x: (B, N, H, W) float32 with any strides, below 2^31 elements.
        inverse_step: (N,) float32 contiguous.
        zero: (N,) int32 contiguous, in 0..127, or 0..16383 for two halves.
        out: One map of 7 bits, or the high and the low half of 14 bits: (B, N, H, W) uint8,
            dense with channels last.
    """
    _, channels, height, width = x.shape
    strides = [x.stride(d) for d in (0, 2, 3, 1)]
    with torch.cuda.device_of(x):
        quantize_kernel[(triton.cdiv(x.numel(), BLOCK),)](
            x,
            inverse_step,
            zero,
            out[-1],
            out[0] if len(out) == 2 else None,
            x.numel(),
            height,
            width,
            channels,
            *strides,
            BLOCK=BLOCK,
            **OPTIONS,
        )


def add_residual(quantized: Tensor, lrp: Tensor, *, out: Tensor) -> None:
    """Writes quantized + tanh(lrp) / 2.

    Args:
        quantized: float32, any shape and strides, below 2^31 elements.
        lrp: float32 of that shape, any strides.
        out: float32 of that shape, dense in some order of its dimensions.
    """
    # In the order of the output's dimensions in memory, the i-th element is at offset i.
    order = sorted(range(out.dim()), key=out.stride, reverse=True)
    sizes, strides, operands = arranged(quantized.permute(order), lrp.permute(order))
    with torch.cuda.device_of(out):
        add_residual_kernel[(triton.cdiv(out.numel(), BLOCK),)](
            *operands, out, out.numel(), *sizes, *strides, BLOCK=BLOCK, **OPTIONS
        )
