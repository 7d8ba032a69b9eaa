"""The integer layers' operators of PyTorch, and their launches on CUDA devices.

:func:`lic_fast.ops.integer_layer.integer_layer` and ``Quantizer`` call them by their
names in ``torch.ops``, where importing this module registers them. On other devices
they are the definition, so that a traced model runs anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from lic_fast.ops.exact import quantized
from lic_fast.ops.integer_conv2d import check_largest, largest_sum
from lic_fast.ops.integer_layer import Activation, Quantizer, halves, reference
from lic_fast.ops.prepared import prepared


@torch.library.custom_op("lic_fast::integer_layer", mutates_args=())
def _layer(
    x: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    border: Sequence[Tensor],
    stride: int,
    groups: int,
    activation: str,
    residual: Tensor | None,
    inverse_step: Tensor | None,
    zero: Tensor | None,
    bits: int,
) -> list[Tensor]:
    """One float32 map, or with a quantizer of 7 or 14 bits, not 0, the halves."""
    out = reference(
        x,
        weight,
        bias,
        scale,
        border=border,
        stride=stride,
        groups=groups,
        activation=cast(Activation, activation),
        residual=residual,
        output=_quantizer(inverse_step, zero, bits),
    )
    maps = [out] if isinstance(out, Tensor) else out
    into = _new_maps(x[0], weight, stride, bits)
    return [new.copy_(old) for new, old in zip(into, maps, strict=True)]


@_layer.register_kernel("cuda")
def _launch(
    x: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    border: Sequence[Tensor],
    stride: int,
    groups: int,
    activation: str,
    residual: Tensor | None,
    inverse_step: Tensor | None,
    zero: Tensor | None,
    bits: int,
) -> list[Tensor]:
    from lic_fast.kernels.integer_conv2d import integer_conv2d

    out = _new_maps(x[0], weight, stride, bits)
    if residual is not None and residual.shape != out[0].shape:
        raise ValueError(f"residual must be {tuple(out[0].shape)}, not {tuple(residual.shape)}")
    packed, edges = _made_once(weight, border, groups)
    quantizer = _quantizer(inverse_step, zero, bits)
    integer_conv2d(
        _channels_dense(x),
        packed,
        edges,
        bias.contiguous(),
        scale.contiguous(),
        activation,
        None if residual is None else _channels_dense([residual])[0],
        None if quantizer is None else _steps(quantizer),
        stride=stride,
        out=out,
    )
    return out


@_layer.register_fake
def _(
    x: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    border: Sequence[Tensor],
    stride: int,
    groups: int,
    activation: str,
    residual: Tensor | None,
    inverse_step: Tensor | None,
    zero: Tensor | None,
    bits: int,
) -> list[Tensor]:
    return _new_maps(x[0], weight, stride, bits)


@torch.library.custom_op("lic_fast::quantize_activations", mutates_args=())
def _quantize(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> list[Tensor]:
    _check_quantizer(x, inverse_step, zero, bits)
    maps = halves(quantized(x, inverse_step, zero, bits), bits)
    return [new.copy_(old) for new, old in zip(_new_halves(x.shape, x, bits), maps, strict=True)]


@_quantize.register_kernel("cuda")
def _launch_quantize(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> list[Tensor]:
    from lic_fast.kernels import exact as kernels

    _check_quantizer(x, inverse_step, zero, bits)
    out = _new_halves(x.shape, x, bits)
    if x.numel():
        kernels.quantize(x, *_steps(Quantizer(inverse_step, zero, bits)), out=out)
    return out


@_quantize.register_fake
def _(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> list[Tensor]:
    return _new_halves(x.shape, x, bits)


def _made_once(weight: Tensor, border: Sequence[Tensor], groups: int) -> tuple[Tensor, Tensor]:
    """The kernel's weights, and its table of what is beyond the edges."""
    from lic_fast.kernels.integer_conv2d import edges, pack

    def packed() -> Tensor:
        check_largest(largest_sum(weight, len(border)))
        return pack(weight, groups)

    whole = prepared(("integer_launch", groups, len(border)), [weight], packed)
    # On a GPU, address and version do not tell a border from a later one in the same place; a
    # value that lives with the tensor does.
    known = [prepared("identity", [half], object) for half in border]
    last: list[tuple[list[object], Tensor]] = prepared(("edges", groups), [weight], list)
    held = last[0] if last else None
    if held is None or held[0] != known:
        held = known, edges(weight, border, groups)
        last[:] = [held]
    return whole, held[1]


def _quantizer(inverse_step: Tensor | None, zero: Tensor | None, bits: int) -> Quantizer | None:
    if inverse_step is None or zero is None:
        return None
    return Quantizer(inverse_step, zero, bits)


def _steps(quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    return quantizer.inverse_step.contiguous(), quantizer.zero.contiguous()


def _check_quantizer(x: Tensor, inverse_step: Tensor, zero: Tensor, bits: int) -> None:
    shape = (x.shape[1],) if x.dim() == 4 and x.dtype == torch.float32 else None
    if not inverse_step.shape == zero.shape == shape:
        raise ValueError(
            f"x must be (B, N, H, W) float32 for a quantizer of N channels, not {tuple(x.shape)} "
            f"{x.dtype} for {tuple(inverse_step.shape)} and {tuple(zero.shape)}"
        )
    if bits not in (7, 14):
        raise ValueError(f"an activation has 7 or 14 bits, not {bits}")


def _new_maps(x: Tensor, weight: Tensor, stride: int, bits: int) -> list[Tensor]:
    height, width = (-(-side // stride) for side in x.shape[2:])
    shape = (x.shape[0], weight.shape[0], height, width)
    return _new_halves(shape, x, bits) if bits else [_new(shape, x, torch.float32)]


def _new_halves(shape: Sequence[int], like: Tensor, bits: int) -> list[Tensor]:
    return [_new(shape, like, torch.uint8) for _ in range(bits // 7)]


def _new(shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(
        tuple(shape), dtype=dtype, device=like.device, memory_format=torch.channels_last
    )


def _channels_dense(maps: Sequence[Tensor]) -> list[Tensor]:
    """With a stride of 1 along the channels, and one set of strides for all."""
    if maps[0].stride(1) == 1 and all(x.stride() == maps[0].stride() for x in maps):
        return list(maps)
    return [_new(x.shape, x, x.dtype).copy_(x) for x in maps]
