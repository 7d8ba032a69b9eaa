"""The optimisers of a recipe's ``[optimizer]``, from torch."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lic_fast.ops.dispatch import multiplies_bfloat16
from lic_fast.training.recipe import Optimizer

__all__ = ["QUANTILES", "Stepper", "make_optimizer"]

QUANTILES = ".quantiles"
"""End of the names of the parameters that the auxiliary loss trains."""


class Stepper(Protocol):
    """What the loop asks of an optimiser."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Each with a learning rate, ``lr``."""

    def step(self) -> Any:
        """One step along the gradients."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What :meth:`state_dict` gave."""


def make_optimizer(model: nn.Module, recipe: Optimizer) -> tuple[list[Tensor], Stepper]:
    """The trained weights, but for the factorised prior's quantiles, and their optimiser.

    Args:
        model: On its device and in its memory layout.
        recipe: Chooses it.

    Returns:
        The parameters, in the model's order; the optimiser.
    """
    named: dict[str, Tensor] = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.endswith(QUANTILES)
    }
    parameters = list(named.values())
    if recipe.name == "muon":
        return parameters, _MuonAndAdam(model, named, recipe)
    return parameters, _adam(parameters, recipe)


def _adam(parameters: list[Tensor], recipe: Optimizer) -> torch.optim.Optimizer:
    # Fused: one pass over the weights, on CPUs and GPUs.
    if recipe.name == "adamw":
        return torch.optim.AdamW(
            parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.Adam(parameters, lr=recipe.lr, fused=True)


class _MuonAndAdam:
    """Muon for the weights of convolutions and linear layers, Adam for everything else."""

    def __init__(self, model: nn.Module, named: dict[str, Tensor], recipe: Optimizer) -> None:
        of_layers = {
            f"{name}.weight" if name else "weight"
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        }
        rest = [parameter for name, parameter in named.items() if name not in of_layers]
        self._muon = Muon([named[name] for name in named if name in of_layers], recipe)
        self._adam = torch.optim.Adam(rest, lr=recipe.lr, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self._muon.param_groups, *self._adam.param_groups]

    def step(self) -> None:
        self._muon.step()
        self._adam.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._muon.zero_grad(set_to_none=set_to_none)
        self._adam.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])


class Muon(torch.optim.Optimizer):
    """Replaces the update of each weight matrix by the nearest orthogonal one.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. A
    convolution's weight is the matrix of output channels by everything else. Steps are scaled to
    the size that Adam's have (Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982,
    equation 4), so that one learning rate serves both.

    ``torch.optim.Muon`` does the same one matrix at a time and in bfloat16, which takes eight
    times as long as the rest of a step on a CPU that has no products of bfloat16
    (``benchmarks/results/training-step.md``). Here matrices of one shape are taken together, in
    the fastest type of their device.

    Args:
        weights: Of two dimensions and more.
        recipe: Learning rate and weight decay.
    """

    def __init__(self, weights: list[Tensor], recipe: Optimizer) -> None:
        super().__init__(weights, {"lr": recipe.lr, "weight_decay": recipe.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients."""
        for group in self.param_groups:
            of_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    update = self._momentum(weight).flatten(1)
                    of_shape.setdefault(update.shape, []).append((weight, update))
            for shape, pairs in of_shape.items():
                updates = _orthogonal(torch.stack([update for _, update in pairs]))
                rate = group["lr"] * _RMS_OF_ADAM * math.sqrt(max(shape))
                for (weight, _), update in zip(pairs, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.view_as(weight), alpha=-rate)

    def _momentum(self, weight: Tensor) -> Tensor:
        """The gradient with Nesterov's momentum."""
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(state["momentum"], _MOMENTUM)


_MOMENTUM = 0.95
_RMS_OF_ADAM = 0.2
# Jordan et al.: five steps take singular values to between 0.7 and 1.2, which is near enough.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def _orthogonal(matrices: Tensor) -> Tensor:
    """The orthogonal matrices nearest to these, (n, rows, columns), by Newton and Schulz.

    An iteration is X <- (a + b X X^T + c (X X^T)^2) X. All of its factors are polynomials in the
    first X X^T, so that they are multiplied with each other, as small square matrices, and with X
    once.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.to(torch.bfloat16 if multiplies_bfloat16(x.device) else torch.float32)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = _NEWTON_SCHULZ
    gram = x @ x.mT
    factors = gram
    for i in range(_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        factors = factor if i == 0 else factor @ factors
        if i < _STEPS - 1:
            gram = factor @ gram @ factor
    x = (factors @ x).to(matrices.dtype)
    return x.mT if tall else x
