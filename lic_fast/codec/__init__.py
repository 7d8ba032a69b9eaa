"""Whole pictures: the ``.lic`` container, picture files, encoding and decoding, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lic_fast.lazy import lazy_names

if TYPE_CHECKING:
    from lic_fast.codec import metrics
    from lic_fast.codec.container import (
        DEFAULT_MAX_PIXELS,
        Container,
        pack,
        unpack,
    )
    from lic_fast.codec.files import write_bytes_atomically
    from lic_fast.codec.image_codec import decode_image, encode_image, encode_to_target
    from lic_fast.codec.picture import Picture
    from lic_fast.codec.picture_files import (
        PICTURE_SUFFIXES,
        PictureWarning,
        read_picture,
        write_picture,
    )
    from lic_fast.codec.target import Encoded, Target
    from lic_fast.stream_layout import StreamLayout

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Container",
    "Encoded",
    "Picture",
    "PictureWarning",
    "StreamLayout",
    "Target",
    "decode_image",
    "encode_image",
    "encode_to_target",
    "metrics",
    "pack",
    "read_picture",
    "unpack",
    "write_bytes_atomically",
    "write_picture",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DEFAULT_MAX_PIXELS": "container",
        "PICTURE_SUFFIXES": "picture_files",
        "Container": "container",
        "Encoded": "target",
        "Picture": "picture",
        "PictureWarning": "picture_files",
        "StreamLayout": "container",
        "Target": "target",
        "decode_image": "image_codec",
        "encode_image": "image_codec",
        "encode_to_target": "image_codec",
        "metrics": None,
        "pack": "container",
        "read_picture": "picture_files",
        "unpack": "container",
        "write_bytes_atomically": "files",
        "write_picture": "picture_files",
    },
)
