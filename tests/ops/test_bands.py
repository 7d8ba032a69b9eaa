"""Layers on bands of rows against the layers on the whole map."""

import pytest
import torch
from torch import nn

from lic_fast.models import TCM, WACNN
from lic_fast.models import bands as models_bands
from lic_fast.ops import bands
from tests.models.tiny import CLASSES, pictures, tiny


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


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_transforms_in_bands(model, batch, monkeypatch):
    net = tiny(model)
    side = net.multiple
    # As low as bands can be, eight times their halo, there are two and more at every scale but
    # the coarsest.
    x = pictures(model, batch).repeat(1, 1, 4, 1)[..., : 2 * side]
    y = net.analysis(x)
    whole = net.synthesis(y)
    heights = []

    def noted(layers, x, **settings):
        def counted(part):
            heights.append(part.shape[2] < x.shape[2])
            return layers(part)

        return in_bands(counted, x, **settings)

    in_bands = bands.in_bands
    monkeypatch.setattr(models_bands, "in_bands", noted)
    monkeypatch.setattr(bands, "_ELEMENTS", 1)
    monkeypatch.setattr(bands, "_MANY_ELEMENTS", 1)
    torch.testing.assert_close(net.analysis(x), y, rtol=1e-4, atol=1e-5)
    assert any(heights)
    heights.clear()
    torch.testing.assert_close(net.synthesis(y), whole, rtol=1e-4, atol=1e-5)
    assert any(heights)


@torch.no_grad()
def test_who_watches_a_module_sees_whole_maps(monkeypatch):
    net, x = tiny(TCM), pictures(TCM).repeat(1, 1, 4, 1)
    monkeypatch.setattr(bands, "_MANY_ELEMENTS", 1)
    seen = []
    handle = net.g_a[1].conv1_1.register_forward_hook(lambda *call: seen.append(call[2].shape[2]))
    watched = net.analysis(x)
    handle.remove()
    assert seen == [x.shape[2] // 2]
    torch.testing.assert_close(net.analysis(x), watched, rtol=1e-4, atol=1e-5)


def test_gradients_go_through_whole_maps(monkeypatch):
    net, x = tiny(WACNN), pictures(WACNN).repeat(1, 1, 4, 1)
    monkeypatch.setattr(bands, "_MANY_ELEMENTS", 1)
    monkeypatch.setattr(models_bands, "in_bands", None)
    net.analysis(x).sum().backward()
    assert net.g_a[0].weight.grad is not None
