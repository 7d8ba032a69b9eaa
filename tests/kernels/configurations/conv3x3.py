"""What the models compile of kernels/conv3x3.py, on a picture of 768x512 pixels."""

from collections.abc import Iterator
from itertools import pairwise

import torch

from lic_fast.kernels import conv3x3 as kernels
from lic_fast.kernels.common import multiprocessors
from tests.kernels.configurations import Configuration

LATENT_PIXELS, HALF_PIXELS = 32 * 48, 16 * 24
TYPES = [("fp32", 4, "ieee"), ("fp32", 4, "tf32"), ("bf16", 2, "ieee"), ("fp16", 2, "ieee")]


def shapes() -> Iterator[tuple[int, int, int, int]]:
    """Pixels, groups, and input and output channels of a group."""
    # Mean and scale networks of one slice, of two at once, of all with the same support.
    for entropy_channels, first in [((224, 176, 128, 64), 384), ((224, 128), 320)]:
        for groups in (1, 2, 12):
            for inputs in (32, 64, first, first + 192, 704):
                yield LATENT_PIXELS, groups, inputs, entropy_channels[0]
            for inputs, outputs in pairwise([*entropy_channels, 64 if first == 320 else 32]):
                yield LATENT_PIXELS, groups, inputs, outputs
    # Hyper networks: the convolutions of stride 1, the sub-pixel ones with four times the output.
    for inputs, outputs in [(384, 384), (384, 336), (320, 320), (320, 288)]:
        yield LATENT_PIXELS, 1, inputs, outputs
    for groups in (1, 2):
        for inputs, outputs in [(288, 240), (256, 224), (288, 336), (336, 4 * 384), (288, 4 * 320)]:
            yield HALF_PIXELS, groups, inputs, outputs
        for inputs, outputs in [(192, 240), (240, 4 * 288), (192, 4 * 224)]:
            yield HALF_PIXELS // 4, groups, inputs, outputs
        yield LATENT_PIXELS, groups, 384, 384
    # A batch of sixteen such pictures.
    yield 16 * LATENT_PIXELS, 1, 384, 384
    yield 16 * LATENT_PIXELS, 1, 320, 64


def configurations() -> Iterator[Configuration]:
    kernel = kernels.conv3x3_kernel
    pointers = [n for n in kernel.arg_names if n.endswith("_ptr")]
    integers = kernel.arg_names[len(pointers) : kernel.arg_names.index("UNIT")]
    processors = multiprocessors(torch.device("cpu"))
    seen = set()
    for pixels, groups, _, outputs in shapes():
        for dtype, itemsize, precision in TYPES:
            tile = kernels.tile(pixels, outputs, groups, itemsize, processors)
            for activation, residual in [("none", False), ("gelu", False), ("gelu", True)]:
                key = (dtype, precision, tile, activation, residual)
                if key in seen:
                    continue
                seen.add(key)
                types = dict.fromkeys(pointers, f"*{dtype}") | dict.fromkeys(integers, "i32")
                constexprs = {
                    "UNIT": 16,  # all widths are multiples of it
                    "ACTIVATION": activation,
                    "BLOCK_P": tile.pixels,
                    "BLOCK_O": tile.outputs,
                    "BLOCK_I": tile.inputs,
                    "PRECISION": precision,
                }
                if not residual:
                    del types["residual_ptr"]
                    constexprs["residual_ptr"] = None
                size = f"{tile.pixels}x{tile.outputs}x{tile.inputs}"
                yield Configuration(
                    f"{kernel.__name__} {size} {dtype} {precision} {activation}"
                    + " residual" * residual,
                    kernel,
                    types,
                    constexprs,
                    {"num_warps": tile.num_warps, "num_stages": tile.num_stages},
                )
