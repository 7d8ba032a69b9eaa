"""The fingerprint by which a file names its model."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

from torch import nn

from lic_fast.ops.stamp import Stamp, stamp

__all__ = ["fingerprint"]

_KNOWN: WeakKeyDictionary[nn.Module, tuple[Stamp, bytes]] = WeakKeyDictionary()


def fingerprint(model: nn.Module) -> bytes:
    """Eight bytes that tell models apart whose weights or CDF tables differ.

    The start of the SHA-256 over every entry of the state dict in order of its
    name: name, type and shape as text, values as little-endian float32 or
    int32 (int64 for index tables). It is computed anew when the entries'
    :func:`~lic_fast.ops.stamp.stamp` has changed.
    """
    entries = sorted(model.state_dict(keep_vars=True).items())
    found = stamp(entry for _, entry in entries)
    known = _KNOWN.get(model)
    if known is not None and known[0] == found:
        return known[1]
    digest = hashlib.sha256()
    for name, entry in entries:
        dtype = str(entry.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {tuple(entry.shape)}".encode())
        values = entry.detach().cpu().contiguous()
        values = values.float() if values.is_floating_point() else values
        array = values.numpy()
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    result = digest.digest()[:8]
    _KNOWN[model] = (found, result)
    return result
