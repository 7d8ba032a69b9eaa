"""Picture files to arrays, through Pillow."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lic_fast.codec.colour import cmyk_to_rgb
from lic_fast.codec.container import DEFAULT_MAX_PIXELS
from lic_fast.codec.exif import upright, without_prefix
from lic_fast.codec.formats import begins_as, formats_of, kind_of
from lic_fast.codec.jpeg_xl import jpeg_xl_size
from lic_fast.codec.picture import Picture
from lic_fast.errors import ImageError

__all__ = ["PictureWarning", "is_whole_picture", "read_picture"]

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
# With alpha: once that is known to be opaque.
_RGB_OR_GREY = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
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
_HEAD = 64  # bytes that tell one format from another
_FLATTEN = (
    "it has transparency, which is not coded: flatten it first, for example with "
    "`magick IN -background white -alpha remove -alpha off OUT` or, in Pillow, "
    "Image.alpha_composite(Image.new('RGBA', im.size, 'white'), im.convert('RGBA')).convert('RGB')"
)
_PILLOW_LOCK = threading.Lock()
_pillow_limit: int | None = None
_readers = 0


def _new_lock() -> None:
    """In the child of a fork, which another thread's lock would stop for ever."""
    global _PILLOW_LOCK
    _PILLOW_LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


class PictureWarning(UserWarning):
    """A picture was read or written with something lost."""


def read_picture(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Reads a picture as 8-bit RGB, upright, from any format that Pillow reads here.

    Those are Pillow's own and those of the plug-ins pillow-heif, pillow-jxl-plugin and
    pillow-avif-plugin where they are installed, or of others that the program has imported.
    Left out is what is no picture, such as PDF, or no reading of Pillow's, such as EPS.

    The EXIF orientation is applied, and set to "top left" in the EXIF data. Grey and palette
    pictures become RGB, and an alpha channel that is opaque everywhere goes. With a
    :class:`PictureWarning`, CMYK becomes sRGB, by its profile where there is one, 16-bit
    pictures are reduced to 8 bits (grey by rounding, RGB by leaving out the low byte, as
    Pillow does), and of several frames the first is read.

    Args:
        path: The file.
        max_pixels: Pictures of more pixels are refused before they are decoded.

    Raises:
        ImageError: The file is no such picture (the message names its format, and what
            would read it, if that is known), is damaged or too large, or has transparency
            or another colour space than grey, RGB and CMYK.
        OSError: It cannot be opened.
    """
    path = Path(path)
    with _opened(path, max_pixels) as (image, head):
        try:
            return _convert(path, image, head)
        except ImageError:
            raise
        except Exception as error:
            raise _damaged(path, error) from error


def is_whole_picture(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    """Whether a file is a picture whose pixels can all be read, or the beginning of one.

    Args:
        path: The file. An empty one is the beginning of any picture.
        max_pixels: Pictures of more pixels are not read.

    Returns:
        False if the file begins as one of its suffix's format does, and is cut or damaged.

    Raises:
        ImageError: It is too large, or something else than its suffix says.
        OSError: It cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(path, max_pixels) as (image, _):
                try:
                    image.load()
                except Exception as error:
                    raise _damaged(path, error) from error
        return True
    except _TooLargeError:
        raise
    except ImageError:
        if not head or begins_as(path.suffix.lower(), head):
            return False
        raise


class _TooLargeError(ImageError):
    """A picture has more pixels than are allowed."""


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, bytes]]:
    """A picture before its pixels are decoded, and the first bytes of its file."""
    with path.open("rb") as file, _pillow_limit_lifted():
        head = file.read(_HEAD)
        formats = formats_of(head)
        file.seek(0)
        # Pillow's plug-in decodes JPEG XL on opening it.
        _check_size(path, jpeg_xl_size(file), max_pixels)
        file.seek(0)
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError:
            raise ImageError(f"{path}: {_unknown(head)}") from None
        except Exception as error:
            raise _damaged(path, error) from error
        with image:
            _check_size(path, image.size, max_pixels)
            yield image, head


def _check_size(path: Path, size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise _TooLargeError(
            f"{path}: {size[0]}x{size[1]} is more than the {max_pixels} pixels that are "
            "allowed; raise max_pixels (--max-pixels) if it is to be trusted"
        )


def _unknown(head: bytes) -> str:
    kind = kind_of(head)
    return kind or "no picture of a format that Pillow or a plug-in of it reads here"


def _damaged(path: Path, error: Exception) -> Exception:
    """What to raise for what a decoder raised: any exception, by experience, on damaged files."""
    if isinstance(error, MemoryError):
        return error
    return ImageError(f"{path}: damaged: {error or type(error).__name__}")


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
    # The frames of a PSD file are its layers: what it opens as is all of them together.
    frames = 1 if image.format in ("MPO", "PSD") else getattr(image, "n_frames", 1)
    if frames > 1:
        _warn(f"{path}: has {frames} frames, of which the first is read")
    if image.format == "TIFF":
        _check_tiff(path, image)
    sixteen = _is_sixteen_bit(image, head)
    icc_profile = image.info.get("icc_profile") or None
    exif = _exif(path, image)
    if image.has_transparency_data and not _is_opaque(image, sixteen):
        raise ImageError(f"{path}: {_FLATTEN}")
    if sixteen:
        _warn(f"{path}: 16 bits per sample are reduced to 8")
    turned = _transposed(image)
    if turned.mode in _SIXTEEN_BIT_MODES or (turned.mode == "I" and sixteen):
        values = np.asarray(turned).astype(np.int64)
        grey = ((values * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(grey[:, :, None], 3, 2)
    elif turned.mode == "CMYK":
        converted, how = cmyk_to_rgb(turned, icc_profile)
        _warn(f"{path}: {how}")
        # Its profile, if it had one, was for inks.
        return Picture(np.array(converted), None, exif)
    elif turned.mode in _RGB_OR_GREY:
        pixels = np.array(turned.convert("RGB"))
    else:
        raise ImageError(
            f"{path}: pictures of mode {image.mode} are not coded; convert it to RGB or grey first"
        )
    if icc_profile is not None and icc_profile[16:20] != b"RGB ":
        _warn(f"{path}: its colour profile is not for RGB and is dropped")
        icc_profile = None
    return Picture(pixels, icc_profile, exif)


def _is_opaque(image: Image.Image, sixteen: bool) -> bool:
    """Whether an image that could have transparent pixels has none."""
    key = image.info.get("transparency")
    if image.mode in _SIXTEEN_BIT_MODES:
        return not (np.asarray(image) == key).any()
    if sixteen and image.mode == "RGB":
        return False  # the transparent colour has 16 bits, of which Pillow has left out 8
    _, opacity = image.convert("RGBA").getextrema()[2:]
    return opacity == (255, 255)


def _is_sixteen_bit(image: Image.Image, head: bytes) -> bool:
    """From the file itself: Pillow gives 16-bit RGB as 8-bit without a word."""
    if image.format == "PNG":
        return head[_PNG_BIT_DEPTH] == 16
    if image.format == "TIFF":
        return max(_tiff_values(image, _TIFF_BITS_PER_SAMPLE, 1)) == 16
    if image.format == "PPM":
        return image.mode == "I" or _ppm_maximum(image) > 255
    return image.mode in _SIXTEEN_BIT_MODES


def _ppm_maximum(image: Image.Image) -> int:
    """The value of white in a PPM file, which Pillow hands to its decoder."""
    arguments = image.tile[0][3] if image.tile else ()  # type: ignore[attr-defined]
    value = arguments[-1] if isinstance(arguments, tuple) and arguments else 0
    return value if isinstance(value, int) else 0


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
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        # The codestream has an orientation of its own, which the decoder has applied; by the
        # standard that of the EXIF data says nothing. (A JPEG file within has only EXIF's.)
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are fine; what Pillow cannot read cannot say how to turn them.
        return image


def _warn(message: str) -> None:
    warnings.warn(message, PictureWarning, stacklevel=4)
