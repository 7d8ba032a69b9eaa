"""Branches beside each other."""

import threading
from contextvars import ContextVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lic_fast
from lic_fast.ops.backend import current_backend
from lic_fast.ops.threads import may_run_side_by_side, side_by_side, threads


@pytest.fixture(autouse=True)
def _four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_each_branch_has_half_of_the_threads_and_both_are_there_at_once():
    meeting = threading.Barrier(2, timeout=1200)

    def branch():
        meeting.wait()
        return threading.get_ident(), threads()

    (first, share), (second, other_share) = side_by_side(branch, branch)
    assert first != second == threading.get_ident()
    assert (share, other_share) == (2, 2)
    assert threads() == 4


def test_branches_of_branches_have_a_quarter():
    shares, _ = side_by_side(lambda: side_by_side(threads, threads), threads)
    assert shares == (1, 1)


def test_a_branch_sees_what_its_caller_set():
    own = ContextVar("own", default=0)
    own.set(3)

    def seen():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        return own.get(), current_backend(), *modes

    with lic_fast.backend("reference"), torch.no_grad():
        assert side_by_side(seen, seen) == ((3, "reference", False, False),) * 2
    with torch.inference_mode():
        assert side_by_side(seen, seen) == ((3, "auto", False, True),) * 2
    assert side_by_side(seen, seen) == ((3, "auto", True, False),) * 2


@pytest.mark.parametrize("failing", [(True, False), (False, True), (True, True)])
def test_exceptions_arrive_when_both_branches_have_ended(failing):
    ended = []

    def branch(number):
        ended.append(number)
        if failing[number]:
            raise ValueError(f"branch {number}")

    with pytest.raises(ValueError, match="branch 1" if failing[1] else "branch 0"):
        side_by_side(lambda: branch(0), lambda: branch(1))
    assert sorted(ended) == [0, 1]
    assert threads() == 4


def test_without_another_thread_branches_follow_each_other(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    caller = threading.get_ident()
    assert side_by_side(threading.get_ident, threading.get_ident) == (caller, caller)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda: 1 // 0, threads)
    assert threads() == 4


def test_what_a_thread_would_not_see_keeps_branches_behind_each_other():
    assert may_run_side_by_side()
    with torch.autocast("cpu", torch.bfloat16):
        assert not may_run_side_by_side()
    with FlopCounterMode(display=False):
        assert not may_run_side_by_side()
    torch.set_num_threads(1)
    assert not may_run_side_by_side()
