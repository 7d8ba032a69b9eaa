"""A linear map of the last dimension, with what follows it: a residual and an activation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops import onednn, row_products
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.layer_norm import layer_norm
from lic_fast.ops.onednn import Activation
from lic_fast.ops.prepared import prepared, present
from lic_fast.ops.row_products import Norm

__all__ = ["linear", "reference"]


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: Activation = "none",
    residual: Tensor | None = None,
    norm: Norm | None = None,
) -> Tensor:
    """``activation(norm(x) @ weight.T + bias + residual)``.

    Args:
        x: (..., N), float32, bfloat16 or float16.
        weight: (M, N); weight and bias are converted to the type of `x`.
        bias: (M,) or None.
        activation: "none", "relu", "leaky_relu" (slope 0.01) or "gelu" (erf).
        residual: (..., M) or None.
        norm: Weight, bias and epsilon of a :func:`lic_fast.ops.layer_norm` of `x`, or None.

    Returns:
        (..., M), of the type of `x`.
    """
    if fast_on_cpu(x, weight, bias, residual, *([] if norm is None else norm[:2])):
        if row_products.usable(x):
            products = row_products.products_for(x.dtype)
            return row_products.packed(weight, bias, products)(x, activation, residual, norm)
        x = x if norm is None else layer_norm(x, *norm)
        return packed_linear(weight, bias, x.dtype)(x, activation, residual)
    x = x if norm is None else layer_norm(x, *norm)
    return reference(x, weight, bias, activation, residual)


def packed_linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> onednn.Linear:
    """OneDNN's map with its weights packed, made once."""
    return prepared(
        ("linear", dtype), present(weight, bias), lambda: onednn.Linear(weight, bias, dtype)
    )


def reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation, residual: Tensor | None
) -> Tensor:
    """The definition of :func:`linear`."""
    out = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    return activated(out if residual is None else out + residual, activation)


def activated(x: Tensor, activation: Activation) -> Tensor:
    """The activation of `x`."""
    if activation == "none":
        return x
    if activation == "relu":
        return F.relu(x)
    if activation == "leaky_relu":
        return F.leaky_relu(x, 0.01)
    if activation == "gelu":
        return F.gelu(x)
    raise ValueError(f"activation must be none, relu, leaky_relu or gelu, not {activation!r}")
