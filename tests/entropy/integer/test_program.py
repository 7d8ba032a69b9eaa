"""Networks as programs: the bits of the modules called one by one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lic_fast import backend
from lic_fast.entropy.integer.path import integer_path
from lic_fast.entropy.integer.program import program_of
from lic_fast.entropy.integer.recorded import Recorded, UnrecordableError
from lic_fast.entropy.integer.slices import integer_slices
from lic_fast.entropy.slices import run_slices
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer
from lic_fast.ops.exact_quantize import exact_quantize
from lic_fast.ops.integer_program import IntegerProgram, run_programs
from lic_fast.runtime.integer import GateStep, LayersStep, QuantizeStep
from tests.models.portable.making import portable


def latents(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    side = model.multiple // 16
    return torch.randn(2, 1, model.M, side, 2 * side, generator=generator).unbind()


def rounded(channels, mean, scale):
    """Symbols + mean, of symbols that depend on the scale as well."""
    return mean + torch.round(3 * (scale - mean)).clamp(-3, 3)


@torch.no_grad()
@pytest.mark.parametrize("model", [TCM, WACNN])
def test_slices_are_those_of_the_modules(model):
    made = portable(model)
    networks, given = made.slice_networks(), latents(made)
    assert integer_slices(networks, given[0]) is not None
    found = run_slices(networks, *given, rounded)
    with backend("reference"):
        assert integer_slices(networks, given[0]) is None
        expected = run_slices(networks, *given, rounded)
    for part in ("y_hat", "means", "scales"):
        assert torch.equal(getattr(found, part), getattr(expected, part))


@torch.no_grad()
@pytest.mark.parametrize("model", [SymmetricalTransFormer, TCM, WACNN])
def test_hyper_syntheses_are_those_of_the_modules(model):
    made = portable(model)
    generator = torch.Generator().manual_seed(1)
    shape = (2, made.entropy_bottleneck.channels, 4, 6)
    z_hat = torch.randint(-9, 10, shape, generator=generator).float()
    path = integer_path(made.h_mean_s, made.h_scale_s, made.slice_networks(), z_hat)
    found = path.hyperprior(z_hat.permute(0, 2, 3, 1).numpy(), 2)
    with backend("reference"):
        expected = [network(z_hat) for network in (made.h_mean_s, made.h_scale_s)]
    for share, wanted in zip(found, expected, strict=True):
        assert torch.equal(torch.from_numpy(share).permute(0, 3, 1, 2), wanted)


@torch.no_grad()
def test_a_watched_attention_is_called():
    made = portable(TCM)
    networks, given = made.slice_networks(), latents(made)
    expected = run_slices(networks, *given, rounded).y_hat
    seen = []
    watched = made.get_submodule("atten_scale.1.0.non_local_block.block_2.msa.attention")
    handle = watched.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        assert integer_slices(networks, given[0]) is None
        assert torch.equal(run_slices(networks, *given, rounded).y_hat, expected)
    finally:
        handle.remove()
    assert len(seen) == 1
    assert integer_slices(networks, given[0]) is not None


@torch.no_grad()
def test_changed_numbers_make_new_programs():
    made = portable(TCM)
    networks, given = made.slice_networks(), latents(made)
    expected = run_slices(networks, *given, rounded).y_hat
    bias = made.get_submodule("atten_mean.0.0.conv_b.3").bias
    before = bias.clone()
    try:
        bias.data += 1000
        changed = run_slices(networks, *given, rounded).y_hat
        with backend("reference"):
            assert torch.equal(run_slices(networks, *given, rounded).y_hat, changed)
    finally:
        bias.data.copy_(before)
    assert not torch.equal(changed, expected)
    assert torch.equal(run_slices(networks, *given, rounded).y_hat, expected)


@torch.no_grad()
def test_an_attention_that_does_something_else_is_called():
    made = portable(TCM)
    networks, given = made.slice_networks(), latents(made)
    odd = replace(networks, mean_attention=[nn.Tanh() for _ in networks.mean])
    assert integer_slices(odd, given[0]) is None
    with backend("reference"):
        expected = run_slices(odd, *given, rounded).y_hat
    assert torch.equal(run_slices(odd, *given, rounded).y_hat, expected)


@torch.no_grad()
def test_maps_are_written_as_they_are_read():
    module = portable(TCM).get_submodule("atten_mean.0.0")
    given = Recorded.input(len(module.in_conv.zero))
    attended = module(given)
    quantizer = module.conv_a[0].conv[0].quantizer
    # The map behind in_conv in float32 and by two quantizers.
    inner = module.in_conv(given)
    outputs = [(inner, None), (inner, quantizer), (inner, module.conv_b[0].conv[0].quantizer)]
    made = program_of(given, outputs)
    kinds = [type(step) for step in made.program.steps]
    assert kinds == [LayersStep, QuantizeStep]
    x = torch.randn(1, len(module.in_conv.zero), 8, 8)
    expected = module.in_conv(x)
    out = [[torch.empty_like(expected)]]
    for _, by in outputs[1:]:
        out.append([half.clone() for half in exact_quantize(expected, *by)])
    wanted = [[half.clone() for half in halves] for halves in out]
    wanted[0] = [expected]
    for halves in out[1:]:
        for half in halves:
            half.fill_(0)
    out[0][0] = torch.empty_like(expected).contiguous(memory_format=torch.channels_last)
    run_programs([(IntegerProgram(*made.program), [exact_quantize(x, *made.quantizer)], out)])
    for halves, values in zip(out, wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(halves, values, strict=True))
    # A residual unit is one network, and the gate one step.
    whole = program_of(given, [(attended, module.in_conv.quantizer)]).program
    assert sum(isinstance(step, GateStep) for step in whole.steps) == 1
    units = [s for s in whole.steps if isinstance(s, LayersStep) and len(s.layers) == 3]
    assert len(units) == 6
    assert not any(isinstance(step, QuantizeStep) for step in whole.steps)


def test_what_no_step_does_is_refused():
    x = Recorded.input(4)
    for refused in (
        lambda: x * x,
        lambda: x + x.chunk(2, 1)[0],
        lambda: x.chunk(3, 1),
        lambda: x.chunk(2, 0),
        lambda: torch.cat([x, x], 2),
        lambda: x * 0.5,
        lambda: x.sigmoid() * x + x,
        lambda: x.permute(0, 1, 3, 2),
        lambda: x.relu(),
        lambda: torch.empty(0) if x.shape else None,
        lambda: x * x.sigmoid() + torch.zeros(4),
    ):
        with pytest.raises(UnrecordableError):
            refused()
    module = portable(TCM).get_submodule("atten_mean.0.0")
    given = Recorded.input(len(module.in_conv.zero))
    inner, quantizer = module.in_conv(given), module.conv_a[0].conv[0].quantizer
    norm = module.non_local_block.block_1.ln1
    for odd in (inner.sigmoid(), inner * inner.sigmoid(), norm(norm(inner))):
        with pytest.raises(UnrecordableError):
            program_of(given, [(odd, quantizer)])
    beside = torch.cat([inner, inner], 1)
    for output in (
        (norm(inner), None),
        (given, None),
        (norm(given), quantizer),
        (beside, None),
        (torch.cat([beside, inner], 1), quantizer),
    ):
        with pytest.raises(UnrecordableError):
            program_of(given, [output])
