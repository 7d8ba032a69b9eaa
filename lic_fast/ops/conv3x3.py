r"""3x3 convolution of the slice and hyper networks, with what follows it.

.. math:: out = \mathrm{activation}(W * x + b + residual)

On CUDA devices ``kernels/conv3x3.py`` computes all of it in one launch, the groups
included; elsewhere it is the definition, :func:`reference`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast.ops.launch import launchable
from lic_fast.ops.prepared import prepared
from lic_fast.ops.recompute import register_gradient

__all__ = ["Activation", "conv3x3", "reference"]

Activation = Literal["none", "gelu"]


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    activation: Activation = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """Convolution of stride 1 and padding 1, then bias, residual and activation, in this order.

    On CUDA devices sums are in float32 whatever the type; products of float32
    are rounded to TF32 only if ``torch.backends.cuda.matmul.allow_tf32`` is set.
    The order of a sum depends there on the number of pixels and on the device,
    but not on chance.

    Args:
        x: (B, Cin, H, W), floating point. Fastest with a stride of 1 along the
            channels: channels last, or some of the channels of such a map.
        weight: (Cout, Cin / groups, 3, 3).
        bias: (Cout,), or None.
        groups: That Cin and Cout divide into.
        activation: "gelu", the exact one, or "none".
        residual: (B, Cout, H, W), added before the activation, or None.

    Returns:
        (B, Cout, H, W), channels last in memory, of the type of x.

    Raises:
        ValueError: The shapes do not fit each other, or there is no such
            activation.
        TypeError: The operands are not of one floating-point type.
    """
    _check(x, weight, bias, groups, activation, residual)
    if launchable(x, weight, bias, residual):
        return torch.ops.lic_fast.conv3x3(x, weight, bias, groups, activation, residual)
    return reference(x, weight, bias, groups, activation, residual)


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    """The definition of :func:`conv3x3`, whose arguments it takes, in plain PyTorch."""
    if x.device.type == "cpu" and torch.is_grad_enabled():
        # With channels last, the gradient of the weights corrupts memory in torch 2.14.1.
        x = x.contiguous()
    out = F.conv2d(x, weight, bias, padding=1, groups=groups)
    out = out if residual is None else out + residual
    out = F.gelu(out) if activation == "gelu" else out
    return out.contiguous(memory_format=torch.channels_last)


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> None:
    if activation not in get_args(Activation):
        raise ValueError(
            f"activation must be one of {', '.join(get_args(Activation))}, not {activation!r}"
        )
    if x.dim() != 4 or weight.dim() != 4 or weight.shape[2:] != (3, 3) or 0 in weight.shape:
        raise ValueError(
            "x must be (B, Cin, H, W) and weight (Cout, Cin / groups, 3, 3), "
            f"not {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    outputs, inputs = weight.shape[:2]
    if groups < 1 or outputs % groups or x.shape[1] != groups * inputs:
        raise ValueError(
            f"{x.shape[1]} input and {outputs} output channels do not divide into {groups} groups "
            f"of {inputs} input channels"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"bias must be ({outputs},), not {tuple(bias.shape)}")
    expected = (x.shape[0], outputs, *x.shape[2:])
    if residual is not None and residual.shape != expected:
        raise ValueError(f"residual must be {expected}, not {tuple(residual.shape)}")
    dtypes = {t.dtype for t in (x, weight, bias, residual) if t is not None}
    if len(dtypes) > 1 or not x.is_floating_point():
        raise TypeError(
            "the operands must have one floating-point type, not "
            + ", ".join(sorted(map(str, dtypes)))
        )


def _new_map(x: Tensor, channels: int) -> Tensor:
    return torch.empty(
        (x.shape[0], channels, *x.shape[2:]),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )


@torch.library.custom_op("lic_fast::conv3x3", mutates_args=())
def _conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    out = reference(x, weight, bias, groups, activation, residual)
    return _new_map(x, weight.shape[0]).copy_(out)


@_conv3x3.register_kernel("cuda")
def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    from lic_fast.kernels.conv3x3 import conv3x3 as launch
    from lic_fast.kernels.conv3x3 import pack

    return launch(
        _channels_dense(x),
        prepared(("conv3x3", groups), [weight], lambda: pack(weight, groups)),
        None if bias is None else bias.contiguous(),
        activation,
        None if residual is None else _channels_dense(residual),
        out=_new_map(x, weight.shape[0]),
    )


def _channels_dense(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


@_conv3x3.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    return _new_map(x, weight.shape[0])


register_gradient(_conv3x3, reference)
