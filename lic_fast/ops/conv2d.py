"""Convolutions with what follows them: bias, residual and activation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops import onednn
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import activated
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.subpixel import is_subpixel, shuffled, subpixel_weight

__all__ = ["conv2d", "conv_transpose2d", "reference"]

# Output channels up to which oneDNN's transposed convolution leaves most of a vector empty, and the
# convolution of subpixel_weight is faster, zeros among its taps or not.
_FEW = 4


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
        if weight.shape[1] <= _FEW and _subpixel(weight, stride, padding, output_padding):
            return _to_few_channels(x, weight, bias, stride[0], padding[0])
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


def _subpixel(weight: Tensor, stride: Pair, padding: Pair, output_padding: Pair) -> bool:
    forms = set(zip(weight.shape[2:], stride, padding, output_padding, strict=True))
    return len(forms) == 1 and is_subpixel(*forms.pop())


def _to_few_channels(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> Tensor:
    """The transposed convolution as a convolution to all pixels of a step at once."""

    def build() -> onednn.Convolution:
        wide, halo = subpixel_weight(weight.detach(), stride, padding)
        repeated = None if bias is None else bias.detach().repeat(stride * stride)
        form = ((1, 1), (halo, halo), 1, x.dtype, x.shape)
        return onednn.Convolution(wide, repeated, *form)

    key = ("subpixel_transpose2d", x.dtype, stride, padding)
    convolve = prepared(key, present(weight, bias), build)
    return shuffled(convolve(x).permute(0, 2, 3, 1), stride).permute(0, 3, 1, 2)
