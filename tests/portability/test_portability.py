"""Streams written in one process and decoded in another, which stands for another machine.

Every process encodes the same latents and decodes the streams of the first one. That all
write the same bytes and all decode those to the same bits says it for any two of them.
"""

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lic_fast.entropy.coding import SliceEncoder
from lic_fast.entropy.integer.quantizer import step_of
from lic_fast.models import TCM, SymmetricalTransFormer
from tests.models.portable.making import pictures, portable
from tests.portability.configurations import BASE, CONFIGURATIONS, Configuration
from tests.portability.jobs import SHARED, TINY, write_jobs
from tests.portability.trace import traced
from tests.shared import shared_path

ROOT = Path(__file__).resolve().parents[2]


class Machines:
    """The processes, each started once for all models.

    Args:
        folder: For their files.
        names: Of the jobs.
        configurations: Those that will be asked for.
    """

    def __init__(self, folder, names, configurations):
        self._folder = folder
        self._jobs = folder / "jobs"
        self._jobs.mkdir()
        write_jobs(self._jobs, names)
        self._run(BASE, "-")
        # Two at a time: they wait for PyTorch's import and for files most of the time.
        self._pool = ThreadPoolExecutor(2)
        self._started: dict[str, Future] = {
            c.name: self._pool.submit(self._run, c, folder / BASE.name) for c in configurations
        }

    def _run(self, configuration, streams):
        results = self._folder / configuration.name
        results.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.portability.worker", configuration.name,
             str(self._jobs), str(streams), str(results)],
            cwd=ROOT, env=configuration.environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        (self._folder / f"{configuration.name}.log").write_text(done.stdout)
        if done.returncode:
            raise RuntimeError(f"{configuration.name} ended with {done.returncode}:\n{done.stderr}")

    def results(self, configuration: Configuration, name: str) -> dict[str, np.ndarray]:
        """What the process arrived at for a model."""
        if configuration != BASE:
            self._started[configuration.name].result()
        path = self._folder / configuration.name / f"{name}.npz"
        if not path.exists():
            failed = path.with_suffix(".txt")
            reason = failed.read_text() if failed.exists() else "nothing was written"
            raise AssertionError(f"{configuration.name}, {name}: {reason}")
        return dict(np.load(path))

    def close(self):
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def machines(request, tmp_path_factory):
    """All that the selected tests ask for."""
    calls = [
        item.callspec.params
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    names = {call["name"] for call in calls if "name" in call}
    asked = {call["configuration"].name for call in calls if "configuration" in call}
    made = Machines(
        tmp_path_factory.mktemp("portability"),
        [name for name in SHARED if name in names],
        [c for c in CONFIGURATIONS if c.name in asked],
    )
    yield made
    made.close()


def differences(expected, found):
    """What is not the same bit for bit, pictures aside."""
    told = []
    keys = expected.keys() | found.keys()
    for key in sorted(keys, key=lambda key: (" layer " not in key, key)):
        if key.endswith(" picture"):
            continue
        if key not in expected or key not in found:
            told.append(f"{key} is there once only")
            continue
        a, b = expected[key], found[key]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            told.append(f"{key}: {a.dtype} {a.shape} and {b.dtype} {b.shape}")
        elif a.tobytes() != b.tobytes():
            bits = [np.ascontiguousarray(x).view(np.uint8).reshape(-1, x.itemsize) for x in (a, b)]
            count = int((bits[0] != bits[1]).any(1).sum())
            told.append(f"{key}: {count} of {a.size} differ")
    return told


def needs(name):
    if SHARED[name] is not None:
        shared_path(SHARED[name])


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c.name)
def test_every_machine_writes_and_reads_the_same(configuration, name, machines):
    needs(name)
    if configuration.interpreted and name not in TINY:
        pytest.skip("the interpreter would take minutes")
    expected, found = machines.results(BASE, name), machines.results(configuration, name)
    told = differences(expected, found)
    assert not told, f"{configuration.name}, {name}: {told[:4]}"  # the first layers at fault
    for key in [key for key in found if key.endswith("one by one, y_stream")]:
        chains = found["lanes y_stream"]
        assert np.array_equal(found[key], chains), "a chain of layers is not its layers one by one"
    # The transforms round as they like. Random weights make much of it.
    rough = configuration.precision != "float32" or configuration.device == "cuda"
    if not rough or name.startswith("nano"):
        error = 255 * (found["lanes picture"] - expected["lanes picture"])
        error = np.square(error, dtype=np.float64).mean() ** 0.5
        assert error < (1 if rough else 0.02), f"{configuration.name}, {name}: {error} grey levels"


@pytest.mark.parametrize("name", SHARED)
def test_there_is_something_to_get_wrong(name, machines):
    """Symbols other than zero, many CDFs, and latents that are no round numbers."""
    needs(name)
    results = machines.results(BASE, name)
    symbols, indexes = results["lanes y_symbols"], results["lanes indexes"]
    assert np.count_nonzero(symbols) / symbols.size > 0.02
    assert len(np.unique(indexes)) >= (2 if name in TINY else 8)
    assert len(np.unique(results["lanes y_hat"])) > symbols.size / 4
    assert np.count_nonzero(results["lanes z_symbols"]) > 0
    assert len(np.unique(results["lanes picture"])) > 1000


def test_the_smallest_difference_is_told():
    y_hat = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
    y_hat[0, 0, 0] = 0
    results = {"lanes y_hat": y_hat, "lanes picture": y_hat}
    assert differences(results, {**results, "lanes picture": y_hat + 1}) == []
    for changed, told in (
        (np.nextafter(y_hat, np.float32(9)), "24 of 24 differ"),
        (np.where(y_hat == 0, np.float32(-0.0), y_hat), "1 of 24 differ"),
        (y_hat[:1], "float32 (2, 3, 4) and float32 (1, 3, 4)"),
        (y_hat.astype(np.float64), "float32 (2, 3, 4) and float64 (2, 3, 4)"),
    ):
        assert differences(results, {**results, "lanes y_hat": changed}) == [f"lanes y_hat: {told}"]
    assert differences(results, {}) == ["lanes y_hat is there once only"]


def floating_convolution(layer):
    """In float32 on float32 numbers, which sums in an order of its own."""
    step, zero = (values[:, None, None] for values in step_of(layer.quantizer, layer.halves))
    weight = layer.weight * layer.scale[:, None, None, None] * step.float()
    bias = (layer.bias + (layer.weight * zero).sum((1, 2, 3))) * layer.scale

    def forward(x):
        halves = layer.quantizer(x)[: layer.halves]
        a = halves[0].int() if len(halves) == 1 else halves[0].int() * 128 + halves[1]
        return F.conv2d((a - zero).float(), weight, bias, padding=weight.shape[2] // 2)

    return forward


def floating_norm(layer):
    return lambda x: F.layer_norm(x, x.shape[-1:], layer.weight, layer.bias)


@pytest.mark.parametrize(
    ("model", "layer", "careless"),
    [
        (SymmetricalTransFormer, "cc_scale_transforms.1.2", floating_convolution),
        (SymmetricalTransFormer, "h_mean_s.1", lambda layer: F.gelu),
        (TCM, "lrp_transforms.1.0", floating_convolution),
        (TCM, "h_scale_s.1.trans_block.ln1", floating_norm),
        (TCM, "atten_mean.1.0.gate", lambda layer: torch.sigmoid),
    ],
)
def test_a_layer_that_rounds_as_it_likes_is_named(model, layer, careless, monkeypatch):
    net, x = portable(model), pictures(model)
    y = 4 * torch.randn(net.analysis(x).shape, generator=torch.Generator().manual_seed(0))
    z = net.h_a(y).round()
    hashes = []
    for replaced in (False, True):
        if replaced:
            module = net.get_submodule(layer)
            monkeypatch.setattr(module, "forward", careless(module))
        with torch.no_grad(), traced(net) as layers:
            net._latents(z, SliceEncoder(y, net.gaussian_conditional.scale_table))
        hashes.append({f"lanes {name}": values for name, values in layers.items()})
    told = differences(*hashes)
    assert told[0].split(":")[0].split()[-1] == layer, told
