"""The models' networks are programs, of the nodes that their definitions make one expect."""

from collections import Counter

import pytest
import torch

import lic_fast
from lic_fast import engine
from lic_fast.engine.capture import capture
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer
from tests.engine.networks import noise
from tests.models.tiny import CLASSES, tiny

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def networks(net):
    """Name, module, method, channels of its input, and pixels for each of that's along a side."""
    whole = isinstance(net, SymmetricalTransFormer)
    hyper = net.entropy_bottleneck.channels
    found = [
        ("g_a", net if whole else net.g_a, "analysis" if whole else "forward", 3, 1),
        ("g_s", net if whole else net.g_s, "synthesis" if whole else "forward", net.M, 16),
        ("h_a", net.h_a, "forward", net.M, 16),
        ("h_mean_s", net.h_mean_s, "forward", hyper, 64),
        ("h_scale_s", net.h_scale_s, "forward", hyper, 64),
    ]
    if isinstance(net, TCM):
        found += [("atten_mean", net.atten_mean[0], "forward", net.M, 16)]
    return found


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3)])
def test_networks_are_programs(kind, size):
    net = tiny(kind)
    with torch.no_grad():
        for name, module, method, channels, scale in networks(net):
            x = noise(2, channels, *(net.multiple * side // scale for side in size))
            assert engine.why_modules(module, x, method=method) is None, name
            with lic_fast.backend("reference"):
                expected = getattr(module, method)(x)
            found = engine.run(module, x, method=method)
            assert found.shape == expected.shape
            bound = 2e-5 * expected.abs().max().clamp(min=1)
            assert (found - expected).abs().max() <= bound, name


KINDS = {
    WACNN: {"conv2d", "conv_transpose2d", "gate", "gdn", "linear", "window_attention"},
    SymmetricalTransFormer: {
        *("conv2d", "depth_to_space", "feed_forward", "layer_norm", "linear"),
        *("space_to_depth", "window_attention"),
    },
    TCM: {
        *("binary", "concat", "conv2d", "feed_forward", "gate", "gdn", "linear", "split"),
        "window_attention",
    },
}


@pytest.mark.parametrize("kind", CLASSES)
def test_nodes_are_fused(kind):
    net = tiny(kind)
    counts = Counter()
    for _, module, method, channels, _ in networks(net):
        counts += Counter(node.kind for node in capture(module, method, channels).graph.nodes)
    assert set(counts) == KINDS[kind]
    assert counts["layer_norm"] <= 1  # of STF's patches


def test_hooks_of_other_parts_of_a_model_do_not_matter():
    net = tiny(SymmetricalTransFormer)
    x = noise(1, 3, 64, 64)
    with torch.no_grad():
        net.h_a[0].register_forward_hook(lambda *_: None)
        assert engine.why_modules(net, x, method="analysis") is None
        net.layers[0].register_forward_hook(lambda *_: None)
        assert "hooks" in engine.why_modules(net, x, method="analysis")
        y = noise(1, net.M, 4, 4)
        assert engine.why_modules(net, y, method="synthesis") is None


def test_integers_are_no_graphs():
    from tests.models.tiny import pictures

    net = lic_fast.make_portable(tiny(WACNN), [pictures(WACNN)])
    z = noise(1, net.entropy_bottleneck.channels, 2, 2).round()
    with torch.no_grad():
        assert engine.why_modules(net.h_mean_s, z) is not None
