"""Rules for functions that move numbers: the order of dimensions, parts of maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lic_fast.engine.registry import lowers
from lic_fast.engine.unsupported import Unsupported
from lic_fast.engine.values import Value

__all__: list[str] = []


@lowers(torch.permute, Tensor.permute)
def _permute(input: Value, *dims: Any) -> Value:
    order = tuple(dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims)
    order = tuple(d % 4 for d in order)
    if order == (0, 1, 2, 3):
        return input.view()
    if order == ((0, 3, 1, 2) if input.last else (0, 2, 3, 1)):
        return input.view(last=not input.last)
    raise Unsupported(f"dimensions in the order {order}")


@lowers(Tensor.contiguous)
def _contiguous(input: Value, memory_format: Any = None) -> Value:
    return input.view()


@lowers(torch.cat, torch.concat)
def _cat(tensors: Sequence[Any], dim: int = 0) -> Value:
    if not all(isinstance(tensor, Value) for tensor in tensors):
        raise Unsupported("it puts maps and weights together")
    first, *others = tensors
    _channels_of(first, dim)
    if not others:
        return first.view()
    return first.node("concat", *others, channels=sum(tensor.channels for tensor in tensors))


@lowers(torch.chunk, Tensor.chunk)
def _chunk(input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    return _split(input, -(-input.channels // chunks), dim)


@lowers(torch.split, Tensor.split)
def _split(tensor: Value, split_size_or_sections: Any, dim: int = 0) -> tuple[Value, ...]:
    _channels_of(tensor, dim)
    sizes = split_size_or_sections
    if isinstance(sizes, int):
        whole, rest = divmod(tensor.channels, sizes)
        sizes = [sizes] * whole + [rest] * (rest > 0)
    if sum(sizes) != tensor.channels:
        raise Unsupported(f"{tensor.channels} channels are split into {sizes}")
    tensor.shared = True
    parts = []
    first = 0
    for size in sizes:
        part = tensor.node("split", channels=size, first=first)
        part.shared = True
        parts.append(part)
        first += size
    return tuple(parts)


def _channels_of(x: Value, dim: int) -> None:
    if dim % 4 != (3 if x.last else 1):
        raise Unsupported("images, rows or columns are split or put together")
