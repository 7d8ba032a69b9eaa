"""Arrays to picture files, through Pillow."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from lic_fast.codec.exif import PREFIX
from lic_fast.codec.files import write_bytes_atomically
from lic_fast.codec.formats import writable_format, writable_suffixes
from lic_fast.codec.picture import Picture, check_pixels
from lic_fast.codec.picture_files import PictureWarning
from lic_fast.errors import ImageError

__all__ = ["takes_quality", "write_picture"]

# By formats that have a quality: what Pillow is given without one, and with one. Of JPEG not
# "optimize": with it Pillow guesses at the size and fails on noisy pictures.
_QUALITY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "AVIF": ({"quality": 95, "subsampling": "4:4:4"}, {"subsampling": "4:4:4"}),
    "HEIF": ({"quality": 95, "chroma": 444}, {"chroma": 444}),
    "JPEG": ({"quality": 95, "subsampling": 0}, {"subsampling": 0}),
    "JXL": ({"lossless": True}, {}),
    "WEBP": ({"lossless": True, "exact": True}, {}),
}


def takes_quality(suffix: str) -> bool:
    """Whether pictures of a suffix (lower case, with its dot) are written at a quality."""
    return writable_format(suffix) in _QUALITY


def write_picture(
    path: str | Path, picture: Picture, *, overwrite: bool = False, quality: int | None = None
) -> None:
    """Writes a picture whole or not at all, in the format of its suffix.

    That is any format that Pillow and its plug-ins write here and that holds RGB pictures.
    Without a `quality` JPEG, AVIF and HEIC are written with 95, without chroma subsampling,
    and WebP and JPEG XL without loss, as all others are, but GIF, which has 256 colours.

    Args:
        path: Its name, such as ``a.png``.
        picture: What to write; a :class:`PictureWarning` tells what the format cannot hold.
        overwrite: Whether an existing file may be replaced.
        quality: 1 to 100, for JPEG, WebP, AVIF, JPEG XL and HEIC.

    Raises:
        ImageError: Nothing writes such a suffix here, the format cannot hold the picture, or
            its pixels are no uint8 array (H, W, 3).
        FileExistsError: There is such a file already, and `overwrite` is not set.
        OSError: The file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    form = writable_format(suffix)
    if form is None:
        raise ImageError(f"{path}: a picture's name ends with {', '.join(writable_suffixes())}")
    if quality is not None and (form not in _QUALITY or not 1 <= quality <= 100):
        formats = ", ".join(sorted(_QUALITY))
        raise ImageError(f"{path}: quality is 1 to 100 and for {formats}, not {quality}")
    check_pixels(picture.pixels)
    options: dict[str, Any] = {}
    if form in _QUALITY:
        default, chosen = _QUALITY[form]
        options = dict(default) if quality is None else {**chosen, "quality": quality}
    elif form == "TIFF" and not picture.exif:
        # libtiff's compressors refuse EXIF directories.
        options["compression"] = "tiff_lzw"
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if picture.exif:
        options["exif"] = PREFIX + picture.exif
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture.pixels).save(buffer, form, **options)
    except MemoryError:
        raise
    except Exception as error:  # whatever an encoder says who cannot
        if "exif" not in options:
            raise ImageError(f"{path}: {form} cannot hold this picture: {error}") from error
        # The likeliest reason, and no reason to lose the picture.
        _warn(f"{path}: {form} cannot hold its EXIF data, which is left out: {error}")
        bare = Picture(picture.pixels, picture.icc_profile)
        return write_picture(path, bare, overwrite=overwrite, quality=quality)
    lost = _left_out(buffer, form, picture)
    if lost:
        _warn(f"{path}: {form} holds {' and '.join(f'no {what}' for what in lost)}, left out here")
    write_bytes_atomically(path, buffer.getvalue(), overwrite=overwrite)
    return None


def _left_out(buffer: io.BytesIO, form: str, picture: Picture) -> list[str]:
    """What of a picture's metadata is not in the file that Pillow has written."""
    if not picture.icc_profile and not picture.exif:
        return []
    buffer.seek(0)
    with Image.open(buffer, formats=[form]) as image:
        lost = ["colour profile"] if picture.icc_profile and "icc_profile" not in image.info else []
        if picture.exif and not image.getexif():
            lost.append("EXIF data")
    return lost


def _warn(message: str) -> None:
    warnings.warn(message, PictureWarning, stacklevel=3)
