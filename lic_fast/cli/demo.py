"""``lic-fast demo``: codes a photograph and draws what became of it."""

from __future__ import annotations

import io
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_fast.cli.console import expected_errors, fail, warnings_of
from lic_fast.cli.files import LIC_SUFFIX
from lic_fast.cli.options import (
    DeviceChoice,
    DeviceOption,
    ModelOption,
    OverwriteOption,
    PrecisionChoice,
    PrecisionOption,
)
from lic_fast.cli.paths import blocked
from lic_fast.cli.runtime import NamedModel, check_model, configuration, load_model, resolve_device
from lic_fast.cli.text import display, human_bytes, ratio

if TYPE_CHECKING:
    import numpy as np

    from lic_fast.cli.collage import Captions
    from lic_fast.codec import Picture

__all__ = ["demo"]

_PHOTOGRAPH = "coffee.png"
_COMPARISON = "demo.png"


@dataclass(frozen=True)
class Measured:
    """What coding the photograph gave: sizes in bytes, times in seconds."""

    name: str
    width: int
    height: int
    png_bytes: int
    raw_bytes: int
    coded_bytes: int
    psnr: float
    ms_ssim: float
    encode_s: float
    decode_s: float

    @property
    def bpp(self) -> float:
        """Bits of the whole file for each pixel."""
        return 8 * self.coded_bytes / (self.width * self.height)

    @property
    def quality(self) -> str:
        """PSNR, and MS-SSIM where the picture is large enough for it."""
        psnr = f"PSNR {self.psnr:.2f} dB"
        return psnr if math.isnan(self.ms_ssim) else f"{psnr}, MS-SSIM {self.ms_ssim:.4f}"


def demo(
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Folder to write to; made if missing."),
    ] = Path("lic-fast-demo"),
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", metavar="PATH", help="Another picture than the bundled photograph."
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = DeviceChoice.auto,
    precision: PrecisionOption = PrecisionChoice.auto,
    overwrite: OverwriteOption = False,
) -> None:
    """Code a photograph and draw original, decoded picture and difference side by side."""
    started = time.perf_counter()
    stem = Path(_PHOTOGRAPH if image is None else image.name).stem
    coded, decoded, comparison = _outputs(out, stem)
    if os.path.lexists(out) and not out.is_dir():
        fail(f"-o {display(out)} is no folder")
    for path in (coded, decoded, comparison):
        if image is not None and path.exists() and image.exists() and path.samefile(image):
            fail(f"the demo would replace {display(image)}; give another folder with -o")
        fault = blocked(path, overwrite)
        if fault is not None:
            fail(fault, status=1)
    if image is not None and not os.path.isfile(image):
        fail(f"--image {display(image)}: no such file", status=1)

    from lic_fast import codec

    with expected_errors(), warnings_of(image or Path(_PHOTOGRAPH)):
        picture = _read(image)
    check_model(model)
    target_device = resolve_device(device)
    named = load_model(model, target_device, precision)
    with expected_errors(), warnings_of(decoded):
        name = display(_PHOTOGRAPH if image is None else image.name)
        data, result, measured = _code(picture, named, name)
        drawn = _draw(picture.pixels, result.pixels, measured)
        out.mkdir(parents=True, exist_ok=True)
        codec.write_bytes_atomically(coded, data, overwrite=overwrite)
        codec.write_picture(decoded, result, overwrite=overwrite)
        codec.write_picture(comparison, codec.Picture(drawn), overwrite=overwrite)

    settings = configuration(named, target_device)
    lines = [
        f"{name}: {measured.width}x{measured.height}, {human_bytes(measured.png_bytes)} as PNG",
        f"model {named.name} ({settings['architecture']}) on {settings['device_name']}",
        f"encoded in {measured.encode_s:.2f} s, decoded in {measured.decode_s:.2f} s "
        "(after one warm-up run)",
        f"{human_bytes(measured.coded_bytes)}: {measured.bpp:.3f} bpp, {_ratios(measured)}",
        measured.quality,
        f"wrote {display(coded)}, {display(decoded)}",
        f"look at {display(comparison)}",
        f"all done in {time.perf_counter() - started:.1f} s",
    ]
    typer.echo("\n".join(lines))


def _outputs(out: Path, stem: str) -> tuple[Path, Path, Path]:
    decoded = f"{stem}.png"
    if decoded.casefold() == _COMPARISON:
        decoded = f"{stem}-decoded.png"
    return out / f"{stem}{LIC_SUFFIX}", out / decoded, out / _COMPARISON


def _read(image: Path | None) -> Picture:
    from lic_fast import codec

    if image is not None:
        return codec.read_picture(image)
    from importlib import resources

    bundled = resources.files("lic_fast.cli").joinpath("data").joinpath(_PHOTOGRAPH)
    with resources.as_file(bundled) as path:
        return codec.read_picture(path)


def _code(picture: Picture, named: NamedModel, name: str) -> tuple[bytes, Picture, Measured]:
    from lic_fast import codec
    from lic_fast.codec import metrics

    def encode() -> bytes:
        return codec.encode_image(
            picture.pixels,
            named.model,
            icc_profile=picture.icc_profile,
            exif=picture.exif,
            model_name=named.name,
        )

    codec.decode_image(encode(), named.model)
    start = time.perf_counter()
    data = encode()
    encoded = time.perf_counter()
    result = codec.decode_image(data, named.model)
    end = time.perf_counter()
    height, width = picture.pixels.shape[:2]
    measured = Measured(
        name=name,
        width=width,
        height=height,
        png_bytes=_png_size(picture.pixels),
        raw_bytes=picture.pixels.nbytes,
        coded_bytes=len(data),
        psnr=float(metrics.psnr(picture.pixels, result.pixels)),
        ms_ssim=float(metrics.ms_ssim(picture.pixels, result.pixels)),
        encode_s=encoded - start,
        decode_s=end - encoded,
    )
    return data, result, measured


def _png_size(pixels: np.ndarray) -> int:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.tell()


def _ratios(measured: Measured) -> str:
    png = ratio(measured.png_bytes, measured.coded_bytes)
    raw = ratio(measured.raw_bytes, measured.coded_bytes)
    return f"{png} smaller than PNG, {raw} smaller than raw"


def _draw(original: np.ndarray, decoded: np.ndarray, measured: Measured) -> np.ndarray:
    from lic_fast.cli import collage

    return collage.compose(original, decoded, _captions(original, decoded, measured))


def _captions(original: np.ndarray, decoded: np.ndarray, measured: Measured) -> Captions:
    import numpy as np

    from lic_fast.cli import collage

    error = np.abs(original.astype(np.int16) - decoded.astype(np.int16))
    stem = Path(measured.name).stem
    cropped = collage.is_cropped(measured.height, measured.width)
    part = ("(the centre of the picture)",) if cropped else ()
    return collage.Captions(
        original=(
            "Original",
            f"{_short(measured.name)}, {measured.width} x {measured.height} pixels",
            f"{human_bytes(measured.png_bytes)} as PNG, {human_bytes(measured.raw_bytes)} raw",
            *part,
        ),
        decoded=(
            "Decoded",
            f"{_short(stem + LIC_SUFFIX)}, {human_bytes(measured.coded_bytes)}, "
            f"{measured.bpp:.3f} bpp",
            measured.quality,
            _ratios(measured),
        ),
        difference=(
            f"Difference, x{collage.AMPLIFICATION} around grey",
            f"mean {error.mean():.2f} grey levels, largest {error.max()}",
        ),
    )


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:17]}...{name[-16:]}"
