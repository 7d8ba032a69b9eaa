"""Training sees the rounding that the portable model will have, and gradients pass through it."""

import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lic_fast
from lic_fast.entropy.integer import rounding
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.models import WACNN
from lic_fast.models.portable import Simulation
from lic_fast.models.portable.calibration import latents_of
from tests.models.portable.making import calibration, tiny
from tests.models.tiny import CLASSES


def simulated(kind, bits):
    """A model, a simulation of its rounding, and the portable model of the same grids.

    Its weights go to the nearest integers, as in the simulation.
    """
    net = tiny(kind)
    simulation = Simulation(net, bits)
    simulation.choose(calibration())
    with mock.patch.object(
        rounding, "round_weights", lambda w, scale, covariance: rounding.nearest(w, scale)
    ):
        made = lic_fast.make_portable(net, calibration(), bits=bits)
    return net, simulation, made


def latents(net, y, z_hat):
    """Means and scales where nothing but the networks rounds."""
    found = net._latents(z_hat, lambda channels, mean, scale: y[:, channels])
    return torch.stack([found.means, found.scales]).detach()


@pytest.mark.parametrize("bits", [14, 7])
@pytest.mark.parametrize("kind", CLASSES)
def test_each_layer_is_the_integer_layer(kind, bits):
    """Up to the rounding of float32: activations, weights and biases are the same numbers.

    A sum of K products in float32 is off by no more than K + 1 units of 2^-24 of the sum of
    their magnitudes, and weights, activations and the bias are off by one or two each.
    """
    net, simulation, made = simulated(kind, bits)
    y, z_hat = latents_of(net, calibration(1), lambda *_: None)[0]
    seen = {}

    def look(name):
        def hook(module, arguments):
            seen[name] = arguments[0]

        return hook

    layers = {n: m for n, m in made.named_modules() if isinstance(m, IntegerConv2d)}
    layers = {n: m for n, m in layers.items() if not n.endswith(".mix")}  # of a GDN: not simulated
    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers.items()]
    latents(made, y, z_hat)
    for handle in handles:
        handle.remove()
    assert seen.keys() == layers.keys() == simulation.state_dict().keys()
    coarse = 0
    for name, x in seen.items():
        layer, expected = net.get_submodule(name), layers[name](x)
        with simulation.applied():
            found = layer(x)
        linear = isinstance(layer, nn.Linear)
        # The magnitudes of the products, of nearly the same numbers.
        weight, bias = layer.weight.abs(), layer.bias.abs()
        reach = F.linear(x.abs(), weight, bias) if linear else conv2d(layer, x.abs(), weight, bias)
        room = (2**-24 * (weight[0].numel() + 6) * (reach + 1e-3)).detach()
        assert bool(((found - expected).abs() <= room).all()), name
        # Rounding is seen where it is more than that.
        coarse += bool(((layer(x) - expected).abs() > room).any())
    assert coarse > len(seen) / 2


def conv2d(layer, x, weight, bias):
    return F.conv2d(x, weight, bias, layer.stride, layer.padding)


@pytest.mark.parametrize("bits", [14, 7])
def test_a_whole_entropy_path_is_the_integer_one(bits):
    """Beside which floating point is far off: a few activations fall to the other side of a tie."""
    net, simulation, made = simulated(WACNN, bits)
    y, z_hat = latents_of(net, calibration(1), lambda *_: None)[0]
    expected, plain = latents(made, y, z_hat), latents(net, y, z_hat)
    with simulation.applied():
        found = latents(net, y, z_hat)
    assert (found - expected).square().mean() < 0.1 * (plain - expected).square().mean()


@pytest.mark.parametrize("name", ["h_mean_s.0", "cc_mean_transforms.1.0", "lrp_transforms.1.0"])
def test_gradients_pass_straight_through(name):
    """They are those of the convolution of the rounded numbers, handed on as they are."""
    net, simulation, _ = simulated(WACNN, 14)
    layer = net.get_submodule(name)
    layer.requires_grad_(True)
    x = torch.randn(2, layer.in_channels, 6, 6, requires_grad=True)
    operands, convolve = [], F.conv2d

    def watch(x, weight, bias, stride, padding):
        operands.extend(part.detach().clone().requires_grad_(True) for part in (x, weight, bias))
        return convolve(x, weight, bias, stride, padding)

    with mock.patch.object(F, "conv2d", watch), simulation.applied():
        out = layer(x)
    gradient = torch.randn_like(out)
    out.backward(gradient)
    conv2d(layer, *operands).backward(gradient)
    for own, rounded in zip((x, layer.weight, layer.bias), operands, strict=True):
        assert not torch.equal(own, rounded)
        assert torch.equal(own.grad, rounded.grad)


def test_a_model_is_left_as_it_was():
    net = tiny(WACNN)
    before = copy.deepcopy(net.state_dict())
    simulation = Simulation(net, 7)
    y, z_hat = latents_of(net, calibration(1), lambda *_: None)[0]
    plain = latents(net, y, z_hat)
    with simulation.applied():
        assert torch.equal(latents(net, y, z_hat), plain), "there are no grids yet"
    simulation.choose(calibration())
    with simulation.applied():
        assert not torch.equal(latents(net, y, z_hat), plain)
    with pytest.raises(RuntimeError), simulation.applied():
        net.h_mean_s(z_hat[:, :4])
    assert torch.equal(latents(net, y, z_hat), plain)
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not any("forward" in vars(module) for module in net.modules())


def test_grids_are_kept():
    net = tiny(WACNN)
    first, second = Simulation(net, 7), Simulation(net, 7)
    first.choose(calibration())
    y, z_hat = latents_of(net, calibration(1), lambda *_: None)[0]
    second.load_state_dict(first.state_dict())
    assert second.ready
    found = []
    for simulation in (first, second):
        with simulation.applied():
            found.append(latents(net, y, z_hat))
    assert torch.equal(*found)


def test_layers_that_round_compute_in_float32_under_autocast():
    net, simulation, _ = simulated(WACNN, 14)
    y, z_hat = latents_of(net, calibration(1), lambda *_: None)[0]
    with simulation.applied():
        expected = latents(net, y, z_hat)
        with torch.autocast("cpu", torch.bfloat16):
            found = latents(net, y, z_hat)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
