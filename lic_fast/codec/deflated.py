"""Payloads of sections that are deflated: their length, then a raw deflate stream (RFC 1951)."""

from __future__ import annotations

import struct
import zlib

from lic_fast.errors import FormatError

__all__ = ["LARGEST", "deflate", "inflate"]

LARGEST = 2**24
"""Bytes that a payload may inflate to: real metadata are far smaller, and a file may be hostile."""

_LENGTH = struct.Struct("<I")
_RAW = -15  # no header and no checksum, of which the file has one already


def deflate(data: bytes, name: str) -> bytes:
    """A section's payload that holds `data`.

    Raises:
        FormatError: It is longer than :data:`LARGEST`; `name` says what it is.
    """
    if len(data) > LARGEST:
        raise FormatError(
            f"{name} of {len(data)} bytes: a .lic file holds {LARGEST}; leave it out (--strip)"
        )
    deflater = zlib.compressobj(9, zlib.DEFLATED, _RAW)
    return _LENGTH.pack(len(data)) + deflater.compress(data) + deflater.flush()


def inflate(payload: bytes, name: str) -> bytes:
    """What :func:`deflate` was given.

    No more memory is taken than the length that the payload states, and that has a bound.

    Raises:
        FormatError: The payload is damaged, or has another length than it states.
    """
    if len(payload) < _LENGTH.size:
        raise FormatError(f"the section of the {name} is cut")
    (length,) = _LENGTH.unpack_from(payload)
    if length > LARGEST:
        raise FormatError(f"the {name} claims {length} bytes, at most {LARGEST} are allowed")
    inflater = zlib.decompressobj(_RAW)
    try:
        # One byte more than stated, to see that there is none; 0 would mean without a bound.
        data = inflater.decompress(payload[_LENGTH.size :], length + 1)
    except zlib.error as error:
        raise FormatError(f"the {name} cannot be inflated: {error}") from error
    if len(data) != length or not inflater.eof or inflater.unused_data:
        raise FormatError(f"the {name} is not of the {length} bytes that its section states")
    return data
