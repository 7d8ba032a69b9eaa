"""Whatever changes in a network is noticed, and a snapshot keeps nothing alive."""

import collections
import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from lic_fast import _C
from lic_fast.engine.capture import register_models
from lic_fast.engine.watch import allowed, refusal
from lic_fast.models.layers import WindowAttention
from lic_fast.models.stf_resampling import PatchMerging, PatchSplit
from lic_fast.models.tcm import WMSA
from lic_fast.ops.plain import GLOBAL_HOOKS
from lic_fast.ops.state import State, modules_of
from tests.engine.networks import NETWORKS, network

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.tensor = torch.zeros(2)
        self.numbers = [1, 2, (3, 4.5)]
        self.names = {"a": 1, "b": [2]}
        self.text = "text" * 3
        self.wide = 10**12
        self.half = 0.5
        self.kinds = {"x", "y"}
        self.loop = [self]

    def forward(self, x):
        return self.conv(x)


def taken(net):
    return _C.Snapshot(list(modules_of([net])), GLOBAL_HOOKS, nn.Parameter)


def hook(*_):
    return None


class Other(nn.Conv2d):
    def forward(self, x):
        return x


def monkey_forward(net):
    type(net).forward = lambda self, x: x


CHANGES = {
    "a forward hook": lambda net: net.conv.register_forward_hook(hook),
    "a pre-hook": lambda net: net.conv.register_forward_pre_hook(hook),
    "a backward hook": lambda net: net.conv.register_full_backward_hook(hook),
    "a backward pre-hook": lambda net: net.conv.register_full_backward_pre_hook(hook),
    "a replaced module": lambda net: setattr(net, "conv", nn.Conv2d(3, 3, 3)),
    "a wrapped module": lambda net: setattr(net, "conv", nn.Sequential(net.conv)),
    "another class": lambda net: setattr(net.conv, "__class__", Other),
    "an own forward": lambda net: setattr(net.conv, "forward", hook),
    "another forward of the class": monkey_forward,
    "another call of the class": lambda net: setattr(type(net), "__call__", hook),
    "another method of the class": lambda net: setattr(type(net), "helper", hook),
    "another weight": lambda net: setattr(net.conv, "weight", nn.Parameter(torch.zeros(1))),
    "no bias": lambda net: setattr(net.conv, "bias", None),
    "a buffer": lambda net: net.conv.register_buffer("b", torch.zeros(1)),
    "a parametrisation": lambda net: parametrize.register_parametrization(
        net.conv, "weight", nn.Identity()
    ),
    "a weight norm": lambda net: nn.utils.weight_norm(net.conv),
    "training": lambda net: net.conv.train(),
    "padding": lambda net: setattr(net.conv, "padding_mode", "circular"),
    "a number": lambda net: setattr(net, "wide", 10**12 + 1),
    "a fraction": lambda net: setattr(net, "half", 0.25),
    "a number of another type": lambda net: setattr(net, "half", True),
    "a text": lambda net: setattr(net, "text", "other"),
    "a tuple": lambda net: setattr(net.conv, "stride", (2, 2)),
    "a tensor": lambda net: setattr(net, "tensor", torch.zeros(2)),
    "an item": lambda net: net.numbers.__setitem__(0, 7),
    "another item": lambda net: net.numbers.append(7),
    "an item of an item": lambda net: net.names["b"].append(3),
    "a key": lambda net: net.names.update(c=1),
    "a set": lambda net: net.kinds.symmetric_difference_update({"y", "z"}),
    "a new attribute": lambda net: setattr(net, "other", 1),
    "no attribute": lambda net: delattr(net, "half"),
    "compiled": lambda net: net.conv.compile(),
}


def own():
    """A network of a class of its own, as some changes are to it."""
    return type("Own", (Plain,), {"forward": Plain.forward})().eval()


@pytest.fixture
def net():
    return own()


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(net, name):
    found = taken(net)
    assert found.holds()
    kept = CHANGES[name](net)
    assert not found.holds()
    assert taken(net).holds()
    del kept


def test_what_is_no_change_is_none(net):
    found = taken(net)
    net.wide = 10**12
    net.half = 1 / 2
    net.text = "".join(["text"] * 3)
    net.conv.stride = tuple(torch.Size([1, 1]))
    net.numbers = [1, 2, (3, 4.5)]
    net.train().eval()
    net.conv.register_forward_hook(hook).remove()
    net(torch.zeros(1, 3, 4, 4))
    net.zero_grad()
    copy.deepcopy(net)
    net.state_dict()
    net.load_state_dict(net.state_dict())
    assert found.holds()


def test_hooks_for_all_modules_are_noticed(net):
    found = taken(net)
    module = nn.modules.module
    for register in (
        module.register_module_forward_hook,
        module.register_module_forward_pre_hook,
        module.register_module_full_backward_hook,
        module.register_module_full_backward_pre_hook,
    ):
        handle = register(hook)
        assert not found.holds()
        assert "hooks for all modules" in refusal(nn.ReLU().eval())
        handle.remove()
        assert found.holds()


def test_a_module_in_the_place_of_one_that_is_gone():
    net = nn.Sequential(nn.ReLU())
    found = taken(net)
    for _ in range(100):  # some lie where the one before was
        net[0] = nn.ReLU()
        assert not found.holds()


@pytest.mark.parametrize("kind", [list, dict, collections.OrderedDict])
def test_types_of_containers(kind):
    net = nn.ReLU()
    net.holder = kind([(1, 2)])
    found = taken(net)
    net.holder = {list: tuple, dict: collections.OrderedDict, collections.OrderedDict: dict}[kind](
        net.holder
    )
    assert not found.holds()


def test_a_snapshot_keeps_no_network_alive():
    net = own()
    found, state = taken(net), State(modules_of([net]))
    assert state.holds()
    gone = weakref.ref(net)
    conv = weakref.ref(net.conv)
    del net
    gc.collect()
    assert gone() is None
    assert conv() is None
    assert not found.holds()
    assert not state.attributes_hold()


def test_numbers_belong_to_the_state_and_not_to_the_attributes(net):
    state = State(modules_of([net]))
    net.conv.weight.data.neg_()
    assert state.attributes_hold()
    assert not state.holds()


def test_modules_of_some_children():
    inner = nn.Sequential(nn.ReLU())
    net = nn.Module()
    net.a, net.b, net.same = inner, nn.GELU(), inner
    assert list(modules_of([net])) == [net, inner, net.b, inner[0]]
    assert list(modules_of([net], ["b"])) == [net, net.b]
    assert list(modules_of([net, net.a])) == [net, inner, net.b, inner[0]]


def test_lists_that_hold_themselves():
    net = nn.ReLU()
    net.loop = []
    net.loop.append(net.loop)
    found = taken(net)
    assert found.holds()
    net.loop.append(1)
    assert not found.holds()


def test_what_is_no_module_and_no_dict_is_refused():
    for modules, dicts in (([1], []), ([], [1])):
        with pytest.raises((TypeError, AttributeError)):
            _C.Snapshot(modules, dicts, nn.Parameter)
    with pytest.raises(TypeError):
        _C.Snapshot([], [], 1)


@pytest.fixture(autouse=True, scope="module")
def _rules():
    register_models()


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_networks_are_allowed(name):
    assert allowed(network(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_watched_networks_are_not_allowed(name):
    net = network(name)
    assert allowed(net)
    modules = list(net.named_modules())
    for full, module in modules:
        for register in (
            module.register_forward_hook,
            module.register_forward_pre_hook,
            module.register_full_backward_hook,
            module.register_full_backward_pre_hook,
        ):
            handle = register(hook)
            assert not allowed(net), full
            handle.remove()
        module.forward = hook
        assert not allowed(net), full
        del module.forward
        module.training = True
        assert allowed(net) == (full != "" and type(module) not in RULES), full
        module.training = False
        kind = type(module)
        module.__class__ = type("Subclass", (kind,), {})
        assert not allowed(net), full
        module.__class__ = kind
        for own, parameter in list(module.named_parameters(recurse=False)):
            parametrize.register_parametrization(module, own, nn.Identity())
            assert not allowed(net), full
            parametrize.remove_parametrizations(module, own, leave_parametrized=False)
            assert module.get_parameter(own).equal(parameter)
        assert allowed(net), full


RULES = (WindowAttention, WMSA, PatchMerging, PatchSplit)


class Quantised(torch.Tensor):
    pass


def test_tensors_of_other_types_are_not_allowed():
    net = nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    net[0].weight = nn.Parameter(net[0].weight.detach().as_subclass(Quantised))
    assert not allowed(net)
    assert "weight" in refusal(net[0])
