"""The slice networks as a GPU runs them, on a CPU: the definition's values, in another order."""

from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lic_fast import backend
from lic_fast.entropy import SliceNetworks, run_slices
from lic_fast.entropy import slices as slices_module
from lic_fast.entropy.hoisted_slices import HoistedSlices, hoisted_slices
from lic_fast.models.layers import slice_networks
from lic_fast.ops import conv3x3

LIMITS = [0, 1, 2, -1]


def networks(limit, attended=False, bias=True, depth=2, dtype=torch.float32):
    torch.manual_seed(0)
    mean, scale, lrp = slice_networks(6, 8, 4, limit, (5, 7)[: depth - 1])
    attention = [None, None]
    if attended:
        attention = [
            nn.ModuleList(nn.Conv2d(n[0].in_channels, n[0].in_channels, 1) for n in mean).to(dtype)
            for _ in range(2)
        ]
    for kind in (mean, scale, lrp):
        for network in kind:
            if not bias:
                network[0].bias = network[2].bias = None
            if dtype != torch.float32:  # parameters without memory cannot be asked
                network.to(dtype)
    return SliceNetworks(mean, scale, lrp, limit, *attention)


def inputs(dtype=torch.float32):
    return [torch.randn(2, c, 3, 5, dtype=dtype) for c in (6, 6, 8)]


def smooth(y):
    """No rounding, which would turn a last bit into a symbol."""

    def quantize(channels, mean, scale):
        return 0.5 * y[:, channels] + mean + 0.1 * scale

    return quantize


def hoisted(nets, means, scales, y):
    always = lambda nets, latents: HoistedSlices(nets)  # noqa: E731
    with mock.patch.object(slices_module, "hoisted_slices", always):
        return run_slices(nets, means, scales, smooth(y))


def assert_equal(actual, expected, dtype):
    # Sums of at most 9 * 14 products of order 1 in another order, through six layers.
    tolerance = 200 * torch.finfo(dtype).eps
    for kind in ("y_hat", "means", "scales"):
        one, other = getattr(actual, kind), getattr(expected, kind)
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
def test_hoisted_networks_are_the_networks(limit, attended, dtype):
    nets = networks(limit, attended, depth=3, dtype=dtype)
    means, scales, y = inputs(dtype)
    with backend("reference"):
        plain = run_slices(nets, means, scales, smooth(y))
    assert_equal(hoisted(nets, means, scales, y), plain, dtype)


@torch.no_grad()
@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
def test_networks_without_bias(limit, attended):
    nets = networks(limit, attended, bias=False, dtype=torch.float64)
    means, scales, y = inputs(torch.float64)
    with backend("reference"):
        plain = run_slices(nets, means, scales, smooth(y))
    assert_equal(hoisted(nets, means, scales, y), plain, torch.float64)


class Calls(TorchDispatchMode):
    """Convolutions that are called: Triton's, and others, with a mark where the host waits."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name() in ("lic_fast::conv3x3", "aten::convolution"):
            self.seen.append((func.name(), args[0].shape[1]))
        return func(*args, **(kwargs or {}))


def on_cuda(nets):
    """The networks with parameters that have a CUDA device but no memory."""
    for kind in (nets.mean, nets.scale, nets.lrp):
        for network in kind:
            for layer in list(network)[::2]:
                layer.weight, layer.bias = (
                    nn.Parameter(torch.empty(p.shape, device="cuda"))
                    for p in (layer.weight, layer.bias)
                )
    return nets


@torch.no_grad()
def test_what_waits_for_a_symbol_is_narrow():
    """By the channels that convolutions read between the indexes and the next indexes."""
    with FakeTensorMode():
        nets = on_cuda(networks(2))
        x = torch.empty(1, 6, 3, 5, device="cuda")
        calls = Calls()

        class Waiting:
            def __call__(self, channels, mean, scale):
                raise AssertionError("nothing to do meanwhile")

            def overlapped(self, channels, mean, scale, meanwhile):
                calls.seen.append("indexes")
                meanwhile()
                calls.seen.append("symbols")
                return mean.contiguous()

        with calls:
            run_slices(nets, x, x, Waiting())
    seen = calls.seen
    assert {name for name in seen if isinstance(name, tuple)} >= {("lic_fast::conv3x3", 12)}
    assert all(name[0] == "lic_fast::conv3x3" for name in seen if isinstance(name, tuple))
    first = seen.index("symbols")
    waited, waiting = [], True
    for call in seen[first + 1 :]:
        if isinstance(call, str):
            waiting = call == "symbols"
        elif waiting:
            waited.append(call[1])
    # Of a step: own share (2 a slice), LRP (5), the newest slice (2), mean and scale (10); the
    # last step has two slices.
    assert waited == [2, 5, 2, 10, 2, 5, 2, 20, 4, 10]


def test_when_networks_are_hoisted():
    with FakeTensorMode():
        nets = on_cuda(networks(1))
        x = torch.empty(1, 6, 3, 5, device="cuda")
        assert hoisted_slices(nets, x) is None  # a gradient may be asked for
        with torch.no_grad():
            assert hoisted_slices(nets, x) is not None
            assert hoisted_slices(nets, x.half()) is None
            assert hoisted_slices(nets, torch.empty(1, 6, 3, 5)) is None
            with backend("reference"):
                assert hoisted_slices(nets, x) is None
            torch.set_autocast_enabled("cuda", True)  # the context asks for a device
            try:
                assert hoisted_slices(nets, x) is None
            finally:
                torch.set_autocast_enabled("cuda", False)
            nets.mean[1][0].register_forward_hook(lambda *_: None)
            assert hoisted_slices(nets, x) is None


@torch.no_grad()
def test_a_tiny_model_s_slices_by_the_kernel():
    """Triton's interpreter, where the GPU would be."""
    pytest.importorskip("triton")
    from lic_fast.ops.conv3x3 import _launch

    def launched(x, weight, bias=None, *, groups=1, activation="none", residual=None):
        return _launch(x, weight, bias, groups, activation, residual)

    nets = networks(2)
    means, scales, y = inputs()
    with backend("reference"):
        plain = run_slices(nets, means, scales, smooth(y))
    with mock.patch(f"{HoistedSlices.__module__}.conv3x3", launched):
        assert launched is not conv3x3
        assert_equal(hoisted(nets, means, scales, y), plain, torch.float32)
