"""The training loop.

A step is a function of the weights, the optimisers and its number: its crops, noise and
stochastic depth are drawn from generators that are seeded with that number. So a run that
goes on from its last checkpoint goes on as if nothing had happened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lic_fast.errors import LicFastError, TrainingError
from lic_fast.ops.dispatch import multiplies_bfloat16
from lic_fast.training import finish
from lic_fast.training.cache import PictureCache, open_cache
from lic_fast.training.checkpoint import read_checkpoint, remove_leftovers, write_checkpoint
from lic_fast.training.data import Batches, Crops, anchors_of, loader
from lic_fast.training.job import Job, Outcome, Reporter
from lic_fast.training.log import RunLog
from lic_fast.training.objective import PARTS, Objective
from lic_fast.training.processes import (
    Interrupts,
    agreed,
    check_equal,
    interrupts,
    start_processes,
    summed,
)
from lic_fast.training.recipe import Model, Recipe
from lic_fast.training.schedule import due, learning_rate_factor, progress
from lic_fast.training.start import first_model
from lic_fast.training.state import RunState
from lic_fast.training.validation import final_weights, read_pictures, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["train"]

_NORM = len(PARTS)  # behind the parts in a report's sums


def train(job: Job, reporter: Reporter | None = None) -> Outcome:
    """Trains a model, or goes on with it.

    ``job.folder`` gets ``checkpoint.pt`` and the one before it, ``log.csv``, and when the
    run has come to its end ``model.safetensors``, ``run.svg`` and, if the recipe says so,
    ``portable.safetensors``. SIGINT and SIGTERM end it with a checkpoint.

    Args:
        job: What to do.
        reporter: Told of the run as it goes.

    Raises:
        TrainingError: The run cannot start or go on, or its gradients are not finite any more.
        RecipeError, CheckpointError: The recipe makes no model, or the checkpoint holds none.
        OSError: Something cannot be read or written.
    """
    accelerator = start_processes(job.device, job.recipe.data.batch)
    told = reporter if reporter is not None and accelerator.is_main_process else Reporter()
    with interrupts() as asked:
        run = Run(job, accelerator, told)
        run.steps(asked)
        return run.end(asked)


class Run:
    """A run between its start and its end."""

    def __init__(self, job: Job, accelerator: Accelerator, told: Reporter) -> None:
        self.job = job
        recipe = job.recipe
        self.accelerator = accelerator
        self.told = told
        self.device = accelerator.device
        if accelerator.is_main_process:
            _prepare_folder(job)
        saved = read_checkpoint(job.folder) if job.resume else None
        if saved is not None and recipe.model is None:
            recipe = replace(recipe, model=Recipe.from_tables(saved["recipe"], "checkpoint").model)
        model = first_model(recipe, None if job.resume else job.start)
        if recipe.model is None:
            # What it began with need not be there when the run goes on.
            recipe = replace(recipe, model=Model(model.architecture, model.arguments))
        self.recipe = recipe
        _check_crop(model.multiple, recipe.data.crop)
        autocast = _autocast(recipe.precision.autocast, self.device)
        self.channels_last = _channels_last(
            recipe.precision.channels_last, model, autocast, self.device
        )
        model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        self.state = RunState(model, recipe, len(PARTS) + 1)
        if saved is not None:
            self.state.load(saved["state"])
            _check_pictures(saved, job, told)
        self.cache = self._pictures()
        self.validation = read_pictures(job.validation, recipe.validation.images)
        model.train()
        objective = Objective(
            model,
            recipe.loss,
            autocast,
            self.channels_last,
            self.state.simulation,
        )
        self.objective: nn.Module = accelerator.prepare_model(objective)
        self.log = RunLog(job.folder, self.state.step) if accelerator.is_main_process else None
        self.timed = 0.0, 0

    def _pictures(self) -> PictureCache:
        folder = self.job.cache or self.job.folder / "cache"
        with self.accelerator.local_main_process_first():
            cache = open_cache(
                self.job.pictures,
                folder,
                max_side=self.recipe.data.max_side,
                progress=self.told.working,
            )
        for name, reason in cache.problems:
            self.told.warn(f"{name}: {reason}; left out")
        return cache

    def steps(self, asked: Interrupts) -> None:
        """Steps, until the run has its length or is asked to end."""
        state, recipe = self.state, self.recipe
        numbers = self._numbers()
        batches = self._batches(numbers)
        before = state.elapsed
        started = time.perf_counter()
        stepped = False
        while True:
            now = before + time.perf_counter() - started
            previous = state.elapsed
            state.elapsed, stop = agreed(self.accelerator, now, asked.signal or 0)
            done = progress(recipe.schedule, state.step, state.elapsed)
            if done >= 1 and not state.finished:
                self._complete()
            elif stepped:
                self._between(previous)
            self.told.progress(done, state.step)
            if done >= 1 or stop:
                asked.signal = int(stop) or None
                break
            stepped, state.finished = True, False
            begun = time.perf_counter()
            for group in state.optimizer.param_groups:
                group["lr"] = recipe.optimizer.lr * learning_rate_factor(recipe.schedule, done)
            self._choose_grids(done)
            self._step(next(batches), self._anchors(numbers))
            seconds, steps = self.timed
            self.timed = seconds + time.perf_counter() - begun, steps + 1

    def _numbers(self) -> Batches:
        return Batches(
            self.state.step,
            self.recipe.data.batch,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

    def _batches(self, numbers: Batches) -> Iterator[Tensor]:
        crops = Crops(self.cache, self.recipe.data)
        left_out = len(self.cache) - len(crops.usable)
        if left_out:
            self.told.warn(f"{left_out} pictures are smaller than a crop and are left out")
        return iter(loader(crops, numbers, self.device))

    def _anchors(self, numbers: Batches) -> Tensor | None:
        """The anchor of each picture of the step."""
        count = len(self.recipe.loss.lambdas)
        if not count:
            return None
        own = numbers.numbers(self.state.step)
        return anchors_of(own, count, self.recipe.data.seed)

    def _choose_grids(self, done: float) -> None:
        """Those of the simulated rounding, by the same pictures in every process."""
        wish, simulation = self.recipe.quantization, self.state.simulation
        if simulation is None or done < wish.begin:
            return
        if not simulation.ready or self.state.step % wish.steps == 0:
            simulation.choose(finish.calibration(self.cache, wish.images))

    def _step(self, pixels: Tensor, anchors: Tensor | None) -> None:
        state, recipe = self.state, self.recipe.optimizer
        _seed(self.recipe.data.seed, state.step, self.accelerator.process_index)
        loss, parts = self.objective(pixels.to(self.device, non_blocking=True), anchors)
        self.accelerator.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(state.parameters, recipe.clip or float("inf"))
        aux_norm = torch.nn.utils.get_total_norm(
            [p.grad for group in state.aux_optimizer.param_groups for p in group["params"]]
        )
        # Of gradients that all processes share, so that all decide alike.
        if bool((norm + aux_norm).isfinite()):
            state.optimizer.step()
            state.aux_optimizer.step()
            if state.average is not None:
                state.average.update_parameters(state.model)
            state.sums += torch.cat([parts, norm.detach()[None]])
            state.counted += 1
            state.skipped_in_a_row = 0
        else:
            state.skipped += 1
            state.skipped_in_a_row += 1
        state.optimizer.zero_grad(set_to_none=True)
        state.aux_optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.skipped_in_a_row >= recipe.patience:
            raise TrainingError(
                f"step {state.step}: gradients were not finite for {recipe.patience} steps in a "
                "row; the last checkpoint is from before or among them. A lower [optimizer] lr, a "
                'lower clip or autocast = "float32" may help'
            )

    def _between(self, previous: float) -> None:
        """What happens after a step: reports, validation, checkpoints."""
        state, recipe = self.state, self.recipe
        at = (state.step, state.elapsed, previous)
        validating = due(recipe.validation.steps, recipe.validation.minutes, *at)
        if state.step % recipe.log.steps == 0 or validating:
            self._report(validating)
        if due(recipe.checkpoint.steps, recipe.checkpoint.minutes, *at):
            self.save()

    def _complete(self) -> None:
        """What happens after the last step."""
        self._report(True)
        check_equal(self.accelerator, self.state.parameters)
        self.state.finished = True
        self.save()

    def _report(self, validating: bool) -> None:
        state = self.state
        row: dict[str, float] = {"step": state.step, "minutes": state.elapsed / 60}
        row["lr"] = state.optimizer.param_groups[0]["lr"]
        row["skipped"] = state.skipped
        if state.counted:
            sums = summed(self.accelerator, *state.sums.tolist())
            count = state.counted * self.accelerator.num_processes
            means = [total / count for total in sums]
            row |= dict(zip((*PARTS, "gradient_norm"), means, strict=True))
        seconds, steps = self.timed
        if seconds:
            row["steps_per_second"] = steps / seconds
        self.timed = 0.0, 0
        state.sums.zero_()
        state.counted = 0
        if validating and self.job.validation:
            row |= self._validated()
        if self.log is not None:
            self.log.write(row)
            self.told.row(row)

    def _validated(self) -> dict[str, float]:
        """Means over all pictures and anchors; those of each go to the log of validations."""
        accelerator, state = self.accelerator, self.state
        own = slice(accelerator.process_index, None, accelerator.num_processes)
        anchors = state.model.anchor_qualities or (None,)
        measured = np.zeros((len(self.validation), len(anchors), 2))
        try:
            pictures = [picture.pixels for picture in self.validation]
            measured[own] = validate(final_weights(state.averaged_model), pictures[own])
        except LicFastError as error:
            # Weights that code nothing yet, or no more, are a result too.
            self.told.warn(f"step {state.step}: validation failed: {error}")
            measured[own] = float("nan")
        measured = np.reshape(summed(accelerator, *measured.flat), measured.shape)
        if self.log is not None:
            groups = [picture.group for picture in self.validation]
            self.log.write_validation(state.step, state.elapsed / 60, groups, anchors, measured)
        bpp, psnr = measured.mean((0, 1)).tolist()
        return {"validation_bpp": bpp, "validation_psnr": psnr}

    def save(self) -> None:
        """Writes a checkpoint, from the first process."""
        if self.log is None:
            return
        self.log.sync()
        write_checkpoint(
            self.job.folder,
            {
                "state_dict": self.state.averaged_model.state_dict(),
                "state": self.state.save(),
                "recipe": self.recipe.to_tables(),
                "pictures": [os.path.abspath(path) for path in self.job.pictures],
                "validation": [os.path.abspath(path) for path in self.job.validation],
                "cache": self.cache.key,
            },
        )

    def end(self, asked: Interrupts) -> Outcome:
        """A checkpoint for a run that was cut short, models for one that has come to its end."""
        state, told, folder = self.state, self.told, self.job.folder
        if not state.finished:
            self.save()
            self.accelerator.wait_for_everyone()
            model = state.averaged_model
            return Outcome(model, state.step, False, asked.signal)
        files: list[Path] = []
        model = final_weights(state.averaged_model).cpu()
        if self.accelerator.is_main_process:
            files.append(finish.write_float(folder, model, self.recipe))
            files += finish.draw(folder, self.recipe.loss.metric, told)
            if self.recipe.export.portable:
                bits = self.recipe.quantization.bits or 14
                export = self.recipe.export
                files.append(finish.write_portable(folder, model, self.cache, export, bits, told))
        self.accelerator.wait_for_everyone()
        return Outcome(model, state.step, True, asked.signal, files)


def _seed(seed: int, step: int, rank: int) -> None:
    """Noise and stochastic depth of a step, of its own in each process."""
    words = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def _prepare_folder(job: Job) -> None:
    from lic_fast.training.checkpoint import NAME

    job.folder.mkdir(parents=True, exist_ok=True)
    if not job.resume and (job.folder / NAME).exists():
        raise TrainingError(
            f"{job.folder} holds a run already: go on with it by --resume, or name another folder"
        )
    remove_leftovers(job.folder)


def _check_crop(multiple: int, crop: int) -> None:
    if crop % multiple:
        raise TrainingError(
            f"[data] crop must be a multiple of {multiple} for this model, not {crop}"
        )


def _check_pictures(saved: dict[str, Any], job: Job, told: Reporter) -> None:
    if saved["pictures"] != [os.path.abspath(path) for path in job.pictures]:
        told.warn("the pictures are others than those that the run began with")


def _autocast(wish: str, device: torch.device) -> torch.dtype:
    if wish == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    found: torch.dtype = getattr(torch, wish)
    return found


def _channels_last(
    wish: str, model: nn.Module, autocast: torch.dtype, device: torch.device
) -> bool:
    if wish != "auto":
        return wish == "on"
    if device.type == "cuda":
        return True
    # oneDNN's gradients of convolutions with few channels corrupt memory in torch 2.14 with
    # channels last. In float32 they are slower than without.
    return autocast == torch.bfloat16 and all(
        channels % 16 == 0 or channels == 3
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        for channels in (layer.in_channels, layer.out_channels)
    )
