"""Whole models at 768x512 pixels, on the plain operators ("reference") and the fast ones ("auto").

One picture of noise, random weights, float32, all of torch's threads.
"""

from __future__ import annotations

import pytest
import torch

import lic_fast
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer

MODELS = {
    "STF": SymmetricalTransFormer,
    "WACNN": WACNN,
    "TCM, N=64": lambda: TCM(N=64),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(0)
    net = MODELS[request.param]().eval()
    net.update()
    return request.param, net


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("part", ["analysis", "synthesis", "encode", "decode"])
def test_model(benchmark, model, part, backend):
    name, net = model
    benchmark.group = f"{name}, {part}"
    torch.manual_seed(1)
    x = torch.rand(1, 3, 512, 768)
    with lic_fast.backend(backend), torch.no_grad():
        if part == "analysis":
            x = fastest(x, backend)
            work = lambda: net.analysis(x)  # noqa: E731
        elif part == "synthesis":
            y = fastest(net.analysis(x), backend)
            work = lambda: net.synthesis(y)  # noqa: E731
        elif part == "encode":
            work = lambda: net.encode(x)  # noqa: E731
        else:
            streams = net.encode(x)
            work = lambda: net.decode(streams)  # noqa: E731
        benchmark.pedantic(work, rounds=5, warmup_rounds=1)


def fastest(x, backend):
    """The memory layout that encode and decode give the transforms."""
    return x if backend == "reference" else x.contiguous(memory_format=torch.channels_last)
