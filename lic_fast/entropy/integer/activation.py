"""Activations as fixed sequences of operations, where no layer has them at its end."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from lic_fast.entropy.integer.recorded import Recorded
from lic_fast.ops import exact
from lic_fast.ops.exact_sigmoid import exact_sigmoid

__all__ = ["ExactGELU", "ExactLeakyReLU", "ExactReLU", "ExactSigmoid"]


class ExactGELU(nn.Module):
    """:func:`lic_fast.ops.exact.gelu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, float32."""
        return exact.gelu(x)


class ExactReLU(nn.Module):
    """:func:`lic_fast.ops.exact.relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, float32."""
        return exact.relu(x)


class ExactLeakyReLU(nn.Module):
    """:func:`lic_fast.ops.exact.leaky_relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, float32."""
        return exact.leaky_relu(x)


class ExactSigmoid(nn.Module):
    """:func:`lic_fast.ops.exact_sigmoid.exact_sigmoid`."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, float32."""
        if isinstance(x, Recorded):
            return cast(Any, x).sigmoid()
        return exact_sigmoid(x)
