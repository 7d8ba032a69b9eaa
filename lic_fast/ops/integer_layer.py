r"""A layer of a portable network: integers in, integers or exact float32 out.

For sums :math:`o_m` of :func:`lic_fast.ops.integer_conv2d.integer_conv2d`,

.. math:: v_m = f(s_m \cdot (o_m + b_m) + r_m)

with an integer bias b, a float32 scale s and a float32 residual r, where product
and sum are single IEEE operations and f is one of the sequences of them in
:mod:`lic_fast.ops.exact`. Where the next layer is an integer one too, its input is
:func:`lic_fast.ops.exact.quantized` of v at once, and v is never in memory.

The offset of the activations is part of the bias: with activations a that stand
for :math:`(a - z) \Delta`, the weights hold :math:`w \Delta / s` and the bias
:math:`-\sum w z`, whereby the activations beyond the edge must be z.

On the CPU ``csrc/integer`` computes all of it at once, on the sums in its registers, on
CUDA devices ``kernels/integer_conv2d.py`` in one launch, see :mod:`lic_fast.ops.integer_launch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy.typing as npt
import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.channels_last import array_of, map_of
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.exact_quantize import exact_quantize, halves
from lic_fast.ops.exact_quantize import reference as quantized
from lic_fast.ops.integer_conv2d import check_operands, integer_conv2d
from lic_fast.ops.integer_conv2d import reference as convolution
from lic_fast.ops.launch import launchable
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.threads import threads
from lic_fast.runtime import integer
from lic_fast.runtime.integer import Activation

__all__ = [
    "LAUNCHED_TYPES",
    "Activation",
    "Quantizer",
    "halves",
    "integer_layer",
    "pack",
    "reference",
]

LAUNCHED_TYPES = (torch.uint8, torch.int8, torch.int32, torch.float32)
"""Types of operands that ``lic_fast.ops.integer_launch`` launches a kernel for."""

_HALF_BITS = 7


class Quantizer(integer.Quantizer):
    """How a float32 map becomes an integer layer's input: one with tensors."""

    __slots__ = ()

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(B, N, H, W) float32 to its halves, uint8 in 0..127, the high one first."""
        return exact_quantize(x, self.inverse_step, self.zero, self.bits)

    def border(self) -> list[Tensor]:
        """The halves of what stands for zero, (N,) uint8."""
        return halves(self.zero, self.bits)


def integer_layer(
    x: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    *,
    border: Sequence[Tensor],
    stride: int = 1,
    groups: int = 1,
    activation: Activation = "none",
    residual: Tensor | None = None,
    output: integer.Quantizer | None = None,
) -> Tensor | list[Tensor]:
    """A convolution padded by half its kernel, and what follows it.

    Args:
        x: One or two maps (B, N, H, W) of uint8 in 0..127, the high half first.
        weight: (M, N / groups, k, k) int8, k odd.
        bias: (M,) int32, in units of the sums; with it no sum may leave 32 bits.
        scale: (M,) float32.
        border: (N,) uint8 for each map: activations beyond the edges.
        stride: Steps along rows and columns, 1..k.
        groups: Groups that N and M divide into.
        activation: "none", "relu", "leaky_relu" or "gelu".
        residual: (B, M, H', W') float32, added before the activation, or None.
        output: The next layer's quantizer of M channels, or None.

    Returns:
        (B, M, H', W') float32, or, with `output`, the halves of its activations.

    Raises:
        ValueError: Shapes do not fit each other, or a number is out of range.
        TypeError: A type is another.
    """
    check_operands(x, weight, border, stride, groups)
    _check(weight, bias, scale, activation, output)
    _check_residual(residual, (len(x[0]), len(weight), *(-(-s // stride) for s in x[0].shape[2:])))
    numbers = () if output is None else (output.inverse_step, output.zero)
    tensors = (*x, weight, bias, scale, *border, residual, *numbers)
    if launchable(*tensors, dtypes=LAUNCHED_TYPES):
        layer = (list(x), weight, bias, scale, list(border), stride, groups, activation, residual)
        maps = torch.ops.lic_fast.integer_layer(*layer, *(output or (None, None, 0)))
        return maps[0] if output is None else maps
    if not exact_on_cpu(x[0]):
        _check_numbers(weight, bias, len(x), output)
        sums = integer_conv2d(x, weight, border=border, stride=stride, groups=groups)
        return _end(sums, bias, scale, activation, residual, output)
    key = ("integer layer", len(border), stride, groups, activation, output and output.bits)
    packed = prepared(
        key,
        [weight, bias, scale, *border, *numbers],
        lambda: pack(weight, bias, scale, border, stride, groups, activation, output),
    )
    out = packed.run(
        [array_of(half) for half in x],
        None if residual is None else array_of(residual),
        threads(),
    )
    return [map_of(half) for half in out] if isinstance(out, list) else map_of(out)


def pack(
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    border: Sequence[Tensor],
    stride: int,
    groups: int,
    activation: str,
    output: integer.Quantizer | None,
) -> _C.IntegerLayer:
    """What the CPU computes a layer with: its parameters as :func:`integer_layer` has them.

    Raises:
        ValueError: Shapes do not fit each other, or a number is out of range.
        TypeError: A type is another.
    """
    quantizer = None
    if output is not None:
        quantizer = (_array(output.inverse_step), _array(output.zero), output.bits)
    return _C.IntegerLayer(
        _array(weight),
        _array(bias),
        _array(scale),
        [_array(half) for half in border],
        stride,
        groups,
        activation,
        quantizer,
    )


def _array(x: Tensor) -> npt.NDArray[Any]:
    return x.detach().contiguous().numpy()


def reference(
    x: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    *,
    border: Sequence[Tensor],
    stride: int = 1,
    groups: int = 1,
    activation: Activation = "none",
    residual: Tensor | None = None,
    output: integer.Quantizer | None = None,
) -> Tensor | list[Tensor]:
    """The definition of :func:`integer_layer`."""
    sums = convolution(x, weight, border=border, stride=stride, groups=groups)
    return _end(sums, bias, scale, activation, residual, output)


def _end(
    sums: Tensor,
    bias: Tensor,
    scale: Tensor,
    activation: Activation,
    residual: Tensor | None,
    output: integer.Quantizer | None,
) -> Tensor | list[Tensor]:
    v = exact.scaled(sums + bias.view(-1, 1, 1), scale)
    if residual is not None:
        v = v + residual
    if activation != "none":
        v = {"relu": exact.relu, "leaky_relu": exact.leaky_relu, "gelu": exact.gelu}[activation](v)
    return v if output is None else quantized(v, *output)


def _check(
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    activation: str,
    output: integer.Quantizer | None,
) -> None:
    channels = len(weight)
    for name, tensor, dtype in (
        ("bias", bias, torch.int32),
        ("scale", scale, torch.float32),
        *(() if output is None else (("output.inverse_step", output.inverse_step, torch.float32),)),
        *(() if output is None else (("output.zero", output.zero, torch.int32),)),
    ):
        if tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, not {tensor.dtype}")
        if tensor.shape != (channels,):
            raise ValueError(f"{name} must be ({channels},), not {tuple(tensor.shape)}")
    if activation not in get_args(Activation):
        raise ValueError(
            f"activation must be one of {', '.join(get_args(Activation))}, not {activation!r}"
        )
    if output is not None and output.bits not in (_HALF_BITS, 2 * _HALF_BITS):
        raise ValueError(f"an activation has 7 or 14 bits, not {output.bits}")


def _check_residual(residual: Tensor | None, shape: tuple[int, ...]) -> None:
    if residual is None:
        return
    if residual.dtype != torch.float32:
        raise TypeError(f"residual must be torch.float32, not {residual.dtype}")
    if residual.shape != shape:
        raise ValueError(f"residual must be {shape}, not {tuple(residual.shape)}")


def _check_numbers(
    weight: Tensor, bias: Tensor, parts: int, output: integer.Quantizer | None
) -> None:
    """What the packed layer refuses too: sums beyond 32 bits and zeros beyond the activations."""

    def extremes() -> tuple[int, int, int]:
        rows, top = weight.detach().flatten(1).to(torch.int64), 2 ** (_HALF_BITS * parts) - 1
        ends = torch.stack([rows.clamp(min=0).sum(1) * top, rows.clamp(max=0).sum(1) * top])
        sums = torch.cat([ends, ends + bias.to(torch.int64), bias.to(torch.int64)[None]]).abs()
        zero = bias.new_zeros(1) if output is None else output.zero
        return int(sums.max()), int(zero.min()), int(zero.max())

    sources = [weight, bias, *present(None if output is None else output.zero)]
    largest, low, high = prepared(("integer layer's extremes", parts), sources, extremes)
    if largest >= 2**31:
        raise ValueError(
            f"a sum of these weights and biases may reach {largest}, which 32 bits do not hold"
        )
    if output is not None and not 0 <= low <= high < 2**output.bits:
        raise ValueError("a zero must be in 0..2^bits - 1")
