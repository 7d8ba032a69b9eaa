"""What a user of PyTorch may do takes effect, however unusual."""

import gc
import weakref

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from compressai.layers import GDN
from torch import nn

from lic_fast import engine
from lic_fast.engine import traces
from lic_fast.engine.cache import _ENTRIES


def noise(*shape, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def conv():
    torch.manual_seed(0)
    return nn.Conv2d(3, 8, 3, padding=1).eval()


@traces
class Factors(nn.Module):
    """A new tensor of the same numbers, which is then written to."""

    def __init__(self, same):
        super().__init__()
        self.first, self.second, self.same = conv(), nn.Conv2d(8, 8, 3, padding=1), same

    def forward(self, x):
        h = self.first(x)
        out = self.same(h)
        out += self.second(h)
        return out + h


@pytest.mark.parametrize(
    "same", [lambda h: h * 1.0, lambda h: h + 0, lambda h: h - 0, lambda h: h.clamp(min=-1e4)]
)
def test_a_tensor_of_the_same_numbers_is_another_tensor(same):
    net = Factors(same).eval()
    x = noise(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(engine.run(net, x), net(x), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU6(),
        nn.Hardtanh(-65504, 65504),
        nn.Hardtanh(-1e9, 1e9),
        nn.Hardtanh(-float("inf"), 1),
        nn.Hardtanh(-0.01, 0.02),
        nn.Hardtanh(-1, float("inf")),
    ],
    ids=str,
)
def test_clamps_are_exact(activation, dtype):
    net = nn.Sequential(nn.Conv2d(3, 8, 1), activation).eval().to(dtype)
    nn.init.zeros_(net[0].bias)
    x = noise(1, 3, 16, 16, scale=0.01).to(dtype)
    with torch.no_grad():
        assert engine.why_modules(net, x) is None
        expected = net(x).float()
        found = engine.run(net, x).float()
    tolerance = 2.0**-7 if dtype == torch.bfloat16 else 1e-5
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_clamps_take_infinities_and_no_numbers():
    net = nn.Sequential(nn.Identity(), nn.Hardtanh(-1, 2)).eval()
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.5] * 4).view(1, 1, 4, 4)
    with torch.no_grad():
        assert torch.equal(engine.run(net, x).nan_to_num(7), net(x).nan_to_num(7))


def test_forward_mode_derivatives_are_there():
    net = conv().requires_grad_(False)
    x = noise(1, 3, 16, 16)
    with forward_mode.dual_level(), torch.no_grad():
        out = engine.run(net, forward_mode.make_dual(x, torch.ones_like(x)))
        assert forward_mode.unpack_dual(out).tangent is not None


def test_a_weight_that_is_a_plain_attribute():
    net = conv()
    weight = net.weight.detach().clone().requires_grad_()
    del net.weight
    net.weight = weight
    net.bias.requires_grad_(False)
    x = noise(1, 3, 16, 16)
    assert engine.run(net, x).requires_grad
    with torch.no_grad():
        engine.run(net, x)
        weight.mul_(2)
        assert torch.equal(engine.run(net, x), net(x))


def test_a_weight_that_is_a_buffer():
    net = conv()
    weight = net.weight.detach().clone().requires_grad_()
    del net.weight
    net.register_buffer("weight", weight)
    net.bias.requires_grad_(False)
    assert engine.run(net, noise(1, 3, 16, 16)).requires_grad


def test_modules_in_a_list():
    @traces
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [conv()]

        def forward(self, x):
            return self.layers[0](x)

    net = Listed().eval()
    x = noise(1, 3, 16, 16)
    assert engine.run(net, x).requires_grad
    with torch.no_grad():
        engine.run(net, x)
        net.layers[0].weight.neg_()
        assert torch.equal(engine.run(net, x), net(x))


def test_a_patched_call_is_made(monkeypatch):
    calls = []
    before = nn.Module.__call__

    def counted(module, *args, **kwargs):
        calls.append(module)
        return before(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", counted)
    net = nn.Sequential(conv(), nn.ReLU()).eval()
    with torch.no_grad():
        for _ in range(3):
            engine.run(net, noise(1, 3, 16, 16))
    assert len(calls) == 9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_default_type(dtype):
    net, x = conv(), noise(1, 3, 16, 16)
    with torch.no_grad():
        expected = engine.run(net, x)
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(engine.run(net, x), expected)
        finally:
            torch.set_default_dtype(torch.float32)


def _sum(networks, x, y):
    return (x + y,)


def test_inputs_of_several_types_are_promoted():
    x = noise(1, 3, 4, 4)
    with torch.no_grad():
        (out,) = engine.run_networks(_sum, [nn.Identity().eval()], x.bfloat16(), x)
    assert out.dtype == torch.float32


def test_modules_move_by_swapping_their_tensors():
    """As PyTorch does where ``torch.__future__`` says so; a tensor with weak references cannot."""
    net, x = nn.Sequential(conv(), GDN(8), nn.ReLU()).eval(), noise(1, 3, 16, 16)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with torch.no_grad():
            engine.run(net, x)
            net.to(torch.bfloat16)
            assert engine.why_modules(net, x) is not None
            found = engine.run(net, x.bfloat16()).float()
            torch.testing.assert_close(found, net(x.bfloat16()).float(), rtol=0.02, atol=0.02)
            net.to(torch.float32)
            torch.testing.assert_close(engine.run(net, x), net(x))
            state = net.state_dict()
            net.load_state_dict(state | {"0.weight": 2 * state["0.weight"]})
            torch.testing.assert_close(engine.run(net, x), net(x))
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


class Doubler:
    def __init__(self):
        self.factor = 2.0

    def double(self, networks, x):
        return (self.factor * networks[0](x),)


def test_functions_that_are_made_anew_leave_nothing_behind():
    net, x = conv(), noise(1, 3, 16, 16)
    with torch.no_grad():
        for factor in range(5):

            def scaled(networks, x, factor=float(factor), own=net):
                return (factor * networks[0](x),)

            (out,) = engine.run_networks(scaled, [net], x)
            torch.testing.assert_close(out, factor * net(x))
            (out,) = engine.run_networks(Doubler().double, [net], x)
            torch.testing.assert_close(out, 2 * net(x))
    assert len(_ENTRIES[net]) <= 4
    gone = weakref.ref(net)
    del net, scaled
    gc.collect()
    assert gone() is None


def test_bound_methods_of_one_object_are_one_function():
    net, x, doubler = conv(), noise(1, 3, 16, 16), Doubler()
    with torch.no_grad():
        for _ in range(3):
            engine.run_networks(doubler.double, [net], x)
        assert len(_ENTRIES[net]) == 1
        (entry,) = _ENTRIES[net].values()
        engine.run_networks(doubler.double, [net], x)
        assert list(_ENTRIES[net].values()) == [entry]


class Equal(Doubler):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 7


def test_methods_of_equal_objects_are_several_functions():
    net, x = conv(), noise(1, 3, 16, 16)
    first, second = Equal(), Equal()
    second.factor = 3.0
    with torch.no_grad():
        for doubler in (first, second, first):
            (out,) = engine.run_networks(doubler.double, [net], x)
            torch.testing.assert_close(out, doubler.factor * net(x))
