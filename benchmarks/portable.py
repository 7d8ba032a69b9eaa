"""What it costs in rate to make a model portable, and what each choice is worth.

`python -m benchmarks.portable CHECKPOINT KODAK PHOTOS` prints Markdown: a model in floating
point beside the portable one that is made of it, picture by picture, in whole files; and then
beside portable models that are made otherwise, by likelihoods.

`python -m benchmarks.portable errors UPSTREAM PHOTOS` prints how far means and scales are
from those in float32 for the weights with which the models are compared with the originals.
Their weights are random, so that a rate would say little.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

import lic_fast
from lic_fast.codec import decode_image, encode_image, metrics, read_picture
from lic_fast.entropy.integer import conv, quantizer, rounding
from lic_fast.entropy.integer.rounding import nearest
from lic_fast.models import TCM, WACNN, SliceCompressionModel, SymmetricalTransFormer
from lic_fast.models.portable import make_portable, maps

CALIBRATION = 48
SIDE = 512
MODELS: dict[str, Callable[[], SliceCompressionModel]] = {
    "stf": SymmetricalTransFormer,
    "wacnn": WACNN,
    "tcm_n64": lambda: TCM(N=64),
}


def main() -> None:
    """See the module."""
    if sys.argv[1] == "errors":
        errors(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        rates(*map(Path, sys.argv[1:4]))


def rates(checkpoint: Path, kodak: Path, photos: Path) -> None:
    """The first report."""
    net = lic_fast.load(checkpoint)
    pictures = [read_picture(path).pixels for path in sorted(kodak.glob("*.png"))]
    calibration = calibration_pictures(photos, CALIBRATION)
    made = make_portable(net, calibration)
    print("# What portability costs\n")
    print(f"`python -m benchmarks.portable`, calibrated on {len(calibration)} photographs.\n")
    print("## Whole files\n")
    print("Bits per pixel and dB of 8-bit pictures, transforms in float32; beside them with the")
    print("transforms in bfloat16.\n")
    print("| | float | portable | rate | PSNR | bfloat16: rate | PSNR |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for number, picture in enumerate(pictures, 1):
        made.precision = "float32"
        before, after = coded(net, picture), coded(made, picture)
        made.precision = "bfloat16"
        rows.append((*before, *after, *coded(made, picture)))
        print_row(f"kodim{number:02d}", rows[-1])
    print_row("mean", np.mean(rows, 0))
    worst = max(100 * (row[2] / row[0] - 1) for row in rows)
    print(f"\nThe worst picture takes {worst:+.3f} % (float32 transforms).\n")
    choices(net, pictures, calibration)


def coded(model: SliceCompressionModel, picture: np.ndarray) -> tuple[float, float]:
    """Bits per pixel of a file, and PSNR."""
    data = encode_image(picture, model)
    return 8 * len(data) / picture[..., 0].size, float(
        metrics.psnr(picture, decode_image(data, model).pixels)
    )


def print_row(name: str, row: Sequence[float]) -> None:
    """A line of the table of files."""
    bpp, psnr, own, own_psnr, half, half_psnr = row
    print(
        f"| {name} | {bpp:.4f}, {psnr:.3f} | {own:.4f}, {own_psnr:.3f} | "
        f"{100 * (own / bpp - 1):+.3f} % | {own_psnr - psnr:+.4f} | "
        f"{100 * (half / bpp - 1):+.3f} % | {half_psnr - psnr:+.4f} |",
        flush=True,
    )


def choices(
    net: SliceCompressionModel, pictures: Sequence[np.ndarray], calibration: list[Tensor]
) -> None:
    """Other ways to make the model portable."""
    print("## What each choice is worth\n")
    print("Rate over floating point by likelihoods, mean and worst picture.\n")
    print("| | mean | worst |\n|---|---|---|")
    tensors = [to_tensor(picture, net.multiple) for picture in pictures]
    net.precision = "float32"
    base = np.array([bits(net, x) for x in tensors])
    for name, choice in variants(net).items():
        with choice():
            made = make_portable(net, calibration)
        made.precision = "float32"
        over = 100 * (np.array([bits(made, x) for x in tensors]) / base - 1)
        print(f"| {name} | {over.mean():+.3f} % | {over.max():+.3f} % |", flush=True)


def variants(net: SliceCompressionModel) -> dict[str, Callable[[], Any]]:
    """Names of choices, and contexts in which models are made by them."""
    two = maps._TWO_HALVES
    every = maps.ENTROPY_PATH

    def halves(*parts: str) -> Callable[[], Any]:
        return lambda: mock.patch.object(maps, "_TWO_HALVES", parts)

    def without(word: str) -> Callable[[], Any]:
        return halves(*(part for part in two if word not in part))

    def narrower(kind: str, place: int) -> Callable[[], Any]:
        """One layer of each of these networks reads 7 bits, the others as they do."""
        pairs = [
            (name, int(name.rsplit(".", 1)[1]))
            for name, module in net.named_modules()
            if name.startswith(("cc_mean", "cc_scale")) and isinstance(module, nn.Conv2d)
        ]
        number = sorted({layer for _, layer in pairs})[place]
        return halves(*(n for n, layer in pairs if kind not in n or layer != number))

    def share(part: float) -> Callable[[], Any]:
        return lambda: mock.patch.object(maps, "_SHARE", part)

    def headroom(factor: float) -> Callable[[], Any]:
        return lambda: mock.patch.object(quantizer, "HEADROOM", factor)

    @contextmanager
    def plain_rounding() -> Iterator[None]:
        with mock.patch.object(
            rounding, "round_weights", lambda w, scale, covariance: nearest(w, scale)
        ):
            yield

    @contextmanager
    def no_correction() -> Iterator[None]:
        fill = conv.IntegerConv2d.fill

        def uncorrected(self: Any, w: Any, b: Any, q: Any, halves: Any, *rest: Any) -> None:
            fill(self, w, b, q, halves)

        with mock.patch.object(conv.IntegerConv2d, "fill", uncorrected):
            yield

    @contextmanager
    def one_range() -> Iterator[None]:
        own = quantizer.quantizer_of

        def same(seen: Any, *rest: Any) -> Any:
            seen = seen + seen
            seen.low = seen.low.min().expand_as(seen.low)
            seen.high = seen.high.max().expand_as(seen.high)
            return own(seen, *rest)

        with mock.patch.object(maps, "quantizer_of", same), share(0.0)():
            yield

    return {
        "as it is": share(maps._SHARE),
        "7 bits in the mean networks": without("mean"),
        "7 bits in the scale networks": without("scale"),
        **{
            f"7 bits in their {what} layers, {kind}": narrower(kind, place)
            for kind in ("mean", "scale")
            for place, what in ((0, "first"), (1, "second"), (-1, "last"))
        },
        "7 bits everywhere": halves("none"),
        "14 bits everywhere": halves(*every),
        "ranges of all 14 bits": lambda: mock.patch.object(maps, "_narrow"),
        "9 bits for decoded slices too": lambda: mock.patch.object(maps, "_ALL_BITS", ()),
        "weights to the nearest integer": plain_rounding,
        "and biases too": no_correction,
        "steps from ranges alone": share(0.0),
        "steps at which errors are equal": share(1.0),
        "one range for all channels of a map": one_range,
        "ranges as seen": headroom(1.0),
        "three times the ranges seen": headroom(3.0),
    }


@torch.no_grad()
def bits(model: SliceCompressionModel, x: Tensor) -> float:
    """Of a picture, by likelihoods."""
    return sum(-part.double().log2().sum().item() for part in model(x)["likelihoods"].values())


@torch.no_grad()
def errors(upstream: Path, photos: Path) -> None:
    """The second report."""
    sys.path.insert(0, str(upstream))
    import weights  # type: ignore[import-not-found]

    calibration = calibration_pictures(photos, 8)
    print("## Means and scales beside float32, weights of the comparison with the originals\n")
    print(f"`python -m benchmarks.portable errors`, calibrated on {len(calibration)} photographs.")
    print("Root mean squares; slices see the latents that floating point gave.\n")
    print("| | mean | deviation of the means | log of the scale |\n|---|---|---|---|")
    for name, build in MODELS.items():
        golden = np.load(upstream / "golden" / f"{name}_a.npz")
        net = weights.fill(build(), int(golden["seed"]), float(golden["gain"])).eval()
        net.update()
        made = make_portable(net, calibration)
        x = torch.from_numpy(golden["image"]).permute(2, 0, 1)[None].float() / 255
        y = net.analysis(x)
        medians = net._medians()
        z_hat = (net.h_a(y) - medians).round() + medians
        expected, found = (model._latents(z_hat, given(y)) for model in (net, made))
        logs = [latents.scales.clamp(min=0.11).log() for latents in (expected, found)]
        print(
            f"| {name} | {rms(found.means - expected.means):.2e} | {expected.means.std():.2e} | "
            f"{rms(logs[1] - logs[0]):.2e} |",
            flush=True,
        )


def given(y: Tensor) -> Callable[[slice, Tensor, Tensor], Tensor]:
    """A quantizer that does not round."""
    return lambda channels, mean, scale: y[:, channels]


def rms(x: Tensor) -> float:
    """Root mean square."""
    return x.double().square().mean().sqrt().item()


def calibration_pictures(photos: Path, count: int) -> list[Tensor]:
    """Centres of some photographs, as `lic-fast export` takes them."""
    paths = sorted(photos.glob("*.jpg"))
    pictures = [read_picture(path).pixels for path in paths[:: len(paths) // count][:count]]
    return [to_tensor(picture, 1)[0] for picture in pictures]


def to_tensor(pixels: np.ndarray, multiple: int) -> Tensor:
    """(1, 3, H, W) in [0, 1], cut to multiples of the model's and to :data:`SIDE` if that is 1."""
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if multiple == 1:
        top, left = max(0, height - SIDE) // 2, max(0, width - SIDE) // 2
        pixels = pixels[top : top + SIDE, left : left + SIDE]
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    return x if multiple == 1 else x[:, :, :height, :width]


if __name__ == "__main__":
    main()
