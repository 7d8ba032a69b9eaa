"""Time and memory over the sizes of pictures, beside AVIF and JPEG XL as Pillow writes them.

    python -m benchmarks.sizes PICTURE -o benchmarks/results/sizes.md

Each codec and size has a process of its own, which codes a small picture first. Memory is the
largest resident memory above what the process had before, with the picture already in it: encoding
adds the file, decoding the decoded picture. The picture is tiled and cut to the size.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import processor

SIZES = ("384x256", "768x512", "1920x1080", "3840x2160", "4000x3000", "8660x5774")
CODECS = ("wacnn-nano-3", "AVIF", "JPEG XL")


def functions(name: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Encoder and decoder of uint8 arrays (H, W, 3)."""
    from PIL import Image

    if name.startswith("wacnn"):
        from lic_fast import codec, zoo

        model = zoo.coder(name)
        return (
            lambda pixels: codec.encode_image(pixels, model),
            lambda data: codec.decode_image(data, model).pixels,
        )
    if name == "JPEG XL":
        import pillow_jxl  # type: ignore[import-not-found]  # noqa: F401

    def encode(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, name.replace("JPEG XL", "JXL"), quality=50)
        return file.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def resident(field: str) -> float:
    """A field of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(field))


def measured(task: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a task gives, its seconds, and the most memory above that before, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    start = time.perf_counter()
    result = task()
    return result, time.perf_counter() - start, resident("VmHWM") - before


def work(name: str, size: str, picture: str) -> None:
    """Measures one codec at one size, and prints JSON."""
    from PIL import Image

    width, height = map(int, size.split("x"))
    photo = np.asarray(Image.open(picture).convert("RGB"))
    encode, decode = functions(name)
    decode(encode(photo[:64, :64]))
    times = -(-height // photo.shape[0]), -(-width // photo.shape[1]), 1
    pixels = np.ascontiguousarray(np.tile(photo, times)[:height, :width])
    data, encoding, encoding_memory = measured(lambda: encode(pixels))
    _, decoding, decoding_memory = measured(lambda: decode(data))
    print(
        json.dumps(
            {
                "bytes": len(data),
                "encode": [encoding, encoding_memory],
                "decode": [decoding, decoding_memory],
            }
        )
    )


def main() -> None:
    """Measures, and writes a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--codecs", nargs="+", default=CODECS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options.picture)
        return
    lines = [
        "# Pictures of any size",
        "",
        f"`python -m benchmarks.sizes {Path(options.picture).name}`; {processor()}. Each line is "
        "one coding in a process of its own; memory is the largest resident above that before, "
        "with the picture in it. AVIF and JPEG XL are Pillow's, at quality 50.",
        "",
        "| size | codec | bytes per pixel of the file | encode s | MB | decode s | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in options.sizes:
        width, height = map(int, size.split("x"))
        for name in options.codecs:
            command = [sys.executable, "-m", "benchmarks.sizes", options.picture]
            out = subprocess.check_output([*command, "--worker", name, size], text=True)
            found = json.loads(out.splitlines()[-1])
            cells = [f"{value:.2f} | {memory:.0f}" for value, memory in map(found.get, _PARTS)]
            rate = found["bytes"] / (width * height)
            lines.append(f"| {size} | {name} | {rate:.4f} | {cells[0]} | {cells[1]} |")
            print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


_PARTS = ("encode", "decode")


if __name__ == "__main__":
    main()
