"""Convolutions with what follows them: bias, residual and activation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops import onednn
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import activated
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.prepared import prepared, present

__all__ = ["conv2d", "conv_transpose2d", "reference"]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
    activation: Activation = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """``activation(conv2d(x, weight) + bias + residual)``.

    Args:
        x: (B, N, H, W), float32, bfloat16 or float16; best with channels last.
        weight: (M, N / groups, rows, columns); weight and bias are converted to the type of `x`.
        bias: (M,) or None.
        stride: Steps along rows and columns.
        padding: Zeros before and after rows and columns.
        groups: Groups that N and M divide into, each seeing only its own inputs.
        activation: "none", "relu", "leaky_relu" (slope 0.01) or "gelu" (erf).
        residual: Of the result's shape, or None.

    Returns:
        (B, M, H', W'), of the type of `x`; with channels last where the fast path ran.
    """
    if fast_on_cpu(x, weight, bias, residual):
        convolve = prepared(
            ("conv2d", x.dtype, stride, padding, groups),
            present(weight, bias),
            lambda: onednn.Convolution(weight, bias, stride, padding, groups, x.dtype, x.shape),
        )
        return convolve(x, activation, residual)
    return reference(x, weight, bias, stride, padding, groups, activation, residual)


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    groups: int,
    activation: Activation,
    residual: Tensor | None,
) -> Tensor:
    """The definition of :func:`conv2d`."""
    out = F.conv2d(
        x,
        weight.to(x.dtype),
        None if bias is None else bias.to(x.dtype),
        stride=stride,
        padding=padding,
        groups=groups,
    )
    return activated(out if residual is None else out + residual, activation)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    output_padding: Pair = (0, 0),
) -> Tensor:
    """The transposed convolution, as ``torch.nn.functional.conv_transpose2d`` defines it.

    Args:
        x: (B, N, H, W), float32, bfloat16 or float16; best with channels last.
        weight: (N, M, rows, columns); weight and bias are converted to the type of `x`.
        bias: (M,) or None.
        stride: Steps of the output for a step of the input.
        padding: Rows and columns cut from each side of the output.
        output_padding: Rows and columns added at its end.

    Returns:
        (B, M, H', W'), of the type of `x`.
    """
    if fast_on_cpu(x, weight, bias):
        convolve = prepared(
            ("conv_transpose2d", x.dtype, stride, padding, output_padding),
            present(weight, bias),
            lambda: onednn.TransposedConvolution(
                weight, bias, stride, padding, output_padding, x.dtype, x.shape
            ),
        )
        return convolve(x)
    return F.conv_transpose2d(
        x,
        weight.to(x.dtype),
        None if bias is None else bias.to(x.dtype),
        stride=stride,
        padding=padding,
        output_padding=output_padding,
    )
