"""Convolutions with what follows them: bias, residual and activation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops import onednn, row_products, tile_convolution, winograd
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import activated
from lic_fast.ops.onednn import Activation, Pair
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.subpixel import is_subpixel, pixels_first, shuffled, subpixel_weight

__all__ = ["conv2d", "conv_transpose2d", "reference", "subpixel_conv2d"]

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
        if winograd.fits(x, weight, stride, padding, groups):
            return winograd.convolve(x, weight, bias, stride, groups, activation, residual)
        if _is_linear(weight, stride, padding, groups) and row_products.usable(x):
            return _of_pixels(x, weight, bias, activation, residual)
        if tile_convolution.fits(x, weight, stride, padding, groups):
            return tile_convolution.convolve(x, weight, bias, stride, groups, activation, residual)
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


def _is_linear(weight: Tensor, stride: Pair, padding: Pair, groups: int) -> bool:
    forms = (tuple(weight.shape[2:]), tuple(stride), tuple(padding))
    return groups == 1 and forms == ((1, 1), (1, 1), (0, 0))


def _of_pixels(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation,
    residual: Tensor | None,
) -> Tensor:
    """A 1x1 convolution as a linear map of each pixel's channels."""
    products = row_products.products_for(x.dtype)
    multiply = prepared(
        ("row products", products),
        present(weight, bias),
        lambda: row_products.Linear(weight.flatten(1), bias, products),
    )
    skip = None if residual is None else residual.permute(0, 2, 3, 1)
    return multiply(x.permute(0, 2, 3, 1), activation, skip).permute(0, 3, 1, 2)


def subpixel_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    r: int,
    *,
    padding: Pair,
    activation: Activation = "none",
) -> Tensor:
    """``pixel_shuffle(conv2d(x, weight), r)``, see :mod:`lic_fast.ops.subpixel`.

    Args:
        x: (B, N, H, W), float32, bfloat16 or float16; best with channels last.
        weight: (r * r * M, N, rows, columns); weight and bias are converted to the type of `x`.
        bias: (r * r * M,) or None.
        r: Pixels along a side that each becomes.
        padding: See :func:`conv2d`.
        activation: See :func:`conv2d`.

    Returns:
        (B, M, r * H', r * W'), of the type of `x`.
    """
    if not fast_on_cpu(x, weight, bias):
        return F.pixel_shuffle(conv2d(x, weight, bias, padding=padding, activation=activation), r)
    weight, bias = prepared(
        ("sub-pixel", r),
        present(weight, bias),
        lambda: (
            pixels_first(weight.detach(), r),
            None if bias is None else pixels_first(bias.detach(), r),
        ),
    )
    return _shuffled_conv2d(x, weight, bias, r, padding, activation)


def _shuffled_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    r: int,
    padding: Pair,
    activation: Activation = "none",
) -> Tensor:
    """The convolution to pixels first, and its pixels where they belong."""
    form: dict[str, Any] = {"activation": activation, "shuffle": r}
    if winograd.fits(x, weight, (1, 1), padding):
        return winograd.convolve(x, weight, bias, **form)
    if tile_convolution.fits(x, weight, (1, 1), padding):
        return tile_convolution.convolve(x, weight, bias, **form)
    out = conv2d(x, weight, bias, padding=padding, activation=activation)
    return shuffled(out.permute(0, 2, 3, 1), r).permute(0, 3, 1, 2)


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
        if _subpixel(weight, stride, padding, output_padding):
            form, halo = _subpixel_form(weight.shape, stride[0], padding[0])
            fits = (winograd.fits, tile_convolution.fits)
            if weight.shape[1] <= _FEW or any(f(x, form, (1, 1), (halo, halo)) for f in fits):
                wide, repeated = _as_subpixel(weight, bias, stride[0], padding[0])
                return _shuffled_conv2d(x, wide, repeated, stride[0], (halo, halo))
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


@lru_cache
def _subpixel_form(shape: torch.Size, stride: int, padding: int) -> tuple[Tensor, int]:
    """A weight of the shape of that of :func:`_as_subpixel`, without numbers, and its padding."""
    return subpixel_weight(torch.empty(shape, device="meta"), stride, padding)


def _as_subpixel(
    weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution to all pixels of a step at once."""

    def build() -> tuple[Tensor, Tensor | None]:
        wide, _ = subpixel_weight(weight.detach(), stride, padding)
        repeated = None if bias is None else bias.detach().repeat(stride * stride)
        return wide, repeated

    key = ("subpixel_transpose2d", stride, padding)
    return prepared(key, present(weight, bias), build)
