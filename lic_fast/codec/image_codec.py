"""Pictures to ``.lic`` bytes and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lic_fast.codec import metrics
from lic_fast.codec.coder import PictureCoder, coder_of
from lic_fast.codec.colour import is_srgb, srgb_profile
from lic_fast.codec.container import DEFAULT_MAX_PIXELS, Container, pack, unpack
from lic_fast.codec.picture import Picture, rgb_pixels
from lic_fast.codec.search import encoded_for
from lic_fast.codec.target import Encoded, Target
from lic_fast.errors import ChecksumError, FormatError, ModelMismatchError, StreamError
from lic_fast.stream_layout import StreamLayout
from lic_fast.streams import LatentStreams

if TYPE_CHECKING:
    from torch import Tensor

    from lic_fast.models import SliceCompressionModel

__all__ = ["decode_image", "encode_image", "encode_to_target"]

_LARGEST_Z_SIDE = 2**16 - 1  # the container's field has two bytes


def encode_image(
    image: np.ndarray | Tensor,
    model: PictureCoder | SliceCompressionModel,
    *,
    quality: float | None = None,
    size: int | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    model_name: str = "",
    layout: StreamLayout | str = StreamLayout.LANES,
) -> bytes:
    """Codes a picture of any size.

    The picture is padded on all sides, to those that the model takes, by
    repeating its edge. On 24 photographs of odd sizes, coded by wacnn-nano, that
    took 3 % less than padding at the right and the bottom alone, and 7 % less,
    at 0.5 dB more, than zeros (``benchmarks/padding.py``).

    A model with gains codes at any quality: at most one of `quality`, `size`, `bpp` and `psnr` says
    which (:class:`lic_fast.codec.Target`); without them it is 50. A model of one rate takes
    none of them. :func:`encode_to_target` gives the quality beside the file.

    Args:
        image: uint8 (H, W, 3), or (H, W) or (H, W, 1) if it is grey, which is coded as three
            equal channels; an array or a tensor on any device, from 1x1 pixels up.
        model: From :func:`lic_fast.runtime.load`, which needs no torch, or a torch model in
            evaluation mode, with its tables made.
        quality: From 1 to 100, the best, in hundredths.
        size: Of the whole file in bytes, not to be exceeded.
        bpp: Of the whole file in bits per pixel, not to be exceeded.
        psnr: Of the decoded picture in dB, not to be fallen short of.
        icc_profile: Colour profile to keep with it. One of sRGB is a flag in the file, and
            decoding gives another profile of sRGB.
        exif: EXIF data to keep with it, without the ``Exif`` prefix.
        model_name: Name of the model, for messages.
        layout: Of the streams; "compressai" for files that CompressAI's coder can read.

    Returns:
        The bytes of a ``.lic`` file.

    Raises:
        ImageError: The picture has another form.
        FormatError: It is too large for the format.
        LatentError: The model's latents are not finite.
        TargetError: No quality makes the file so small or the picture so faithful.
        ValueError: The model is in training mode or has no tables or no gains, or there is no such
            layout or quality.
    """
    return encode_to_target(
        image,
        model,
        Target(quality=quality, size=size, bpp=bpp, psnr=psnr),
        icc_profile=icc_profile,
        exif=exif,
        model_name=model_name,
        layout=layout,
    ).data


def encode_to_target(
    image: np.ndarray | Tensor,
    model: PictureCoder | SliceCompressionModel,
    target: Target,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    model_name: str = "",
    layout: StreamLayout | str = StreamLayout.LANES,
) -> Encoded:
    """The file of a picture as :func:`encode_image` makes it, and the quality that it has.

    A search analyses the picture once and codes the latents a few times, until the file has 99 %
    of the largest size allowed, the PSNR is within 0.02 dB of the lowest, or a quality that is
    nearer than a tenth is known to break the bound. A size that quality 100 does not fill gives
    that quality, a PSNR that quality 1 surpasses gives this.

    Args:
        image: As for :func:`encode_image`, like all others.
        model: The model.
        target: What the file is to be.
        icc_profile: Colour profile.
        exif: EXIF data.
        model_name: Name of the model.
        layout: Of the streams.

    Raises:
        ImageError, FormatError, LatentError, TargetError, ValueError: As for :func:`encode_image`.
    """
    # Of a tensor, by what only tensors have: torch may not be installed.
    array = image.detach().cpu().numpy() if hasattr(image, "detach") else image
    pixels = np.ascontiguousarray(rgb_pixels(array))
    coder = coder_of(model)
    layout = StreamLayout.of(layout)
    height, width = pixels.shape[:2]
    largest = _LARGEST_Z_SIDE * coder.z_downsampling // coder.multiple * coder.multiple
    if max(height, width) > largest:
        raise FormatError(f"a side of {max(height, width)} pixels: a .lic file holds {largest}")
    if target.searched and not coder.anchor_qualities:
        raise ValueError(
            "this model has no gains: it codes at the one rate that it was trained for, whatever "
            "size, rate or PSNR is wanted"
        )
    rows, columns = -height % coder.multiple, -width % coder.multiple
    top, left = rows // 2, columns // 2
    padding = (left, top, columns - left, rows - top)
    fingerprint = coder.fingerprint()
    srgb = icc_profile is not None and is_srgb(icc_profile)

    def file(streams: LatentStreams) -> bytes:
        if streams.checksums is None:
            raise ValueError("the model's encode gave no checksums")
        return pack(
            Container(
                width=width,
                height=height,
                padding=padding,
                fingerprint=fingerprint,
                z_shape=streams.shape,
                symbols_checksum=streams.checksums[0],
                y=streams.y[0],
                z=streams.z[0],
                portable=coder.portable,
                layout=streams.layout,
                quality=None if streams.quality is None else streams.quality[0],
                srgb=srgb,
                icc_profile=None if srgb else icc_profile,
                exif=exif,
                model_name=model_name,
            )
        )

    if not target.searched:
        streams = coder.encode(pixels, padding, quality=target.quality, layout=layout)
        return Encoded(file(streams), None if streams.quality is None else streams.quality[0])
    latents = coder.analyse(pixels, padding)

    def code(quality: float) -> Encoded:
        streams, y_hat = coder.encode_latents(latents, quality=quality, layout=layout)
        if target.psnr is None:
            return Encoded(file(streams), quality)
        decoded = coder.reconstruct(y_hat, padding, quality=quality)
        return Encoded(file(streams), quality, metrics.psnr(pixels, decoded))

    return encoded_for(target, width * height, code)


def decode_image(
    data: bytes,
    model: PictureCoder | SliceCompressionModel,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Picture:
    """Decodes the bytes of a ``.lic`` file.

    Args:
        data: The whole file.
        model: The one that it was written with.
        max_pixels: Pictures of more pixels are refused before anything is
            allocated for them, and so are strips narrower than the model's
            multiple whose padding makes them more than four times as large.

    Raises:
        FormatError: The file is damaged or no ``.lic`` file, or its padding is
            not what the model asks for, or it states a quality to a model of one rate, or none
            to another.
        ModelMismatchError: It was written with another model.
        ChecksumError: The symbols are not those that were encoded. For a model in
            floating point: this machine's rounding differs from the encoder's, which
            cannot happen to a portable model (:func:`lic_fast.make_portable`).
        LatentError: The symbols are those, but the picture is not finite: the
            model's weights are damaged.
    """
    coder = coder_of(model)
    container = unpack(data, max_pixels=max_pixels)
    fingerprint = coder.fingerprint()
    if container.fingerprint != fingerprint:
        name = f" ({container.model_name!r})" if container.model_name else ""
        raise ModelMismatchError(
            f"the file was written with the model {container.fingerprint.hex()}{name}, not with "
            f"this one, {fingerprint.hex()}. Equal weights are another model too if their CDF "
            "tables were made on a machine that rounds differently: keep them in the checkpoint"
        )
    _check_quality(container, coder)
    _check_geometry(container, coder, max_pixels)
    streams = LatentStreams(
        [container.y],
        [container.z],
        container.z_shape,
        [container.symbols_checksum],
        container.layout,
        None if container.quality is None else [container.quality],
    )
    try:
        pixels = coder.decode(streams, container.padding)
    except (ChecksumError, StreamError) as error:
        raise ChecksumError(_explain(coder, error)) from error
    if pixels.shape != (container.height, container.width, 3):
        raise FormatError(f"the streams hold a picture of {pixels.shape}")
    profile = srgb_profile() if container.srgb else container.icc_profile
    return Picture(pixels, profile, container.exif)


def _check_quality(container: Container, coder: PictureCoder) -> None:
    if container.quality is not None and not coder.anchor_qualities:
        raise FormatError(
            f"the file states quality {container.quality:g}, but its model has no gains"
        )
    if container.quality is None and coder.anchor_qualities:
        raise FormatError("the file states no quality, without which its model does not decode")


def _check_geometry(container: Container, coder: PictureCoder, max_pixels: int) -> None:
    """The coded image must be the smallest that holds the picture: no file may ask for more."""
    left, top, right, bottom = container.padding
    rows, columns = container.padded_height, container.padded_width
    multiple = coder.multiple
    if rows % multiple or columns % multiple or max(left + right, top + bottom) >= multiple:
        raise FormatError(
            f"the padding {container.padding} does not fill {container.width}x{container.height} "
            f"up to multiples of {multiple}, which the model takes"
        )
    # Padding does not quadruple a picture both of whose sides are at least the multiple. A strip
    # of one row it makes as many times larger, and what takes memory is the coded image.
    if rows * columns > 4 * max(max_pixels, multiple**2):
        raise FormatError(
            f"a picture of {container.width}x{container.height} is coded as {columns}x{rows}, more "
            f"than four times the {max_pixels} pixels that are allowed; raise max_pixels "
            "(--max-pixels) if it is to be trusted"
        )
    expected = (rows // coder.z_downsampling, columns // coder.z_downsampling)
    if container.z_shape != expected:
        raise FormatError(f"z is {container.z_shape}, for this picture it is {expected}")


def _explain(coder: PictureCoder, error: Exception) -> str:
    # The file has the model's fingerprint; its flag might say anything.
    if coder.portable:
        return (
            f"{error}. The file's bytes are undamaged and its arithmetic is exact: it was written "
            "with a fault, or deliberately wrong"
        )
    return (
        f"{error}. The file's bytes are undamaged, but its model computes in floating point, which "
        "another device, CPU instruction set, PyTorch or number of threads than the encoder's "
        "rounds differently: means and scales come out different, and every symbol after the first "
        "wrong one is noise. Decode the file as it was encoded. For files that decode on every "
        "machine, make the model portable, once (`lic-fast export`, or lic_fast.make_portable), "
        "and encode the picture again with that"
    )
