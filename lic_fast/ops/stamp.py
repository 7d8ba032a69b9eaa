"""Stamps of tensors: whether what was made of them once still fits them.

lic_fast packs weights, merges them, hashes them for a file's fingerprint, and uses the result for
as long as the :func:`stamp` of the tensors stays the same. A stamp holds, for each tensor,

- its type, shape, strides and the address of its memory: ``weight.data = other``,
  ``module.to(...)`` and ``load_state_dict(assign=True)`` change them;
- its version counter, which moves with every operation in place: an optimiser's step,
  ``load_state_dict``, ``weight.neg_()`` under ``no_grad``;
- a hash of some of its words, for tensors in the CPU's memory: operations on ``weight.data`` and
  writes by way of numpy or another pointer move no counter. Tensors of 4 KiB and less are read as
  a whole. Of larger ones 65 words of 8 bytes are: one in each of 64 equal runs, and the last.

So one kind of change is not seen: a write past the version counter that leaves all sampled words
as they were. Writes to a whole tensor are always seen, and those to a contiguous thirty-second of
it or more; those to one of a matrix's many rows or columns often are not. What is written to a
GPU's memory past the counter is never seen, since reading it would wait for the device. Tensors
that were made under ``inference_mode`` have no counter: on a CPU the words alone tell, elsewhere
nothing made of them is kept. After a write that leaves no trace, call :func:`lic_fast.refresh`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import prod

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.weak import WeakTensorKeyDictionary

from lic_fast import _C

__all__ = ["ORDINARY", "Stamp", "Stamps", "refresh", "stamp"]

Stamp = tuple[Hashable, ...]

ORDINARY = (Tensor, nn.Parameter)
"""Types of tensors that have memory; subclasses may have none of their own."""

_STRIDED = torch.strided
_REFRESHED = WeakTensorKeyDictionary()
"""How often a tensor without a version counter was refreshed."""


def stamp(tensors: Iterable[Tensor]) -> Stamp:
    """What two looks at tensors have in common if they have not been written to in between.

    Compare it by ``==``. See the module for what it sees. It costs about a microsecond for each
    tensor, whatever its size.
    """
    forms: list[Hashable] = []
    pieces: list[tuple[int, int]] = []
    copies: list[Tensor] = []
    for tensor in tensors:
        if type(tensor) not in ORDINARY or tensor.layout is not _STRIDED:
            # Nothing equals a new object.
            forms.append(tensor._version if isinstance(tensor, FakeTensor) else object())
            continue
        address = tensor.data_ptr()
        on_cpu = tensor.is_cpu
        if not tensor.is_inference():
            version: object = tensor._version
        else:
            version = _REFRESHED.get(tensor, 0) if on_cpu else object()
        forms += (tensor.dtype, tensor.shape, tensor.stride(), address, version)
        if not on_cpu:
            forms.append(tensor.device)
        elif tensor.is_contiguous() or _fills_its_memory(tensor):
            pieces.append((address, tensor.nbytes))
        else:
            copies.append(tensor.detach().contiguous())  # must live until it has been read
            pieces.append((copies[-1].data_ptr(), copies[-1].nbytes))
    if pieces:
        forms.append(_C.hash_of_samples(pieces))
    return tuple(forms)


class Stamps:
    """The :func:`stamp` of tensors, to be compared with what they are now.

    Args:
        tensors: It keeps them. Not their number, but that of those that are not dense, lie on
            another device or have no counter decides how long a comparison takes.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        common: list[Tensor] = []
        self._others: list[Tensor] = []
        for tensor in tensors:
            (common if _is_common(tensor) else self._others).append(tensor)
        self._common = _C.TensorStamp(common)
        self._stamp = stamp(self._others)

    def hold(self) -> bool:
        """Whether the tensors have not been written to since."""
        return self._common.holds() and (not self._others or self._stamp == stamp(self._others))


def _is_common(tensor: Tensor) -> bool:
    return (
        type(tensor) in ORDINARY
        and tensor.layout is _STRIDED
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_inference()
    )


def _fills_its_memory(tensor: Tensor) -> bool:
    """Whether its elements are all that lies between the first and the last, in any order."""
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return 0 not in tensor.stride() and reach + 1 == prod(tensor.shape)


def refresh(model: nn.Module) -> None:
    """Forgets everything that was made of a model's parameters and buffers.

    To be called after writes that leave no trace, see :mod:`lic_fast.ops.stamp`: into single rows
    or columns through ``.data``, or through ``.data`` of a model on a GPU. Not between a forward
    pass and its backward pass, as autograd takes it for what it stands for: a write to the weights.

    Args:
        model: The model, or a part of it.
    """
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_inference():
            _REFRESHED[tensor] = _REFRESHED.get(tensor, 0) + 1
        else:
            torch.autograd.graph.increment_version(tensor)
