"""Latents to symbols, indexes and y-hat, and back: lic_fast.ops beside CompressAI's.

590,000 elements are the latents of a 768x512 picture, 9,000,000 those of one of 12 megapixels;
both in one step, as (1, C, H, W), contiguous and in channels-last memory. On one thread:
"fused" is what lic_fast does on the CPU, "plain" the PyTorch definition of the same, and
"compressai" GaussianConditional.quantize, build_indexes and dequantize. All of them
allocate their results.
"""

from __future__ import annotations

import pytest
import torch
from compressai.entropy_models import GaussianConditional
from compressai.models.base import get_scale_table

from lic_fast import backend
from lic_fast.ops import dequantize, quantize, scale_index

SHAPES = {"590,000": (1, 384, 32, 48), "9,000,000": (1, 320, 150, 188)}
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
TABLE = get_scale_table()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[(n, f) for n in SHAPES for f in FORMATS], ids=", ".join)
def operands(request):
    size, layout = request.param
    generator = torch.Generator().manual_seed(0)
    y, mean, scale = (torch.randn(SHAPES[size], generator=generator) for _ in range(3))
    return [x.contiguous(memory_format=FORMATS[layout]) for x in (3 * y, mean, scale.exp())]


@pytest.fixture(scope="module")
def model():
    model = GaussianConditional(None)
    model.update_scale_table(TABLE)
    return model


def compare(benchmark, request, what, code, fused, theirs):
    benchmark.group = f"{what}, {request.node.callspec.id.rsplit('-', 1)[0]}"
    if code == "compressai":
        return benchmark(theirs)
    with backend("auto" if code == "fused" else "reference"):
        return benchmark(fused)


CODES = pytest.mark.parametrize("code", ["fused", "plain", "compressai"])


@CODES
@torch.no_grad()
def test_quantize(benchmark, request, operands, model, code):
    y, mean, scale = operands

    def theirs():
        symbols = model.quantize(y, "symbols", mean)
        return symbols, model.build_indexes(scale), model.dequantize(symbols, mean)

    symbols, indexes, _ = compare(
        benchmark, request, "quantize", code, lambda: quantize(y, mean, scale, TABLE), theirs
    )
    assert torch.equal(symbols.int(), model.quantize(y, "symbols", mean))
    assert torch.equal(indexes.int(), model.build_indexes(scale))


@CODES
@torch.no_grad()
def test_scale_index(benchmark, request, operands, model, code):
    scale = operands[2]
    indexes = compare(
        benchmark,
        request,
        "scale_index",
        code,
        lambda: scale_index(scale, TABLE),
        lambda: model.build_indexes(scale),
    )
    assert torch.equal(indexes.int(), model.build_indexes(scale))


@CODES
@torch.no_grad()
def test_dequantize(benchmark, request, operands, model, code):
    mean = operands[1]
    symbols = (operands[0] - mean).round().short().contiguous()
    y_hat = compare(
        benchmark,
        request,
        "dequantize",
        code,
        lambda: dequantize(symbols, mean),
        lambda: model.dequantize(symbols, mean),
    )
    assert torch.equal(y_hat, symbols + mean)
