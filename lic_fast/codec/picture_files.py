"""Picture files to arrays and back, through Pillow."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lic_fast.codec.container import DEFAULT_MAX_PIXELS
from lic_fast.codec.exif import PREFIX, upright, without_prefix
from lic_fast.codec.files import write_bytes_atomically
from lic_fast.codec.picture import Picture
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
_PILLOW_LIMIT = threading.Lock()


class PictureWarning(UserWarning):
    """A picture was read or written with something lost."""


def read_picture(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Reads a PNG, JPEG, WebP, TIFF or BMP file as 8-bit RGB, upright.

    The EXIF orientation is applied, and set to "top left" in the EXIF data.
    Grey and palette pictures become RGB. 16-bit ones are reduced to 8 bits, and
    of several frames the first is read, each with a :class:`PictureWarning`.

    Args:
        path: The file.
        max_pixels: Pictures of more pixels are refused before they are decoded.

    Raises:
        ImageError: The file is no such picture, is damaged or too large, or has
            transparency or another colour space than grey or RGB.
        OSError: It cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(_PNG_BIT_DEPTH + 1)
        file.seek(0)
        try:
            image = _open(file)
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


def _open(file: Any) -> Image.Image:
    # Pillow's own bound on pixels is a global; the one that counts is the caller's, checked
    # right after opening, which reads no pixels.
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=sorted(set(_FORMATS.values())))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _convert(path: Path, image: Image.Image, head: bytes) -> Picture:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        _warn(f"{path}: has {image.n_frames} frames, of which the first is read")  # type: ignore[attr-defined]
        image.seek(0)
    if image.has_transparency_data:
        raise ImageError(f"{path}: {_FLATTEN}")
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
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return max(bits if isinstance(bits, tuple) else (bits,)) == 16
    return False


def _exif(path: Path, image: Image.Image) -> bytes | None:
    raw = _tiff_exif(image) if image.format == "TIFF" else image.info.get("exif")
    if not raw:
        return None
    changed = upright(without_prefix(raw))
    if changed is None:
        _warn(f"{path}: its EXIF data is damaged and is dropped")
        image.info.pop("exif", None)
    return changed


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
        ImageError: The suffix is none of these, or the format cannot hold the picture.
        FileExistsError: There is such a file already, and `overwrite` is not set.
        OSError: The file cannot be written.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(f"{path}: a picture's name ends with {', '.join(PICTURE_SUFFIXES)}")
    if quality is not None and (form not in ("JPEG", "WEBP") or not 1 <= quality <= 100):
        raise ImageError(f"{path}: quality is 1 to 100 and for JPEG and WebP, not {quality}")
    options: dict[str, Any] = {}
    if form == "JPEG":
        options = {"quality": quality or 95, "subsampling": 0, "optimize": True}
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
