"""CUDA graphs without a GPU: a tape of PyTorch's operators, played back into the same memory.

As with a graph, what Python did between the operators is not done again, every operand and
result is where it was, and whatever asks for a value is refused.
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lic_fast.models.graphs import record

# They wait for the device, or their result's shape depends on data.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::item",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_dim",
    "aten::_unique2",
}


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class NoWaiting(TorchDispatchMode):
    """Refuses operators for which the host would wait for the device, and copies between them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in WAITING, f"{func} waits for the device"
        out = func(*args, **(kwargs or {}))
        # Numbers, which are tensors without dimensions on the CPU, go along with a launch.
        kinds = {x.device.type for x in tensors((args, kwargs, out)) if x.dim()}
        assert len(kinds) < 2, f"{func} copies between {kinds}"
        return out


class Segment(NoWaiting):
    def __init__(self, tape):
        super().__init__()
        self._tape = tape
        self._calls = []
        self._stack = contextlib.ExitStack()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        read = {x.untyped_storage().data_ptr() for x in tensors((args, kwargs))}
        fresh = [x.untyped_storage().data_ptr() not in read for x in tensors(out)]
        self._calls.append((func, args, kwargs or {}, tensors(out), fresh))
        return out

    def begin(self):
        self._stack.enter_context(self)

    def end(self):
        self._stack.close()
        assert self._calls, "an empty graph"
        self._tape.append(self)

    def poison(self):
        """Whatever is not computed again is wrong."""
        for _, _, _, outs, fresh in self._calls:
            for out, new in zip(outs, fresh, strict=True):
                if new:
                    out.fill_(float("nan") if out.is_floating_point() else 93)

    def replay(self):
        if self is self._tape[0]:
            for segment in self._tape:
                segment.poison()
        for func, args, kwargs, outs, fresh in self._calls:
            if func.name().startswith("aten::empty"):
                continue
            results = tensors(func(*args, **kwargs))
            for out, result, new in zip(outs, results, fresh, strict=True):
                if new:
                    out.copy_(result)


class TapeCapture:
    """See :class:`lic_fast.models.graphs.Capture`."""

    def __init__(self):
        self.recorded = 0

    def warm(self, run):
        return run()

    def record(self, run):
        self.recorded += 1
        tape = []
        return record(run, lambda: Segment(tape))
