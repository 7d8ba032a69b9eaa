"""What single rewrites of the CPU's path are worth, beside what PyTorch does without them.

`python -m benchmarks.layers` prints Markdown tables: medians in milliseconds on all of torch's
threads. `python -m benchmarks.layers profile STF bfloat16 analysis` prints instead in which calls a
transform spends its time, at 768x512; `slices`, `encode` and `decode` are parts, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import lic_fast
from benchmarks.models.nets import MODELS
from benchmarks.models.parts import PARTS
from benchmarks.profiles import profile_transform
from lic_fast import ops
from lic_fast.ops import row_products, winograd
from lic_fast.ops.feed_forward import reference

TOKENS = ((98304, 48), (24576, 96), (6144, 192), (1536, 384))
# Kernel, stride, channels of input and output, rows and columns of the input.
FILTERED = (
    (3, 1, 64, 64, 256, 384),
    (3, 1, 128, 128, 256, 384),
    (3, 1, 128, 512, 128, 192),
    (3, 1, 480, 224, 32, 48),
    (5, 1, 48, 192, 256, 384),
    (5, 2, 192, 192, 256, 384),
)
CONVOLUTIONS = ((384, 224), (576, 224), (224, 176), (128, 64))


def milliseconds(work: Callable[[], object], rounds: int = 15) -> float:
    """Median of some calls, after two untimed ones."""
    times = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:]) * 1e3


def table(title: str, heads: tuple[str, ...]) -> None:
    """The head of a table."""
    print(f"\n## {title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")


def row(name: str, *numbers: float) -> None:
    """A line of it."""
    print(f"| {name} | " + " | ".join(f"{n:.2f}" for n in numbers) + " |", flush=True)


def memory() -> None:
    """Filling fresh memory and memory that is there. From then on freed memory is kept."""
    table("Filling a tensor", ("MiB", "fresh", "fresh, memory kept", "there before"))
    sizes = (40, 75, 150)
    fresh = [_filling(mebibytes) for mebibytes in sizes]
    for mebibytes, first in zip(sizes, fresh, strict=True):
        there = torch.empty(mebibytes << 18)
        kept = _filling(mebibytes)
        row(str(mebibytes), first, kept, milliseconds(lambda t=there: t.fill_(1)))


def _filling(mebibytes: int) -> float:
    return milliseconds(lambda: torch.empty(mebibytes << 18).fill_(1))


def linear_maps() -> None:
    """A map to four times the channels and a GELU."""
    heads = ("tokens, channels", "F.linear, F.gelu", "oneDNN, packed", "ops.linear", "Gflop/s")
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        table(f"Linear map and GELU, to four times the channels, {name}", heads)
        for count, channels in TOKENS:
            x, weight = torch.randn(count, channels).to(dtype), torch.randn(4 * channels, channels)
            w, bias = weight.to(dtype), torch.randn(4 * channels)
            b = bias.to(dtype)
            plain = milliseconds(lambda x=x, w=w, b=b: F.gelu(F.linear(x, w, b)))
            call = lambda x=x, w=weight, b=bias: ops.linear(x, w, b, activation="gelu")  # noqa: E731
            with row_products.onednn_products():
                packed = milliseconds(call)
            fast = milliseconds(call)
            row(
                f"{count}, {channels}", plain, packed, fast, 2 * count * weight.numel() / 1e6 / fast
            )


def convolutions() -> None:
    """The 3x3 convolutions of slice networks."""
    heads = ("channels", "F.conv2d, F.gelu", "the same, channels last", "ops.conv2d")
    table("3x3 convolution and GELU at 32x48", heads)
    for n, m in CONVOLUTIONS:
        x, weight, bias = torch.randn(1, n, 32, 48), torch.randn(m, n, 3, 3) / n, torch.randn(m)
        last = x.contiguous(memory_format=torch.channels_last)

        def plain(x: torch.Tensor, w: torch.Tensor = weight, b: torch.Tensor = bias) -> object:
            return F.gelu(F.conv2d(x, w, b, padding=1))

        row(
            f"{n} to {m}",
            milliseconds(lambda x=x, f=plain: f(x)),
            milliseconds(lambda x=last, f=plain: f(x)),
            milliseconds(
                lambda x=last, w=weight, b=bias: ops.conv2d(
                    x, w, b, padding=(1, 1), activation="gelu"
                )
            ),
        )


def filtering() -> None:
    """Convolutions of the transforms and of the slices, directly and by minimal filtering."""
    heads = ("float32, direct", "filtered", "Gflop/s", "bfloat16, direct", "filtered", "Gflop/s")
    table("Minimal filtering", ("kernel, stride, channels, map", *heads))
    for kernel, stride, n, m, height, width in FILTERED:
        weight, bias = torch.randn(m, n, kernel, kernel) / (n * kernel**2) ** 0.5, torch.randn(m)
        form = {"stride": (stride, stride), "padding": (kernel // 2, kernel // 2)}
        work = 2 * weight.numel() * height * width / stride**2 / 1e6
        numbers: list[float] = []
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(1, n, height, width).to(dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            call = lambda x=x, w=weight, b=bias, f=form: ops.conv2d(x, w, b, **f)  # noqa: E731
            with winograd.direct_convolutions():
                direct = milliseconds(call)
            fast = milliseconds(call)
            numbers += [direct, fast, work / fast]
        row(f"{kernel}x{kernel}, {stride}, {n} to {m}, {height}x{width}", *numbers)


def feed_forward() -> None:
    """The second half of a transformer block."""
    heads = ("tokens, channels", "definition", "oneDNN, in chunks", "ops.feed_forward", "Gflop/s")
    for dtype in (torch.float32, torch.bfloat16):
        table(f"Feed-forward half, {str(dtype).removeprefix('torch.')}", heads)
        for count, channels in TOKENS:
            x = torch.randn(count, channels).to(dtype)
            shapes = ((channels,), (channels,), (4 * channels, channels), (4 * channels,))
            shapes += ((channels, 4 * channels), (channels,))
            parameters = [torch.randn(shape) / shape[-1] ** 0.5 for shape in shapes]
            typed = [p.to(dtype) for p in parameters]
            plain = milliseconds(lambda x=x, p=typed: reference(x, *p, 1e-5))
            fast = lambda x=x, p=parameters: ops.feed_forward(x, *p)  # noqa: E731
            with row_products.onednn_products():
                chunked = milliseconds(fast)
            whole = milliseconds(fast)
            work = 4 * count * parameters[2].numel() / 1e6
            row(f"{count}, {channels}", plain, chunked, whole, work / whole)


def between_products() -> None:
    """Norms, gates, sums and GDN, of one map in each type, beside their definitions."""
    heads = ("operator", "float32, definition", "ops", "bfloat16, definition", "ops")
    table("Between the matrix products: 98304 tokens of 64 channels", heads)

    def times(work: Callable[..., object], *shapes: tuple[int, ...]) -> list[float]:
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            operands = [torch.rand(shape).to(dtype) + 0.5 for shape in shapes]
            for name in ("reference", "auto"):
                with lic_fast.backend(name):  # type: ignore[arg-type]
                    found.append(milliseconds(lambda o=operands: work(*o)))
        return found

    picture = (1, 256, 384, 64)

    def mapped(operator: Callable[..., object]) -> Callable[..., object]:
        return lambda *maps: operator(*(x.permute(0, 3, 1, 2) for x in maps))

    gamma, beta = torch.rand(64, 64) / 64, torch.rand(64)
    row("layer_norm", *times(ops.layer_norm, picture, (64,), (64,)))
    row("gdn", *times(mapped(lambda x: ops.gdn(x, gamma, beta)), picture))
    row("gate", *times(mapped(ops.gate), picture, picture, picture))
    both = (1, 256, 384, 128)
    row(
        "residual_sum, of half the channels",
        *times(lambda x, y: ops.residual_sum(x, y.chunk(2, 3)[0], 2.0), picture, both),
    )


def few_channels() -> None:
    """The transposed convolution of WACNN that ends in three channels."""
    heads = ("type", "F.conv_transpose2d, channels last", "ops.conv_transpose2d")
    table("Transposed 5x5 convolution, 192 to 3 channels at 256x384", heads)
    form = {"stride": (2, 2), "padding": (2, 2), "output_padding": (1, 1)}
    weight, bias = torch.randn(192, 3, 5, 5) / 50, torch.randn(3)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, 192, 256, 384).to(dtype).contiguous(memory_format=torch.channels_last)
        w, b = weight.to(dtype), bias.to(dtype)
        plain = milliseconds(lambda x=x, w=w, b=b: F.conv_transpose2d(x, w, b, **form))
        fast = milliseconds(lambda x=x: ops.conv_transpose2d(x, weight, bias, **form))
        row(str(dtype).removeprefix("torch."), plain, fast)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    profile = parser.add_subparsers(dest="command").add_parser("profile")
    profile.add_argument("model", choices=MODELS)
    profile.add_argument("precision", choices=("float32", "bfloat16"))
    profile.add_argument("part", choices=PARTS)
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    """See the module."""
    torch.manual_seed(0)
    options = _options()
    if options.command == "profile":
        profile_transform(options.model, options.precision, options.part)
        return
    print("# Single layers on the CPU\n\n`python -m benchmarks.layers`: medians in milliseconds.")
    memory()
    linear_maps()
    convolutions()
    filtering()
    feed_forward()
    between_products()
    few_channels()


if __name__ == "__main__":
    main()
