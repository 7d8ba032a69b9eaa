r"""The two-layer perceptron of a transformer block, with its norm and its residual.

.. math:: out = x + W_2 \, \mathrm{gelu}(W_1 \mathrm{LayerNorm}(x) + b_1) + b_2

(Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.3, with the
norm in front and the exact GELU, as in Liu et al., "Swin Transformer", ICCV 2021,
equation 3.)

On CUDA devices ``kernels/feed_forward.py`` computes it without a hidden tensor in
memory, or with one and two kernels where C is too wide. Elsewhere it is the
definition, :func:`reference`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops.launch import launchable
from lic_fast.ops.recompute import register_gradient

__all__ = ["feed_forward", "reference"]


def feed_forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """LayerNorm, linear, GELU, linear, and the sum with the input.

    On CUDA devices sums are in float32 whatever the type; products of float32
    are rounded to TF32 only if ``torch.backends.cuda.matmul.allow_tf32`` is set.

    Args:
        x: (..., C), floating point. The parameters are converted to its type.
        norm_weight: (C,), the norm's factors.
        norm_bias: (C,), the norm's offsets.
        weight1: (F, C).
        bias1: (F,).
        weight2: (C, F).
        bias2: (C,).
        eps: Added to the variance in the norm.

    Returns:
        (..., C), contiguous, of the type of x.

    Raises:
        ValueError: The widths do not fit each other.
        TypeError: x is not floating point.
    """
    parameters = (norm_weight, norm_bias, weight1, bias1, weight2, bias2)
    _check(x, *parameters)
    arguments: Any = (x, *(parameter.to(x.dtype) for parameter in parameters), eps)
    if launchable(*arguments[:-1]):
        return torch.ops.lic_fast.feed_forward(*arguments)
    return reference(*arguments)


def reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
) -> Tensor:
    """The definition of :func:`feed_forward`, whose arguments it takes, in plain PyTorch."""
    normed = F.layer_norm(x, (x.shape[-1],), norm_weight, norm_bias, eps)
    hidden = F.gelu(F.linear(normed, weight1, bias1))
    return (x + F.linear(hidden, weight2, bias2)).contiguous()


def _check(x: Tensor, *parameters: Tensor) -> None:
    weight1 = parameters[2]
    if x.dim() == 0 or weight1.dim() != 2 or 0 in weight1.shape:
        raise ValueError(
            "x must be (..., C) and weight1 (F, C), neither C nor F zero, "
            f"not {tuple(x.shape)} and {tuple(weight1.shape)}"
        )
    channels, hidden = x.shape[-1], weight1.shape[0]
    names = ("norm_weight", "norm_bias", "weight1", "bias1", "weight2", "bias2")
    shapes: tuple[tuple[int, ...], ...] = (
        (channels,),
        (channels,),
        (hidden, channels),
        (hidden,),
        (channels, hidden),
        (channels,),
    )
    for name, parameter, shape in zip(names, parameters, shapes, strict=True):
        if parameter.shape != shape:
            raise ValueError(
                f"{name} must be {shape} for x of {channels} channels and {hidden} hidden ones, "
                f"not {tuple(parameter.shape)}"
            )
    if not x.is_floating_point():
        raise TypeError(f"x must have a floating-point type, not {x.dtype}")


@torch.library.custom_op("lic_fast::feed_forward", mutates_args=())
def _feed_forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
) -> Tensor:
    return reference(x, norm_weight, norm_bias, weight1, bias1, weight2, bias2, eps)


@_feed_forward.register_kernel("cuda")
def _launch(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
) -> Tensor:
    from lic_fast.kernels.feed_forward import feed_forward as launch

    return launch(
        x.contiguous(),
        norm_weight.contiguous(),
        norm_bias.contiguous(),
        weight1.contiguous(),
        bias1.contiguous(),
        weight2.contiguous(),
        bias2.contiguous(),
        eps,
        out=torch.empty_like(x, memory_format=torch.contiguous_format),
    )


@_feed_forward.register_fake
def _(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


register_gradient(_feed_forward, reference)
