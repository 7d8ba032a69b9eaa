"""The optimisers of a recipe."""

import copy

import pytest
import torch
from torch import nn

from lic_fast.models import WACNN
from lic_fast.training.optimizers import make_optimizer
from lic_fast.training.recipe import Optimizer, Recipe
from lic_fast.training.state import RunState

ARGUMENTS = {
    "N": 8,
    "M": 24,
    "num_slices": 3,
    "max_support_slices": 1,
    "hyper_channels": (16, 16, 12, 12, 6),
    "hyper_synthesis_channels": (8, 12, 16, 16, 24),
    "entropy_channels": (12, 10, 8),
    "num_heads": 4,
}


def network(layout: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 8, 3), nn.ConvTranspose2d(8, 6, 3), nn.Conv2d(6, 5, 1)]
    return nn.Sequential(*layers).to(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_steps_along_each_convolution_as_a_matrix(layout):
    torch.manual_seed(1)
    recipe = Optimizer(name="muon", lr=0.01)
    model, plain = network(layout), network(torch.contiguous_format)
    parameters, optimizer = make_optimizer(model, recipe)
    assert [id(p) for p in parameters] == [id(p) for p in model.parameters()]
    # The definition: torch's own Muon, on matrices that are made and put back by hand.
    matrices = [
        nn.Parameter(p.detach().flatten(1).clone()) for p in plain.parameters() if p.ndim > 1
    ]
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    biases = [p for p in plain.parameters() if p.ndim == 1]
    adam = torch.optim.Adam(biases, lr=0.01)
    before = [p.detach().clone() for p in parameters]
    for _ in range(3):
        gradients = [torch.randn(p.shape) for p in parameters]
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient.clone(memory_format=torch.preserve_format)
        for p, gradient in zip(plain.parameters(), gradients, strict=True):
            p.grad = gradient
        weights = (g for g in gradients if g.ndim > 1)
        for matrix, gradient in zip(matrices, weights, strict=True):
            matrix.grad = gradient.flatten(1)
        optimizer.step()
        muon.step()
        adam.step()
        optimizer.zero_grad(set_to_none=True)
        assert all(p.grad is None for p in parameters)
    expected = iter(matrices)
    for p, first, bias in zip(parameters, before, plain.parameters(), strict=True):
        if p.ndim == 1:
            torch.testing.assert_close(p, bias)
            continue
        # Its products are in bfloat16, and their columns stand in another order.
        moved, wanted = p - first, next(expected).view_as(p) - first
        assert (moved - wanted).norm() < 0.03 * wanted.norm()


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_a_saved_state_goes_on_as_it_would_have(name):
    recipe = Recipe.from_tables(
        {"loss": {"lambda": 0.01}, "schedule": {"steps": 9}, "optimizer": {"name": name}}, "here"
    )
    states = []
    for _ in range(2):
        torch.manual_seed(2)
        model = WACNN(**ARGUMENTS).to(memory_format=torch.channels_last)
        states.append(RunState(model, recipe, 1))
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(p.shape, generator=generator) for p in states[0].parameters]

    def step(state: RunState) -> None:
        for p, gradient in zip(state.parameters, gradients, strict=True):
            p.grad = gradient.clone()
        state.optimizer.step()
        state.optimizer.zero_grad()

    step(states[0])
    saved = copy.deepcopy(states[0].save())  # as a file would hold it
    with torch.no_grad():
        for p in states[1].parameters:
            p.add_(1)
    states[1].load(saved)
    for state in states:
        step(state)
    for first, second in zip(states[0].parameters, states[1].parameters, strict=True):
        assert torch.equal(first, second)


def test_muon_leaves_what_is_no_matrix_to_adam():
    torch.manual_seed(4)
    model = WACNN(**ARGUMENTS)
    parameters, optimizer = make_optimizer(model, Optimizer(name="muon"))
    counts = [len(group["params"]) for group in optimizer.param_groups]
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    layers = sum(isinstance(module, kinds) for module in model.modules())
    assert counts == [layers, len(parameters) - layers]
    quantiles = {id(p) for n, p in model.named_parameters() if n.endswith("quantiles")}
    assert quantiles
    assert not quantiles & {id(p) for p in parameters}
