"""Graphs compute what the modules do."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lic_fast
from lic_fast.engine import Unsupported, Value, lowers
from lic_fast.engine.by_operators import run_by_operators
from lic_fast.engine.capture import capture
from tests.engine.networks import MULTIPLES, NETWORKS, network, noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def by_operators(net, x, method="forward", dtype=torch.float32):
    captured = capture(net, method, x.shape[1])
    out = run_by_operators(captured.graph, [x.permute(0, 2, 3, 1)], dtype)[0]
    return out if captured.layout == "BHWC" else out.permute(0, 3, 1, 2)


def assert_same(net, x, method="forward"):
    with torch.no_grad(), lic_fast.backend("reference"):
        expected = getattr(net, method)(x)
        found = by_operators(net, x, method)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(3, 5), (2, 2), (1, 4)])
def test_a_graph_computes_what_the_modules_do(name, size):
    rows, columns = (MULTIPLES[name] * side for side in size)
    assert_same(network(name), noise(2, 3, rows, columns))


def test_fused_nodes():
    def kinds(name):
        return [node.kind for node in capture(network(name), "forward", 3).graph.nodes]

    assert kinds("convolutions") == [
        *("conv2d", "gdn", "conv2d", "conv_transpose2d", "gdn", "conv2d", "conv2d")
    ]
    attention = ["linear", "window_attention", "linear", "feed_forward"]
    assert kinds("transformer") == [
        *("conv2d", *attention, "space_to_depth", "linear"),
        *(*attention, "linear", "depth_to_space", "conv2d"),
    ]
    assert kinds("mixed") == [
        *("conv2d", "linear", "split", "split", "conv2d", "conv2d", "binary"),
        *(*attention, "concat", "linear", "conv_transpose2d"),
    ]
    assert "gate" in kinds("residual_blocks")
    assert not {"unary", "layer_norm", "pixel_shuffle"} & {
        kind for name in ("transformer", "mixed", "convolutions") for kind in kinds(name)
    }


class OfFunction(nn.Module):
    """Gives what a function of the input does."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.function(self, x)


lic_fast.engine.traces(OfFunction)


def of(function):
    torch.manual_seed(0)
    return OfFunction(function).eval()


FUNCTIONS = {
    "silu": lambda m, x: F.silu(m.conv(x)),
    "hardswish": lambda m, x: F.hardswish(4 * x),
    "relu6": lambda m, x: F.relu6(4 * x),
    "clamp": lambda m, x: x.clamp(-0.5, 0.25) + torch.clamp(x, min=0.1),
    "leaky": lambda m, x: F.leaky_relu(x, 0.2),
    "leaky of a convolution": lambda m, x: F.leaky_relu(m.conv(x), 0.2),
    "arithmetic": lambda m, x: (2 * x - 1) / 3 + 0.5 * (1 - x) ** 2 - x / (x.abs() + 1),
    "extremes": lambda m, x: torch.maximum(x, m.conv(x)) - torch.minimum(x, -x),
    "powers": lambda m, x: x * (x**2 + 1).rsqrt() + (x.exp() + 1).sqrt() + x.tanh(),
    "parts": lambda m, x: torch.cat([p * i for i, p in enumerate(x.split([1, 3], 1))], dim=1),
    "three parts": lambda m, x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "in place": lambda m, x: _in_place(m, x),
    "both terms": lambda m, x: m.conv(x) + m.conv(x + 1),
    "one term twice": lambda m, x: (lambda y: y + y)(m.conv(x)),
    "a sum of an activation": lambda m, x: F.relu(m.conv(x)) + x,
    "an activation of a sum": lambda m, x: F.relu(m.conv(x) + x),
    "a result that is read again": lambda m, x: F.gelu(y := m.conv(x)) + y,
    "a squared norm": lambda m, x: x * F.conv2d(x**2, m.conv.weight.abs()[:, :, :1, :1]),
    "alpha": lambda m, x: torch.add(x, m.conv(x), alpha=3) - torch.sub(x, 2, alpha=2),
    "nothing": lambda m, x: x,
}


def _in_place(m, x):
    y = m.conv(x)
    z = y
    y += x
    return F.relu(y, inplace=True) + z


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert_same(of(FUNCTIONS[name]), 2 * noise(2, 4, 6, 5))


REFUSED = {
    "numbers": lambda m, x: x if x.max() > 0 else -x,
    "a truth": lambda m, x: x if (x > 0).all() else -x,
    "sizes": lambda m, x: x / x.shape[2],
    "another function": lambda m, x: torch.fft.fft2(x),
    "a norm of columns": lambda m, x: F.layer_norm(x, x.shape[3:]),
    "groups": lambda m, x: F.conv2d(x, m.conv.weight[:, :1], groups=4),
    "another axis": lambda m, x: torch.cat([x, x], 2),
    "weights as a map": lambda m, x: x + m.conv.bias[:, None, None],
    "writes to the input": lambda m, x: F.relu(x, inplace=True),
    "writes to a part": lambda m, x: F.relu(m.conv(x).chunk(2, 1)[0], inplace=True),
    "an image": lambda m, x: x[0],
    "a tuple": lambda m, x: (x, x),
    "shuffled pixels of a sum": lambda m, x: F.pixel_shuffle(m.conv(x) + x * 2, 2),
    "a root that is no factor": lambda m, x: x.rsqrt() + 1,
    "an exception": lambda m, x: x + "text",
    "another layout": lambda m, x: x + x.permute(0, 2, 3, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_node_is_refused(name):
    with pytest.raises(Unsupported):
        capture(of(REFUSED[name]), "forward", 4)


class Ramp(nn.Module):
    """An activation of a user's, by something that capture does not know."""

    def forward(self, x):
        return torch.special.expit(x * 4).mul(x)


def test_a_users_activation_by_a_rule():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Ramp(), nn.Conv2d(4, 3, 1)).eval()
    with pytest.raises(Unsupported, match=r"1: the class .*Ramp is not known"):
        capture(net, "forward", 3)

    @lowers(Ramp)
    def ramp(module, x):
        assert isinstance(module, Ramp)
        assert isinstance(x, Value)
        return x * torch.sigmoid(4 * x)

    assert_same(net, noise(2, 3, 4, 5))
    # No more, once its forward is another one.
    old, Ramp.forward = Ramp.forward, lambda self, x: x
    try:
        with pytest.raises(Unsupported, match="forward of Ramp"):
            capture(net, "forward", 3)
    finally:
        Ramp.forward = old


def test_a_users_function_by_a_rule():
    @lowers(torch.special.expit)
    def expit(input):
        return torch.sigmoid(input)

    assert_same(of(lambda m, x: torch.special.expit(x)), noise(1, 4, 3, 3))


def test_a_method_and_the_children_that_it_uses():
    torch.manual_seed(0)

    @lic_fast.engine.traces
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.layers = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
            self.other = nn.Bilinear(3, 3, 3)

        def analysis(self, x):
            x = self.first(x)
            for layer in self.layers:
                x = layer(x)
            return x.permute(0, 2, 3, 1)

    net = Model().eval()
    assert_same(net, noise(2, 3, 4, 5), "analysis")
    captured = capture(net, "analysis", 3)
    assert captured.children == {"first", "layers"}
    assert captured.layout == "BHWC"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_types(dtype):
    net = network("convolutions")
    x = noise(1, 3, 8, 8)
    with torch.no_grad():
        expected = net(x)
        found = by_operators(net, x, dtype=dtype)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
