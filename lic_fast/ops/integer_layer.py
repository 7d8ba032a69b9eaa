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

On CUDA devices ``kernels/integer_conv2d.py`` computes all of it in one launch, see
:mod:`lic_fast.ops.integer_launch`; elsewhere it is the definition of what follows the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lic_fast.ops import exact
from lic_fast.ops.integer_conv2d import check_operands, integer_conv2d
from lic_fast.ops.integer_conv2d import reference as convolution
from lic_fast.ops.launch import launchable

__all__ = [
    "LAUNCHED_TYPES",
    "Activation",
    "Quantizer",
    "halves",
    "integer_layer",
    "reference",
]

Activation = Literal["none", "relu", "leaky_relu", "gelu"]

LAUNCHED_TYPES = (torch.uint8, torch.int8, torch.int32, torch.float32)
"""Types of operands that ``lic_fast.ops.integer_launch`` launches a kernel for."""

_HALF_BITS = 7


class Quantizer(NamedTuple):
    """How a float32 map becomes an integer layer's input.

    Attributes:
        inverse_step: (N,) float32: steps in one unit, per channel.
        zero: (N,) int32 in 0..2^bits - 1: the activation that stands for zero.
        bits: 7, or 14 in two halves.
    """

    inverse_step: Tensor
    zero: Tensor
    bits: int

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(B, N, H, W) float32 to its halves, uint8 in 0..127, the high one first."""
        if launchable(x, self.inverse_step, self.zero, dtypes=LAUNCHED_TYPES):
            return torch.ops.lic_fast.quantize_activations(x, *self)
        return halves(exact.quantized(x, self.inverse_step, self.zero, self.bits), self.bits)

    def border(self) -> list[Tensor]:
        """The halves of what stands for zero, (N,) uint8."""
        return halves(self.zero, self.bits)


def halves(activations: Tensor, bits: int) -> list[Tensor]:
    """Activations of 7 or 14 bits as one or two uint8 tensors in 0..127, the high one first."""
    low = (activations & (2**_HALF_BITS - 1)).to(torch.uint8)
    if bits == _HALF_BITS:
        return [low]
    return [(activations >> _HALF_BITS).to(torch.uint8), low]


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
    output: Quantizer | None = None,
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
    _check(weight, bias, scale, activation, residual, output)
    tensors = (*x, weight, bias, scale, *border, residual, *(() if output is None else output[:2]))
    if launchable(*tensors, dtypes=LAUNCHED_TYPES):
        check_operands(x, weight, border, stride, groups)
        layer = (list(x), weight, bias, scale, list(border), stride, groups, activation, residual)
        maps = torch.ops.lic_fast.integer_layer(*layer, *(output or (None, None, 0)))
        return maps[0] if output is None else maps
    sums = integer_conv2d(x, weight, border=border, stride=stride, groups=groups)
    return _end(sums, bias, scale, activation, residual, output)


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
    output: Quantizer | None = None,
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
    output: Quantizer | None,
) -> Tensor | list[Tensor]:
    v = exact.scaled(sums + bias.view(-1, 1, 1), scale)
    if residual is not None:
        v = v + residual
    if activation != "none":
        v = {"relu": exact.relu, "leaky_relu": exact.leaky_relu, "gelu": exact.gelu}[activation](v)
    return v if output is None else halves(exact.quantized(v, *output), output.bits)


def _check(
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    activation: str,
    residual: Tensor | None,
    output: Quantizer | None,
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
    if residual is not None and residual.dtype != torch.float32:
        raise TypeError(f"residual must be torch.float32, not {residual.dtype}")
    if output is not None and output.bits not in (_HALF_BITS, 2 * _HALF_BITS):
        raise ValueError(f"an activation has 7 or 14 bits, not {output.bits}")
