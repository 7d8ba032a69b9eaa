"""Picture files to arrays and back, through Pillow."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lic_fast.codec.container import DEFAULT_MAX_PIXELS
from lic_fast.codec.exif import PREFIX, upright, without_prefix
from lic_fast.codec.files import write_bytes_atomically
from lic_fast.codec.picture import Picture, check_pixels
from lic_fast.errors import ImageError

__all__ = ["PICTURE_SUFFIXES", "PictureWarning", "read_picture", "write_picture"]

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
PICTURE_SUFFIXES = tuple(_FORMATS)

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0
_TIFF_PLANES, _TIFF_SEPARATE = 284, 2
_TIFF_SAMPLE_FORMAT, _TIFF_SIGNED = 339, 2
# Where ImageMagick and others put EXIF data before PNG had a chunk for it: as lines of
# a name, a length and hexadecimal digits.
_PNG_EXIF_TEXT = "Raw profile type exif"
# Description, make, model, software, date and time, artist, copyright.
_TIFF_DESCRIPTIONS = (270, 271, 272, 305, 306, 315, 33432)
_PNG_BIT_DEPTH = 24  # offset in the file
_FLATTEN = (
    "it has transparency, which is not coded: flatten it first, for example with "
    "`magick IN -background white -alpha remove -alpha off OUT` or, in Pillow, "
    "Image.alpha_composite(Image.new('RGBA', im.size, 'white'), im.convert('RGBA')).convert('RGB')"
)
# What Pillow's decoders raise on damaged files, by experience more than by contract.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError,
            OverflowError, struct.error, Image.DecompressionBombError)  # fmt: skip
_PILLOW_LOCK = threading.Lock()
_pillow_limit: int | None = None
_readers = 0


class PictureWarning(UserWarning):
    """A picture was read or written with something lost."""


def read_picture(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Reads a PNG, JPEG, WebP, TIFF or BMP file as 8-bit RGB, upright.

    The EXIF orientation is applied, and set to "top left" in the EXIF data.
    Grey and palette pictures become RGB. 16-bit ones are reduced to 8 bits (grey
    by rounding, RGB by leaving out the low byte, as Pillow does), and of several
    frames the first is read, each with a :class:`PictureWarning`.

    Args:
        path: The file.
        max_pixels: Pictures of more pixels are refused before they are decoded.

    Raises:
        ImageError: The file is no such picture, is damaged or too large, or has
            transparency or another colour space than grey or RGB.
        OSError: It cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file, _pillow_limit_lifted():
        head = file.read(_PNG_BIT_DEPTH + 1)
        file.seek(0)
        try:
            image = Image.open(file, formats=sorted(set(_FORMATS.values())))
        except UnidentifiedImageError:
            raise ImageError(
                f"{path}: not a picture of {', '.join(sorted(set(_FORMATS.values())))}"
            ) from None
        except _DAMAGED as error:
            raise ImageError(f"{path}: damaged: {error}") from error
        with image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    f"{path}: {width}x{height} is more than the {max_pixels} pixels that are "
                    "allowed; raise max_pixels (--max-pixels) if it is to be trusted"
                )
            try:
                return _convert(path, image, head)
            except ImageError:
                raise
            except _DAMAGED as error:
                raise ImageError(f"{path}: damaged: {error}") from error


@contextmanager
def _pillow_limit_lifted() -> Iterator[None]:
    """Lifts Pillow's own bound on pixels while any thread is inside; the caller's is the one.

    Pillow's is a global, which it compares not only on opening a file.
    """
    global _pillow_limit, _readers
    with _PILLOW_LOCK:
        if not _readers:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _readers += 1
    try:
        yield
    finally:
        with _PILLOW_LOCK:
            _readers -= 1
            if not _readers:
                Image.MAX_IMAGE_PIXELS = _pillow_limit


def _convert(path: Path, image: Image.Image, head: bytes) -> Picture:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        _warn(f"{path}: has {frames} frames, of which the first is read")
    if image.has_transparency_data:
        raise ImageError(f"{path}: {_FLATTEN}")
    if image.format == "TIFF":
        _check_tiff(path, image)
    sixteen = _is_sixteen_bit(image, head)
    icc_profile = image.info.get("icc_profile") or None
    exif = _exif(path, image)
    if sixteen:
        _warn(f"{path}: 16 bits per sample are reduced to 8")
    if image.mode in _SIXTEEN_BIT_MODES or (image.mode == "I" and sixteen):
        values = np.asarray(_transposed(image)).astype(np.int64)
        grey = ((values * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(grey[:, :, None], 3, 2)
    elif image.mode in ("1", "L", "P", "RGB"):
        pixels = np.array(_transposed(image).convert("RGB"))
    else:
        raise ImageError(
            f"{path}: pictures of mode {image.mode} are not coded; convert it to RGB or grey first"
        )
    if icc_profile is not None and icc_profile[16:20] != b"RGB ":
        _warn(f"{path}: its colour profile is not for RGB and is dropped")
        icc_profile = None
    return Picture(pixels, icc_profile, exif)


def _is_sixteen_bit(image: Image.Image, head: bytes) -> bool:
    """From the file itself: Pillow gives 16-bit RGB as 8-bit without a word."""
    if image.format == "PNG":
        return head[_PNG_BIT_DEPTH] == 16
    if image.format == "TIFF":
        return max(_tiff_values(image, _TIFF_BITS_PER_SAMPLE, 1)) == 16
    return False


def _tiff_values(image: Image.Image, tag: int, default: int) -> tuple[int, ...]:
    values = image.tag_v2.get(tag, default)  # type: ignore[attr-defined]
    return values if isinstance(values, tuple) else (values,)


def _check_tiff(path: Path, image: Image.Image) -> None:
    """Refuses kinds of TIFF that Pillow opens and then reads as another picture."""
    bits = _tiff_values(image, _TIFF_BITS_PER_SAMPLE, 1)
    planes = _tiff_values(image, _TIFF_PLANES, 1)
    photometric = _tiff_values(image, _TIFF_PHOTOMETRIC, 1)
    fault = None
    if max(bits) <= 16 and _TIFF_SIGNED in _tiff_values(image, _TIFF_SAMPLE_FORMAT, 1):
        fault = "signed samples"
    elif 8 < max(bits) < 16:
        fault = f"{max(bits)} bits per sample"
    elif max(bits) == 16 and photometric == (_TIFF_WHITE_IS_ZERO,):
        fault = "16 bits per sample of which 0 is white"
    elif max(bits) == 16 and len(bits) > 1 and planes == (_TIFF_SEPARATE,):
        fault = "16 bits per sample in separate planes"
    if fault:
        raise ImageError(
            f"{path}: TIFF files with {fault} are not coded; convert it to 8 bits per sample "
            "first, for example with `magick IN -depth 8 OUT.png`"
        )


def _exif(path: Path, image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        raw = _tiff_exif(image)
    else:
        image.load()  # a PNG file may have it behind its pixels
        raw = image.info.get("exif") or _png_text_exif(image)
    if not raw:
        return None
    changed = upright(without_prefix(raw))
    if changed is None:
        _warn(f"{path}: its EXIF data is damaged and is dropped")
        image.info.pop("exif", None)
        image.info.pop(_PNG_EXIF_TEXT, None)
    return changed


def _png_text_exif(image: Image.Image) -> bytes | None:
    text = image.info.get(_PNG_EXIF_TEXT)
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex(text.split("\n", 3)[3])
    except (ValueError, IndexError):
        return text.encode()  # no EXIF data, and said to be damaged


def _tiff_exif(image: Image.Image) -> bytes | None:
    """EXIF data of a TIFF file, where it stands among the tags of the file's own structure."""
    tags = image.getexif()
    exif = Image.Exif()
    for tag in _TIFF_DESCRIPTIONS:
        if tag in tags:
            exif[tag] = tags[tag]
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        entries = tags.get_ifd(directory)
        if entries:
            exif.get_ifd(directory).update(entries)
            exif[directory] = entries
    return exif.tobytes() if len(exif) else None


def _transposed(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        # The pixels are fine; what Pillow cannot read cannot say how to turn them.
        return image


def _warn(message: str) -> None:
    warnings.warn(message, PictureWarning, stacklevel=4)


def write_picture(
    path: str | Path, picture: Picture, *, overwrite: bool = False, quality: int | None = None
) -> None:
    """Writes a picture whole or not at all, in the format of its suffix.

    PNG, TIFF, BMP and, without a `quality`, WebP are lossless. JPEG is written
    with quality 95 if none is given, without chroma subsampling.

    Args:
        path: ``.png``, ``.jpg``, ``.jpeg``, ``.webp``, ``.tif``, ``.tiff`` or ``.bmp``.
        picture: What to write; a :class:`PictureWarning` tells what the format cannot hold.
        overwrite: Whether an existing file may be replaced.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        ImageError: The suffix is none of these, the format cannot hold the picture, or
            its pixels are no uint8 array (H, W, 3).
        FileExistsError: There is such a file already, and `overwrite` is not set.
        OSError: The file cannot be written.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(f"{path}: a picture's name ends with {', '.join(PICTURE_SUFFIXES)}")
    if quality is not None and (form not in ("JPEG", "WEBP") or not 1 <= quality <= 100):
        raise ImageError(f"{path}: quality is 1 to 100 and for JPEG and WebP, not {quality}")
    check_pixels(picture.pixels)
    options: dict[str, Any] = {}
    if form == "JPEG":
        # Not "optimize": with it Pillow guesses at the size and fails on noisy pictures.
        options = {"quality": quality or 95, "subsampling": 0}
    elif form == "WEBP":
        options = {"quality": quality} if quality else {"lossless": True, "exact": True}
    elif form == "TIFF":
        # libtiff's compressors refuse EXIF directories.
        options = {} if picture.exif else {"compression": "tiff_lzw"}
    if form == "BMP":
        if picture.icc_profile or picture.exif:
            _warn(f"{path}: BMP holds no colour profile and no EXIF data, they are left out")
    else:
        if picture.icc_profile:
            options["icc_profile"] = picture.icc_profile
        if picture.exif:
            options["exif"] = PREFIX + picture.exif
    image = Image.fromarray(picture.pixels)
    buffer = io.BytesIO()
    try:
        image.save(buffer, form, **options)
    except _DAMAGED as error:
        if "exif" not in options:
            raise ImageError(f"{path}: {form} cannot hold this picture: {error}") from error
        # The likeliest reason, and no reason to lose the picture.
        _warn(f"{path}: {form} cannot hold its EXIF data, which is left out: {error}")
        bare = Picture(picture.pixels, picture.icc_profile)
        return write_picture(path, bare, overwrite=overwrite, quality=quality)
    write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)
    return None
