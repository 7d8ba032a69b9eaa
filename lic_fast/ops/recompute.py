"""Gradients of a fused operator through its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["register_gradient"]


def register_gradient(operator: Any, definition: Callable[..., Tensor]) -> None:
    """Gives a ``torch.library.custom_op`` the gradient of its definition, computed again.

    Nothing but the operands is kept for the backward pass.

    Args:
        operator: Returns one tensor.
        definition: Takes the operator's arguments in its order, in plain PyTorch.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        # Tensors go through save_for_backward, which sees whether they were written to since.
        ctx.others = [None if isinstance(x, Tensor) else x for x in inputs]
        ctx.places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]
        ctx.save_for_backward(*(inputs[i] for i in ctx.places))

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.others)
        for i, saved in zip(ctx.places, ctx.saved_tensors, strict=True):
            arguments[i] = saved.detach().requires_grad_(ctx.needs_input_grad[i])
        with torch.enable_grad():
            out = definition(*arguments)
        wanted = [i for i in ctx.places if ctx.needs_input_grad[i]]
        grads: list[Tensor | None] = [None] * len(arguments)
        found = torch.autograd.grad(out, [arguments[i] for i in wanted], grad)
        for i, gradient in zip(wanted, found, strict=True):
            grads[i] = gradient
        return tuple(grads)

    operator.register_autograd(backward, setup_context=setup_context)
