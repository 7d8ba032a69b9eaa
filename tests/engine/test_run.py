"""Programs compute what modules do, and run only where they may."""

import copy
import gc
import threading
import weakref

import pytest
import torch
import torch.utils.flop_counter
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

import lic_fast
from lic_fast import engine
from lic_fast.engine.by_operators import run_by_operators
from lic_fast.engine.cache import cached, entry_of
from tests.engine.networks import MULTIPLES, NETWORKS, network, noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def close(found, expected, tolerance=1e-5):
    scale = expected.abs().max().clamp(min=1)
    return found.shape == expected.shape and (found - expected).abs().max() <= tolerance * scale


def is_program(net, x, **kwargs):
    return engine.why_modules(net, x, **kwargs) is None


NETS = {name: network(name) for name in NETWORKS}


@given(
    name=st.sampled_from(sorted(NETWORKS)),
    size=st.tuples(*[st.integers(1, 9)] * 2),
    batch=st.integers(1, 3),
    last=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_a_program_computes_what_the_modules_do(name, size, batch, last):
    net = NETS[name]
    with torch.no_grad():
        x = noise(batch, 3, *(MULTIPLES[name] * side for side in size))
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        assert is_program(net, x)
        with lic_fast.backend("reference"):
            expected = net(x)
        found = engine.run(net, x)
        assert close(found, expected)
        graph = entry_of(net, "forward", 3, "BCHW").captured.graph
        with lic_fast.backend("reference"):
            by_nodes = run_by_operators(graph, [x.permute(0, 2, 3, 1)], x.dtype)[0]
        assert close(found, by_nodes.permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16(name):
    net = NETS[name]
    x = noise(2, 3, 32, 48)
    expected = net(x)
    found = engine.run(net, x, precision="bfloat16")
    assert found.dtype == torch.float32
    assert not close(found, expected)
    assert (found - expected).square().mean() < 1e-3 * expected.square().mean()


def test_a_network_of_bfloat16():
    net = network("convolutions").bfloat16()
    x = noise(1, 3, 16, 16).bfloat16()
    assert is_program(net, x)
    found = engine.run(net, x)
    assert found.dtype == torch.bfloat16
    expected = net.float()(x.float())
    assert (found - expected).square().mean() < 1e-3 * expected.square().mean()
    with pytest.raises(RuntimeError):  # as of the modules
        engine.run(net, x)


def test_any_strides():
    net = NETS["convolutions"]
    x = noise(2, 3, 40, 40)
    for view in (x[:, :, 3:35, 7:39], x.transpose(2, 3), x[:1].expand(2, 3, 40, 40), x[::2]):
        assert close(engine.run(net, view), net(view))


def test_other_sizes_are_the_modules():
    net = NETS["transformer"]
    x = noise(1, 3, 18, 16)
    with pytest.raises(RuntimeError):
        engine.run(net, x)
    with pytest.raises(RuntimeError):
        engine.run(net, noise(1, 4, 16, 16))
    assert engine.run(NETS["convolutions"], noise(0, 3, 16, 16)).shape == (0, 3, 32, 32)


X = noise(1, 3, 16, 16)


def test_what_of_a_call_asks_for_modules():
    net = network("convolutions")
    assert is_program(net, X)
    assert "backend" in with_(lic_fast.backend("reference"), net)
    assert "autocast" in with_(torch.autocast("cpu"), net)
    assert "gradients" in with_(torch.enable_grad(), net)
    assert "mode" in with_(torch.utils.flop_counter.FlopCounterMode(display=False), net)
    assert with_(torch.inference_mode(), net) is None
    assert with_(torch.device("cpu"), net) is None
    assert "float64" in engine.why_modules(net.double(), X.double())
    assert "float32" in engine.why_modules(net, X)
    net.float().requires_grad_(False)
    with torch.enable_grad():
        assert is_program(net, X)
        assert "gradients" in engine.why_modules(net, X.clone().requires_grad_())
    assert "training" in engine.why_modules(net.train(), X)
    assert is_program(net.eval(), X)
    assert "(3, 16, 16)" in engine.why_modules(net, X[0])
    assert "meta" in engine.why_modules(net, X.to("meta"))


def with_(context, net):
    with context:
        return engine.why_modules(net, X)


def test_gradients_and_traces_are_those_of_the_modules():
    net = network("convolutions")
    with torch.enable_grad():
        engine.run(net, X).square().sum().backward()
    assert net[0].weight.grad.abs().max() > 0
    net.requires_grad_(False)
    traced = torch.jit.trace(lambda x: engine.run(net, x), X, check_trace=False)
    assert close(traced(2 * X), net(2 * X))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()).eval()
    doubled = torch.func.vmap(lambda x: engine.run(net, x))(torch.stack([X, 2 * X]))
    assert close(doubled[1], net(2 * X))


def changed(out):
    return 0.5 * out + (2 * out + 0.5).tanh()


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return changed(self.inner(x))


def leaves(net):
    return [n for n, m in net.named_modules() if n and not isinstance(m, (nn.Identity,))]


@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_is_put_into_a_network_takes_effect(name):
    net = network(name)
    x = noise(1, 3, 16, 16)
    before = engine.run(net, x)
    fired, tried = 0, leaves(net)[::3]
    for full in tried:
        module, (owner, _, own) = net.get_submodule(full), full.rpartition(".")
        handle = module.register_forward_hook(lambda _m, _i, out: changed(out))
        fired += not close(engine.run(net, x), before)
        assert torch.equal(engine.run(net, x), net(x)), full
        handle.remove()
        assert torch.equal(engine.run(net, x), before)

        if "reparam" in full or "lower_bound" in full:
            continue
        net.get_submodule(owner).add_module(own, Wrapper(module))
        assert torch.equal(engine.run(net, x), net(x)), full
        net.get_submodule(owner).add_module(own, module)
        assert torch.equal(engine.run(net, x), before)

        module.forward = lambda *a, m=module: changed(type(m).forward(m, *a))
        assert torch.equal(engine.run(net, x), net(x)), full
        del module.forward

        kind = type(module)
        module.__class__ = type(
            "Sub", (kind,), {"forward": lambda self, *a, k=kind: changed(k.forward(self, *a))}
        )
        assert torch.equal(engine.run(net, x), net(x)), full
        module.__class__ = kind
        assert torch.equal(engine.run(net, x), before)
    assert fired > len(tried) / 2


class Smaller(nn.Module):
    def forward(self, weight):
        return 0.75 * weight


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_and_parametrisations_take_effect(name):
    net = network(name)
    x = noise(1, 3, 16, 16)
    before = engine.run(net, x)
    for full, weight in list(net.named_parameters())[::3]:
        owner, _, own = full.rpartition(".")
        old = weight.clone()
        weight.mul_(0.75)
        smaller = engine.run(net, x)
        assert close(smaller, net(x)), full
        assert not torch.equal(smaller, before), full
        weight.copy_(old)
        parametrize.register_parametrization(net.get_submodule(owner), own, Smaller())
        assert close(engine.run(net, x), smaller), full
        parametrize.remove_parametrizations(net.get_submodule(owner), own, leave_parametrized=False)
        assert torch.equal(engine.run(net, x), before), full


def test_replaced_modules_are_programs_again():
    net = network("convolutions")
    engine.run(net, X)
    net[3] = nn.ReLU()
    assert is_program(net, X)
    assert close(engine.run(net, X), net(X))
    net[3] = nn.Hardswish()
    assert is_program(net, X)
    assert close(engine.run(net, X), net(X))
    net[2] = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular").eval()
    assert not is_program(net, X)
    assert torch.equal(engine.run(net, X), net(X))
    net[2] = nn.Conv2d(8, 8, 3, padding=1).eval()
    net[2].padding = (0, 0)
    assert close(engine.run(net, X), net(X))


def test_writes_without_a_trace_need_refresh():
    net = network("convolutions")
    engine.run(net, X)
    for weight in net.parameters():
        weight.data.mul_(0.9)  # of a whole tensor: seen
    assert close(engine.run(net, X), net(X))
    entry = entry_of(net, "forward", 3, "BCHW")
    lic_fast.refresh(net)
    assert entry_of(net, "forward", 3, "BCHW") is not entry
    assert close(engine.run(net, X), net(X))


def test_a_user_adds_an_activation():
    class Cubic(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = 0.1

        def forward(self, x):
            return torch.einsum("bchw,bchw,bchw->bchw", x, x, x) * self.factor + x

    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Cubic(), nn.Conv2d(8, 3, 1)).eval()
    assert "Cubic is not known" in engine.why_modules(net, X)
    assert torch.equal(engine.run(net, X), net(X))

    @engine.lowers(Cubic)
    def cubic(module, x):
        return x * x * x * module.factor + x

    assert is_program(net, X)
    assert close(engine.run(net, X), net(X))
    net[1].factor = -2.0
    assert close(engine.run(net, X), net(X))


def test_nothing_keeps_a_network_alive():
    net = network("transformer")
    engine.run(net, noise(1, 3, 16, 16))
    assert cached(net)
    gone = [weakref.ref(net), weakref.ref(net[1].attn), weakref.ref(net[0].weight)]
    del net
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_copies_are_networks_of_their_own():
    net = network("convolutions")
    before = engine.run(net, X)
    other = copy.deepcopy(net)
    other[0].weight.mul_(2)
    assert close(engine.run(other, X), other(X))
    assert torch.equal(engine.run(net, X), before)


def test_threads():
    nets = [network("mixed", seed) for seed in range(2)]
    x = noise(1, 3, 16, 16)
    expected = [net(x) for net in nets]
    errors = []

    def work(net, expected):
        try:
            with torch.no_grad():
                for i in range(20):
                    if i % 5 == 4:
                        net[0].weight.mul_(1)
                    assert close(engine.run(net, x), expected)
                    # The modules of others are not disturbed by a capture.
                    assert close(net(x), expected)
        except BaseException as error:
            errors.append(error)

    workers = [
        threading.Thread(target=work, args=pair) for pair in [*zip(nets, expected, strict=True)] * 2
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors


@pytest.mark.parametrize("band_rows", [1, 3, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_bands_change_nothing(name, band_rows):
    entry = entry_of(NETS[name], "forward", 3, "BCHW")
    x = [noise(1, 48, 40, 3)]
    program = entry.program(False)
    assert torch.equal(program.of_tensors(x, 2, band_rows)[0], program.of_tensors(x, 1, 1000)[0])


def test_explain():
    net = network("convolutions")
    engine.run(net, X)
    (found,) = engine.explain(net).networks
    assert found.is_program
    assert [node[0] for node in found.nodes][:2] == ["conv2d", "gdn"]
    assert "a program of" in str(engine.explain(net))
    net[3].register_forward_hook(lambda *_: None)
    (found,) = engine.explain(net).networks
    assert not found.is_program
    assert "hooks" in found.reason
    assert "modules, because" in str(engine.explain(net))
