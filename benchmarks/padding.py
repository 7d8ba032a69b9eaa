"""Rate and distortion of ways to pad a picture up to the sides that a model takes.

    python benchmarks/padding.py PICTURE...

cuts a piece of random size out of each picture, pads it in each way, codes it, and prints
bits per pixel of the streams and PSNR over the piece, mean of all.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from lic_fast import codec, zoo

WAYS = {
    "edge repeated, all sides": (True, "edge"),
    "edge repeated, right and bottom": (False, "edge"),
    "zeros, all sides": (True, "constant"),
    "reflected, right and bottom": (False, "reflect"),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", help="of at least 400x400 pixels")
    paths = parser.parse_args().pictures
    net = zoo.load()
    random = np.random.default_rng(0)
    results: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for path in paths:
        height, width = random.integers(200, 400, 2)
        piece = codec.read_picture(path).pixels[:height, :width]
        rows, columns = -height % net.multiple, -width % net.multiple
        for way, (split, mode) in WAYS.items():
            top, left = (rows // 2, columns // 2) if split else (0, 0)
            around = ((top, rows - top), (left, columns - left), (0, 0))
            padded = torch.from_numpy(np.pad(piece, around, mode=mode))  # type: ignore[call-overload]
            streams = net.encode(padded.permute(2, 0, 1)[None].float() / 255)
            decoded = (net.decode(streams)[0] * 255).round().byte().permute(1, 2, 0).numpy()
            own = np.ascontiguousarray(decoded[top : top + height, left : left + width])
            bits = 8 * (len(streams.y[0]) + len(streams.z[0]))
            results[way].append((bits / (height * width), codec.metrics.psnr(piece, own)))
    for way, figures in results.items():
        bpp, psnr = np.mean(figures, 0)
        print(f"{way:32} {bpp:.4f} bpp {psnr:.2f} dB")


if __name__ == "__main__":
    main()
