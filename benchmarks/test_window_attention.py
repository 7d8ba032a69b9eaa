"""Window attention beside its definition, in the configurations of the models at 768x512 pixels.

One forward pass on all of torch's threads, float32 on the CPU; `traffic` in the extra information
is the least that must be moved: qkv in, the result out.
"""

from __future__ import annotations

import pytest
import torch

import lic_fast
from lic_fast import ops

CONFIGURATIONS = {
    # height, width, channels, heads, window, shift, mask
    "STF, stage 1": (256, 384, 48, 3, 4, 2, -100.0),
    "STF, stage 2": (128, 192, 96, 6, 4, 2, -100.0),
    "STF, stage 3": (64, 96, 192, 12, 4, 2, -100.0),
    "STF, stage 4": (32, 48, 384, 24, 4, 2, -100.0),
    "WACNN, window 8": (128, 192, 192, 8, 8, 4, -100.0),
    "WACNN, window 4": (32, 48, 320, 8, 4, 2, -100.0),
    "TCM, N=64, stage 1": (256, 384, 64, 8, 8, 4, float("-inf")),
    "TCM, N=64, stage 2": (128, 192, 64, 4, 8, 4, float("-inf")),
    "TCM, N=64, stage 3": (64, 96, 64, 2, 8, 4, float("-inf")),
}


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
@torch.no_grad()
def test_window_attention(benchmark, name, backend):
    height, width, channels, heads, window, shift, mask_value = CONFIGURATIONS[name]
    torch.manual_seed(0)
    qkv = torch.randn(1, height, width, 3 * channels)
    table = torch.randn((2 * window - 1) ** 2, heads)
    benchmark.group = f"window attention, {name}"
    benchmark.extra_info["traffic"] = 4 * 4 * height * width * channels

    def attend():
        return ops.window_attention(
            qkv, table, window_size=window, shift=shift, mask_value=mask_value
        )

    with lic_fast.backend("reference"):
        expected = attend()
    with lic_fast.backend(backend):
        actual = benchmark.pedantic(attend, rounds=15, warmup_rounds=2)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
