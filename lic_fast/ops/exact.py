r"""Element-wise steps with the same result on every machine.

Each function is a fixed sequence of single IEEE-754 operations on float32 (sum,
product, quotient, comparison, rounding to nearest even), none of them contracted
into a fused multiply-add; so any implementation that runs the same sequence gives
the same bits. PyTorch runs one operation at a time, so that what stands here is
the definition, on any device; ``csrc/integer`` and ``kernels/integer_conv2d.py``
follow it operation by operation. Constants are given in hexadecimal. They were
fitted for this project; what they approximate, and how well, each function says.

Results that are less than the smallest normal number may be flushed to zero by a
machine that does so: every use here rounds to multiples of a far larger number
or adds to one, so that nothing depends on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "ERF",
    "EXP",
    "LEAKY_SLOPE",
    "LIMIT",
    "LN_2",
    "LOG2_E",
    "add_residual",
    "exp",
    "gelu",
    "leaky_relu",
    "quantized",
    "relu",
    "scaled",
    "sigmoid",
    "sqrt",
    "tanh",
]

LIMIT = 4.5
"""Beyond this magnitude the normal distribution function counts as 0 and 1."""

ERF = tuple(
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
"""Coefficients of 1, t, t^2, ... with t = x^2 in (Phi(x) - 1/2) / x."""

EXP = tuple(
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
"""Coefficients of r, r^2, ... in exp(r) - 1, for r up to ln(2) / 2 in magnitude."""

LOG2_E = float.fromhex("0x1.715476p+0")
LN_2 = (float.fromhex("0x1.62e400p-1"), float.fromhex("0x1.7f7d1cp-20"))
"""ln 2 in two parts; the product of the first and an integer below 2^8 is exact."""

LEAKY_SLOPE = float.fromhex("0x1.47ae14p-7")
"""0.01 in float32, the slope of a leaky ReLU below zero."""


def gelu(x: Tensor) -> Tensor:
    r"""The product of x and Phi(x), Phi the normal distribution; off by less than 5e-5.

    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016. Phi is a
    polynomial in x, evaluated by Horner's rule and clamped to [0, 1].
    """
    v = x.clamp(-LIMIT, LIMIT)
    t = v * v
    p = torch.full_like(t, ERF[-1])
    for coefficient in ERF[-2::-1]:
        p = p * t
        p = p + coefficient
    p = v * p
    p = p + 0.5
    return x * p.clamp(0.0, 1.0)


def exp(x: Tensor) -> Tensor:
    """Exponential of x <= 0, relatively off by less than 2e-7; that of -87 below -87.

    x = n ln 2 + r with an integer n and a polynomial in r. The factor 2^n is
    put together from its bits.
    """
    x = x.clamp(min=-87.0)
    n = (x * LOG2_E).round()
    r = x - n * LN_2[0]
    r = r - n * LN_2[1]
    p = torch.full_like(r, EXP[-1])
    for coefficient in EXP[-2::-1]:
        p = p * r
        p = p + coefficient
    p = p * r
    p = p + 1.0
    power = ((n.to(torch.int32) + 127) << 23).view(torch.float32)
    return p * power


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent, off by less than 2e-7: (1 - e) / (1 + e), e = exp(-2 |x|)."""
    e = exp(x.abs() * -2.0)
    return torch.copysign((1.0 - e) / (1.0 + e), x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), off by less than 2e-7: from e = exp(-|x|), 1 or e over 1 + e."""
    e = exp(x.abs().neg())
    return torch.where(x < 0, e, 1.0) / (e + 1.0)


def sqrt(x: Tensor) -> Tensor:
    """The square root, rounded to nearest.

    By way of float64, since PyTorch's own of float32 may be off by one unit in the last
    place on a CPU. No root of a number of 24 bits is so near the middle between two
    others that an error of two units in float64's last place could move it across.
    """
    return x.double().sqrt().float()


def relu(x: Tensor) -> Tensor:
    """Keeps x where it is above zero, else gives zero without a sign."""
    return torch.where(x > 0, x, 0.0)


def leaky_relu(x: Tensor) -> Tensor:
    """Keeps x where it is above zero, else multiplies it with :data:`LEAKY_SLOPE`."""
    return torch.where(x > 0, x, x * LEAKY_SLOPE)


def add_residual(quantized: Tensor, lrp: Tensor) -> Tensor:
    """The sum of a quantised slice and half the hyperbolic tangent of its predicted residual.

    Latent residual prediction, as :func:`lic_fast.ops.add_residual` defines it.

    Args:
        quantized: (B, C, H, W) float32.
        lrp: The same.
    """
    return quantized + tanh(lrp) * 0.5


def scaled(sums: Tensor, scale: Tensor) -> Tensor:
    """Sums (B, M, ...) int32, rounded to float32, times a scale (M,) of each channel."""
    return sums.to(torch.float32) * scale.view(-1, *[1] * (sums.dim() - 2))


def quantized(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Activations for an integer layer: round(x * inverse_step) + zero, clamped.

    Args:
        x: (B, N, ...) float32, finite.
        inverse_step: (N,) float32.
        zero: (N,) int32 in 0..2^bits - 1: what stands for zero.
        bits: 7 or 14.

    Returns:
        Of the shape of x, int32 in 0..2^bits - 1.
    """
    shape = (-1, *[1] * (x.dim() - 2))
    rounded = (x * inverse_step.view(shape)).round()
    moved = rounded + zero.view(shape).to(torch.float32)
    return moved.clamp(0.0, 2.0**bits - 1.0).to(torch.int32)
