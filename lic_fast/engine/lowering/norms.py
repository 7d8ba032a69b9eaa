"""Rules for normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.engine.registry import lowers
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value

__all__: list[str] = []


@lowers(F.layer_norm)
def _layer_norm(
    input: Value,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Value:
    if not input.last or tuple(normalized_shape) != (input.channels,):
        raise Unsupported("a norm of other numbers than a pixel's channels")
    weights = {
        "weight": torch.ones(input.channels) if weight is None else weight,
        "bias": torch.zeros(input.channels) if bias is None else bias,
    }
    return input.node("layer_norm", weights=weights, eps=float(eps))
