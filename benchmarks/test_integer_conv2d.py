"""The integer convolution beside float32, bfloat16 and oneDNN's int8, at the slice networks' sizes.

On all of torch's threads; `operations` in the extra information counts two for each multiply-add
(of 14 bits twice, for two halves).
"""

from __future__ import annotations

import pytest
import torch

from lic_fast import ops
from lic_fast.ops.integer_conv2d import integer_conv2d

SHAPES = {
    # input and output channels, groups, at 32 x 48
    "STF, last step, mean": (576, 1344, 1),
    "STF, last step, second layer": (2688, 2112, 12),
    "WACNN, first step": (320, 224, 1),
    "hyper synthesis": (288, 336, 1),
}


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "oneDNN int8", "7 bits", "14 bits"])
@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_integer_conv2d(benchmark, name, kind):
    n, m, groups = SHAPES[name]
    torch.manual_seed(0)
    weight = torch.randint(-20, 21, (m, n // groups, 3, 3)).to(torch.int8)
    x = torch.randint(0, 128, (1, n, 32, 48), dtype=torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)
    benchmark.group = name
    halves = 2 if kind == "14 bits" else 1
    benchmark.extra_info["operations"] = halves * 2 * weight.numel() * 32 * 48
    if kind.startswith(("7", "14")):
        border = [torch.zeros(x.shape[1], dtype=torch.uint8)] * halves
        work = lambda: integer_conv2d([x] * halves, weight, border=border, groups=groups)  # noqa: E731
    elif kind == "oneDNN int8":
        form = ([1, 1], [1, 1], [1, 1], groups)
        ones, zeros = torch.ones(m), torch.zeros(m, dtype=torch.int64)
        packed = torch.ops.onednn.qconv_prepack(weight, ones, 1.0, 0, *form, list(x.shape))

        def work():
            return torch.ops.onednn.qconv_pointwise(
                x, 1.0, 0, packed, ones, zeros, None, *form, 1.0, 0, torch.float32, "none", [], ""
            )
    else:
        floats = x.to(getattr(torch, kind))
        wide = weight.float()
        work = lambda: ops.conv2d(floats, wide, padding=(1, 1), groups=groups)  # noqa: E731
    benchmark.pedantic(work, rounds=15, warmup_rounds=3)
