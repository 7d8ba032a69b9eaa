"""Whole pictures: the ``.lic`` container, picture files, encoding and decoding, metrics."""

from lic_fast.codec import metrics
from lic_fast.codec.container import DEFAULT_MAX_PIXELS, Container, StreamLayout, pack, unpack
from lic_fast.codec.files import write_bytes_atomically
from lic_fast.codec.image_codec import Picture, decode_image, encode_image
from lic_fast.codec.picture_files import (
    PICTURE_SUFFIXES,
    PictureWarning,
    read_picture,
    write_picture,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Container",
    "Picture",
    "PictureWarning",
    "StreamLayout",
    "decode_image",
    "encode_image",
    "metrics",
    "pack",
    "read_picture",
    "unpack",
    "write_bytes_atomically",
    "write_picture",
]
