"""Window attention and its gradients beside their definitions, on the CPU.

Forward passes are in the configurations of the models at 768x512 pixels, in float32, on all of
torch's threads; `traffic` in the extra information is the least that must be moved: qkv in, the
result out. Gradients are in those of a training step of WACNN with N=64, M=192 on 8 crops of
128x128 pixels; their times are the processor's, so that other programs do not count.
"""

from __future__ import annotations

import time

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


TRAINING = {
    # batch, height, width, channels, heads, window, shift
    "WACNN, window 8": (8, 32, 32, 64, 8, 8, 4),
    "WACNN, window 4": (8, 8, 8, 192, 8, 4, 2),
}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", TRAINING)
def test_gradients(benchmark, name, backend, dtype):
    batch, height, width, channels, heads, window, shift = TRAINING[name]
    torch.manual_seed(0)
    grad = torch.randn(batch, height, width, channels).to(dtype)
    qkv = torch.randn(batch, height, width, 3 * channels).to(dtype)
    table = torch.randn((2 * window - 1) ** 2, heads)
    benchmark.group = f"gradients of window attention, {name}, {dtype}"

    def differentiate():
        return torch.ops.lic_fast.window_attention_backward(
            grad, qkv, table, None, window, shift, -100.0, 0.3, [True, True, False]
        )

    with lic_fast.backend("reference"):
        expected = differentiate()
    with lic_fast.backend(backend):
        actual = benchmark.pedantic(differentiate, rounds=15, warmup_rounds=2)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(actual[0], expected[0], rtol=tolerance, atol=tolerance)
