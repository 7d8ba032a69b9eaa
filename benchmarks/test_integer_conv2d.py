"""The integer convolution beside float32, bfloat16 and oneDNN's int8, at the slice networks' sizes.

On all of torch's threads; `operations` in the extra information counts two for each multiply-add
(of 9 and 14 bits twice, for two halves). Those of 9 bits are 14 with high halves below 4.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lic_fast.ops.integer_conv2d import integer_conv2d

SHAPES = {
    # input and output channels, groups, taps on a side, at 32 x 48
    "STF, last step, mean": (576, 1344, 1, 3),
    "STF, last step, second layer": (2688, 2112, 12, 3),
    "WACNN, first step": (320, 224, 1, 3),
    "hyper synthesis": (288, 336, 1, 3),
    "TCM, attention": (128, 128, 1, 1),
}


@pytest.mark.parametrize(
    "kind", ["float32", "bfloat16", "oneDNN int8", "7 bits", "9 bits", "14 bits"]
)
@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_integer_conv2d(benchmark, name, kind):
    n, m, groups, kernel = SHAPES[name]
    torch.manual_seed(0)
    weight = torch.randint(-20, 21, (m, n // groups, kernel, kernel)).to(torch.int8)
    x = torch.randint(0, 128, (1, n, 32, 48), dtype=torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)
    benchmark.group = name
    halves = 2 if kind in ("9 bits", "14 bits") else 1
    benchmark.extra_info["operations"] = halves * 2 * weight.numel() * 32 * 48
    if kind.endswith(" bits"):
        high = x % 4 if kind == "9 bits" else x
        border = [torch.zeros(x.shape[1], dtype=torch.uint8)] * halves
        work = lambda: integer_conv2d([high, x][-halves:], weight, border=border, groups=groups)  # noqa: E731
    elif kind == "oneDNN int8":
        form = ([1, 1], [kernel // 2] * 2, [1, 1], groups)
        ones, zeros = torch.ones(m), torch.zeros(m, dtype=torch.int64)
        packed = torch.ops.onednn.qconv_prepack(weight, ones, 1.0, 0, *form, list(x.shape))

        def work():
            return torch.ops.onednn.qconv_pointwise(
                x, 1.0, 0, packed, ones, zeros, None, *form, 1.0, 0, torch.float32, "none", [], ""
            )
    else:
        floats = x.to(getattr(torch, kind))
        wide = weight.to(floats.dtype)
        work = lambda: F.conv2d(floats, wide, padding=kernel // 2, groups=groups)  # noqa: E731
    benchmark.pedantic(work, rounds=15, warmup_rounds=3)
