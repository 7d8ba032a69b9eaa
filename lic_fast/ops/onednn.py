"""oneDNN's convolutions and matrix products, with weights packed once and fused ends.

These are the operators to which torch.compile lowers a frozen model. Their
float32 products run at 1.8 to 2.3 times the rate of ``F.linear`` on AMD CPUs,
where that calls a BLAS without AVX-512; packed weights save a reordering for
each call (``benchmarks/results/layers.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Activation", "Convolution", "Linear", "TransposedConvolution", "activate", "usable"]

Activation = Literal["none", "relu", "leaky_relu", "gelu"]
"""What follows a linear map: nothing, ReLU, leaky ReLU of slope 0.01, or GELU with erf."""

Pair = tuple[int, ...]
"""One number for rows and one for columns."""

_ENDS: dict[str, tuple[str, list[float], str]] = {
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "leaky_relu": ("leaky_relu", [0.01], ""),
    "gelu": ("gelu", [], "none"),
}


def _available() -> bool:
    names = ("_linear_pointwise", "_convolution_pointwise", "_convolution_transpose_pointwise")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in names
    )


_AVAILABLE = _available()


def usable(x: Tensor) -> bool:
    """Whether these functions take `x`: float32, or bfloat16 where the CPU multiplies it."""
    if not (_AVAILABLE and x.device.type == "cpu" and torch.backends.mkldnn.enabled):
        return False
    if x.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return x.dtype == torch.float32


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation of `x`, in place."""
    if activation == "relu":
        return x.relu_()
    if activation == "leaky_relu":
        return torch.nn.functional.leaky_relu_(x, 0.01)
    if activation == "gelu":
        return torch.ops.aten.gelu_(x)
    return x


class Linear:
    """A linear map with its weights packed, see :func:`lic_fast.ops.linear`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype))
        self._bias = _as(bias, dtype)

    def __call__(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(..., N) to (..., M)."""
        multiply = torch.ops.mkldnn._linear_pointwise
        if residual is None:
            return multiply(x, self._packed, self._bias, *_ENDS[activation])
        out = multiply.binary(x, residual, self._packed, self._bias, "add")
        return activate(out, activation)


class Convolution:
    """A convolution with its weights packed, see :func:`lic_fast.ops.conv2d`.

    Args:
        weight: (M, N / groups, rows, columns).
        bias: (M,) or None.
        stride: Steps along rows and columns.
        padding: Zeros before and after rows and columns.
        groups: Groups that N and M divide into.
        dtype: Type of the inputs.
        shape: Of a typical input, for which the weights' layout is chosen.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        groups: int,
        dtype: torch.dtype,
        shape: Sequence[int],
    ) -> None:
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach().to(dtype), padding, stride, (1, 1), groups, list(shape)
        )
        self._bias = _as(bias, dtype)
        self._form = (padding, stride, (1, 1), groups)

    def __call__(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W'), with channels last."""
        x = x.contiguous(memory_format=torch.channels_last)
        convolve = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            return convolve(x, self._packed, self._bias, *self._form, *_ENDS[activation])
        residual = residual.contiguous(memory_format=torch.channels_last)
        out = convolve.binary(
            x, residual, self._packed, self._bias, *self._form, "add", 1.0, None, [], None
        )
        return activate(out, activation)


class TransposedConvolution:
    """A transposed convolution with its weights packed, see :func:`lic_fast.ops.conv_transpose2d`.

    The arguments are those of :class:`Convolution`, with the output's padding for the groups.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        output_padding: Pair,
        dtype: torch.dtype,
        shape: Sequence[int],
    ) -> None:
        self._packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            weight.detach().to(dtype), padding, output_padding, stride, (1, 1), 1, list(shape)
        )
        self._bias = _as(bias, dtype)
        self._form = (padding, output_padding, stride, (1, 1), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H', W'), with channels last."""
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self._packed, self._bias, *self._form, "none", [], ""
        )


def _as(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    # A copy where the type is the same, so that what is prepared does not hold its source.
    return None if bias is None else bias.detach().to(dtype, copy=True)
