"""The optimisers of a recipe's ``[optimizer]``, from torch."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

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
    """Muon for the weights of convolutions and linear layers, Adam for everything else.

    Muon replaces the update of a matrix by the nearest orthogonal one (Jordan et al., "Muon:
    An optimizer for hidden layers in neural networks", 2024). A convolution's weight is the
    matrix of output channels by everything else. Steps are scaled to the size that Adam's
    have (Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, equation 4), so
    that one learning rate serves both.
    """

    def __init__(self, model: nn.Module, named: dict[str, Tensor], recipe: Optimizer) -> None:
        of_layers = {
            f"{name}.weight" if name else "weight"
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        }
        chosen = [named[name] for name in named if name in of_layers]
        self._pairs = [(weight, *_matrix(weight.detach())) for weight in chosen]
        self._muon = torch.optim.Muon(
            [matrix for _, matrix, _ in self._pairs],
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        rest = [parameter for name, parameter in named.items() if name not in of_layers]
        self._adam = torch.optim.Adam(rest, lr=recipe.lr, fused=True)
        self._weights = chosen

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self._muon.param_groups, *self._adam.param_groups]

    def step(self) -> None:
        for weight, matrix, order in self._pairs:
            if weight.grad is not None:
                matrix.grad = weight.grad.permute(order).flatten(1)
        self._muon.step()
        self._adam.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._muon.zero_grad(set_to_none=set_to_none)
        self._adam.zero_grad(set_to_none=set_to_none)
        for weight in self._weights:
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])


def _matrix(weight: Tensor) -> tuple[Tensor, list[int]]:
    """The weight as a matrix in the same memory, and the order of its dimensions in it."""
    order = list(range(weight.ndim))
    if not weight.is_contiguous():
        # Channels last.
        order = [0, *order[2:], 1]
    return weight.permute(order).view(weight.shape[0], -1), order
