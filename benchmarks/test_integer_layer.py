"""A slice network of STF's size at 32 x 48: float32, the integer layers fused, and unfused.

"convolutions" are the bare integer convolutions of the same sizes, the rate to be had;
"unfused" has each layer's element-wise steps in PyTorch behind its convolution, as the
definition has; "float32" is PyTorch's own convolution and GELU. On all of torch's threads;
`operations` in the extra information counts two for each multiply-add, of 14 bits twice.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lic_fast import ops
from lic_fast.ops import exact
from lic_fast.ops.exact_add_residual import exact_add_residual
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.integer_conv2d import integer_conv2d
from lic_fast.ops.integer_layer import Quantizer, integer_layer
from lic_fast.ops.integer_network import IntegerNetwork
from lic_fast.runtime.integer import Layer

WIDTHS = (576, 224, 176, 128, 64, 32)
PIXELS = (32, 48)
KINDS = ["float32", "convolutions", "unfused", "layer by layer", "fused", "fused, no activation"]


def _layers(activation: str) -> list[Layer]:
    layers = []
    for n, m in pairwise(WIDTHS):
        last = m == WIDTHS[-1]
        zero = torch.full((m,), 4096, dtype=torch.int32)
        layers.append(
            Layer(
                weight=torch.randint(-20, 21, (m, n, 3, 3)).to(torch.int8),
                bias=torch.zeros(m, dtype=torch.int32),
                scale=torch.full((m,), 2.0**-22),
                border=[torch.full((n,), 32, dtype=torch.uint8), torch.zeros(n).byte()],
                activation="none" if last else activation,
                output=None if last else Quantizer(torch.full((m,), 1000.0), zero, 14),
            )
        )
    return layers


def _unfused(x: list[Tensor], layers: list[Layer]) -> Tensor | list[Tensor]:
    for layer in layers:
        sums = integer_conv2d(x, layer.weight, border=layer.border)
        v = exact.scaled(sums + layer.bias.view(-1, 1, 1), layer.scale)
        v = v if layer.activation == "none" else exact.gelu(v)
        if layer.output is None:
            return v
        q = layer.output
        with ops.backend("reference"):
            x = exact_quantize(v, q.inverse_step, q.zero, q.bits)
    return x


def _by_layer(x: list[Tensor], layers: list[Layer]) -> Tensor | list[Tensor]:
    for layer in layers:
        form = {"activation": layer.activation, "output": layer.output}
        x = integer_layer(x, layer.weight, layer.bias, layer.scale, border=layer.border, **form)
    return x


def _activations(channels: int) -> list[Tensor]:
    halves = torch.randint(0, 128, (2, 1, *PIXELS, channels), dtype=torch.uint8)
    return list(halves.permute(0, 1, 4, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_integer_network(benchmark, kind):
    torch.manual_seed(0)
    layers = _layers("none" if kind == "fused, no activation" else "gelu")
    x = _activations(WIDTHS[0])
    products = sum(layer.weight.numel() for layer in layers) * PIXELS[0] * PIXELS[1]
    benchmark.group = "slice network"
    benchmark.extra_info["operations"] = 2 * products * (1 if kind == "float32" else 2)
    if kind == "float32":
        weights = [layer.weight.float() for layer in layers]
        ends = [layer.activation for layer in layers]
        first = x[0].float()

        def work():
            y = first
            for weight, end in zip(weights, ends, strict=True):
                y = F.conv2d(y, weight, padding=1)
                y = F.gelu(y) if end == "gelu" else y
            return y
    elif kind == "convolutions":
        maps = [_activations(n) for n in WIDTHS[:-1]]

        def work():
            for halves, layer in zip(maps, layers, strict=True):
                integer_conv2d(halves, layer.weight, border=layer.border)
    elif kind == "unfused":
        work = lambda: _unfused(x, layers)  # noqa: E731
    elif kind == "layer by layer":
        work = lambda: _by_layer(x, layers)  # noqa: E731
    else:
        network = IntegerNetwork(layers)
        work = lambda: network(x)  # noqa: E731
    benchmark.pedantic(work, rounds=15, warmup_rounds=3)


@pytest.mark.parametrize("kind", ["definition", "fused"])
@pytest.mark.parametrize("step", ["quantize 320 planes", "quantize 320", "add residual 32"])
@torch.no_grad()
def test_exact_steps(benchmark, step, kind):
    torch.manual_seed(0)
    channels = 32 if step.startswith("add") else 320
    x = torch.randn(1, channels, *PIXELS)
    if not step.endswith("planes"):
        x = x.contiguous(memory_format=torch.channels_last)
    numbers = torch.full((channels,), 1000.0), torch.full((channels,), 8192, dtype=torch.int32)
    benchmark.group = step
    name = "auto" if kind == "fused" else "reference"
    with ops.backend(name):
        if step.startswith("add"):
            benchmark.pedantic(lambda: exact_add_residual(x, x), rounds=30, warmup_rounds=3)
        else:
            benchmark.pedantic(lambda: exact_quantize(x, *numbers, 14), rounds=30, warmup_rounds=3)
