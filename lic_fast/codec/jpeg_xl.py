"""The size of a JPEG XL picture, read from its header (ISO/IEC 18181-1 and -2).

Pillow's plug-in decodes such a file when it opens it. A bound on pixels has to be
compared before that.
"""

from __future__ import annotations

import os
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
    """The codestream's first bytes, from one or several boxes of a container."""
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    found = b""
    while len(found) < len(_CODESTREAM) + _HEADER:
        file.seek(start)
        box = file.read(8)
        if len(box) < 8:
            break
        length, kind = struct.unpack(">I4s", box)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        begin = file.tell()
        stop = start + length if length else end
        if stop < begin:
            break
        if kind == b"jxlp":  # a number comes first
            begin += 4
        if kind in (b"jxlc", b"jxlp") and begin < stop:
            file.seek(begin)
            found += file.read(min(stop - begin, len(_CODESTREAM) + _HEADER))
        if stop >= end:
            break
        start = stop
    return found


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
