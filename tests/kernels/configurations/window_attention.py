"""Window attention in STF, WACNN and TCM."""

from collections.abc import Iterator

import torch

from lic_fast.kernels import window_attention as kernels
from tests.kernels.configurations import TYPES, Configuration

# (window, head size, whether windows hang over the edge)
SHAPES = {
    "STF": (4, 16, False),
    "STF, padded": (4, 16, True),
    "WACNN, fine": (8, 24, False),
    "WACNN, coarse": (4, 40, False),
    "TCM, 8": (8, 8, False),
    "TCM, 16": (8, 16, False),
    "TCM, 32": (8, 32, False),
    "TCM, hyper": (4, 32, False),
}
# Parameters are float32, also where autocast makes qkv of another type.
FLOAT32 = {"bias", "pad", "bias_partials", "pad_partials"}
OWN_TYPE = {"qkv", "out", "grad", "grad_qkv"}


def configurations() -> Iterator[Configuration]:
    for shape, (window, head_size, padded) in SHAPES.items():
        for dtype in kernels.DTYPES:
            for backward in (False, True):
                yield configuration(shape, window, head_size, padded, dtype, backward)


def configuration(
    shape: str, window: int, head_size: int, padded: bool, dtype: torch.dtype, backward: bool
) -> Configuration:
    kernel = kernels.backward_kernel if backward else kernels.forward_kernel
    options = kernels.options(dtype, head_size, window, backward=backward)
    constants = {name: options.pop(name) for name in list(options) if name in kernel.arg_names}
    if not padded:
        constants |= {x: None for x in ("pad", "pad_partials") if x in kernel.arg_names}
    dtype_name = str(dtype).removeprefix("torch.")
    types = {}
    for argument in kernel.arg_names:
        if argument in constants:
            continue
        if argument in OWN_TYPE:
            types[argument] = "*" + TYPES[dtype_name]
        elif argument in FLOAT32:
            types[argument] = "*fp32"
        else:
            types[argument] = "fp32" if argument in ("scale", "mask_value") else "i32"
    direction = "backward" if backward else "forward"
    name = f"window attention, {shape}, {dtype_name}, {direction}"
    return Configuration(name, kernel, types, constants, options)
