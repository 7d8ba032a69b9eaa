"""Whatever is put into a model takes effect: hooks, other modules, parametrisations, own forwards.

For every module of every model, a change by which the module gives ``changed(out)`` instead of
``out`` is made in each of the ways that PyTorch has for it, and the result compared with that of
the modules called one by one: hooks that do nothing, in every module, leave no fast path.
"""

import contextlib
import functools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import lic_fast
from lic_fast.entropy import run_slices
from lic_fast.models import TCM, SymmetricalTransFormer
from tests.models.tiny import ARGUMENTS, CLASSES, tiny

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

PARTS = {
    "analysis": ("g_a", "patch_embed", "pos_drop", "layers"),
    "synthesis": ("g_s", "syn_layers", "end_conv"),
    "h_a": ("h_a",),
    "h_mean_s": ("h_mean_s",),
    "h_scale_s": ("h_scale_s",),
    "slices": (
        "cc_mean_transforms",
        "cc_scale_transforms",
        "lrp_transforms",
        "atten_mean",
        "atten_scale",
    ),
    "likelihoods": ("entropy_bottleneck", "gaussian_conditional"),
}


def part_of(name):
    return next(part for part, roots in PARTS.items() if name.split(".")[0] in roots)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(net, part, grad=False):
    """What a part of the model gives: no rounding to integers is in it, which may jump."""
    side = net.multiple
    x = noise(1, 3, side, side).sigmoid()
    y = 3 * noise(1, net.M, side // 16, side // 16)
    z = noise(1, net.entropy_bottleneck.channels, side // 64, side // 64)
    with torch.set_grad_enabled(grad):
        x, y, z = (t.requires_grad_(grad) for t in (x, y, z))
        if part in ("analysis", "synthesis"):
            return [net._network(net, x if part == "analysis" else y, part)]
        if part == "slices":

            def quantize(channels, mean, scale):
                return mean + 0.25 * y[:, channels]

            channels = net.arguments.get("hyper_synthesis_channels", [net.M])[-1]
            means, scales = y[:, :channels].sin(), y[:, :channels].cos()
            latents = run_slices(net.slice_networks(), means, scales, quantize)
            return [latents.y_hat, latents.means, latents.scales]
        if part == "likelihoods":
            return [kind.log() for kind in net(x)["likelihoods"].values()]
        return [getattr(net, part)(y if part == "h_a" else z)]


def close(found, expected):
    return all(
        a.shape == b.shape and (a - b).abs().max() <= 2e-4 * b.abs().max().clamp(min=1)
        for a, b in zip(found, expected, strict=True)
    )


def same(found, expected):
    return all(map(torch.equal, found, expected))


@functools.cache
def model(kind):
    if kind is not TCM:
        return tiny(kind)
    # Fewer blocks, of which there are enough alike.
    torch.manual_seed(0)
    net = TCM(**{**ARGUMENTS[TCM], "config": (1, 2, 1, 1, 1, 1)}).eval()
    net.update()
    return net


@functools.cache
def plain_outputs(kind, part):
    return run(model(kind), part)


@contextlib.contextmanager
def hooked(*handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def one_by_one(net):
    """No module is a fast path's any more."""
    return hooked(*[m.register_forward_hook(lambda *_: None) for m in net.modules()])


def changed(out):
    if isinstance(out, tuple):
        return tuple(changed(part) for part in out)
    return 0.5 * out + (2 * out + 0.5).tanh()  # no norm behind it takes it back


def called(net):
    """Names of the modules that PyTorch calls: all but lists."""
    lists = (nn.ModuleList, nn.ParameterList)
    return [name for name, m in net.named_modules() if name and not isinstance(m, lists)]


@functools.cache
def outputs_one_by_one(kind, part):
    with one_by_one(model(kind)):
        return run(model(kind), part)


@functools.cache
def expected_outputs(kind, name):
    """With this module's output changed, and every module called by itself."""
    net = model(kind)
    module = net.get_submodule(name)
    with one_by_one(net), hooked(module.register_forward_hook(lambda _m, _i, out: changed(out))):
        outputs = run(net, part_of(name))
    assert not same(outputs, outputs_one_by_one(kind, part_of(name))), name
    return outputs


def replaced(net, name, new):
    """Puts another module in a module's place."""
    owner, _, own = name.rpartition(".")
    setattr(net.get_submodule(owner), own, new)


@contextlib.contextmanager
def in_place_of(net, name, new):
    old = net.get_submodule(name)
    replaced(net, name, new)
    try:
        yield
    finally:
        replaced(net, name, old)


class Wrapper(nn.Module):
    """Has no weight of its own, and takes one argument, as the module that it holds does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *inputs):
        return changed(self.inner(*inputs))


def a_forward_hook(net, name):
    module = net.get_submodule(name)
    return hooked(module.register_forward_hook(lambda _m, _i, out: changed(out)))


def a_global_hook(net, name):
    module = net.get_submodule(name)
    return hooked(
        nn.modules.module.register_module_forward_hook(
            lambda m, _i, out: changed(out) if m is module else None
        )
    )


def a_wrapper(net, name):
    return in_place_of(net, name, Wrapper(net.get_submodule(name)))


@contextlib.contextmanager
def an_own_forward(net, name):
    module = net.get_submodule(name)
    module.forward = lambda *inputs: changed(type(module).forward(module, *inputs))
    try:
        yield
    finally:
        del module.forward


@contextlib.contextmanager
def a_subclass(net, name):
    module = net.get_submodule(name)
    kind = type(module)
    module.__class__ = type(
        "Subclass", (kind,), {"forward": lambda self, *inputs: changed(kind.forward(self, *inputs))}
    )
    try:
        yield
    finally:
        module.__class__ = kind


WAYS = [a_forward_hook, a_global_hook, a_wrapper, an_own_forward, a_subclass]

# The tables and medians of these are read by name, as CompressAI's own models do.
BY_NAME = ("entropy_bottleneck", "gaussian_conditional")


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("way", WAYS)
def test_a_changed_output_takes_effect(kind, way):
    net = model(kind)
    failed = []
    # Who asks for hooks of one module asks for those of all.
    for name in called(net)[:: 7 if way is a_global_hook else 1]:
        if way is a_wrapper and name in BY_NAME:
            continue
        try:
            with way(net, name):
                outputs = run(net, part_of(name))
        except (TypeError, AttributeError) as error:
            failed.append(f"{name}: {error}")
            continue
        if not close(outputs, expected_outputs(kind, name)):
            failed.append(name)
    assert not failed, failed
    for part in PARTS:
        assert same(run(net, part), plain_outputs(kind, part))


@pytest.mark.parametrize("kind", CLASSES)
def test_a_changed_input_takes_effect(kind):
    net = model(kind)
    failed = []
    for name in called(net):
        module = net.get_submodule(name)
        seen = []

        def halve(_m, inputs, seen=seen):
            seen.append((inputs[0], inputs[0].clone()))
            return (changed(inputs[0]), *inputs[1:])

        with hooked(module.register_forward_pre_hook(halve)):
            outputs = run(net, part_of(name))
            kept = all(torch.equal(held, copied) for held, copied in seen)
            with one_by_one(net):
                expected = run(net, part_of(name))
        effect = not same(expected, outputs_one_by_one(kind, part_of(name)))
        if not (seen and kept and close(outputs, expected) and effect):
            failed.append(name)
    assert not failed, failed


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_hook_sees_and_may_keep_what_its_module_gives(kind, backend):
    net = model(kind)
    failed = []
    for name in called(net):
        seen = []

        def keep(_m, _i, out, seen=seen):
            seen.extend((part, part.clone()) for part in (out if type(out) is tuple else (out,)))

        with (
            lic_fast.backend(backend),
            hooked(net.get_submodule(name).register_forward_hook(keep)),
        ):
            outputs = run(net, part_of(name))
        kept = seen and all(torch.equal(held, copied) for held, copied in seen)
        if not kept or not close(outputs, plain_outputs(kind, part_of(name))):
            failed.append(name)
    assert not failed, failed


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "which", ["register_full_backward_hook", "register_full_backward_pre_hook"]
)
def test_backward_hooks_fire_in_evaluation(kind, which):
    net = model(kind)
    failed = []
    for name in called(net):
        module = net.get_submodule(name)
        fired = []
        with hooked(getattr(module, which)(lambda *_, fired=fired: fired.append(1))):
            outputs = run(net, part_of(name), grad=True)
            sum(out.square().sum() for out in outputs).backward()
        if not fired or not close(outputs, plain_outputs(kind, part_of(name))):
            failed.append(name)
    net.zero_grad()
    assert not failed, failed


@pytest.mark.parametrize("kind", CLASSES)
def test_an_identity_may_stand_wherever_shapes_allow_it(kind):
    net = model(kind)
    shapes = {}
    handles = [
        module.register_forward_hook(
            lambda _m, inputs, out, name=name: shapes.__setitem__(
                name, inputs[0].shape == getattr(out, "shape", None)
            )
        )
        for name, module in net.named_modules()
    ]
    with hooked(*handles):
        for part in PARTS:
            run(net, part)
    alike = [name for name, kept in shapes.items() if kept and name not in ("", *BY_NAME)]
    assert len(alike) > 50
    failed = []
    for name in alike:
        with in_place_of(net, name, nn.Identity()):
            outputs = run(net, part_of(name))
            with one_by_one(net):
                expected = run(net, part_of(name))
        if not close(outputs, expected):
            failed.append(name)
    assert not failed, failed


class Smaller(nn.Module):
    def forward(self, weight):
        return 0.75 * weight


@pytest.mark.parametrize("kind", CLASSES)
def test_parametrisations_take_effect(kind):
    net = model(kind)
    failed = []
    for name, weight in list(net.named_parameters()):
        if name == "entropy_bottleneck.quantiles":  # an auxiliary loss is all that reads it
            continue
        owner, _, own = name.rpartition(".")
        module = net.get_submodule(owner)
        with torch.no_grad():
            old = weight.clone()
            weight.mul_(0.75)
            expected = run(net, part_of(name))
            weight.copy_(old)
        parametrize.register_parametrization(module, own, Smaller(), unsafe=True)
        try:
            outputs = run(net, part_of(name))
        except (TypeError, AttributeError) as error:
            failed.append(f"{name}: {error}")
        else:
            if not close(outputs, expected):
                failed.append(name)
        finally:
            parametrize.remove_parametrizations(module, own, leave_parametrized=False)
    assert not failed, failed


# Hypothetical pieces of research code, end to end.


class LoRA(nn.Module):
    """A linear map and a product of two small matrices: Hu et al., arXiv 2106.09685."""

    def __init__(self, inner, rank=2):
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(inner.in_features, rank, bias=False)
        self.up = nn.Linear(rank, inner.out_features, bias=False)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [SymmetricalTransFormer, TCM])
def test_low_rank_updates_of_every_linear_map_learn_and_count(kind, training):
    torch.manual_seed(0)
    net = tiny(kind).requires_grad_(False).train(training)
    names = [name for name, m in net.named_modules() if isinstance(m, nn.Linear)]
    for name in names:
        replaced(net, name, LoRA(net.get_submodule(name)))
    x = noise(1, 3, net.multiple, net.multiple).sigmoid()
    out = net(x)
    (out["x_hat"].square().sum() + out["likelihoods"]["y"].log().sum()).backward()
    for name in names:
        assert net.get_submodule(name).up.weight.grad.abs().max() > 0, name


class Zero(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 0


@pytest.mark.parametrize("kind", CLASSES)
def test_subclasses_in_slice_networks_take_effect(kind):
    net = tiny(kind)
    for network in net.cc_mean_transforms:
        for i in range(0, len(network), 2):
            old = network[i]
            network[i] = Zero(old.in_channels, old.out_channels, 3, padding=1)
    _, means, _ = run(net, "slices")
    assert means.abs().max() == 0


def test_another_activation_in_a_perceptron_takes_effect():
    net = tiny(TCM)
    before = run(net, "analysis")
    net.g_a[1].trans_block.mlp[1] = nn.Identity()
    after = run(net, "analysis")
    assert not close(after, before)
    with one_by_one(net):
        assert close(after, run(net, "analysis"))


@pytest.mark.parametrize("kind", CLASSES)
def test_another_padding_takes_effect(kind):
    net = tiny(kind)
    plain = {part: run(net, part) for part in ("analysis", "synthesis", "h_a", "slices")}
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.padding_mode = "circular"
    for part, before in plain.items():
        after = run(net, part)
        with lic_fast.backend("reference"), one_by_one(net):
            assert close(after, run(net, part)), part
        # STF's analysis has no padded convolution.
        if (kind, part) != (SymmetricalTransFormer, "analysis"):
            assert not close(after, before), part
