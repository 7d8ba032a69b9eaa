"""The learning rate along a run."""

from __future__ import annotations

import math

from lic_fast.training.recipe import Schedule

__all__ = ["due", "learning_rate_factor", "progress"]

# At the start of the warm-up: a step with no rate at all would be wasted.
_LEAST_WARMUP = 0.01


def progress(schedule: Schedule, step: int, elapsed: float) -> float:
    """How much of the run is done, 0 to 1.

    Args:
        schedule: Its length.
        step: Steps done.
        elapsed: Seconds spent.
    """
    done = step / schedule.steps if schedule.steps else elapsed / (60 * schedule.minutes)
    return min(done, 1.0)


def learning_rate_factor(schedule: Schedule, done: float) -> float:
    """The learning rate over its height.

    The cosine is that of Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without
    restarts, from the end of the warm-up to the end of the run.

    Args:
        schedule: Its shape.
        done: From :func:`progress`.
    """
    if done < schedule.warmup:
        return _LEAST_WARMUP + (1 - _LEAST_WARMUP) * done / schedule.warmup
    if schedule.shape == "cosine":
        rest = (done - schedule.warmup) / (1 - schedule.warmup)
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * rest))
    if schedule.shape == "drops":
        return float(schedule.factor ** sum(done >= mark for mark in schedule.milestones))
    return 1.0


def due(
    every_steps: int,
    every_minutes: float,
    step: int,
    elapsed: float,
    previous: float,
) -> bool:
    """Whether what happens every so often happens after this step.

    Nothing is remembered between calls, so that a run that was resumed agrees with one that was
    not.

    Args:
        every_steps: 0 for never.
        every_minutes: 0 for never.
        step: Steps done.
        elapsed: Seconds spent.
        previous: Seconds that were spent when this was asked before, one step ago.
    """
    if every_steps and step % every_steps == 0:
        return True
    if every_minutes <= 0:
        return False
    period = 60 * every_minutes
    return math.floor(elapsed / period) > math.floor(previous / period)
