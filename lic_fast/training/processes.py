"""The processes of a run: one, or several on GPUs and machines of their own, by accelerate."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from lic_fast.errors import TrainingError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

__all__ = ["Interrupts", "agreed", "check_equal", "interrupts", "start_processes", "summed"]


def start_processes(device: str, batch: int) -> Accelerator:
    """Joins the processes that a launcher such as torchrun has started, or stands alone.

    Args:
        device: "auto", "cpu" or "cuda".
        batch: Crops of a step, of all processes.

    Raises:
        TrainingError: The package accelerate is missing, there is no such device, or the batch
            does not divide into the processes.
    """
    if find_spec("accelerate") is None:
        raise TrainingError("training needs the package accelerate: pip install 'lic_fast[train]'")
    from accelerate import Accelerator

    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("torch finds no usable GPU: use cpu or auto")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    # Types are chosen by the objective.
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
    if batch % accelerator.num_processes:
        raise TrainingError(
            f"a batch of {batch} does not divide into {accelerator.num_processes} processes"
        )
    return accelerator


def agreed(accelerator: Accelerator, *numbers: float) -> list[float]:
    """The largest of each number over all processes, so that all decide alike."""
    if accelerator.num_processes == 1:
        return list(numbers)
    own = torch.tensor([numbers], dtype=torch.float64, device=accelerator.device)
    return _gathered(accelerator, own).amax(0).tolist()


def summed(accelerator: Accelerator, *numbers: float) -> list[float]:
    """The sum of each number over all processes."""
    if accelerator.num_processes == 1:
        return list(numbers)
    own = torch.tensor([numbers], dtype=torch.float64, device=accelerator.device)
    return _gathered(accelerator, own).sum(0).tolist()


def check_equal(accelerator: Accelerator, parameters: list[Any]) -> None:
    """Proves that all processes hold the same weights.

    Raises:
        TrainingError: They do not.
    """
    if accelerator.num_processes == 1:
        return
    # Bits as integers: a sum of floats could agree by rounding.
    own = torch.stack([p.detach().view(torch.int32).sum(dtype=torch.int64) for p in parameters])
    all_sums = _gathered(accelerator, own[None])
    if not bool((all_sums == all_sums[0]).all()):
        raise TrainingError("the processes' weights differ: this run is broken")


def _gathered(accelerator: Accelerator, own: Tensor) -> Tensor:
    found = accelerator.gather(own)
    assert isinstance(found, torch.Tensor)
    return found


class Interrupts:
    """Which signal has asked the run to end, if any.

    Attributes:
        signal: Its number, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            # Asked twice: at once, without a checkpoint.
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Within the block SIGINT and SIGTERM are noted, and the second one interrupts."""
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {
        number: signal.signal(number, found._handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
