"""What more than one kernel needs: activations, rounding, addresses, facts about the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["arranged", "dot_precision", "gelu", "multiprocessors", "offset", "round_half_even"]

_DIMS = 4

# Multiprocessors of an H100. The interpreter has no device, and ahead-of-time compilation none
# either: they take the blocks that one H100 would get.
_H100_MULTIPROCESSORS = 132


@triton.jit
def gelu(x):
    """The exact GELU, x Phi(x), of a float32 block."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def round_half_even(x):
    """Of float32, with the sign of zero kept, as ``torch.round`` has it."""
    magnitude = tl.abs(x)
    # In [2^23, 2^24) float32 are the integers: the sum rounds, and the difference is exact.
    rounded = (magnitude + 8388608.0) - 8388608.0
    rounded = tl.where(magnitude < 8388608.0, rounded, magnitude)
    sign = x.to(tl.int32, bitcast=True) & -2147483648
    return (rounded.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def offset(i, size1, size2, size3, stride0, stride1, stride2, stride3):
    """Of the element that is the i-th in row-major order of up to four dimensions."""
    i3 = (i % size3).to(tl.int64)
    i = i // size3
    i2 = (i % size2).to(tl.int64)
    i = i // size2
    i1 = (i % size1).to(tl.int64)
    return (i // size1).to(tl.int64) * stride0 + i1 * stride1 + i2 * stride2 + i3 * stride3


def dot_precision(dtype: torch.dtype) -> str:
    """`input_precision` of ``tl.dot``: float32 products round as PyTorch's would.

    TF32 where ``torch.backends.cuda.matmul.allow_tf32`` is set, else IEEE. It has no
    meaning for 16-bit operands, whose products are exact in float32.
    """
    if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return "ieee"


def multiprocessors(device: torch.device) -> int:
    """Streaming multiprocessors, or compute units, of the device."""
    if device.type != "cuda":
        return _H100_MULTIPROCESSORS
    index = torch.cuda.current_device() if device.index is None else device.index
    return _multiprocessors(index)


@cache
def _multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def arranged(*operands: Tensor) -> tuple[list[int], list[int], Sequence[Tensor]]:
    """Sizes of the last three of four dimensions, each operand's four strides, the operands."""
    dims = _merged(operands)
    if len(dims) > _DIMS:
        operands = tuple(x.contiguous() for x in operands)
        dims = _merged(operands)
    dims = [(1, (0,) * len(operands))] * (_DIMS - len(dims)) + dims
    sizes = [size for size, _ in dims[1:]]
    strides = [own[j] for j in range(len(operands)) for _, own in dims]
    return sizes, strides, operands


def _merged(operands: Sequence[Tensor]) -> list[tuple[int, tuple[int, ...]]]:
    """Size and strides of each dimension, as few as describe all operands at once."""
    dims: list[tuple[int, tuple[int, ...]]] = []
    for d, size in enumerate(operands[0].shape):
        if size == 1:
            continue
        strides = tuple(x.stride(d) for x in operands)
        if dims and dims[-1][1] == tuple(size * stride for stride in strides):
            dims[-1] = (dims[-1][0] * size, strides)
        else:
            dims.append((size, strides))
    return dims
