r"""Latents to symbols and back: rounding, and the scale index that names a latent's CDF.

On the CPU, float32 goes to ``csrc/latents``: one pass over operands of any memory layout, on
several threads, in which the bits of a scale lead to its index without a comparison for each
entry of the table. On CUDA devices, float32 goes to ``kernels/slice_step.py``: one launch for each
operator. Everything else goes to the definitions, :func:`reference_quantize`,
:func:`reference_scale_index` and :func:`reference_dequantize`, whose results the fused code has
bit for bit.

These operators are for coding: no gradient goes through them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lic_fast import _C
from lic_fast.ops.backend import current_backend
from lic_fast.ops.launch import launchable
from lic_fast.ops.prepared import prepared
from lic_fast.ops.threads import threads
from lic_fast.runtime.coding import check_peak

__all__ = [
    "QuantizedLatents",
    "checked_table",
    "dequantize",
    "quantize",
    "reference_dequantize",
    "reference_quantize",
    "reference_scale_index",
    "round_ste",
    "scale_index",
    "to_symbols",
]


_LAUNCHED = (torch.float32,)


def round_ste(x: Tensor) -> Tensor:
    """Rounds to nearest, ties to even, with the identity as gradient.

    The straight-through estimator of Theis et al., "Lossy Image Compression
    with Compressive Autoencoders", ICLR 2017, section 2.2. The value is exactly
    ``torch.round(x)``: the usual ``round(x) - x.detach() + x`` can be off by a
    unit in the last place, which a decoder would not reproduce.
    """
    return _RoundSTE.apply(x)


class _RoundSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: object, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


class QuantizedLatents(NamedTuple):
    """What :func:`quantize` gives, each dense and of the shape of its operands.

    Attributes:
        symbols: round(y - mean), ties to even; int16 if all magnitudes are
            below 2^15, else int32.
        indexes: :func:`scale_index` of the scales, uint8.
        y_hat: round(y - mean) + mean, of the operands' type.
    """

    symbols: Tensor
    indexes: Tensor
    y_hat: Tensor


def quantize(y: Tensor, mean: Tensor, scale: Tensor, scale_table: Tensor) -> QuantizedLatents:
    """Latents to what the entropy coder takes, and to what its decoder will give.

    CompressAI's ``GaussianConditional.quantize(y, "symbols", mean)``,
    ``build_indexes(scale)`` and ``quantize(y, "dequantize", mean)``.

    Args:
        y: Latents, any shape, floating point.
        mean: Their means, of the same shape and type.
        scale: Their standard deviations, of the same shape and type.
        scale_table: (n,) ascending standard deviations of the CDFs.

    Raises:
        LatentError: A symbol is not finite, or 2^29 or more in magnitude.
        TypeError: The operands are not of one floating-point type.
        ValueError: The operands are not of one shape, or the table is not of
            the kind that :func:`scale_index` takes.
    """
    if not y.shape == mean.shape == scale.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (y, mean, scale))
        raise ValueError(f"y, mean and scale must have one shape, not {shapes}")
    if not y.dtype == mean.dtype == scale.dtype or not y.is_floating_point():
        raise TypeError(
            "y, mean and scale must have one floating-point type, not "
            f"{y.dtype}, {mean.dtype}, {scale.dtype}"
        )
    if y.numel() and launchable(y, mean, scale, scale_table, dtypes=_LAUNCHED):
        return _launch_quantize(y, mean, scale, scale_table)
    if not _fusible(y, mean, scale, scale_table):
        return reference_quantize(y, mean, scale, scale_table)
    _check_table(scale_table)
    operands = (_array(y), _array(mean), _array(scale), _array(scale_table.contiguous()))
    indexes = torch.empty(y.shape, dtype=torch.uint8)
    y_hat = torch.empty(y.shape)
    count = threads()
    symbols = torch.empty(y.shape, dtype=torch.int16)
    peak = _C.quantize(*operands, symbols.numpy(), indexes.numpy(), y_hat.numpy(), count)
    if not peak < 2**15:
        check_peak(peak)
        symbols = torch.empty(y.shape, dtype=torch.int32)
        _C.quantize(*operands, symbols.numpy(), indexes.numpy(), y_hat.numpy(), count)
    return QuantizedLatents(symbols, indexes, y_hat)


def scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    """Index of the CDF that codes a latent of the given scale.

    The number of table entries, the last left out, that are below the scale
    (CompressAI's ``GaussianConditional.build_indexes``). A NaN, which only a
    decoder gone wrong can see, counts as the largest scale.

    Args:
        scales: Standard deviations, any shape, float.
        scale_table: (n,) ascending standard deviations.

    Returns:
        uint8 of the shape of `scales`, dense, in 0..n-1.

    Raises:
        ValueError: The table has more than 256 entries, or none, or does not
            ascend.
    """
    if scales.numel() and launchable(scales, scale_table, dtypes=_LAUNCHED):
        return _launch_scale_index(scales, scale_table)
    if not _fusible(scales, scale_table):
        return reference_scale_index(scales, scale_table)
    _check_table(scale_table)
    indexes = torch.empty(scales.shape, dtype=torch.uint8)
    _C.scale_index(
        _array(scales),
        _array(scale_table.contiguous()),
        indexes.numpy(),
        threads(),
    )
    return indexes


def dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    """Symbols + mean, dense, of the type of the means: CompressAI's ``dequantize``.

    Args:
        symbols: int16 or int32, any shape.
        mean: Of the same shape, floating point.

    Raises:
        TypeError: The operands are not of such types.
        ValueError: They are not of one shape.
    """
    if symbols.shape != mean.shape:
        raise ValueError(
            f"symbols and mean must have one shape, not {tuple(symbols.shape)}, {tuple(mean.shape)}"
        )
    if symbols.dtype not in (torch.int16, torch.int32) or not mean.is_floating_point():
        raise TypeError(
            "symbols must be int16 or int32 and mean floating point, not "
            f"{symbols.dtype}, {mean.dtype}"
        )
    if mean.numel() and symbols.device == mean.device and launchable(mean, dtypes=_LAUNCHED):
        return _launch_dequantize(symbols, mean)
    if symbols.device.type != "cpu" or not _fusible(mean):
        return reference_dequantize(symbols, mean)
    y_hat = torch.empty(mean.shape)
    _C.dequantize(_array(symbols.contiguous()), _array(mean), y_hat.numpy(), threads())
    return y_hat


def to_symbols(values: Tensor) -> Tensor:
    """Rounded latents as int32 on the CPU.

    Args:
        values: Integers of a floating-point type, any shape.

    Raises:
        LatentError: A value is NaN, infinite or beyond 2^29.
    """
    check_peak(_peak(values))
    return values.to(torch.int32).cpu()


@torch.no_grad()
def reference_quantize(
    y: Tensor, mean: Tensor, scale: Tensor, scale_table: Tensor
) -> QuantizedLatents:
    """The definition of :func:`quantize`, in plain PyTorch."""
    rounded = (y - mean).round()
    peak = _peak(rounded)
    check_peak(peak)
    return QuantizedLatents(
        rounded.to(torch.int16 if peak < 2**15 else torch.int32).contiguous(),
        reference_scale_index(scale, scale_table),
        (rounded + mean).contiguous(),
    )


@torch.no_grad()
def reference_scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    """The definition of :func:`scale_index`, in plain PyTorch."""
    scale_table = checked_table(scale_table)
    # Both as they are, where one of them has less precision than the other.
    dtype = torch.promote_types(scales.dtype, scale_table.dtype)
    scales, scale_table = scales.to(dtype).contiguous(), scale_table.to(dtype)
    # Entry i is below the scale exactly when the scale's left insertion point is past i.
    return torch.bucketize(scales, scale_table[:-1], right=False).to(torch.uint8)


@torch.no_grad()
def reference_dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    """The definition of :func:`dequantize`, in plain PyTorch."""
    return (symbols.to(mean.dtype) + mean).contiguous()


def _fusible(*operands: Tensor) -> bool:
    for x in operands:
        if not x.is_cpu or x.dtype != torch.float32 or x.layout != torch.strided:
            return False
    return current_backend() == "auto"


def _launch_quantize(
    y: Tensor, mean: Tensor, scale: Tensor, scale_table: Tensor
) -> QuantizedLatents:
    from lic_fast.kernels import slice_step

    scale_table = checked_table(scale_table)
    indexes = torch.empty(y.shape, dtype=torch.uint8, device=y.device)
    y_hat = torch.empty(y.shape, dtype=torch.float32, device=y.device)

    def symbols_of(dtype: torch.dtype) -> tuple[Tensor, float]:
        symbols = torch.empty(y.shape, dtype=dtype, device=y.device)
        peak = torch.zeros(1, dtype=torch.int32, device=y.device)
        slice_step.quantize(
            y.detach(),
            mean.detach(),
            scale.detach(),
            scale_table,
            symbols=symbols,
            indexes=indexes,
            y_hat=y_hat,
            peak=peak,
        )
        return symbols, peak.view(torch.float32).item()

    symbols, peak = symbols_of(torch.int16)
    if not peak < 2**15:
        check_peak(peak)
        symbols, _ = symbols_of(torch.int32)
    return QuantizedLatents(symbols, indexes, y_hat)


def _launch_scale_index(scales: Tensor, scale_table: Tensor) -> Tensor:
    from lic_fast.kernels import slice_step

    indexes = torch.empty(scales.shape, dtype=torch.uint8, device=scales.device)
    slice_step.scale_index(scales.detach(), checked_table(scale_table), indexes=indexes)
    return indexes


def _launch_dequantize(symbols: Tensor, mean: Tensor) -> Tensor:
    from lic_fast.kernels import slice_step

    y_hat = torch.empty(mean.shape, dtype=torch.float32, device=mean.device)
    slice_step.dequantize(symbols, mean.detach(), y_hat=y_hat)
    return y_hat


def checked_table(scale_table: Tensor) -> Tensor:
    """The table, contiguous.

    That it ascends is looked at once for each version, since on a GPU the host waits for it.
    """
    _check_table(scale_table)
    prepared("ascending", [scale_table], lambda: _check_ascending(scale_table))
    return scale_table.detach().contiguous()


def _array(x: Tensor) -> Any:
    """The memory of a CPU tensor, also of one that requires grad."""
    return x.numpy(force=True)


def _peak(rounded: Tensor) -> float:
    """The largest magnitude, or NaN if there is one."""
    return rounded.abs().max().item() if rounded.numel() else 0.0


def _check_table(scale_table: Tensor) -> None:
    if scale_table.dim() != 1:
        raise ValueError(f"a scale table has one dimension, not {scale_table.dim()}")
    if not 1 <= scale_table.numel() <= 256:
        raise ValueError(f"a scale table holds 1 to 256 entries, not {scale_table.numel()}")


def _check_ascending(scale_table: Tensor) -> None:
    if not bool((scale_table[:-1] <= scale_table[1:]).all()):
        raise ValueError("a scale table must ascend")
