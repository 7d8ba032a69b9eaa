"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["averaged"]


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """An average of the model's parameters, itself at first.

    In the first steps the average forgets faster, at (1 + n) / (10 + n) after n steps, so
    that a short run is not an average of what it began with.

    Args:
        model: What ``update_parameters`` is called with after each step.
        decay: Share of the average that a step keeps.
    """

    @torch.no_grad()
    def step(averages: Any, current: Any, count: Any) -> None:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        _lerp(averages, current, 1 - kept)

    average = AveragedModel(model, multi_avg_fn=step)
    average.requires_grad_(False)
    return average


def _lerp(averages: Sequence[Tensor], current: Sequence[Tensor], weight: float) -> None:
    torch._foreach_lerp_(list(averages), [part.detach() for part in current], weight)
