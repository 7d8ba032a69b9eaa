r"""Generalised divisive normalisation.

.. math:: y_i = x_i \left(\beta_i + \sum_j \gamma_{ij} x_j^2\right)^{\mp 1/2}

Ballé, Laparra and Simoncelli, "Density Modeling of Images Using a Generalized
Normalization Transformation", ICLR 2016, equation 3 with the exponents of
CompressAI; the inverse form has the exponent +1/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import _C
from lic_fast.ops import row_products
from lic_fast.ops.copies import channels_last
from lic_fast.ops.dispatch import fast_on_cpu
from lic_fast.ops.linear import packed_linear
from lic_fast.ops.rows import array
from lic_fast.ops.threads import threads
from lic_fast.ops.tokens import as_tokens, chunks

__all__ = ["gdn", "reference"]


def gdn(x: Tensor, gamma: Tensor, beta: Tensor, *, inverse: bool = False) -> Tensor:
    """Divides each channel by (inverse: multiplies it with) the norm of all at its place.

    Args:
        x: (B, C, H, W), float32, bfloat16 or float16; best with channels last.
        gamma: (C, C), not negative, converted to the type of `x`.
        beta: (C,), positive, converted to the type of `x`.
        inverse: Whether to multiply.

    Returns:
        (B, C, H, W), of the type of `x`.
    """
    if fast_on_cpu(x, gamma, beta):
        x = channels_last(x)
        out = torch.empty_like(x)
        if row_products.usable(x):
            # Not as words: of squares small ones disappear beside a large one of another channel.
            products = row_products.products_for(x.dtype)
            mix = row_products.packed(gamma, beta, "floats" if products == "words" else products)
            mix.normalise(as_tokens(x), as_tokens(out), inverse)
        else:
            _in_chunks(x, gamma, beta, inverse, out)
        return out
    return reference(x, gamma, beta, inverse=inverse)


def reference(x: Tensor, gamma: Tensor, beta: Tensor, *, inverse: bool = False) -> Tensor:
    """The definition of :func:`gdn`."""
    norm = F.conv2d(x**2, gamma.to(x.dtype)[:, :, None, None], beta.to(x.dtype))
    return x * (torch.sqrt(norm) if inverse else torch.rsqrt(norm))


def _in_chunks(x: Tensor, gamma: Tensor, beta: Tensor, inverse: bool, out: Tensor) -> None:
    """Some positions at a time, so that squares and norms stay in the cache."""
    mix = packed_linear(gamma, beta, x.dtype)
    count = threads()
    for part, into in chunks(as_tokens(x), as_tokens(out), x.shape[1]):
        squares = torch.empty_like(part)
        _C.square(array(part), array(squares), count)
        _C.root_scaled(array(part), array(mix(squares)), array(into), inverse, count)
