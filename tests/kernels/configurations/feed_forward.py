"""What the models compile of kernels/feed_forward.py, on a picture of 768x512 pixels."""

from collections.abc import Iterator

import torch

from lic_fast.kernels import feed_forward as kernels
from lic_fast.kernels.common import multiprocessors
from tests.kernels.configurations import Configuration

# Channels and tokens: STF; TCM with N of 64 and of 128; the attention of TCM's slices.
SHAPES = [
    *((48, 98304), (96, 24576), (192, 6144), (384, 1536)),
    *((64, 98304), (64, 24576), (64, 6144), (64, 384)),
    *((128, 98304), (128, 24576), (128, 6144), (128, 384)),
    (128, 1536),
]
TYPES = [("fp32", 4, "ieee"), ("fp32", 4, "tf32"), ("bf16", 2, "ieee"), ("fp16", 2, "ieee")]


def configurations() -> Iterator[Configuration]:
    seen = set()
    for channels, tokens in SHAPES:
        for dtype, itemsize, precision in TYPES:
            sizes = {"C": channels, "HIDDEN": 4 * channels, "PRECISION": precision}
            for kernel, blocks, order in _launches(channels, tokens, itemsize):
                constexprs = sizes | dict(zip(order, blocks[:3], strict=True))
                key = (kernel, dtype, *constexprs.items())
                if key in seen:
                    continue
                seen.add(key)
                pointers = [n for n in kernel.arg_names if n.endswith("_ptr")]
                types = dict.fromkeys(pointers, f"*{dtype}") | {"tokens": "i32"}
                if "eps" in kernel.arg_names:
                    types["eps"] = "fp32"
                yield Configuration(
                    f"{kernel.__name__} C={channels} T={blocks.tokens} {dtype} {precision}",
                    kernel,
                    types,
                    constexprs,
                    {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages},
                )


def _launches(channels, tokens, itemsize):
    processors = multiprocessors(torch.device("cpu"))
    fused = kernels.fused_blocks(tokens, channels, itemsize, processors)
    if fused is not None:
        return [(kernels.fused_kernel, fused, ("BLOCK_T", "BLOCK_C", "BLOCK_H"))]
    expand = kernels.split_blocks(tokens, 4 * channels, itemsize, processors)
    contract = kernels.split_blocks(tokens, channels, itemsize, processors)
    return [
        (kernels.expand_kernel, expand, ("BLOCK_T", "BLOCK_H", "BLOCK_C")),
        (kernels.contract_kernel, contract, ("BLOCK_T", "BLOCK_C", "BLOCK_H")),
    ]
