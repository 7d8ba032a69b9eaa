"""Rules for convolutions and linear maps."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lic_fast.engine.registry import lowers
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value
from lic_fast.ops.subpixel import is_subpixel

__all__: list[str] = []


def _one(name: str, numbers: Any) -> int:
    """The number for rows and columns."""
    if isinstance(numbers, str):
        raise Unsupported(f"a {name} of {numbers!r}")
    found = {int(n) for n in (numbers if isinstance(numbers, (tuple, list)) else (numbers,))}
    if len(found) != 1:
        raise Unsupported(f"a {name} of {numbers}, another for rows than for columns")
    return found.pop()


def _weights(x: Any, weight: Any, bias: Any, last: bool) -> None:
    if not isinstance(x, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        raise Unsupported("a map is multiplied by another map")
    if x.last != last:
        order = "(B, C, H, W)" if x.last else "(B, H, W, C)"
        raise Unsupported(f"it multiplies channels where others have columns: no map {order}")


@lowers(F.conv2d)
def _conv2d(
    input: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    _weights(input, weight, bias, last=False)
    kernel = _one("kernel", weight.shape[2:])
    steps, margin = _one("stride", stride), _one("padding", padding)
    if _one("dilation", dilation) != 1 or groups != 1:
        raise Unsupported("a convolution with dilation or groups")
    if weight.shape[1] != input.channels:
        raise Unsupported(f"a convolution of {weight.shape[1]} channels, given {input.channels}")
    return input.node(
        "conv2d",
        channels=weight.shape[0],
        weights={"weight": weight, "bias": bias},
        stride=steps,
        padding=margin,
        kernel=kernel,
        activation="none",
        shuffle=1,
    )


@lowers(F.conv_transpose2d)
def _conv_transpose2d(
    input: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    _weights(input, weight, bias, last=False)
    kernel = _one("kernel", weight.shape[2:])
    steps, margin = _one("stride", stride), _one("padding", padding)
    if _one("dilation", dilation) != 1 or groups != 1:
        raise Unsupported("a transposed convolution with dilation or groups")
    if not is_subpixel(kernel, steps, margin, _one("output padding", output_padding)):
        raise Unsupported("a transposed convolution to other sizes than stride times the input's")
    if weight.shape[0] != input.channels:
        raise Unsupported(f"a convolution of {weight.shape[0]} channels, given {input.channels}")
    return input.node(
        "conv_transpose2d",
        channels=weight.shape[1],
        weights={"weight": weight, "bias": bias},
        stride=steps,
        padding=margin,
        activation="none",
    )


@lowers(F.linear)
def _linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
    _weights(input, weight, bias, last=True)
    if weight.dim() != 2 or weight.shape[1] != input.channels:
        raise Unsupported(f"a linear map of {tuple(weight.shape)}, given {input.channels} channels")
    return input.node(
        "linear",
        channels=weight.shape[0],
        weights={"weight": weight, "bias": bias},
        activation="none",
    )


@lowers(F.pixel_shuffle)
def _pixel_shuffle(input: Value, upscale_factor: int) -> Value:
    r = int(upscale_factor)
    if input.last or input.channels % (r * r):
        raise Unsupported(f"pixels of {r} x {r} in {input.channels} channels, or in columns")
    if r == 1:
        return input.view()
    return input.node("pixel_shuffle", channels=input.channels // (r * r), factor=r)
