"""Whole runs as processes of their own: to the end, killed and resumed, and two at once."""

import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import lic_fast
from lic_fast.models import WACNN
from lic_fast.training.log import read_log
from tests.cli.conftest import draw
from tests.models.tiny import tiny

pytestmark = pytest.mark.skipif(find_spec("accelerate") is None, reason="needs accelerate")
ROOT = Path(__file__).resolve().parents[2]
STEPS = 60

RECIPE = """
[model]
architecture = "WACNN"
[model.arguments]
N = 8
M = 24
num_slices = 3
max_support_slices = 1
hyper_channels = [16, 16, 12, 12, 6]
hyper_synthesis_channels = [8, 12, 16, 16, 24]
entropy_channels = [12, 10, 8]
num_heads = 4
[data]
crop = 64
batch = 2
[loss]
lambda = 0.01
[optimizer]
name = "muon"
lr = 3e-3
[schedule]
steps = 60
warmup = 0.1
[precision]
autocast = "float32"
[checkpoint]
steps = 5
[log]
steps = 5
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.toml").write_text(RECIPE)
    for i in range(4):
        draw(folder / "photos" / f"{i}.png", 100, 90 + i, seed=i)
    return folder


def command(material, out, *more):
    arguments = [material / "photos", "--recipe", material / "tiny.toml", "-o", out, "--device"]
    return ["-m", "lic_fast", "train", *map(str, [*arguments, "cpu", "--quiet", *more])]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments, status=0):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def weights(folder):
    return lic_fast.load(folder / "model.safetensors").state_dict()


@pytest.fixture(scope="module")
def whole(material):
    """A run that nobody disturbed."""
    folder = material / "whole"
    run(*command(material, folder, "--set", "export.portable=true", "--set", "export.images=2"))
    return folder


def test_a_run_leaves_models_a_log_and_a_plot(whole):
    names = {path.name for path in whole.iterdir()}
    assert {"checkpoint.pt", "log.csv", "model.safetensors", "portable.safetensors"} <= names
    assert ("run.svg" in names) == (find_spec("matplotlib") is not None)
    rows = read_log(whole)
    assert [row["step"] for row in rows] == list(range(5, STEPS + 1, 5))
    losses = [row["loss"] for row in rows]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert rows[-1]["lr"] < rows[3]["lr"]
    portable = lic_fast.load(whole / "portable.safetensors")
    assert portable.portable
    assert not lic_fast.load(whole / "model.safetensors").portable
    # The checkpoint is one too, of the averaged weights.
    saved = lic_fast.load(whole / "checkpoint.pt").state_dict()
    for name, value in weights(whole).items():
        if name in saved and saved[name].shape == value.shape:
            assert torch.equal(saved[name], value), name


def test_a_killed_run_goes_on_as_if_nothing_had_happened(material, whole):
    folder = material / "killed"
    process = subprocess.Popen(
        [sys.executable, *command(material, folder)], cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 1200
    while not (folder / "checkpoint.pt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(read_log(folder))
    assert before < STEPS // 5, "it was not killed in time"
    assert not (folder / "model.safetensors").exists()
    run(*command(material, folder, "--resume"))
    expected, found = weights(whole), weights(folder)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    timed = ("minutes", "steps_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in read_log(each)]
        for each in (whole, folder)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("loss", ["lambda = 0.01", "lambdas = [0.01, 0.1]"])
def test_a_run_whose_checkpoint_stated_the_model_goes_on_without_it(material, tmp_path, loss):
    recipe = RECIPE[RECIPE.index("[data]") :].replace("lambda = 0.01", loss)
    (tmp_path / "tiny.toml").write_text(recipe)
    torch.save(tiny(WACNN).state_dict(), tmp_path / "start.pt")
    common = ["-m", "lic_fast", "train", "-o", tmp_path / "run", "--device", "cpu", "--steps"]
    begin = [material / "photos", "--recipe", tmp_path / "tiny.toml", "--from"]
    run(*map(str, [*common, 2, *begin, tmp_path / "start.pt"]))
    (tmp_path / "start.pt").unlink()
    run(*map(str, [*common, 4, "--resume"]))
    run(*map(str, [*common, 6, "--resume", "--recipe", tmp_path / "tiny.toml"]))
    anchors = 2 if "lambdas" in loss else 0
    model = lic_fast.load(tmp_path / "run/model.safetensors")
    assert len(model.anchor_qualities) == anchors


def test_a_run_that_is_asked_to_end_saves_itself(material):
    folder = material / "stopped"
    process = subprocess.Popen(
        [sys.executable, *command(material, folder, "--set", "checkpoint.steps=100000")],
        cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 1200
    while len(read_log(folder)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (folder / "checkpoint.pt").exists()
    assert run(*command(material, folder), status=1).stderr.count("--resume") == 1


@pytest.mark.parametrize("more", [[], ["--set=quantization.bits=7", "--set=quantization.images=2"]])
def test_two_processes_train_one_model(material, more):
    folder = material / f"two {len(more)}"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    run(*launcher, *command(material, folder, "--steps", "6", *more))
    # The run itself compares the weights of all processes at its end.
    [row] = read_log(folder)[-1:]
    assert row["step"] == 6
    assert 0 < row["loss"] < 1e4
    assert all(value.isfinite().all() for value in weights(folder).values())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--from", "nothing.pth"], "nothing.pth"),
        (["--set", "data.crop=70"], "multiple of 64"),
        (["--set", "data.crop=128"], "smaller than a crop"),
        (["--set", "model.arguments.num_heads=5"], "make no WACNN"),
        (["--set", "loss.metric=ms-ssim"], "at least 161"),
        (["--resume"], "nothing to go on from"),
    ],
)
def test_what_cannot_be_trained_is_refused(material, more, words):
    done = subprocess.run(
        [sys.executable, *command(material, material / "refused", *more)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
