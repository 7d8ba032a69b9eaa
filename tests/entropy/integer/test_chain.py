"""Integer layers as chains: the bits of the modules called one by one."""

import pytest
import torch
from torch import nn

from lic_fast import backend
from lic_fast.entropy.integer.activation import ExactGELU, ExactReLU
from lic_fast.entropy.integer.chain import integer_chain
from lic_fast.models import TCM, WACNN
from tests.models.portable.making import portable


def channels_last(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def watched(network):
    """Hooks that keep every module by itself."""
    return [module.register_forward_hook(lambda *_: None) for module in network.modules()]


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "name"),
    [
        (WACNN, "h_mean_s"),
        (WACNN, "cc_scale_transforms.1"),
        (TCM, "atten_mean.1.0.conv_a.0"),
        (TCM, "atten_scale.0.0.conv_b.2"),
        (TCM, "lrp_transforms.1"),
    ],
)
def test_networks_of_a_model_are_chains(model, name):
    network = portable(model).get_submodule(name)
    first = next(m for m in network.modules() if hasattr(m, "inverse_step"))
    x = channels_last(2, len(first.zero), 6, 10)
    chained = getattr(network, "conv", network)
    last = getattr(network, "activation", None)
    assert integer_chain(chained, x, last is not None, last) is not None
    result = network(x)
    with backend("reference"):
        assert torch.equal(network(x), result)
    handles = watched(network)
    try:
        assert integer_chain(chained, x, last is not None, last) is None
        assert torch.equal(network(x), result)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def test_linear_maps_of_tokens_are_a_chain():
    mlp = portable(TCM).get_submodule("atten_mean.0.0.non_local_block.block_1").mlp
    tokens = channels_last(2, len(mlp[0].zero), 6, 10).permute(0, 2, 3, 1)
    assert integer_chain(mlp, tokens, True) is not None
    for residual in (None, tokens * 0.5):
        result = mlp(tokens, residual=residual)
        assert result.shape == tokens.shape
        with backend("reference"):
            assert torch.equal(mlp(tokens, residual=residual), result)


@torch.no_grad()
def test_what_is_no_chain_goes_module_by_module():
    network = portable(TCM).get_submodule("lrp_transforms.0")
    x = channels_last(1, len(network[0].zero), 4, 4)
    # A sum behind the activation of the last layer is another network.
    ended = type(network)(*network, ExactReLU())
    assert integer_chain(ended, x) is not None
    assert integer_chain(ended, x, True) is None
    residual = channels_last(1, len(network[-1].bias), 4, 4, seed=1)
    assert torch.equal(ended(x, residual=residual), ended(x) + residual)
    # The layers' chain is not that of a network that has the same ones and more.
    with backend("reference"):
        expected = network(x)
    assert not torch.equal(expected, ended(x))
    assert torch.equal(network(x), expected)
    assert integer_chain(network, x, False, nn.Tanh()) is None
    # An activation of its own kind makes a chain of its own.
    gelu, relu = (network(x, last=kind()) for kind in (ExactGELU, ExactReLU))
    assert torch.equal(relu, network(x).clamp(min=0))
    assert not torch.equal(gelu, relu)
    with backend("reference"):
        assert torch.equal(network(x, last=ExactGELU()), gelu)
