"""oneDNN's convolutions and matrix products, with weights packed once and fused ends.

These are the operators to which torch.compile lowers a frozen model. Their
float32 products run at 1.8 to 2.3 times the rate of ``F.linear`` on AMD CPUs,
where that calls a BLAS without AVX-512; packed weights save a reordering for
each call (``benchmarks/results/layers.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from lic_fast import _C

__all__ = [
    "Activation",
    "Convolution",
    "Linear",
    "TransposedConvolution",
    "activate",
    "has_tiles",
    "usable",
]

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
    """Whether these functions take `x`: float32 or bfloat16 on the CPU."""
    if not (_AVAILABLE and x.device.type == "cpu" and torch.backends.mkldnn.enabled):
        return False
    return x.dtype in (torch.float32, torch.bfloat16)


@lru_cache
def has_tiles() -> bool:
    """Whether oneDNN multiplies bfloat16 by AMX, at many times the rate of vectors of floats."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


@lru_cache
def _multiplied(dtype: torch.dtype) -> torch.dtype:
    """The type in which maps of `dtype` are multiplied here.

    Where oneDNN has no products of bfloat16 PyTorch falls back to loops of its own. Those of
    Intel's CPUs without AMX take twice as long as float32's.
    """
    if dtype != torch.bfloat16:
        return dtype
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    slow = "avx2" in _C.instruction_sets() and not (has_tiles() or _C.fast_pairs())
    return dtype if supported and not slow else torch.float32


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
        self._type = _multiplied(dtype)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(self._type))
        self._bias = _as(bias, self._type)

    def __call__(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(..., N) to (..., M)."""
        multiply, dtype = torch.ops.mkldnn._linear_pointwise, x.dtype
        x = x.to(self._type)
        if residual is None:
            return multiply(x, self._packed, self._bias, *_ENDS[activation]).to(dtype)
        residual = residual.to(self._type)
        out = multiply.binary(x, residual, self._packed, self._bias, "add")
        return activate(out, activation).to(dtype)


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
        self._type = _multiplied(dtype)
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach().to(self._type), padding, stride, (1, 1), groups, list(shape)
        )
        self._bias = _as(bias, self._type)
        self._form = (padding, stride, (1, 1), groups)

    def __call__(
        self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(B, N, H, W) to (B, M, H', W'), with channels last."""
        dtype, x = x.dtype, self._map(x)
        convolve = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            out = convolve(x, self._packed, self._bias, *self._form, *_ENDS[activation])
            return out.to(dtype)
        out = convolve.binary(
            x,
            self._map(residual),
            self._packed,
            self._bias,
            *self._form,
            "add",
            1.0,
            None,
            [],
            None,
        )
        return activate(out, activation).to(dtype)

    def _map(self, x: Tensor) -> Tensor:
        return x.to(self._type).contiguous(memory_format=torch.channels_last)


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
        self._type = _multiplied(dtype)
        self._packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            weight.detach().to(self._type), padding, output_padding, stride, (1, 1), 1, list(shape)
        )
        self._bias = _as(bias, self._type)
        self._form = (padding, output_padding, stride, (1, 1), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, H, W) to (B, M, H', W'), with channels last."""
        out = torch.ops.mkldnn._convolution_transpose_pointwise(
            x.to(self._type).contiguous(memory_format=torch.channels_last),
            self._packed,
            self._bias,
            *self._form,
            "none",
            [],
            "",
        )
        return out.to(x.dtype)


def _as(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    # A copy where the type is the same, so that what is prepared does not hold its source.
    return None if bias is None else bias.detach().to(dtype, copy=True)
