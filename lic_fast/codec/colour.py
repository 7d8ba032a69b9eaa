"""Colour profiles (ICC.1): which ones are sRGB, and pictures in CMYK to sRGB."""

from __future__ import annotations

import io
import struct
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

__all__ = ["cmyk_to_rgb", "is_srgb", "srgb_profile"]

# Columns of the matrix from linear sRGB to XYZ, adapted to D50 as profiles have them.
_PRIMARIES = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
_D50 = (0.9642, 1.0, 0.8249)
# Larger ones are never plain sRGB, and need not be handed to the colour library.
_LARGEST = 2**20


@lru_cache(8)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile gives the colours of sRGB, whatever its bytes.

    That is decided by what it does: grey levels and a grid of colours come through it
    as the same 8-bit values in sRGB, to within one level, with both intents that a viewer
    may use. Without LittleCMS in Pillow only :func:`srgb_profile` itself is recognised.
    """
    if profile == srgb_profile():
        return True
    if len(profile) > _LARGEST or profile[16:20] != b"RGB ":
        return False
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        for intent in (ImageCms.Intent.PERCEPTUAL, ImageCms.Intent.RELATIVE_COLORIMETRIC):
            transform = ImageCms.buildTransform(given, srgb, "RGB", "RGB", intent)
            colours = ImageCms.applyTransform(_test_colours(), transform)
            assert colours is not None
            difference = np.asarray(colours, np.int16) - np.asarray(_test_colours(), np.int16)
            if np.abs(difference).max() > 1:
                return False
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        return False
    return True


@cache
def _test_colours() -> Image.Image:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    levels = np.array([0, 4, 12, 28, 60, 96, 128, 160, 192, 224, 240, 255], np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([grey, grid])[None])


@cache
def srgb_profile() -> bytes:
    """An sRGB profile (ICC version 2, matrix and curve), the same bytes everywhere."""
    codes = np.arange(256) / 255
    linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    curve = np.rint(65535 * linear).astype(">u2").tobytes()
    name = b"sRGB\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {
        b"desc": description,
        b"cprt": b"text" + bytes(4) + b"No copyright\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
        **{tag: b"XYZ " + bytes(4) + _fixed(xyz) for tag, xyz in _PRIMARIES.items()},
        b"rTRC": b"curv" + bytes(4) + struct.pack(">I", 256) + curve,
    }
    position = 128 + 4 + 12 * (len(tags) + 2)
    table, body = struct.pack(">I", len(tags) + 2), b""
    for tag, payload in tags.items():
        entry = struct.pack(">II", position + len(body), len(payload))
        body += payload + bytes(-len(payload) % 4)
        # One curve for all three.
        names = (b"rTRC", b"gTRC", b"bTRC") if tag == b"rTRC" else (tag,)
        table += b"".join(one + entry for one in names)
    header = struct.pack(
        ">I4sI4s4s4s6H4s28s12s48s",
        position + len(body),
        b"",
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"",
        _fixed(_D50),
        b"",
    )
    return header + table + body


def _fixed(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(65536 * value)) for value in values)


def cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """A picture in CMYK as sRGB, and in words how it was converted.

    By the profile, relative to the medium's white and with black point compensation, as image
    editors do by default; else as if the inks were ideal, as Pillow does.
    """
    why = "without a profile"
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            assert converted is not None
            return converted, "CMYK is converted to sRGB by its colour profile"
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
            why = "whose profile cannot be used"
    return image.convert("RGB"), f"CMYK {why} is converted to RGB as if the inks were ideal"
