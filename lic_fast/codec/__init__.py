"""Whole pictures: the ``.lic`` container, picture files, encoding and decoding, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lic_fast.lazy import lazy_names

if TYPE_CHECKING:
    from lic_fast.codec import metrics
    from lic_fast.codec.coder import PictureCoder
    from lic_fast.codec.container import (
        DEFAULT_MAX_PIXELS,
        Container,
        pack,
        unpack,
    )
    from lic_fast.codec.files import HardLinkWarning, obstacle, write_bytes_atomically
    from lic_fast.codec.formats import readable_suffixes, writable_suffixes
    from lic_fast.codec.image_codec import decode_image, encode_image, encode_to_target
    from lic_fast.codec.picture import Picture
    from lic_fast.codec.picture_files import PictureWarning, is_whole_picture, read_picture
    from lic_fast.codec.picture_output import write_picture
    from lic_fast.codec.target import Encoded, Target
    from lic_fast.stream_layout import StreamLayout

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Container",
    "Encoded",
    "HardLinkWarning",
    "Picture",
    "PictureCoder",
    "PictureWarning",
    "StreamLayout",
    "Target",
    "decode_image",
    "encode_image",
    "encode_to_target",
    "is_whole_picture",
    "metrics",
    "obstacle",
    "pack",
    "read_picture",
    "readable_suffixes",
    "unpack",
    "writable_suffixes",
    "write_bytes_atomically",
    "write_picture",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DEFAULT_MAX_PIXELS": "container",
        "Container": "container",
        "Encoded": "target",
        "HardLinkWarning": "files",
        "Picture": "picture",
        "PictureCoder": "coder",
        "PictureWarning": "picture_files",
        "StreamLayout": "container",
        "Target": "target",
        "decode_image": "image_codec",
        "encode_image": "image_codec",
        "encode_to_target": "image_codec",
        "is_whole_picture": "picture_files",
        "metrics": None,
        "obstacle": "files",
        "pack": "container",
        "read_picture": "picture_files",
        "readable_suffixes": "formats",
        "unpack": "container",
        "writable_suffixes": "formats",
        "write_bytes_atomically": "files",
        "write_picture": "picture_output",
    },
)
