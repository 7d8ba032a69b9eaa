"""Checks of what a model's methods are given: pixels, latents, strings and shapes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lic_fast.entropy import LatentStreams

if TYPE_CHECKING:
    from lic_fast.models.base import SliceCompressionModel

__all__ = [
    "MAX_PIXELS",
    "check_latents",
    "check_pixels",
    "check_streams",
    "checked_shape",
    "checked_strings",
]

MAX_PIXELS = 2**26
"""Pixels of a picture that :meth:`SliceCompressionModel.decompress` takes memory for by itself."""

_BYTES = (bytes, bytearray, memoryview)


def check_pixels(model: SliceCompressionModel, x: Tensor) -> None:
    """Refuses what is no batch of pictures for this model.

    Raises:
        TypeError: It is no dense tensor of the parameters' type on their device.
        ValueError: It has another shape.
    """
    _check_kind(model, "an input", x)
    if x.dim() != 4 or x.shape[1] != 3 or len(x) == 0:
        raise ValueError(f"an input must be (B, 3, H, W) with B >= 1, not {tuple(x.shape)}")
    (height, width), multiple = x.shape[2:], model.multiple
    if height == 0 or width == 0 or height % multiple or width % multiple:
        raise ValueError(
            f"{model.architecture} takes inputs whose sides are multiples of {multiple}, "
            f"not {height} x {width}: pad the picture, or use lic_fast.codec, which does"
        )


def check_latents(model: SliceCompressionModel, y: Tensor) -> None:
    """As :func:`check_pixels`, of latents (B, M, H/16, W/16)."""
    _check_kind(model, "latents", y)
    if y.dim() != 4 or y.numel() == 0:
        raise ValueError(f"latents must be (B, M, H/16, W/16) with B >= 1, not {tuple(y.shape)}")


def _check_kind(model: SliceCompressionModel, what: str, x: Any) -> None:
    like = model.entropy_bottleneck.quantiles
    hint = ""
    if not isinstance(x, Tensor):
        given = "None" if x is None else f"a {type(x).__module__}.{type(x).__qualname__}"
        if type(x).__module__ == "numpy":
            hint = ": torch.from_numpy(x) makes one of an array"
    elif x.is_nested or x.layout != torch.strided:
        given = "a nested tensor" if x.is_nested else f"one of {x.layout}"
    elif x.dtype != like.dtype:
        given = f"of {x.dtype}"
        if x.is_floating_point():
            # The entropy path of a portable model is defined in float32.
            or_model = "" if model.portable else f", or the model, model.to({x.dtype})"
            hint = f": convert it, x.to({like.dtype}){or_model}"
        else:
            hint = ": pixels are floating point in [0, 1]" if what == "an input" else ""
    elif x.device != like.device:
        given, hint = f"on {x.device}", f": move it, x.to({str(like.device)!r}), or the model"
    else:
        return
    raise TypeError(
        f"{what} must be a dense tensor of {like.dtype} on {like.device}, as the model's "
        f"parameters are, not {given}{hint}"
    )


def check_streams(model: SliceCompressionModel, streams: LatentStreams) -> None:
    """Refuses streams of another form than this model's.

    Raises:
        ValueError: Their numbers or the shape of z do not fit.
    """
    if len(streams.y) != len(streams.z) or not streams.y:
        raise ValueError(
            "there must be one y string and one z string per image, at least one of each, "
            f"not {len(streams.y)} and {len(streams.z)}"
        )
    if streams.checksums is not None and len(streams.checksums) != len(streams.y):
        raise ValueError(
            f"there are {len(streams.checksums)} checksums for {len(streams.y)} images"
        )
    step = max(1, model.multiple // model.z_downsampling)
    if any(side < 1 or side % step for side in streams.shape):
        raise ValueError(
            f"the sides of {model.architecture}'s z are multiples of {step}, "
            f"not {tuple(streams.shape)}"
        )


def checked_strings(strings: Any) -> tuple[list[bytes], list[bytes]]:
    """``[y_strings, z_strings]``, each a list.

    Raises:
        TypeError: They are no sequences of bytes.
        ValueError: They are not two.
    """
    if not isinstance(strings, Sequence) or isinstance(strings, (str, bytes)):
        raise TypeError(f"strings must be [y_strings, z_strings], not {type(strings).__name__}")
    if len(strings) != 2:
        raise ValueError(f"strings must be [y_strings, z_strings], not a list of {len(strings)}")
    for kind, some in zip("yz", strings, strict=True):
        listed = isinstance(some, Sequence) and not isinstance(some, (str, bytes, bytearray))
        wrong = [s for s in some if not isinstance(s, _BYTES)] if listed else [some]
        if wrong:
            raise TypeError(
                f"{kind}_strings must be a list of bytes, one for each image, not "
                f"{'a list with ' if listed else ''}{type(wrong[0]).__name__}"
            )
    return [bytes(s) for s in strings[0]], [bytes(s) for s in strings[1]]


def checked_shape(model: SliceCompressionModel, shape: Any, max_pixels: int) -> tuple[int, int]:
    """Rows and columns of z, whole numbers of any kind.

    Raises:
        ValueError: They are no two positive whole numbers, or those of a picture of more than
            `max_pixels` pixels.
    """
    try:
        sides = [operator.index(side) for side in shape if not isinstance(side, bool)]
        whole = len(sides) == len(shape) == 2 and min(sides) > 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(
            f"shape must be the rows and columns of z, two positive whole numbers, not {shape!r}"
        )
    rows, columns = sides
    height, width = model.z_downsampling * rows, model.z_downsampling * columns
    if height * width > max_pixels:
        raise ValueError(
            f"shape {rows, columns} is that of a picture of {width}x{height}, more than the "
            f"{max_pixels} pixels that are allowed; raise max_pixels if the strings are to be "
            "trusted"
        )
    return rows, columns
