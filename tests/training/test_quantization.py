"""Runs that see the rounding of the portable model: exact to resume, and harmless until then."""

import signal
from importlib.util import find_spec

import pytest
import torch

import lic_fast
from lic_fast.training import Job, Reporter, train
from lic_fast.training.recipe import read_recipe
from tests.cli.conftest import draw
from tests.training.test_run import RECIPE

pytestmark = pytest.mark.skipif(find_spec("accelerate") is None, reason="needs accelerate")
STEPS = 9
# Rounding begins with the fifth step; grids are chosen before it and before the seventh.
ROUNDING = ["bits=7", "begin=0.4", "steps=3", "images=1"]


class Stopped(Exception):
    pass


class StopAt(Reporter):
    """Ends a run without a checkpoint, as a signal that cannot be caught does."""

    def __init__(self, step):
        self.step = step

    def progress(self, share, step):
        if step == self.step:
            raise Stopped


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = tmp_path_factory.mktemp("quantization")
    (base / "tiny.toml").write_text(RECIPE)
    photos = [draw(base / "photos" / f"{i}.png", 100, 90 + i, seed=i) for i in range(2)]

    def go(name, quantization=(), stop=0, resume=False, more=()):
        changes = [f"schedule.steps={STEPS}", "log.steps=1", "checkpoint.steps=1", *more]
        changes += [f"quantization.{change}" for change in quantization]
        recipe = read_recipe(base / "tiny.toml", changes)
        job = Job(base / name, recipe, photos, cache=base / "cache", resume=resume, device="cpu")
        outcome = train(job, StopAt(stop) if stop else None)
        if outcome.signal is not None:
            # The run has noted a signal that was meant for the tests, and ended before its time.
            signal.raise_signal(outcome.signal)
        return outcome

    return go


@pytest.fixture(scope="module")
def rounding(run):
    return run("rounding", ROUNDING, more=["export.portable=true", "export.images=1"])


def weights(outcome):
    return torch.cat([p.flatten() for p in outcome.model.parameters()])


@pytest.mark.parametrize("stop", [3, 6, 7])
def test_a_run_goes_on_bit_for_bit(run, rounding, stop):
    """Before there are grids, as they change, and while they are those of an earlier step."""
    with pytest.raises(Stopped):
        run(f"stopped at {stop}", ROUNDING, stop=stop)
    resumed = run(f"stopped at {stop}", ROUNDING, resume=True)
    assert torch.equal(weights(resumed), weights(rounding))


def test_a_run_without_rounding_is_one_whose_rounding_never_begins(run, rounding):
    plain = weights(run("plain"))
    assert torch.equal(plain, weights(run("never", ["bits=7", "begin=1"])))
    assert not torch.equal(plain, weights(rounding))


def test_the_portable_model_has_the_bits_of_the_run(rounding):
    [portable] = [path for path in rounding.files if path.name == "portable.safetensors"]
    assert lic_fast.load(portable).cc_mean_transforms[0][-1].quantizer.bits == 7
