r"""LayerNorm with the same result on every machine.

Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 3, with the sums over
integers :math:`q = \mathrm{round}(x / \Delta)`, n of them:

.. math::
    y = w \cdot \frac{n q - \sum q}{\sqrt{n \sum q^2 - (\sum q)^2 + \epsilon n^2 / \Delta^2}} + b

Both sums, and all of :math:`n q - \sum q` and :math:`n \sum q^2 - (\sum q)^2`, are integers
below 2^53 and so exact in float64, in whatever order: with magnitudes of q below
2^15 and n up to 2^11. What follows are single IEEE operations on float32: the
conversion of each, sum, root, quotient, product, sum. On the CPU ``csrc/integer``
computes them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import exact
from lic_fast.ops.dispatch import exact_on_cpu
from lic_fast.ops.threads import threads

__all__ = ["LARGEST", "LARGEST_COUNT", "exact_layer_norm", "reference"]

LARGEST = 2**15 - 1
"""Magnitude of the integers."""

LARGEST_COUNT = 2**11
"""Channels for which all sums are exact."""


def exact_layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, inverse_step: Tensor, epsilon: Tensor
) -> Tensor:
    r"""Normalises the last dimension.

    Args:
        x: (..., C) float32, C up to 2^11.
        weight: (C,) float32.
        bias: (C,) float32.
        inverse_step: () float32, :math:`1 / \Delta`: integers in one unit of x.
        epsilon: () float32, :math:`\epsilon C^2 / \Delta^2`.

    Returns:
        (..., C) float32.

    Raises:
        TypeError: An operand is not float32.
        ValueError: There are too many channels, or shapes do not fit each other.
    """
    operands = (x, weight, bias, inverse_step, epsilon)
    if any(operand.dtype != torch.float32 for operand in operands):
        raise TypeError(f"operands must be float32, not {[o.dtype for o in operands]}")
    count = x.shape[-1] if x.dim() else 0
    if not 0 < count <= LARGEST_COUNT or weight.shape != (count,) or bias.shape != (count,):
        raise ValueError(
            f"x must be (..., C) with C in 1..{LARGEST_COUNT}, weight and bias (C,), not "
            f"{tuple(x.shape)}, {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    if not exact_on_cpu(x):
        return reference(x, weight, bias, inverse_step, epsilon)
    tokens = x.detach().contiguous()
    out = torch.empty_like(tokens)
    _C.exact_layer_norm(
        tokens.view(-1, count).numpy(),
        weight.contiguous().numpy(),
        bias.contiguous().numpy(),
        inverse_step.item(),
        epsilon.item(),
        out.view(-1, count).numpy(),
        threads(),
    )
    return out


def reference(
    x: Tensor, weight: Tensor, bias: Tensor, inverse_step: Tensor, epsilon: Tensor
) -> Tensor:
    """The definition of :func:`exact_layer_norm`."""
    count = x.shape[-1]
    integers = (x * inverse_step).round().clamp(-LARGEST, LARGEST).double()
    total = integers.sum(-1, keepdim=True)
    squares = (integers * integers).sum(-1, keepdim=True)
    spread = (count * squares - total * total).float()
    centred = (count * integers - total).float()
    normed = centred / exact.sqrt(spread + epsilon)
    return normed * weight + bias
