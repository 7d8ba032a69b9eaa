"""Formats of picture files: which ones Pillow and its plug-ins read and write here.

What Pillow has registered decides, not a list. Pillow is asked on first use, since its
plug-ins take a tenth of a second to import, and not for the most usual formats, which need none.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from importlib import import_module

from PIL import Image, ImageFile

__all__ = [
    "begins_as",
    "formats_of",
    "is_picture_suffix",
    "kind_of",
    "picture_suffixes",
    "plugin_for",
    "readable_formats",
    "readable_suffixes",
    "writable_format",
    "writable_suffixes",
]

# What Pillow opens and is no picture, or none of its own: pages that are drawn by running
# another program, scientific data, video, containers of something else.
_NO_PICTURES = {"EPS", "FITS", "FLI", "IPTC", "MPEG", "PDF"}
# Icons have sizes of their own; an MPO file is several JPEG pictures; IM leaves Pillow with
# version 15.
_NOT_WRITTEN = _NO_PICTURES | {"ICNS", "ICO", "IM", "MPO"}
# Suffixes for other pictures than RGB ones, although Pillow writes RGB under them.
_OTHER_MODES = {".bw", ".pbm", ".pfm", ".pgm", ".rgba"}
# Read by the plug-in of another format.
_READ_AS = {"MPO": "JPEG"}

# Formats that people have and Pillow does not read by itself, or not in every build.
_PLUGINS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif"),
    ".jxl": "pillow-jxl-plugin",
    ".avif": "pillow-avif-plugin",
}

# Formats that Pillow always reads, and whose files are of no other.
_USUAL = ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"))

_VIDEO = "a video, not a picture"
_RENDER = "a drawing or page, not a picture: render it to PNG first"
_MAGIC = (
    (b"\x89LIC", "a .lic file already: `lic-fast decompress` makes a picture of it"),
    (b"\xff\x0a", "JPEG XL, which takes the package pillow-jxl-plugin"),
    (b"\0\0\0\x0cJXL ", "JPEG XL, which takes the package pillow-jxl-plugin"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000, which takes a Pillow with OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JPEG 2000, which takes a Pillow with OpenJPEG"),
    (b"II\xbc\x01", "JPEG XR, which no plug-in of Pillow reads: convert it to PNG first"),
    (b"v/1\x01", "OpenEXR, which Pillow does not read: convert it to PNG first"),
    (b"%PDF", f"PDF, {_RENDER}"),
    (b"%!PS", f"PostScript, {_RENDER}"),
    (b"\xc5\xd0\xd3\xc6", f"EPS, {_RENDER}"),
    (b"<svg", f"SVG, {_RENDER}"),
    (b"SIMPLE  =", "FITS, scientific data and not a picture: convert it to PNG first"),
    (b"\x1aE\xdf\xa3", _VIDEO),
    (b"\0\0\x01\xba", _VIDEO),
)
# Major and compatible brands of ISO base media files (ISO/IEC 14496-12, 4.3).
_AVIF = "AVIF, which takes a Pillow with AVIF or the package pillow-avif-plugin"
_HEIC = "HEIC, which takes the package pillow-heif"
_BRANDS = {
    b"avif": _AVIF,
    b"avis": _AVIF,
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), _HEIC),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2"), _HEIC.replace("HEIC", "HEIF")),
    b"crx ": "a raw picture of a camera (CR3): develop it first",
}


@cache
def _register() -> None:
    """Has Pillow import its own plug-ins and those of other packages that are installed."""
    Image.init()
    with suppress(Exception):
        import_module("pillow_jxl")
    with suppress(Exception):
        import_module("pillow_heif").register_heif_opener()
    if "AVIF" not in Image.OPEN:
        with suppress(Exception):
            import_module("pillow_avif")


def _register_for(suffix: str) -> None:
    """As :func:`_register`, unless the suffix is one of those that Pillow always knows."""
    Image.preinit()
    if suffix not in Image.EXTENSION:
        _register()


def formats_of(head: bytes) -> list[str]:
    """Formats that a file may be of, by Pillow's names, in the order in which they are tried.

    Args:
        head: Its first bytes.
    """
    usual = [form for magic, form in _USUAL if head.startswith(magic)]
    return usual or readable_formats()


def readable_formats() -> list[str]:
    """Formats that are read here, by Pillow's names, in the order in which Pillow tries them."""
    _register()
    return [form for form in Image.ID if form not in _NO_PICTURES and not _is_stub(form)]


def _is_stub(form: str) -> bool:
    """Whether Pillow knows such files and cannot read them."""
    opener = Image.OPEN[form][0]
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)


def readable_suffixes() -> tuple[str, ...]:
    """Suffixes of the formats that are read here, such as ``.png``, sorted."""
    formats = set(readable_formats())
    return tuple(
        sorted(
            suffix
            for suffix, form in Image.EXTENSION.items()
            if form not in _NO_PICTURES and _READ_AS.get(form, form) in formats
        )
    )


def plugin_for(suffix: str) -> str | None:
    """The package that a suffix's format takes, None if none is known that could help."""
    return _PLUGINS.get(suffix)


def picture_suffixes() -> tuple[str, ...]:
    """Suffixes that make a file in a folder a picture, sorted.

    Those of the formats that are read here, and of those that a plug-in would read, so that
    such pictures are not passed over in silence.
    """
    return tuple(sorted({*readable_suffixes(), *_PLUGINS}))


def is_picture_suffix(suffix: str) -> bool:
    """Whether Pillow knows `suffix` (lower case, with its dot), to read or to write."""
    _register_for(suffix)
    return suffix in Image.EXTENSION


def writable_format(suffix: str) -> str | None:
    """Pillow's name of the format that pictures are written in under a suffix.

    Args:
        suffix: Lower case, with its dot.

    Returns:
        None if there is no such format, or it holds no RGB pictures of every size.
    """
    _register_for(suffix)
    form = Image.EXTENSION.get(suffix)
    if form is None or suffix in _OTHER_MODES or form in _NOT_WRITTEN or not _comes_back(form):
        return None
    return form


@cache
def _comes_back(form: str) -> bool:
    """Whether Pillow writes an RGB picture as `form` and reads one of the same size from it."""
    try:
        with Image.open(io.BytesIO(_sample(form)), formats=[form]) as image:
            return image.size == (300, 2)
    except Exception:  # whatever a plug-in says who cannot
        return False


@cache
def _sample(form: str) -> bytes:
    """The file of a small RGB picture; empty if Pillow writes none as `form`."""
    buffer = io.BytesIO()
    try:
        # Wider than what icons and the like can be.
        Image.new("RGB", (300, 2)).save(buffer, form)
    except Exception:  # whatever a plug-in says who cannot
        return b""
    return buffer.getvalue()


def writable_suffixes() -> tuple[str, ...]:
    """Suffixes under which pictures are written here, such as ``.png``, sorted."""
    _register()
    return tuple(sorted(suffix for suffix in Image.EXTENSION if writable_format(suffix)))


# Bytes by which Pillow knows a format.
_SIGNATURE = 16


def begins_as(suffix: str, head: bytes) -> bool:
    """Whether bytes are the first ones of a file of the format of a suffix.

    Not known of more than a few bytes of a format without a signature, such as TGA.
    """
    _register()
    form = Image.EXTENSION.get(suffix, "")
    if len(head) < _SIGNATURE:
        # A length or a size may follow the first two bytes.
        return bool(head) and _sample(form)[: min(len(head), 2)] == head[:2]
    accept = Image.OPEN.get(form, (None, None))[1]
    try:
        return accept is not None and accept(head) not in (False, None)
    except Exception:  # the head is shorter than Pillow takes it to be
        return False


def kind_of(head: bytes) -> str | None:
    """What a file that nothing here reads is, and what would read it.

    Args:
        head: Its first bytes, some 64 of them.

    Returns:
        The end of a sentence that begins with the file's name; None if it is not known.
    """
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)), 4))]
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), _VIDEO)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<?xml") and b"<svg" in head:
        text = b"<svg"
    return next((kind for magic, kind in _MAGIC if text.startswith(magic)), None)
