"""The ``.lic`` file; ``docs/format.md`` describes it byte by byte.

Whatever comes from a file is hostile until it is checked: lengths before
allocation, sizes before use.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, field
from enum import IntEnum

from lic_fast.codec.deflated import deflate, inflate
from lic_fast.errors import ChecksumError, FormatError
from lic_fast.stream_layout import StreamLayout

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "MAGIC",
    "QUALITIES",
    "VERSION",
    "Container",
    "SectionType",
    "pack",
    "unpack",
]

MAGIC = b"\x89LIC"
VERSION = 1
DEFAULT_MAX_PIXELS = 2**26
"""67 million: beyond this a picture is refused unless the caller asks for more."""
QUALITIES = range(100, 10001)
"""Those that a file can state, in hundredths; 0 stands for none."""

_HEADER = struct.Struct("<4sBBBB8sIIHHHHHHHIB")
_SECTION = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_PORTABLE, _SRGB = 1, 2
_ANCILLARY = 128
_ICC_PROFILE, _EXIF = "ICC profile", "EXIF data"  # in messages
_OTHER_FORMATS = {
    b"\x89PNG": "a PNG file",
    b"\xff\xd8\xff": "a JPEG file",
    b"RIFF": "a RIFF file, perhaps WebP",
    b"II*\0": "a TIFF file",
    b"MM\0*": "a TIFF file",
    b"BM": "a BMP file",
}


class SectionType(IntEnum):
    """What a section holds. From 128 on a decoder may skip what it does not know."""

    Y = 1
    Z = 2
    ICC_PROFILE = 128
    EXIF = 129
    MODEL_NAME = 130


@dataclass(frozen=True)
class Container:
    """What a ``.lic`` file holds.

    Attributes:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        padding: Pixels (left, top, right, bottom) that the coded image has beyond it.
        fingerprint: Eight bytes that tell the model; see ``SliceCompressionModel.fingerprint``.
        z_shape: Rows and columns of z.
        symbols_checksum: CRC-32 of the symbols; see :func:`lic_fast.streams.symbols_checksum`.
        y: Stream of the latents' symbols.
        z: Stream of the hyperlatents' symbols.
        portable: Whether the entropy path is integer arithmetic, which gives
            the same symbols everywhere.
        layout: Layout of both streams.
        quality: That the latents were scaled for, in whole hundredths from 1 to 100; None if
            the model is of one rate.
        srgb: Whether the picture had a colour profile that was sRGB's, which is then not kept.
        icc_profile: Another colour profile of the picture, or None.
        exif: EXIF data of the picture, without the ``Exif`` prefix, or None.
        model_name: Name under which the encoder knew the model, possibly empty. It is
            for messages: what is not Unicode, as file names can be, is written as ``?``.
        other_sections: Ancillary sections that this version does not know.
    """

    width: int
    height: int
    padding: tuple[int, int, int, int]
    fingerprint: bytes
    z_shape: tuple[int, int]
    symbols_checksum: int
    y: bytes = field(repr=False)
    z: bytes = field(repr=False)
    portable: bool = False
    layout: StreamLayout = StreamLayout.LANES
    quality: float | None = None
    srgb: bool = False
    icc_profile: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    model_name: str = ""
    other_sections: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)

    @property
    def padded_width(self) -> int:
        """Columns of the coded image."""
        return self.padding[0] + self.width + self.padding[2]

    @property
    def padded_height(self) -> int:
        """Rows of the coded image."""
        return self.padding[1] + self.height + self.padding[3]

    def sections(self) -> list[tuple[int, bytes]]:
        """Types and payloads, in the order in which :func:`pack` writes them."""
        known = [
            (int(kind), deflate(data, name))
            for kind, name, data in (
                (SectionType.ICC_PROFILE, _ICC_PROFILE, self.icc_profile),
                (SectionType.EXIF, _EXIF, self.exif),
            )
            if data is not None
        ]
        if self.model_name:
            known.append((int(SectionType.MODEL_NAME), self.model_name.encode(errors="replace")))
        return [
            *known,
            *self.other_sections,
            (int(SectionType.Z), self.z),
            (int(SectionType.Y), self.y),
        ]


def pack(container: Container) -> bytes:
    """The file's bytes.

    Raises:
        FormatError: A field does not fit the format, or contradicts another.
    """
    sections = container.sections()
    _check(container, None)
    try:
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            (_PORTABLE if container.portable else 0) | (_SRGB if container.srgb else 0),
            container.layout,
            0,
            container.fingerprint,
            container.width,
            container.height,
            *container.padding,
            *container.z_shape,
            _hundredths(container.quality),
            container.symbols_checksum,
            len(sections),
        )
        body = b"".join(_SECTION.pack(kind, len(value)) + value for kind, value in sections)
    except struct.error as error:
        raise FormatError(f"the picture does not fit a .lic file: {error}") from error
    data = header + body
    return data + _CRC.pack(zlib.crc32(data))


def unpack(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Container:
    """Reads a file's bytes.

    Args:
        data: The whole file, bytes or what gives its bytes as a buffer.
        max_pixels: Pictures of more pixels are refused.

    Raises:
        ChecksumError: The bytes are damaged or cut.
        FormatError: They are no ``.lic`` file, of another version, or contradict themselves.
    """
    data = bytes(memoryview(data))
    if data[:4] != MAGIC:
        other = next(
            (name for magic, name in _OTHER_FORMATS.items() if data[: len(magic)] == magic), None
        )
        raise FormatError("not a .lic file" + (f" but {other}" if other else ""))
    shortest = _HEADER.size + _CRC.size
    if len(data) < shortest:
        raise ChecksumError(f"the file is cut: it has {len(data)} bytes, the shortest {shortest}")
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack_from(data, len(data) - _CRC.size)[0]:
        # A newer version may have its checksum elsewhere.
        if data[4] > VERSION:
            raise FormatError(_newer(data[4]))
        raise ChecksumError("the file is damaged or cut: its checksum does not match its bytes")
    (
        _,
        version,
        flags,
        layout,
        reserved,
        fingerprint,
        width,
        height,
        left,
        top,
        right,
        bottom,
        z_rows,
        z_columns,
        quality,
        symbols_checksum,
        count,
    ) = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(_newer(version) if version > VERSION else f"unknown version {version}")
    if flags & ~(_PORTABLE | _SRGB) or reserved:
        raise FormatError(f"unknown flags {flags:#04x} or reserved byte {reserved:#04x}")
    if layout not in list(StreamLayout):
        raise FormatError(f"unknown stream layout {layout}")
    if quality and quality not in QUALITIES:
        raise FormatError(f"a quality is 1 to 100, or 0 for none, not {quality / 100:g}")
    known, others = _sections(data, count)
    for kind in (SectionType.Y, SectionType.Z):
        if kind not in known:
            raise FormatError(f"the section of {kind.name.lower()}'s stream is missing")
    try:
        model_name = known.get(SectionType.MODEL_NAME, b"").decode()
    except UnicodeDecodeError:
        raise FormatError("the model's name is not UTF-8") from None
    profile, exif = known.get(SectionType.ICC_PROFILE), known.get(SectionType.EXIF)
    container = Container(
        width=width,
        height=height,
        padding=(left, top, right, bottom),
        fingerprint=fingerprint,
        z_shape=(z_rows, z_columns),
        symbols_checksum=symbols_checksum,
        y=known[SectionType.Y],
        z=known[SectionType.Z],
        portable=bool(flags & _PORTABLE),
        layout=StreamLayout(layout),
        quality=quality / 100 if quality else None,
        srgb=bool(flags & _SRGB),
        icc_profile=None if profile is None else inflate(profile, _ICC_PROFILE),
        exif=None if exif is None else inflate(exif, _EXIF),
        model_name=model_name,
        other_sections=tuple(others),
    )
    _check(container, max_pixels)
    return container


def _hundredths(quality: float | None) -> int:
    if quality is None:
        return 0
    if not math.isfinite(quality) or round(100 * quality) not in QUALITIES:
        raise FormatError(f"a quality is 1 to 100, not {quality}")
    if round(100 * quality) / 100 != quality:
        raise FormatError(f"a file holds whole hundredths of a quality, not {quality}")
    return round(100 * quality)


def _newer(version: int) -> str:
    return f"the file is of version {version}, this lic_fast reads version {VERSION}: update it"


def _sections(data: bytes, count: int) -> tuple[dict[int, bytes], list[tuple[int, bytes]]]:
    known: dict[int, bytes] = {}
    others: list[tuple[int, bytes]] = []
    seen: set[int] = set()
    position, end = _HEADER.size, len(data) - _CRC.size
    for i in range(count):
        if position + _SECTION.size > end:
            raise FormatError(f"section {i} of {count} lies beyond the end of the file")
        kind, length = _SECTION.unpack_from(data, position)
        position += _SECTION.size
        if length > end - position:
            raise FormatError(
                f"section {i} claims {length} bytes, of which the file has {end - position}"
            )
        if kind in seen:
            raise FormatError(f"section type {kind} occurs twice")
        seen.add(kind)
        payload = data[position : position + length]
        position += length
        if kind in list(SectionType):
            known[kind] = payload
        elif kind >= _ANCILLARY:
            others.append((kind, payload))
        else:
            raise FormatError(f"section type {kind} is unknown and not one to skip")
    if position != end:
        raise FormatError(f"{end - position} bytes follow the last section")
    return known, others


def _check(container: Container, max_pixels: int | None) -> None:
    width, height = container.width, container.height
    if width < 1 or height < 1:
        raise FormatError(f"a picture has at least one pixel, not {width}x{height}")
    if max_pixels is not None and width * height > max_pixels:
        raise FormatError(
            f"a picture of {width}x{height} has more than the {max_pixels} pixels that are "
            "allowed; raise max_pixels (--max-pixels) if it is to be trusted"
        )
    rows, columns = container.z_shape
    if (
        rows < 1
        or columns < 1
        or rows > container.padded_height
        or columns > container.padded_width
    ):
        raise FormatError(
            f"z of {rows}x{columns} is no part of a coded image of "
            f"{container.padded_height}x{container.padded_width}"
        )
    if container.srgb and container.icc_profile is not None:
        raise FormatError("the picture is said to be sRGB and has another ICC profile")
    if len(container.fingerprint) != 8:
        raise FormatError(f"a fingerprint has 8 bytes, not {len(container.fingerprint)}")
