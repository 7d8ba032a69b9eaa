"""Everything of a run that changes with its steps, and how it is saved."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from lic_fast.errors import TrainingError
from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import Simulation
from lic_fast.training.ema import averaged
from lic_fast.training.optimizers import QUANTILES, make_optimizer
from lic_fast.training.recipe import Recipe

__all__ = ["RunState"]


class RunState:
    """Weights, their average, optimisers and counters.

    Args:
        model: On its device.
        recipe: Decides on the rest.
        means: Length of the vector that reports are the mean of.

    Attributes:
        simulation: Of the portable model's rounding, or None.
        step: Steps done.
        elapsed: Seconds spent.
        skipped: Steps whose gradients were not finite.
        skipped_in_a_row: The same, since the last that was.
        finished: Whether the run had come to its end.
        sums: What reports are the mean of, since the last report.
        counted: How many steps are in `sums`.
    """

    def __init__(self, model: SliceCompressionModel, recipe: Recipe, means: int) -> None:
        self.model = model
        self.average: AveragedModel | None = (
            averaged(model, recipe.ema.decay) if recipe.ema.decay else None
        )
        bits = recipe.quantization.bits
        self.simulation = Simulation(model, bits) if bits else None
        quantiles = [p for n, p in model.named_parameters() if n.endswith(QUANTILES)]
        self.parameters, self.optimizer = make_optimizer(model, recipe.optimizer)
        self.aux_optimizer = torch.optim.Adam(quantiles, lr=recipe.optimizer.aux_lr)
        self.step = 0
        self.elapsed = 0.0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.finished = False
        self.sums = torch.zeros(means, device=next(model.parameters()).device)
        self.counted = 0

    @property
    def averaged_model(self) -> SliceCompressionModel:
        """The model that is validated and shipped."""
        return self.model if self.average is None else cast(Any, self.average.module)

    def save(self) -> dict[str, Any]:
        """Plain values and tensors."""
        saved = {
            "architecture": self.model.architecture,
            "arguments": dict(self.model.arguments),
            "state_dict": self.averaged_model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "aux_optimizer": self.aux_optimizer.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
            "sums": self.sums,
        }
        if self.average is not None:
            saved["model"] = self.model.state_dict()
            saved["averaged_steps"] = int(self.average.n_averaged)
        if self.simulation is not None:
            saved["simulation"] = self.simulation.state_dict()
        return saved

    def load(self, saved: dict[str, Any]) -> None:
        """What :meth:`save` gave, for the same recipe.

        Raises:
            TrainingError: It is of another model or recipe, or entries are missing.
        """
        try:
            if ("model" in saved) != (self.average is not None):
                raise TrainingError("the checkpoint and the recipe differ in [ema]")
            if self.simulation is not None:
                self.simulation.load_state_dict(saved["simulation"])
            self.model.load_state_dict(saved.get("model", saved["state_dict"]))
            if self.average is not None:
                self.average.module.load_state_dict(saved["state_dict"])
                self.average.n_averaged.fill_(int(saved["averaged_steps"]))
            self.optimizer.load_state_dict(saved["optimizer"])
            self.aux_optimizer.load_state_dict(saved["aux_optimizer"])
            for name in _COUNTERS:
                setattr(self, name, saved[name])
            self.sums.copy_(saved["sums"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"the checkpoint does not fit the recipe: {error}") from None


_COUNTERS = ("step", "elapsed", "skipped", "skipped_in_a_row", "finished", "counted")
