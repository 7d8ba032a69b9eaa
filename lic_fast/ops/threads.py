"""How many threads an operator takes, and two branches of a network side by side.

Maps of the entropy path are small: with every operator divided among all threads these wait for
each other at its end, and for Python between two. Of two branches that do not depend on each other
each can run on a thread of its own with half of the threads: while one is in Python, the other
computes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from threading import Thread
from typing import TypeVar

import torch

__all__ = ["may_run_side_by_side", "side_by_side", "threads"]

_A = TypeVar("_A")
_B = TypeVar("_B")

_share: ContextVar[int] = ContextVar("lic_fast_threads_share", default=1)


def threads() -> int:
    """How many threads an operator may take here: those of PyTorch, or a branch's share of them."""
    return max(1, torch.get_num_threads() // _share.get())


def may_run_side_by_side() -> bool:
    """Whether there are threads for two branches, and nothing that a second one would not see.

    Modes, as those that count operations, and autocast belong to a thread.
    """
    modes = ("_len_torch_dispatch_stack", "_len_torch_function_stack")
    return (
        threads() > 1
        and not torch.is_autocast_enabled("cpu")
        and not any(getattr(torch._C, mode, int)() for mode in modes)
    )


def side_by_side(first: Callable[[], _A], second: Callable[[], _B]) -> tuple[_A, _B]:
    """What both give, `first` called on a thread of its own; where it may be, see above.

    Both see the context variables and the gradient mode of the caller. What they call must not
    use OpenMP, whose threads wait busily, one team for each caller. If both raise an exception,
    that of `second` is raised. Where the system has no thread left they follow each other.
    """
    results: list[_A] = []
    errors: list[BaseException] = []
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def run() -> None:
        try:
            with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                results.append(first())
        except BaseException as error:
            errors.append(error)

    token = _share.set(2 * _share.get())
    try:
        # A new thread is started on an idle processor; one that is woken most often is not.
        other = Thread(target=copy_context().run, args=(run,), name="lic_fast branch")
        try:
            other.start()
        except RuntimeError:  # The system gives no more threads.
            run()
            return _given(results, errors), second()
        try:
            result = second()
        finally:
            other.join()
    finally:
        _share.reset(token)
    return _given(results, errors), result


def _given(results: list[_A], errors: list[BaseException]) -> _A:
    """Of a function that has returned or raised."""
    if errors:
        raise errors[0]
    return results[0]
