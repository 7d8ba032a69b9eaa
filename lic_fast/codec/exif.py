"""The little of EXIF that a codec must touch: its orientation."""

from __future__ import annotations

import struct

__all__ = ["PREFIX", "upright", "without_prefix"]

PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def without_prefix(exif: bytes) -> bytes:
    """EXIF data from its TIFF header on."""
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    return exif


def upright(exif: bytes) -> bytes | None:
    """The same data with the orientation "top left", all else byte for byte.

    Args:
        exif: From its TIFF header on (TIFF 6.0, section 2).

    Returns:
        None if the data is too broken for its orientation to be found.
    """
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return None
    try:
        (position,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, position)
        for i in range(count):
            entry = position + 2 + 12 * i
            (tag,) = struct.unpack_from(order + "H", exif, entry)
            if tag == _ORIENTATION:
                changed = bytearray(exif)
                struct.pack_into(order + "HIHH", changed, entry + 2, _SHORT, 1, 1, 0)
                return bytes(changed)
    except struct.error:
        return None
    return exif
