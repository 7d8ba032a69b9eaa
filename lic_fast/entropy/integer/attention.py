"""Window attention of an integer entropy path, between maps of float32."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lic_fast.entropy.integer.fixed import FixedDtype, check_positive
from lic_fast.entropy.integer.observed import Observed
from lic_fast.entropy.integer.quantizer import HEADROOM
from lic_fast.entropy.integer.recorded import Recorded
from lic_fast.ops.exact_window_attention import LARGEST, exact_window_attention

__all__ = ["IntegerWindowAttention"]


class IntegerWindowAttention(FixedDtype):
    """As :func:`lic_fast.ops.exact_window_attention.exact_window_attention` defines it.

    Args:
        channels: C.
        heads: Heads that C divides into.
        window_size: Side of the windows.
        shift: Tokens by which they are shifted.
    """

    inverse_step: Tensor
    scale: Tensor
    table: Tensor
    value_step: Tensor

    def __init__(self, channels: int, heads: int, window_size: int, shift: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.register_buffer("inverse_step", torch.ones(3 * channels))
        self.register_buffer("scale", torch.ones(heads))
        self.register_buffer("table", torch.zeros((2 * window_size - 1) ** 2, heads))
        self.register_buffer("value_step", torch.ones(channels))

    @torch.no_grad()
    def fill(self, table: Tensor, seen: Observed) -> None:
        """Takes a bias table, for queries, keys and values like those seen.

        A head's queries have one step, so have its keys; every channel of the values has its own.
        """
        heads = len(self.scale)
        largest = torch.maximum(seen.low.abs(), seen.high.abs()) * HEADROOM
        query, key, value = largest.clamp(min=1e-6).view(3, heads, -1)
        size = value.shape[1]
        query, key = (part.amax(1, keepdim=True).expand(-1, size) for part in (query, key))
        inverse = (LARGEST / torch.stack([query, key, value])).float()
        step = 1 / inverse.double()
        self.inverse_step.copy_(inverse.flatten())
        self.scale.copy_(step[0, :, 0] * step[1, :, 0] * size**-0.5)
        self.value_step.copy_(step[2].flatten())
        self.table.copy_(table)

    def check(self) -> None:
        """Refuses numbers with which the attention would not be exact, as a file may hold them.

        Raises:
            ValueError: A number is out of its range.
        """
        check_positive(self, "inverse_step", "scale", "value_step")
        if not bool((self.table.abs() < 1e15).all()):
            raise ValueError("table must be in -1e15..1e15")

    def forward(self, qkv: Tensor) -> Tensor:
        """(B, H, W, 3 * C) float32 to (B, H, W, C) float32."""
        if isinstance(qkv, Recorded):
            return cast(Any, qkv).attention(self)
        return exact_window_attention(
            qkv,
            self.inverse_step,
            self.scale,
            self.table,
            self.value_step,
            window_size=self.window_size,
            shift=self.shift,
        )
