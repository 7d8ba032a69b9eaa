"""Models of the original classes, which stand-ins are for, and lic_fast's that share with them."""

import copy
import re

import pytest
import torch
from torch import nn

import lic_fast
from lic_fast.errors import CheckpointError
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer
from tests.models.tiny import ARGUMENTS, CLASSES, pictures, tiny

every_model = pytest.mark.parametrize("model", CLASSES)


class DropPath(nn.Module):
    """That of timm."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob


def original(net, kind=None):
    """A module of the original class's name, with its names of parameters and settings."""
    net = copy.deepcopy(net)
    modes = {name: part.training for name, part in net.named_modules()}
    prior = nn.Module()
    for name, value in net.entropy_bottleneck.named_parameters():
        old = name.replace("matrices.", "_matrix").replace("biases.", "_bias")
        prior.register_parameter(old.replace("factors.", "_factor"), value)
    for name, value in net.entropy_bottleneck.named_buffers(recurse=False):
        prior.register_buffer(name, value)
    prior.likelihood_lower_bound = net.entropy_bottleneck.likelihood_lower_bound
    module = (kind or type(type(net).__name__, (nn.Module,), {}))()
    for name, child in net.named_children():
        setattr(module, name, prior if name == "entropy_bottleneck" else child)
    for part in module.modules():
        if hasattr(part, "relative_position_bias_table"):
            heads = part.relative_position_bias_table.shape[1]
            part.scale = part.qk_scale or (part.qkv.in_features // heads) ** -0.5
            part.attn_drop = nn.Dropout(part.attn_drop)
            part.qk_scale = None
        elif hasattr(part, "relative_position_params"):
            part.scale = (part.linear.in_features // len(part.relative_position_params)) ** -0.5
        if hasattr(part, "drop_path"):
            part.drop_path = DropPath(part.drop_path.p) if part.drop_path.p else nn.Identity()
    module.max_support_slices = net.max_support_slices
    module.frozen_stages = getattr(net, "frozen_stages", -1)
    for name, part in module.named_modules():
        part.training = modes.get(name, net.training)
    return module


@every_model
@pytest.mark.parametrize("wrapped", [False, True])
def test_parameters_are_shared(model, wrapped):
    net, x = tiny(model), pictures(model)
    module = original(net)
    fast = lic_fast.accelerate(nn.DataParallel(module) if wrapped else module)
    assert type(fast) is model
    assert fast.compress(x)["strings"] == net.compress(x)["strings"]
    assert {id(p) for p in fast.parameters()} == {id(p) for p in module.parameters()}
    with torch.no_grad():
        for some in (module, net):
            some.h_a.apply(lambda m: m.weight.zero_() if isinstance(m, nn.Conv2d) else None)
    assert torch.equal(fast(x)["x_hat"], net(x)["x_hat"])
    assert lic_fast.accelerate(fast) is fast


@every_model
def test_the_argument_stays_as_it_was_and_flags_come_along(model):
    module = original(tiny(model)).train()
    module.h_a.eval()
    names = [name for i, (name, _) in enumerate(module.named_parameters()) if i % 3 == 0]
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    parameters = {name: (id(p), p.requires_grad) for name, p in module.named_parameters()}
    buffers = {name: (id(b), b.clone()) for name, b in module.named_buffers()}
    modes = {name: part.training for name, part in module.named_modules()}
    fast = lic_fast.accelerate(module)
    assert {n: (id(p), p.requires_grad) for n, p in module.named_parameters()} == parameters
    assert {n: id(b) for n, b in module.named_buffers()} == {n: i for n, (i, _) in buffers.items()}
    assert all(torch.equal(b, buffers[n][1]) for n, b in module.named_buffers())
    assert {name: part.training for name, part in module.named_modules()} == modes
    flags = dict(parameters.values())
    assert all(p.requires_grad is flags[id(p)] for p in fast.parameters())
    assert sum(not p.requires_grad for p in fast.parameters()) == len(names)
    shared = modes.keys() & dict(fast.named_modules()).keys()
    assert {n: fast.get_submodule(n).training for n in shared} == {n: modes[n] for n in shared}


@every_model
def test_flags_stay_if_it_fails(model):
    module = original(tiny(model)).requires_grad_(False)
    module.extra = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match=r"left over extra\.weight"):
        lic_fast.accelerate(module)
    assert not any(p.requires_grad for p in module.h_a.parameters())


def remade(module, quantiles=20.0):
    """As the original's ``update(force=True)``: new tables in the place of the old ones."""
    other = tiny(WACNN)
    with torch.no_grad():
        other.entropy_bottleneck.quantiles[:, 0, 2] = quantiles
    other.update(force=True)
    for name in ("_offset", "_quantized_cdf", "_cdf_length"):
        setattr(module.entropy_bottleneck, name, getattr(other.entropy_bottleneck, name))
    return other


def test_tables_are_shared_both_ways():
    module, x = original(tiny(WACNN)), pictures(WACNN)
    fast = lic_fast.accelerate(module)
    before, stamp = fast.compress(x)["strings"], fast.fingerprint()
    other = remade(module)
    after = fast.compress(x)
    assert after["strings"] != before
    assert after["strings"] == other.compress(x)["strings"]
    assert fast.fingerprint() != stamp
    assert torch.equal(fast.decompress(**after)["x_hat"], other.decompress(**after)["x_hat"])
    tables = module.entropy_bottleneck._quantized_cdf
    with torch.no_grad():
        fast.entropy_bottleneck.quantiles[:, 0, 2] = 30
    fast.update(force=True)
    assert module.entropy_bottleneck._quantized_cdf is not tables
    assert module.entropy_bottleneck._quantized_cdf is fast.entropy_bottleneck._quantized_cdf
    fast.update(scale_table=[0.2, 1.0], force=True)
    assert module.gaussian_conditional.scale_table.tolist() == pytest.approx([0.2, 1.0])
    # Those of a copy are its own.
    alone = copy.deepcopy(fast)
    alone.update(force=True)
    assert len(module.gaussian_conditional.scale_table) == 2


def test_parameters_and_modules_put_in_later_are_not_shared():
    module, x = original(tiny(WACNN)), pictures(WACNN)
    fast = lic_fast.accelerate(module)
    before = fast(x)["x_hat"]
    module.g_s[1].register_forward_hook(lambda *args: 1 / 0)
    module.g_a[0].weight = nn.Parameter(torch.zeros_like(module.g_a[0].weight))
    assert torch.equal(fast(x)["x_hat"], before)


@torch.no_grad()
def test_settings_of_stf_come_along():
    arguments = {
        **ARGUMENTS[SymmetricalTransFormer],
        "qk_scale": 0.3,
        "drop_rate": 0.05,
        "attn_drop_rate": 0.15,
        "drop_path_rate": 0.25,
        "frozen_stages": 2,
        "use_checkpoint": True,
    }
    torch.manual_seed(0)
    net = SymmetricalTransFormer(**arguments).train()
    fast = lic_fast.accelerate(original(net))
    assert fast.arguments == net.arguments
    assert fast.arguments["qk_scale"] == 0.3
    assert fast.frozen_stages == 2
    assert all(stage.use_checkpoint for stage in fast.layers)
    for (name, ours), theirs in zip(fast.named_modules(), net.modules(), strict=True):
        assert ours.training == theirs.training, name
        for setting in ("p", "attn_drop", "qk_scale"):
            assert getattr(ours, setting, None) == getattr(theirs, setting, None), (name, setting)
    x = pictures(SymmetricalTransFormer)
    assert torch.equal(fast.eval()(x)["x_hat"], net.eval()(x)["x_hat"])
    usual = SymmetricalTransFormer.from_state_dict(net.state_dict()).eval()
    assert not torch.allclose(usual(x)["x_hat"], net(x)["x_hat"], atol=1e-4)


@pytest.mark.parametrize("model", [SymmetricalTransFormer, TCM])
def test_stochastic_depth_comes_along_block_by_block(model):
    module = original(tiny(model)).train()
    blocks = [p for p in module.modules() if hasattr(p, "drop_path")]
    for i, block in enumerate(blocks):
        block.drop_path = DropPath(i / 100) if i % 2 else nn.Identity()
    fast = lic_fast.accelerate(module)
    rates = [p.p for n, p in fast.named_modules() if n.endswith("drop_path")]
    assert rates == [i / 100 if i % 2 else 0 for i in range(len(blocks))]


def attention(module):
    return next((n, p) for n, p in module.named_modules() if hasattr(p, "scale") and p.scale)


@pytest.mark.parametrize("model", [WACNN, TCM])
def test_settings_that_a_class_has_no_argument_for_are_refused_by_name(model):
    module = original(tiny(model))
    name, part = attention(module)
    part.scale *= 2
    with pytest.raises(TypeError, match=rf"{re.escape(name)} has the qk_scale .*takes none"):
        lic_fast.accelerate(module)


def test_settings_that_differ_within_stf_are_refused_by_name():
    module = original(tiny(SymmetricalTransFormer))
    first, second = [p for p in module.modules() if hasattr(p, "attn_drop")][:2]
    first.scale, second.scale = 0.1, 0.2
    with pytest.raises(TypeError, match=r"qk_scale of layers.0.blocks.0.attn, .*not the same"):
        lic_fast.accelerate(module)
    module = original(tiny(SymmetricalTransFormer))
    module.layers[0].blocks[0].mlp.drop.p = 0.5
    with pytest.raises(TypeError, match=r"layers.0.blocks.0.mlp.drop has the rate 0.5"):
        lic_fast.accelerate(module)
    module = original(tiny(SymmetricalTransFormer))
    module.syn_layers[0].blocks[0].attn.attn_drop.p = 0.5
    with pytest.raises(TypeError, match=r"layers.0.blocks.0.attn.attn_drop has the rate 0.0"):
        lic_fast.accelerate(module)
    module = original(tiny(WACNN))
    attention(module)[1].attn_drop.p = 0.5
    with pytest.raises(TypeError, match=r"attn_drop has the rate 0.5; accelerate would make it 0"):
        lic_fast.accelerate(module)


class Zero(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 0


def zeroed(conv):
    made = Zero(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    made.load_state_dict(conv.state_dict())
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.h_a.register_forward_hook(print), "h_a has hooks"),
        (lambda m: m.h_a[0].register_forward_pre_hook(print), "h_a.0 has hooks"),
        (lambda m: m.g_a[1].register_full_backward_hook(print), "g_a.1 has hooks"),
        (lambda m: m.register_forward_hook(print), "the model has hooks"),
        (lambda m: setattr(m.g_a[0], "forward", print), "g_a.0 has a forward of its own"),
        (lambda m: m.h_a.__setitem__(0, zeroed(m.h_a[0])), "h_a.0 is a Zero with a forward of its"),
        (
            lambda m: m.h_a.__setitem__(1, nn.ReLU()),
            "h_a.1 is a ReLU; in the original it is a GELU",
        ),
        (lambda m: setattr(m.h_a[1], "approximate", "tanh"), "h_a.1.approximate is tanh"),
        (lambda m: setattr(m.h_a[0], "padding_mode", "circular"), "h_a.0.padding_mode is circular"),
    ],
)
def test_what_would_be_lost_is_refused_by_name(change, message):
    module = original(tiny(WACNN))
    change(module)
    with pytest.raises(TypeError, match=re.escape(message)):
        lic_fast.accelerate(module)


def test_another_eps_of_a_norm_is_refused():
    module = original(tiny(SymmetricalTransFormer))
    module.layers[0].blocks[0].norm1.eps = 1e-3
    with pytest.raises(TypeError, match=r"norm1.eps is 0.001; accelerate would make it 1e-05"):
        lic_fast.accelerate(module)


class Original(nn.Module):
    def forward(self, x):
        return self.codes(x)

    def codes(self, x):
        return x


Original.__name__ = "WACNN"


class Unchanged(Original):
    def learning_rate(self):
        return 1e-4


class Forward(Original):
    def forward(self, x):
        return super().forward(2 * x)


class Helper(Unchanged):
    def codes(self, x):
        return 2 * x


class SameName(Original):
    def forward(self, x):
        return super().forward(2 * x)


SameName.__name__ = "WACNN"


def test_a_subclass_that_changes_no_method_is_accepted():
    net = tiny(WACNN)
    fast = lic_fast.accelerate(original(net, Unchanged))
    assert type(fast) is WACNN
    assert torch.equal(fast(pictures(WACNN))["x_hat"], net(pictures(WACNN))["x_hat"])


@pytest.mark.parametrize(
    ("kind", "name"), [(Forward, "forward"), (Helper, "codes"), (SameName, "forward")]
)
def test_a_subclass_with_a_method_of_its_own_is_refused(kind, name):
    with pytest.raises(TypeError, match=rf"{kind.__qualname__} overrides {name} of WACNN"):
        lic_fast.accelerate(original(tiny(WACNN), kind))


def test_other_classes_are_refused():
    with pytest.raises(TypeError, match="SymmetricalTransFormer, WACNN, TCM, not Linear"):
        lic_fast.accelerate(nn.Linear(2, 2))
    impostor = type("WACNN", (nn.Module,), {})()
    impostor.layer = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"left over layer\.weight"):
        lic_fast.accelerate(impostor)
