"""The size of a JPEG XL picture, read from its header (ISO/IEC 18181-1 and -2).

Pillow's plug-in decodes such a file when it opens it. A bound on pixels has to be
compared before that.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

__all__ = ["jpeg_xl_size"]

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_HEADER = 16  # bytes: more than the size takes
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jpeg_xl_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of a JPEG XL file; None if it is none or its header is damaged.

    Args:
        file: At its start; read from, and left anywhere.
    """
    head = file.read(len(_CONTAINER))
    if head == _CONTAINER:
        head = _codestream(file)
    else:
        head += file.read(_HEADER)
    return _size(head) if head.startswith(_CODESTREAM) else None


def _codestream(file: BinaryIO) -> bytes:
    """The codestream's first bytes, from the boxes of a container."""
    while True:
        box = file.read(8)
        if len(box) < 8:
            return b""
        length, kind = struct.unpack(">I4s", box)
        size = length - 8
        if length == 1:
            size = int.from_bytes(file.read(8), "big") - 16
        if kind == b"jxlp":
            file.read(4)
            return file.read(_HEADER)
        if kind == b"jxlc":
            return file.read(_HEADER)
        if length == 0 or size < 0:
            return b""
        file.seek(size, 1)


def _size(head: bytes) -> tuple[int, int]:
    bits, position = int.from_bytes(head[2:].ljust(_HEADER, b"\0"), "little"), 0

    def read(count: int) -> int:
        nonlocal position
        value = bits >> position & (1 << count) - 1
        position += count
        return value

    small = read(1)

    def side() -> int:
        if small:
            return 8 * (1 + read(5))
        return 1 + read((9, 13, 18, 30)[read(2)])

    height = side()
    ratio = read(3)
    if not ratio:
        return side(), height
    numerator, denominator = _RATIOS[ratio - 1]
    return height * numerator // denominator, height
