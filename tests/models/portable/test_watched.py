"""Whatever is put into the entropy path of a portable model takes effect, bit for bit."""

import contextlib
import copy
from functools import cache

import pytest
import torch
from torch import nn

from lic_fast import backend
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.entropy.integer.path import integer_path
from lic_fast.models import WACNN
from tests.models.portable.making import portable

ROOTS = ("h_mean_s", "h_scale_s", "cc_mean_transforms", "cc_scale_transforms", "lrp_transforms")


@cache
def model():
    return copy.deepcopy(portable(WACNN))


def hyperlatents():
    generator = torch.Generator().manual_seed(3)
    channels = model().entropy_bottleneck.channels
    return (3 * torch.randn(1, channels, 2, 3, generator=generator)).round()


def rounded(channels, mean, scale):
    """Symbols + mean, of symbols that depend on the scale as well."""
    return mean + torch.round(3 * (scale - mean)).clamp(-3, 3)


@torch.no_grad()
def run():
    latents = model()._latents(hyperlatents(), rounded)
    return torch.cat([latents.y_hat, latents.means, latents.scales])


def may_run():
    net = model()
    return integer_path(net.h_mean_s, net.h_scale_s, net.slice_networks(), hyperlatents())


def called():
    """Names of the modules that compute something in a call."""
    return [
        name
        for name, module in model().named_modules()
        if name.startswith(ROOTS) and not isinstance(module, nn.ModuleList)
    ]


class Wrapper(nn.Module):
    def __init__(self, inner, seen):
        super().__init__()
        self.inner = inner
        self.seen = seen

    def forward(self, *inputs, **others):
        self.seen.append(1)
        return 2 * self.inner(*inputs, **others)


@contextlib.contextmanager
def a_hook(name, seen):
    def twice(module, inputs, out):
        seen.append(1)
        return 2 * out

    handle = model().get_submodule(name).register_forward_hook(twice)
    yield
    handle.remove()


@contextlib.contextmanager
def a_wrapper(name, seen):
    parent, _, child = name.rpartition(".")
    owner, module = model().get_submodule(parent), model().get_submodule(name)
    setattr(owner, child, Wrapper(module, seen))
    yield
    setattr(owner, child, module)


@contextlib.contextmanager
def a_subclass(name, seen):
    module = model().get_submodule(name)
    kind = type(module)

    def forward(self, *inputs, **others):
        seen.append(1)
        return 2 * kind.forward(self, *inputs, **others)

    module.__class__ = type("Subclass", (kind,), {"forward": forward})
    yield
    module.__class__ = kind


@pytest.mark.parametrize("way", [a_hook, a_wrapper, a_subclass])
def test_a_changed_module_takes_effect(way):
    plain = run()
    assert may_run() is not None
    for name in called()[::13]:
        seen = []
        with way(name, seen):
            assert may_run() is None
            found = run()
            assert seen, name
            with backend("reference"):
                assert torch.equal(found, run()), name
        assert not torch.equal(found, plain), name
    assert may_run() is not None
    assert torch.equal(run(), plain)


@pytest.mark.parametrize("past_the_counter", [False, True])
def test_a_changed_number_takes_effect(past_the_counter):
    plain = run()
    for name in called()[::5]:
        module = model().get_submodule(name)
        if not isinstance(module, IntegerConv2d):
            continue
        before = module.scale.clone()
        with torch.no_grad():
            (module.scale.data if past_the_counter else module.scale).mul_(2)
            found = run()
            with backend("reference"):
                assert torch.equal(found, run()), name
            assert not torch.equal(found, plain), name
            module.scale.copy_(before)
    assert torch.equal(run(), plain)


def test_another_buffer_takes_effect():
    plain = run()
    module = model().get_submodule(called()[-1])
    before = module.bias
    module.bias = before + 5000
    changed = run()
    module.bias = before
    assert not torch.equal(changed, plain)
    assert torch.equal(run(), plain)


def test_another_network_takes_effect():
    plain, net = run(), model()
    before = net.lrp_transforms[1]
    net.lrp_transforms[1] = net.lrp_transforms[0]
    with contextlib.suppress(RuntimeError, ValueError, TypeError):  # of other channels
        assert not torch.equal(run(), plain)
    net.lrp_transforms[1] = before
    assert torch.equal(run(), plain)
    mean, scale = net.h_mean_s, net.h_scale_s
    net.h_mean_s, net.h_scale_s = scale, mean
    try:
        swapped = run()
        with backend("reference"):
            assert torch.equal(swapped, run())
    finally:
        net.h_mean_s, net.h_scale_s = mean, scale
    assert not torch.equal(swapped, plain)
    assert torch.equal(run(), plain)
