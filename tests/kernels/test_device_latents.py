"""Latents of a device that is not waited for: the kernels against the definitions."""

import pytest
import torch

from lic_fast.ops import device_latents as ops
from lic_fast.ops.quantize import reference_quantize

SHAPE = (1, 5, 7, 9)
TABLE = torch.linspace(0.11, 20, 64)


def operands(peak, device):
    generator = torch.Generator().manual_seed(0)
    y, mean, scale = (torch.randn(SHAPE, generator=generator) * 9 for _ in range(3))
    y[0, 3, 2, 1] = peak
    # As a network's output is in memory, and some channels of a larger map.
    mean = mean.contiguous(memory_format=torch.channels_last)
    return [x.to(device) for x in (y, mean, scale.abs(), TABLE)]


def rooms(device):
    """Symbols, indexes and peak; the first two some channels of an image's."""
    symbols = torch.full((1, 9, 7, 9), -7, dtype=torch.int32, device=device)
    indexes = torch.full((1, 9, 7, 9), 99, dtype=torch.uint8, device=device)
    return symbols, indexes, torch.zeros(1, device=device)


@pytest.mark.parametrize("quantize", [ops._launch_quantize, ops._quantize_definition])
@pytest.mark.parametrize("peak", [3.0, -32767.0, 32768.0, -3e7, 2.0**29 - 64])
def test_symbols_of_any_size_are_written_where_they_belong(quantize, peak, device):
    y, mean, scale, table = operands(peak, device)
    symbols, indexes, largest = rooms(device)
    part = slice(2, 7)
    y_hat = quantize(y, mean, scale, table, symbols[:, part], indexes[:, part], largest)
    expected = reference_quantize(y, mean, scale, table)
    assert torch.equal(symbols[:, part], expected.symbols.int())
    assert torch.equal(indexes[:, part], expected.indexes)
    assert torch.equal(y_hat, expected.y_hat)
    assert float(largest) == float(expected.symbols.int().abs().max())
    for room, untouched in ((symbols, -7), (indexes, 99)):
        assert (room[:, :2] == untouched).all()
        assert (room[:, 7:] == untouched).all()
    # The largest stays that of all calls.
    quantize(mean, mean, scale, table, symbols[:, part], indexes[:, part], largest)
    assert float(largest) == float(expected.symbols.int().abs().max())
    assert not symbols[:, part].any()


@pytest.mark.parametrize("quantize", [ops._launch_quantize, ops._quantize_definition])
@pytest.mark.parametrize("peak", [2.0**29 + 64, -(2.0**40), float("inf"), float("nan")])
def test_what_no_stream_holds_shows_in_the_peak(quantize, peak, device):
    y, mean, scale, table = operands(peak, device)
    symbols, indexes, largest = rooms(device)
    part = slice(2, 7)
    quantize(y, mean, scale, table, symbols[:, part], indexes[:, part], largest)
    assert not float(largest) < 2.0**29
    quantize(mean, mean, scale, table, symbols[:, part], indexes[:, part], largest)
    assert not float(largest) < 2.0**29


def test_the_decoder_s_half(device):
    _, mean, scale, table = operands(0, device)
    symbols = torch.arange(mean.numel(), dtype=torch.int32, device=device).view(SHAPE) * 1000
    assert torch.equal(ops._launch_dequantize(symbols, mean), ops.dequantize(symbols, mean))
    assert torch.equal(ops._launch_scale_index(scale, table), ops.scale_index(scale, table))
    assert torch.equal(ops.dequantize(symbols, mean), symbols + mean)
