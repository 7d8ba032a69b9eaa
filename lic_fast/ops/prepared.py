"""What an operator makes of its weights once: packed, converted or merged tensors.

A prepared value belongs to the tensors that it was made of and is used for as
long as they hold the same values. Writes are seen however they are made:
``load_state_dict``, an optimiser's step, :meth:`torch.nn.Module.to`, and also
writes through ``.data``, which leave no trace in a tensor's version counter:
what is in memory is read, at each use or, of tensors that are :func:`read_at_once`,
once for all uses in a block.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.weak import WeakTensorKeyDictionary

from lic_fast import _C
from lic_fast.ops.threads import threads

__all__ = ["prepared", "present", "read_at_once"]

_T = TypeVar("_T")
_Stamp = tuple[Any, ...]

_VALUES = WeakTensorKeyDictionary()
"""From the first source to {key: (stamp of all sources, value)}."""


def prepared(key: Hashable, sources: Sequence[Tensor], build: Callable[[], _T]) -> _T:
    """The value that `build` made of `sources`, made anew when they have changed.

    Args:
        key: What is made of them, with all else that it depends on.
        sources: Tensors, at least one. The value lives as long as the first.
        build: Makes the value, without gradients. It must not hold `sources`
            themselves, or they would live forever.
    """
    known: dict[Hashable, tuple[_Stamp, Any]] = _VALUES.setdefault(sources[0], {})
    stamp = _stamp(sources)
    entry = known.get(key)
    if entry is not None and entry[0] == stamp:
        return entry[1]
    with torch.no_grad():
        value = build()
    known[key] = (stamp, value)
    return value


@contextmanager
def read_at_once(group_of: Callable[[Tensor], Sequence[Tensor] | None]) -> Iterator[None]:
    """Within the block the tensors of a group are read together when one of them is first used.

    To read them one by one takes two to three times as long: most are too small for several
    threads, and for what a processor reads ahead. What is written to them within the block is
    seen by their version counters, so not through ``.data``. Within another such block this one
    does nothing.

    Args:
        group_of: The tensors that are used with this one, it among them, or None.
    """
    if _current() is not None:
        yield
        return
    reading = _Reading(group_of)
    token = _reading.set(reading)
    try:
        yield
    finally:
        reading.end()
        _reading.reset(token)


class _Reading:
    """What was read of groups of tensors. Several threads may ask.

    Attributes:
        over: Whether its block has ended; a context that was copied within it may have it still.
    """

    def __init__(self, group_of: Callable[[Tensor], Sequence[Tensor] | None]) -> None:
        self.over = False
        self._group_of = group_of
        # Version, address and digest; the tensor itself, so that no other has its identity.
        self._read: dict[int, tuple[Tensor, int, int, int]] = {}
        self._alone: set[int] = set()

    def end(self) -> None:
        """Nothing is known any more."""
        self.over = True
        self._read.clear()

    def digest(self, tensor: Tensor) -> int | None:
        """Of its contents, None if it has to be read now."""
        key = id(tensor)
        if key not in self._read:
            if key in self._alone:
                return None
            group = self._group_of(tensor) if _countable(tensor) else None
            self._read_all([other for other in group or () if _countable(other)])
            if key not in self._read:
                self._alone.add(key)
                return None
        _, version, address, digest = self._read[key]
        unchanged = version == tensor._version and address == tensor.data_ptr()
        return digest if unchanged else None

    def _read_all(self, group: Sequence[Tensor]) -> None:
        # Before they are read: a write in the meantime is then seen later.
        forms = [(tensor, tensor._version, tensor.data_ptr()) for tensor in group]
        for form, digest in zip(forms, _digests(group), strict=True):
            self._read[id(form[0])] = *form, digest


_reading: ContextVar[_Reading | None] = ContextVar("lic_fast_reading", default=None)


def _countable(tensor: Tensor) -> bool:
    """Whether it lies in the CPU's memory in one piece, and has a version counter."""
    return (
        type(tensor) in (Tensor, nn.Parameter)  # subclasses may have no memory of their own
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and tensor.is_contiguous()  # or copies of a whole group would be made at once
        and not tensor.is_inference()
    )


def _current() -> _Reading | None:
    reading = _reading.get()
    return None if reading is None or reading.over else reading


def _stamp(sources: Sequence[Tensor]) -> _Stamp:
    reading = _current()
    forms: list[Any] = []
    unread: list[Tensor] = []
    for tensor in sources:
        address = 0 if isinstance(tensor, FakeTensor) else tensor.data_ptr()
        forms.append((tensor.dtype, tensor.shape, address))
        if not tensor.is_cpu:
            # Reading them all would wait for the device. Without a version counter nothing is
            # known, and nothing equals a new object.
            forms.append((tensor.device, object() if tensor.is_inference() else tensor._version))
            continue
        digest = None if reading is None else reading.digest(tensor)
        forms.append(digest)
        if digest is None:
            unread.append(tensor)
    if unread:
        digests = iter(_digests(unread))
        forms = [next(digests) if form is None else form for form in forms]
    return tuple(forms)


def _digests(tensors: Sequence[Tensor]) -> list[int]:
    """What tells their contents from others, read at the speed of memory."""
    # Their memory stays until it has been read, even if they are given other memory meanwhile.
    whole = [tensor.detach().contiguous() for tensor in tensors]
    return _C.digests([(tensor.data_ptr(), tensor.nbytes) for tensor in whole], threads())


def present(*tensors: Tensor | None) -> list[Tensor]:
    """Those that are not None."""
    return [tensor for tensor in tensors if tensor is not None]
