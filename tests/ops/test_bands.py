"""Layers on bands of rows against the layers on the whole map."""

import pytest
import torch
from torch import nn

from lic_fast.models import SymmetricalTransFormer
from lic_fast.ops import bands
from tests.models.tiny import pictures, tiny


@pytest.mark.parametrize("height", [7, 16, 33])
@pytest.mark.parametrize("elements", [1, 1000, 1 << 22])
@torch.no_grad()
def test_bands_are_the_whole(height, elements, monkeypatch):
    monkeypatch.setattr(bands, "_ELEMENTS", elements)
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3, padding=1)
    )
    x = torch.randn(2, 3, height, 6)
    seen = []

    def counted(part):
        seen.append(part.shape[2])
        return layers(part)

    out = bands.in_bands(counted, x, halo=3, scale=2, width=8 * 6)
    torch.testing.assert_close(out, layers(x), rtol=1e-5, atol=1e-5)
    # 24 rows at least, and three of their neighbours.
    assert seen == ([27, 12] if height == 33 and elements < 1 << 22 else [height])


@torch.no_grad()
def test_the_end_of_stf_in_bands(monkeypatch):
    net, x = tiny(SymmetricalTransFormer), pictures(SymmetricalTransFormer)
    y = net.analysis(x)
    whole = net.synthesis(y)
    monkeypatch.setattr(bands, "_ELEMENTS", 1)
    torch.testing.assert_close(net.synthesis(y), whole, rtol=1e-5, atol=1e-5)
