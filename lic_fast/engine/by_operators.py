"""Graphs run node by node with PyTorch's operators and those of :mod:`lic_fast.ops`.

On CUDA devices, where some of them are launches of Triton kernels, this is how networks run. On the
CPU it is the definition that tests compare programs with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import ops
from lic_fast.ops.subpixel import shuffled
from lic_fast.runtime.graph import Graph, Node

__all__ = ["run_by_operators"]


def run_by_operators(graph: Graph, inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The graph's results.

    Args:
        graph: Its weights lie on the device of the inputs.
        inputs: (B, H, W, C) each, of one floating-point type.
        dtype: Type of the maps inside.

    Returns:
        (B, H', W', C') each, of the type of the inputs.

    Raises:
        ValueError, RuntimeError: The sizes do not fit the network.
    """
    maps = {number: x.to(dtype) for number, x in zip(graph.inputs, inputs, strict=True)}
    left = graph.uses()
    for node in graph.nodes:
        operands = [maps[number] for number in node.inputs]
        for number in node.inputs:
            left[number] -= 1
            if not left[number]:
                del maps[number]
        maps[node.output] = _OPERATORS[node.kind](node, *operands)
    return [maps[number].to(inputs[0].dtype) for number in graph.outputs]


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
}


def _end(node: Node, out: Tensor, residual: Tensor | None) -> Tensor:
    return _ACTIVATIONS[node["activation"]](out if residual is None else out + residual)


def _typed(node: Node, x: Tensor, *names: str) -> list[Any]:
    """Weights of the type of `x`, None where there are none."""
    weights = [node[name] for name in names]
    return [None if weight is None else weight.to(x.dtype) for weight in weights]


def _conv2d(node: Node, x: Tensor, residual: Tensor | None = None) -> Tensor:
    weight, bias = _typed(node, x, "weight", "bias")
    out = _last(F.conv2d(_first(x), weight, bias, node["stride"], node["padding"]))
    return _end(node, shuffled(out, node["shuffle"]) if node["shuffle"] > 1 else out, residual)


def _conv_transpose2d(node: Node, x: Tensor, residual: Tensor | None = None) -> Tensor:
    stride, padding, kernel = node["stride"], node["padding"], node["weight"].shape[2]
    weight, bias = _typed(node, x, "weight", "bias")
    rest = stride + 2 * padding - kernel
    out = F.conv_transpose2d(_first(x), weight, bias, stride, padding, rest)
    return _end(node, _last(out), residual)


def _normed(node: Node, x: Tensor) -> Tensor:
    if node["eps"] is None:
        return x
    weight, bias = _typed(node, x, "norm_weight", "norm_bias")
    return F.layer_norm(x, x.shape[-1:], weight, bias, node["eps"])


def _linear(node: Node, x: Tensor, residual: Tensor | None = None) -> Tensor:
    return _end(node, F.linear(_normed(node, x), *_typed(node, x, "weight", "bias")), residual)


def _feed_forward(node: Node, x: Tensor, residual: Tensor | None = None) -> Tensor:
    usual = residual is x and node["activation"] == "gelu" and node["eps"] is not None
    if usual and node["bias1"] is not None and node["bias2"] is not None:
        names = ("norm_weight", "norm_bias", "weight1", "bias1", "weight2", "bias2")
        return ops.feed_forward(x, *(node[name] for name in names), eps=node["eps"])
    hidden = F.linear(_normed(node, x), *_typed(node, x, "weight1", "bias1"))
    hidden = _ACTIVATIONS[node["activation"]](hidden)
    out = F.linear(hidden, *_typed(node, x, "weight2", "bias2"))
    return out if residual is None else out + residual


def _gdn(node: Node, x: Tensor) -> Tensor:
    return _last(ops.gdn(_first(x), node["gamma"], node["beta"], inverse=node["inverse"]))


def _layer_norm(node: Node, x: Tensor) -> Tensor:
    weight, bias = _typed(node, x, "weight", "bias")
    return F.layer_norm(x, x.shape[-1:], weight, bias, node["eps"])


def _window_attention(node: Node, x: Tensor) -> Tensor:
    pad = node["pad_value"]
    return ops.window_attention(
        x.contiguous(),
        node["table"].contiguous(),
        window_size=node["window"],
        shift=node["shift"],
        mask_value=node["mask_value"],
        pad_value=None if pad is None else pad.to(x.dtype),
        scale=node["scale"],
    )


_UNARY: dict[str, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda x, _: F.relu(x),
    "leaky_relu": F.leaky_relu,
    "gelu": lambda x, _: F.gelu(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "tanh": lambda x, _: torch.tanh(x),
    "exp": lambda x, _: torch.exp(x),
    "square": lambda x, _: torch.square(x),
    "sqrt": lambda x, _: torch.sqrt(x),
    "rsqrt": lambda x, _: torch.rsqrt(x),
    "abs": lambda x, _: torch.abs(x),
    "negate": lambda x, _: torch.neg(x),
    "scale": lambda x, number: x * number,
    "shift": lambda x, number: x + number,
}

_BINARY: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "add": lambda x, y, number: torch.add(x, y, alpha=number),
    "multiply": lambda x, y, _: x * y,
    "divide": lambda x, y, _: x / y,
    "subtract": lambda x, y, _: x - y,
    "maximum": lambda x, y, _: torch.maximum(x, y),
    "minimum": lambda x, y, _: torch.minimum(x, y),
}


def _unary(node: Node, x: Tensor) -> Tensor:
    return _UNARY[node["function"]](x, node["number"])


def _binary(node: Node, x: Tensor, y: Tensor) -> Tensor:
    return _BINARY[node["function"]](x, y, node["number"])


def _gate(node: Node, values: Tensor, logits: Tensor, skip: Tensor) -> Tensor:
    return values * torch.sigmoid(logits) + skip


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    r = node["factor"]
    parts = x.unflatten(1, (-1, r)).unflatten(3, (-1, r))  # (B, H/r, r, W/r, r, C)
    rows_first = node["order"] == "rows_first"
    return parts.permute(0, 1, 3, *((2, 4) if rows_first else (4, 2)), 5).flatten(3)


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    return shuffled(x, node["factor"])


def _split(node: Node, x: Tensor) -> Tensor:
    return x[..., node["first"] : node["first"] + node.channels]


def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(parts, 3)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "binary": _binary,
    "concat": _concat,
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "depth_to_space": _depth_to_space,
    "feed_forward": _feed_forward,
    "gate": _gate,
    "gdn": _gdn,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "unary": _unary,
    "window_attention": _window_attention,
}
