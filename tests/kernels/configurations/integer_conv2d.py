"""What portable models compile of kernels/integer_conv2d.py, on a picture of 768x512 pixels."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch

from lic_fast.kernels import integer_conv2d as kernels
from lic_fast.kernels.common import multiprocessors
from lic_fast.kernels.exact import OPTIONS
from tests.kernels.configurations import Configuration

LATENT_PIXELS, HALF_PIXELS, QUARTER_PIXELS = 32 * 48, 16 * 24, 8 * 12


class Layer(NamedTuple):
    """Pixels, groups, channels of a group, and how the layer begins and ends."""

    pixels: int
    groups: int
    inputs: int
    outputs: int
    halves: int = 1
    activation: str = "none"
    residual: bool = False
    bits: int | None = None
    side: int = 1
    stride: int = 1


def layers() -> Iterator[Layer]:
    """Not each, which would be hundreds: every tile, with the most that a layer of it does."""
    # The mean and scale networks of STF and WACNN, of one slice and of all slices that see the
    # same; of both networks of a slice in TCM.
    stf, tcm = (384, 224, 176, 128, 64, 32), (320, 224, 128, 64)
    for groups, widths in ((1, stf), (12, stf), (2, tcm)):
        yield Layer(LATENT_PIXELS, groups, widths[0], widths[1], 2)  # the hyperprior's share
        yield Layer(LATENT_PIXELS, groups, widths[-1], widths[1], 2, "gelu", True, 14)
        for inputs, outputs in pairwise(widths[1:-1]):
            yield Layer(LATENT_PIXELS, groups, inputs, outputs, 2, "gelu", False, 14)
        yield Layer(LATENT_PIXELS, groups, *widths[-2:], 2)
    # Latent residual prediction, with half the bits.
    yield Layer(LATENT_PIXELS, 1, 64, 224, 1, "gelu", True, 7)
    yield Layer(LATENT_PIXELS, 1, 224, 128, 1, "gelu", False, 7)
    # Hyper-synthesis: STF's and WACNN's convolutions, the sub-pixel ones with four times the
    # output; TCM's, with the linear maps of its blocks as convolutions of side 1.
    yield Layer(QUARTER_PIXELS, 1, 192, 240, 1, "gelu", False, 7)
    yield Layer(HALF_PIXELS, 1, 336, 4 * 384, 1, "gelu", False, 7)
    yield Layer(HALF_PIXELS, 1, 192, 192, 1, "none", True, None, 0)
    # Hyper-analysis, where it is an integer network too.
    yield Layer(HALF_PIXELS, 1, 336, 288, 1, "gelu", False, 7, 1, 2)


def configurations() -> Iterator[Configuration]:
    kernel = kernels.integer_conv2d_kernel
    pointers = {name: "*i32" for name in kernel.arg_names if name.endswith("_ptr")}
    pointers |= dict.fromkeys(("low_ptr", "high_ptr", "weight_ptr"), "*i8")
    pointers |= dict.fromkeys(("scale_ptr", "residual_ptr", "inverse_step_ptr"), "*fp32")
    processors = multiprocessors(torch.device("cpu"))
    seen = set()
    for layer in layers():
        tile = kernels.tile(layer.pixels, layer.inputs, layer.outputs, layer.groups, processors)
        key = (tile, *layer[4:])
        if key in seen:
            continue
        seen.add(key)
        absent = {
            "high_ptr": layer.halves == 1,
            "edges_ptr": layer.side == 0,
            "residual_ptr": not layer.residual,
            "inverse_step_ptr": layer.bits is None,
            "zero_ptr": layer.bits is None,
            "out_high_ptr": layer.bits != 14,
        }
        constants = dict.fromkeys(name for name, without in absent.items() if without) | {
            "UNIT": 16,  # all widths are multiples of it
            "SIDE": layer.side,
            "STRIDE": layer.stride,
            "ACTIVATION": layer.activation,
            "BLOCK_P": tile.pixels,
            "BLOCK_O": tile.outputs,
            "BLOCK_I": tile.inputs,
        }
        outputs = {"out_ptr": "*fp32" if layer.bits is None else "*u8", "out_high_ptr": "*u8"}
        known = pointers | outputs
        size = f"{tile.pixels}x{tile.outputs}x{tile.inputs}"
        yield Configuration(
            f"{kernel.__name__} {size} {2 * layer.side + 1}x{2 * layer.side + 1}"
            f"/{layer.stride} {7 * layer.halves} bits to {layer.bits or 'float32'}"
            f" {layer.activation}" + " residual" * layer.residual,
            kernel,
            {n: known.get(n, "i32") for n in kernel.arg_names if n not in constants},
            constants,
            {"num_warps": tile.num_warps, "num_stages": tile.num_stages} | OPTIONS,
            exact=True,
        )
