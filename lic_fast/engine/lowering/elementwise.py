"""Rules for functions of each number by itself, and of two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.engine.registry import lowers
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value

__all__: list[str] = []

_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "sigmoid": (torch.sigmoid, F.sigmoid, Tensor.sigmoid),
    "tanh": (torch.tanh, F.tanh, Tensor.tanh),
    "exp": (torch.exp, Tensor.exp),
    "square": (torch.square, Tensor.square),
    "sqrt": (torch.sqrt, Tensor.sqrt),
    "rsqrt": (torch.rsqrt, Tensor.rsqrt),
    "abs": (torch.abs, Tensor.abs),
    "negate": (torch.neg, Tensor.neg),
}


def _unary(function: str) -> Callable[[Value], Value]:
    def rule(x: Value) -> Value:
        return x.unary(function)

    return rule


for _name, _targets in _FUNCTIONS.items():
    lowers(*_targets)(_unary(_name))


def _as_asked(x: Value, result: Value, inplace: bool) -> Value:
    return x.overwritten(result) if inplace else result


@lowers(F.relu, torch.relu, Tensor.relu)
def _relu(input: Value, inplace: bool = False) -> Value:
    return _as_asked(input, input.unary("relu"), inplace)


@lowers(F.leaky_relu)
def _leaky_relu(input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return _as_asked(input, input.unary("leaky_relu", negative_slope), inplace)


@lowers(F.gelu)
def _gelu(input: Value, *, approximate: str = "none") -> Value:
    if approximate != "none":
        raise Unsupported(f"GELU approximated by {approximate}")
    return input.unary("gelu")


@lowers(torch.clamp, Tensor.clamp)
def _clamp(input: Value, min: Any = None, max: Any = None) -> Value:
    if any(isinstance(bound, (Tensor, Value)) for bound in (min, max)):
        raise Unsupported("it clamps to tensors")
    x = input.view()
    if min is not None and min != -math.inf:
        x = x.unary("relu") if min == 0 else x.binary("maximum", _constant(x, min))
    if max is not None and max != math.inf:
        x = x.binary("minimum", _constant(x, max))
    return x


@lowers(torch.clamp_min, Tensor.clamp_min)
def _clamp_min(input: Value, min: Any) -> Value:
    return _clamp(input, min)


def _constant(x: Value, number: float) -> Value:
    """A map of the number, but not where x is no number."""
    if not _number(number):
        raise Unsupported(f"it clamps to {number}")
    # Of x itself an infinity would become NaN.
    return x.unary("sigmoid").unary("scale", 0).unary("shift", number)


@lowers(F.relu6)
def _relu6(input: Value, inplace: bool = False) -> Value:
    return _as_asked(input, _clamp(input, 0, 6), inplace)


@lowers(F.hardtanh)
def _hardtanh(
    input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Value:
    return _as_asked(input, _clamp(input, min_val, max_val), inplace)


@lowers(F.hardsigmoid)
def _hardsigmoid(input: Value, inplace: bool = False) -> Value:
    return _as_asked(input, _clamp(input + 3, 0, 6) / 6, inplace)


@lowers(F.hardswish)
def _hardswish(input: Value, inplace: bool = False) -> Value:
    return _as_asked(input, input * _hardsigmoid(input), inplace)


@lowers(F.silu)
def _silu(input: Value, inplace: bool = False) -> Value:
    return _as_asked(input, input * input.unary("sigmoid"), inplace)


@lowers(F.dropout, F.dropout2d, F.dropout1d, F.dropout3d)
def _dropout(input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training and p > 0:
        raise Unsupported("dropout in training")
    return input.view()


# Of two.


def _number(x: Any) -> bool:
    return isinstance(x, (int, float)) and math.isfinite(x)


def _shifted(x: Value, number: float) -> Value:
    return x.view() if number == 0 else x.unary("shift", number)


def _two(name: str, input: Any, other: Any) -> tuple[Value, Value]:
    if not isinstance(input, Value) or not isinstance(other, Value):
        raise Unsupported(f"{name} of a map and a {type(other).__name__}")
    return input, other


@lowers(torch.add, Tensor.add)
def _add(input: Any, other: Any, *, alpha: float = 1) -> Value:
    if isinstance(input, Value) and _number(other):
        return _shifted(input, alpha * other)
    x, y = _two("the sum", input, other)
    return x.binary("add", y, alpha)


@lowers(torch.sub, torch.subtract, Tensor.sub)
def _sub(input: Any, other: Any, *, alpha: float = 1) -> Value:
    if isinstance(input, Value) and _number(other):
        return _shifted(input, -alpha * other)
    x, y = _two("the difference", input, other)
    return x.binary("subtract", y) if alpha == 1 else x.binary("add", y, -alpha)


@lowers(torch.mul, torch.multiply, Tensor.mul)
def _mul(input: Any, other: Any) -> Value:
    if isinstance(input, Value) and _number(other):
        return input.view() if other == 1 else input.unary("scale", other)
    x, y = _two("the product", input, other)
    return x.binary("multiply", y)


@lowers(torch.div, torch.divide, torch.true_divide, Tensor.div)
def _div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise Unsupported("a quotient without its fraction")
    if isinstance(input, Value) and _number(other) and other != 0:
        return input.unary("scale", 1 / other)
    x, y = _two("the quotient", input, other)
    return x.binary("divide", y)


@lowers(torch.pow, Tensor.pow)
def _pow(input: Any, exponent: Any) -> Value:
    functions = {2: "square", 0.5: "sqrt", -0.5: "rsqrt"}
    if not isinstance(input, Value) or not _number(exponent) or exponent not in functions:
        raise Unsupported(f"powers other than {', '.join(map(str, functions))}")
    return input.unary(functions[exponent])


@lowers(torch.maximum)
def _maximum(input: Any, other: Any) -> Value:
    x, y = _two("the maximum", input, other)
    return x.binary("maximum", y)


@lowers(torch.minimum)
def _minimum(input: Any, other: Any) -> Value:
    x, y = _two("the minimum", input, other)
    return x.binary("minimum", y)
