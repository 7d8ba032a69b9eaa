"""CUDA graphs of what a model does for pictures of one size.

On a fast GPU a picture's arithmetic is done before its launches are: the same launches recorded
once and played back cost a few microseconds each time. A job of :mod:`lic_fast.models.on_device`
is recorded when its size comes for the second time, since recording costs more than a picture:
that picture is computed on a side stream, as ``torch.cuda.graph`` asks, and then once more into
the graphs. Played back it reads and writes the same memory.

A recording holds for the size, the types, the backend and the settings that it was made with, and
for as long as the model's parameters and buffers stay the same tensors with the same stamp
(:mod:`lic_fast.ops.stamp`). Nothing is recorded while the model is not plain and unwatched
(:mod:`lic_fast.ops.plain`), while it trains, or under autocast.

``model.cuda_graphs = False`` or the environment variable ``LIC_FAST_CUDA_GRAPHS=0`` turn it off.
No GPU has run this yet; the tests play back what a dispatch mode has recorded on a CPU.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lic_fast.entropy.device_coding import Cut
from lic_fast.ops import current_backend
from lic_fast.ops.plain import plain_network, unwatched
from lic_fast.ops.stamp import Stamp, stamp

if TYPE_CHECKING:
    from lic_fast.models.base import SliceCompressionModel

__all__ = ["CUDA_GRAPHS", "Capture", "CudaCapture", "Graphs", "Segment", "graphs_of", "record"]

CUDA_GRAPHS = "LIC_FAST_CUDA_GRAPHS"
"""Environment variable: 0 for no CUDA graphs."""

_RECORDINGS = 4
# Sizes that have come once.
_SEEN = 64

_Result = TypeVar("_Result", covariant=True)
_T = TypeVar("_T")


class Job(Protocol[_Result]):
    """See :mod:`lic_fast.models.on_device`.

    Attributes:
        given: What the host's actions read.
    """

    given: Any

    def run(self, model: Any, cut: Cut) -> None:
        """The device's work, with calls of `cut` where the host acts, the first of them before."""

    def result(self) -> _Result:
        """Waits for the device."""


class Segment(Protocol):
    """The device's work between two actions of the host."""

    def begin(self) -> None:
        """From here on work is recorded."""

    def end(self) -> None:
        """Up to here."""

    def replay(self) -> None:
        """Does it again."""


class Capture(Protocol):
    """How jobs are recorded."""

    def warm(self, run: Callable[[], _T]) -> _T:
        """Runs what will be recorded next."""

    def record(self, run: Callable[[Cut], None]) -> list[Callable[[], None]]:
        """Runs without the host's actions; returns these and the segments between, in order."""


def record(
    run: Callable[[Cut], None], new_segment: Callable[[], Segment]
) -> list[Callable[[], None]]:
    """See :meth:`Capture.record`."""
    parts: list[Callable[[], None]] = []
    running: list[Segment] = []

    def end() -> None:
        for segment in running:
            running.clear()
            segment.end()
            parts.append(segment.replay)

    def cut(action: Callable[[], None]) -> None:
        end()
        parts.append(action)
        segment = new_segment()
        segment.begin()
        running.append(segment)

    try:
        run(cut)
        end()
    except BaseException:
        with suppress(Exception):  # of a capture that is broken already
            end()
        raise
    return parts


class _CudaSegment:
    def __init__(self, pool: Any) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool = pool

    def begin(self) -> None:
        # Other threads may use the device meanwhile.
        self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")

    def end(self) -> None:
        self._graph.capture_end()

    def replay(self) -> None:
        self._graph.replay()


class CudaCapture:
    """Records CUDA graphs of one memory pool: they are played back in the order of recording."""

    def warm(self, run: Callable[[], _T]) -> _T:
        """See :class:`Capture`."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            out = run()
        torch.cuda.current_stream().wait_stream(side)
        return out

    def record(self, run: Callable[[Cut], None]) -> list[Callable[[], None]]:
        """See :class:`Capture`."""
        torch.cuda.synchronize()
        gc.collect()
        torch.cuda.empty_cache()
        pool = torch.cuda.graph_pool_handle()
        with torch.cuda.stream(torch.cuda.Stream()):
            return record(run, lambda: _CudaSegment(pool))


class _Recording(NamedTuple):
    job: Any
    parts: list[Callable[[], None]]
    sources: list[Tensor]
    stamp: Stamp

    def holds(self, sources: list[Tensor]) -> bool:
        """Whether these are the tensors that it was made with, unchanged."""
        return (
            len(sources) == len(self.sources)
            and all(one is other for one, other in zip(sources, self.sources, strict=True))
            and stamp(sources) == self.stamp
        )


class Graphs:
    """A model's recordings, the least recently used of which go first.

    Args:
        capture: How to record; None for not at all.
        size: How many recordings there are at most.
    """

    def __init__(self, capture: Capture | None, size: int = _RECORDINGS) -> None:
        self._capture = capture
        self._size = size
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._recordings)

    def run(
        self,
        model: SliceCompressionModel,
        key: tuple[Hashable, ...],
        make: Callable[[], Job[_Result]],
        given: Any,
    ) -> _Result:
        """A job's result, from its recording if there is one.

        Args:
            model: The model.
            key: What tells jobs apart, besides the model and the settings.
            make: Makes the job.
            given: What the job takes.
        """
        device = model._medians().device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            if not self._may_record(model):
                return _run(make(), model, given)
            key = (*key, *_settings(model, device))
            with self._lock:
                return self._recorded(model, key, make, given, _sources(model))

    def _may_record(self, model: SliceCompressionModel) -> bool:
        return (
            self._capture is not None
            and model.cuda_graphs
            and os.environ.get(CUDA_GRAPHS) != "0"
            and not any(torch.is_autocast_enabled(kind) for kind in ("cuda", "cpu"))
            and not model.training
            and unwatched(model)
            and plain_network(*model.children())
            and not any(source.is_inference() for source in _sources(model))  # have no version
        )

    def _recorded(
        self,
        model: SliceCompressionModel,
        key: Hashable,
        make: Callable[[], Job[_Result]],
        given: Any,
        sources: list[Tensor],
    ) -> _Result:
        recording = self._recordings.get(key)
        if recording is not None and not recording.holds(sources):
            del self._recordings[key]
            recording = None
        if recording is None:
            return self._first_or_second(model, key, make, given, sources)
        self._recordings.move_to_end(key)
        job = recording.job
        job.given = given
        try:
            for part in recording.parts:
                part()
            result: _Result = job.result()
        except BaseException:
            _settle(model)  # what is under way reads memory that the next picture writes
            raise
        finally:
            job.given = None
        return result

    def _first_or_second(
        self,
        model: SliceCompressionModel,
        key: Hashable,
        make: Callable[[], Job[_Result]],
        given: Any,
        sources: list[Tensor],
    ) -> _Result:
        if key not in self._seen:
            self._seen[key] = None
            while len(self._seen) > _SEEN:
                self._seen.popitem(last=False)
            return _run(make(), model, given)
        assert self._capture is not None
        job = make()
        result = self._capture.warm(lambda: _run(job, model, given))
        while len(self._recordings) >= self._size:
            self._recordings.popitem(last=False)
        try:
            parts = self._capture.record(lambda cut: job.run(model, cut))
        except Exception as error:
            self._capture = None
            warnings.warn(
                f"CUDA graphs are off for this model, which runs without: {error}", stacklevel=2
            )
        else:
            self._recordings[key] = _Recording(job, parts, sources, stamp(sources))
        return result


def _run(job: Job[_Result], model: SliceCompressionModel, given: Any) -> _Result:
    job.given = given
    try:
        job.run(model, lambda action: action())
        return job.result()
    except BaseException:
        _settle(model)
        raise
    finally:
        job.given = None


def _settle(model: SliceCompressionModel) -> None:
    if model._medians().is_cuda:
        torch.cuda.current_stream().synchronize()


def _settings(model: SliceCompressionModel, device: torch.device) -> tuple[Hashable, ...]:
    return (
        device,
        model.precision,
        model.portable,
        current_backend(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        tuple(module.training for module in model.modules()),
    )


def _sources(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers: all that a recording reads of a model."""
    return [
        tensor
        for module in model.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]


_GRAPHS: WeakKeyDictionary[nn.Module, Graphs] = WeakKeyDictionary()


def graphs_of(model: SliceCompressionModel) -> Graphs:
    """The model's recordings, none for one that is not on a GPU."""
    if not model._medians().is_cuda:
        return Graphs(None)
    return _GRAPHS.setdefault(model, Graphs(CudaCapture()))
