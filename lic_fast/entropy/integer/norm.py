"""Norms of an integer entropy path, between maps of float32."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.entropy.integer.fixed import FixedDtype, check_positive
from lic_fast.entropy.integer.observed import Observed
from lic_fast.entropy.integer.quantizer import HEADROOM, quantizer_of
from lic_fast.entropy.integer.recorded import Recorded
from lic_fast.ops import exact
from lic_fast.ops.exact_layer_norm import LARGEST, exact_layer_norm
from lic_fast.ops.integer_program import LEAST_ROOTED

__all__ = ["ExactGDN", "ExactLayerNorm"]


class ExactLayerNorm(FixedDtype):
    """LayerNorm as :func:`lic_fast.ops.exact_layer_norm.exact_layer_norm` defines it.

    Args:
        channels: C.
    """

    weight: Tensor
    bias: Tensor
    inverse_step: Tensor
    epsilon: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("inverse_step", torch.ones(()))
        self.register_buffer("epsilon", torch.ones(()))

    @torch.no_grad()
    def fill(self, norm: nn.LayerNorm, seen: Observed) -> None:
        """Takes the numbers of a norm in floating point, for an input like the one seen."""
        largest = float(torch.maximum(seen.low.abs(), seen.high.abs()).max()) * HEADROOM
        self.inverse_step.fill_(LARGEST / max(largest, 1e-6))
        self.epsilon.fill_(norm.eps * len(self.weight) ** 2 * float(self.inverse_step) ** 2)
        self.weight.copy_(norm.weight)
        self.bias.copy_(norm.bias)

    def check(self) -> None:
        """Refuses numbers with which the norm would not be exact, as a file may hold them.

        Raises:
            ValueError: A number is out of its range.
        """
        check_positive(self, "inverse_step", "epsilon")
        if not bool(self.weight.isfinite().all() and self.bias.isfinite().all()):
            raise ValueError("weight and bias must be finite")

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) float32 to (..., C) float32."""
        if isinstance(x, Recorded):
            return cast(Any, x).norm(self)
        return exact_layer_norm(x, self.weight, self.bias, self.inverse_step, self.epsilon)


class ExactGDN(nn.Module):
    r"""Generalised divisive normalisation.

    .. math:: y_i = x_i \left(\beta_i + \sum_j \gamma_{ij} x_j^2\right)^{\mp 1/2}

    The sum is an integer layer on the squares; root, quotient and product are single
    IEEE operations.

    Args:
        channels: C.
        inverse: Whether the exponent is +1/2.
    """

    def __init__(self, channels: int, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        self.mix = IntegerConv2d(channels, channels, 1)

    @torch.no_grad()
    def fill(self, gdn: Any, seen: Observed) -> None:
        """Takes the numbers of a GDN in floating point, for an input like the one seen."""
        beta, gamma = gdn.beta_reparam(gdn.beta), gdn.gamma_reparam(gdn.gamma)
        squares = Observed(
            torch.zeros_like(seen.low),
            torch.maximum(seen.low.square(), seen.high.square()),
            seen.square,
            seen.square.square(),
            seen.count,
        )
        self.mix.fill(gamma, beta, quantizer_of(squares, 14), 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float32 to (B, C, H, W) float32."""
        if isinstance(x, Recorded):
            return cast(Any, x).gdn(self)
        norm = self.mix(x * x)
        # Positive in floating point.
        norm = exact.sqrt(torch.where(norm > LEAST_ROOTED, norm, LEAST_ROOTED))
        return x * norm if self.inverse else x / norm
