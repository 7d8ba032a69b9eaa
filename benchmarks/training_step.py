r"""One training step of a recipe, part by part, and what was worth changing in it.

python -m benchmarks.training_step [recipes/wacnn-nano.toml] [--steps N] [--threads N] \
    -o benchmarks/results/training-step.md

Contenders take turns, a step each. Times are seconds of this process's CPU time on one thread,
medians over the steps: other processes disturb them least. The pictures are random.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models.machine import describe
from lic_fast.ops.dispatch import multiplies_bfloat16
from lic_fast.training.data import anchors_of
from lic_fast.training.objective import Objective
from lic_fast.training.optimizers import Stepper, make_optimizer
from lic_fast.training.recipe import Recipe, read_recipe
from lic_fast.training.start import first_model

PARTS = ("forward", "backward", "optimiser", "step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/wacnn-nano.toml"))
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = read_recipe(options.recipe)
    auto = multiplies_bfloat16(torch.device("cpu"))
    steppers = {
        "as it is": Step(recipe, bfloat16=auto, muon=make_optimizer),
        "torch.optim.Muon, one matrix at a time in bfloat16": Step(recipe, auto, _torch_muon),
        "Adam": Step(recipe, auto, _adam),
    }
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in steppers}
    for i in range(options.steps + 1):
        for name, step in steppers.items():
            found = step(i)
            if i:  # the first one allocates
                times[name].append(found)
    text = _report(options.recipe, recipe, options.threads, times)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text)


class Step:
    """Steps of a model of the recipe."""

    def __init__(
        self, recipe: Recipe, bfloat16: bool, muon: Callable[..., tuple[list[Tensor], Any]]
    ) -> None:
        self.recipe = recipe
        model = first_model(recipe, None).train()
        if bfloat16:
            model.to(memory_format=torch.channels_last)
        autocast = torch.bfloat16 if bfloat16 else torch.float32
        self.objective = Objective(model, recipe.loss, autocast, bfloat16)
        self.parameters, self.optimizer = muon(model, recipe.optimizer)
        coarse = torch.rand(recipe.data.batch, 3, 16, 16)
        side = recipe.data.crop
        x = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
        self.pixels = (x * 255).byte().permute(0, 2, 3, 1).contiguous()

    def __call__(self, number: int) -> tuple[float, ...]:
        """Seconds of each of the PARTS."""
        batch, count = self.recipe.data.batch, len(self.recipe.loss.lambdas)
        numbers = range(number * batch, (number + 1) * batch)
        anchors = anchors_of(numbers, count, 0) if count else None
        marks = [time.process_time()]
        loss, _ = self.objective(self.pixels, anchors)
        marks.append(time.process_time())
        loss.backward()
        marks.append(time.process_time())
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimizer.clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(time.process_time())
        return (*(b - a for a, b in pairwise(marks)), marks[-1] - marks[0])


def _adam(model: nn.Module, recipe: Any) -> tuple[list[Tensor], Stepper]:
    parameters, _ = make_optimizer(model, recipe)
    return parameters, torch.optim.Adam(parameters, lr=recipe.lr, fused=True)


class _TorchMuon:
    def __init__(self, weights: list[Tensor], rest: list[Tensor], lr: float) -> None:
        self._pairs = [(w, nn.Parameter(w.detach().flatten(1).clone())) for w in weights]
        matrices = [matrix for _, matrix in self._pairs]
        self._muon = torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw")
        self._adam = torch.optim.Adam(rest, lr=lr, fused=True)

    def step(self) -> None:
        for weight, matrix in self._pairs:
            assert weight.grad is not None
            matrix.grad = weight.grad.flatten(1)
        self._muon.step()
        self._adam.step()

    def zero_grad(self) -> None:
        self._adam.zero_grad()
        for weight, _ in self._pairs:
            weight.grad = None


def _torch_muon(model: nn.Module, recipe: Any) -> tuple[list[Tensor], _TorchMuon]:
    parameters, _ = make_optimizer(model, recipe)
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    chosen = {id(m.weight) for m in model.modules() if isinstance(m, kinds)}
    weights = [p for p in parameters if id(p) in chosen]
    rest = [p for p in parameters if id(p) not in chosen]
    return parameters, _TorchMuon(weights, rest, recipe.lr)


def _report(
    path: Path, recipe: Recipe, threads: int, times: dict[str, list[tuple[float, ...]]]
) -> str:
    data, machine = recipe.data, describe("cpu")
    steps = len(next(iter(times.values())))
    processor = f"{machine['cpu']} ({', '.join(machine['instruction_sets'])})"
    lines = [
        "# A training step",
        "",
        f"`python -m benchmarks.training_step {path} --steps {steps}` on {processor}, torch "
        f"{machine['versions']['torch']}: {data.batch} crops of {data.crop}x{data.crop}, "
        f"{threads} thread(s), seconds of CPU time, medians of steps that took turns.",
        "",
        f"| contender | {' | '.join(PARTS)} |",
        "|---|---|---|---|---|",
    ]
    for name, found in times.items():
        medians = (statistics.median(part) for part in zip(*found, strict=True))
        lines.append(f"| {name} | {' | '.join(f'{median:.2f}' for median in medians)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
