"""The parts of a training run: recipes, pictures, crops, checkpoints, schedules, logs."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lic_fast.errors import RecipeError, TrainingError
from lic_fast.training.cache import open_cache
from lic_fast.training.checkpoint import (
    NAME,
    PREVIOUS,
    read_checkpoint,
    remove_leftovers,
    write_checkpoint,
)
from lic_fast.training.data import Batches, Crops, anchors_of
from lic_fast.training.log import RunLog, read_log, read_validation
from lic_fast.training.recipe import Data, Schedule, read_recipe
from lic_fast.training.schedule import due, learning_rate_factor, progress

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_recipes(path):
    recipe = read_recipe(path)
    loss = recipe.loss
    assert (loss.lambda_ > 0) != bool(loss.lambdas)
    assert recipe.model.arguments.get("qualities", 0) == len(loss.lambdas)
    assert bool(recipe.schedule.steps) != bool(recipe.schedule.minutes)
    changes = ["loss.lambdas=[0.01, 0.02]"] if loss.lambdas else ["loss.lambda=0.0035"]
    if loss.lambdas:
        assert read_recipe(path, changes).model.arguments["qualities"] == 2
    else:
        assert read_recipe(path, changes).loss.lambda_ == 0.0035


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[loss]\nlambda = 0.01\n[los]\n", "los"),
        ("[loss]\nlambda = 0.01\nlamda = 1\n", "lamda"),
        ("[loss]\nlambda = -1\n", "lambda"),
        ("[loss]\nlambda = 'x'\n", "lambda"),
        ("[loss]\nlambda = nan\n", "lambda"),
        ("[loss]\nmetric = 'mse'\n", "lambda"),
        ("[loss]\nlambda = 0.01\nlambdas = [0.01, 0.02]\n", "either lambda, above 0, or lambdas"),
        ("[loss]\nlambdas = [0.01]\n", "at least two"),
        ("[loss]\nlambdas = [0.02, 0.01]\n", "ascending"),
        (
            "[loss]\nlambdas = [0.01, 0.02]\n[model]\narchitecture = 'WACNN'\n"
            "[model.arguments]\nqualities = 3\n",
            "lambdas, 2, not 3",
        ),
        ("[loss]\nlambda = 0.01\nmetric = 'psnr'\n", "metric"),
        ("[loss]\nlambda = 0.01\n[data]\nbatch = 0\n", "batch"),
        ("[loss]\nlambda = 0.01\n[data]\nbatch = true\n", "batch"),
        ("[loss]\nlambda = 0.01\n[quantization]\nbits = 8\n", "bits must be 0 or 7 or 14, not 8"),
        ("[loss]\nlambda = 0.01\n[quantization]\nbits = false\n", "bits must be"),
        ("[loss]\nlambda = 0.01\n[quantization]\nbegin = 2\n", "begin"),
        ("[loss]\nlambda = 0.01\n[model]\narchitecture = 'VGG'\n", "VGG"),
        ("loss = 3\n", "loss"),
        ("[loss\n", "recipe.toml"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(text, words, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(text + "\n[schedule]\nsteps = 3\n")
    with pytest.raises(RecipeError, match=words) as caught:
        read_recipe(path)
    assert "recipe.toml" in str(caught.value)


def pictures(folder, sizes=((40, 60), (64, 33), (50, 50))):
    folder.mkdir(exist_ok=True)
    paths = []
    for i, size in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_cache_holds_the_pixels_and_names_what_it_cannot_read(tmp_path):
    paths = pictures(tmp_path / "p")
    bad = tmp_path / "p" / "bad.png"
    bad.write_bytes(b"no picture")
    told = []
    cache = open_cache([*paths, bad], tmp_path / "c", progress=lambda *a: told.append(a))
    assert len(told) == 4
    assert [os.path.basename(name) for name, _ in cache.problems] == ["bad.png"]
    for i, path in enumerate(paths):
        assert np.array_equal(cache[i], np.asarray(Image.open(path)))
    told.clear()
    again = open_cache([*paths, bad], tmp_path / "c", progress=lambda *a: told.append(a))
    assert told == []
    assert again.key == cache.key
    with pytest.raises(TrainingError, match="none of the 1 pictures"):
        open_cache([bad], tmp_path / "c")


def test_a_cache_is_of_its_pictures(tmp_path):
    paths = pictures(tmp_path / "p")
    first = open_cache(paths, tmp_path / "c")
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(paths[0])
    second = open_cache(paths, tmp_path / "c")
    assert second.key != first.key
    assert not second[0].any()
    smaller = open_cache(paths, tmp_path / "c", max_side=30)
    assert smaller[0].shape == (20, 30, 3)
    # Cut off, it is made anew.
    data = tmp_path / "c" / f"{smaller.key}.u8"
    data.write_bytes(data.read_bytes()[:-1])
    assert open_cache(paths, tmp_path / "c", max_side=30)[0].shape == (20, 30, 3)


def test_crops_are_functions_of_their_number(tmp_path):
    cache = open_cache(pictures(tmp_path / "p", ((40, 60), (16, 90), (33, 33))), tmp_path / "c")
    crops = Crops(cache, Data(crop=32, batch=4, seed=5))
    assert list(crops.usable) == [0, 2]
    numbers = list(range(40))
    all_at_once = crops.__getitems__(numbers)
    assert all_at_once.shape == (40, 32, 32, 3)
    other = Crops(cache, Data(crop=32, batch=4, seed=5))
    for number in reversed(numbers):
        assert torch.equal(other.__getitems__([number])[0], all_at_once[number])
    assert len({bytes(crop.numpy().tobytes()) for crop in all_at_once}) > 20
    assert not torch.equal(
        Crops(cache, Data(crop=32, batch=4, seed=6)).__getitems__(numbers), all_at_once
    )
    with pytest.raises(TrainingError, match="smaller than a crop"):
        Crops(cache, Data(crop=64, batch=4))


def test_every_anchor_comes_equally_often():
    seen = torch.cat([anchors_of(range(i, i + 8), 7, 3) for i in range(0, 280, 8)])
    assert seen.shape == (280,)
    assert seen.bincount(minlength=7).tolist() == [40] * 7
    # Not always in one order, and a function of the crop's number and the seed alone.
    runs = seen.view(40, 7)
    assert len({tuple(run) for run in runs.tolist()}) > 30
    assert torch.equal(anchors_of(range(50, 60), 7, 3), seen[50:60])
    assert not torch.equal(anchors_of(range(280), 7, 4), seen)


def test_processes_share_a_batch():
    one = iter(Batches(3, 6))
    two = [iter(Batches(3, 6, rank, 2)) for rank in range(2)]
    for _ in range(3):
        assert next(one) == next(two[0]) + next(two[1])
    resumed = iter(Batches(3, 6))
    next(resumed)
    assert next(resumed) == next(iter(Batches(4, 6)))


@given(st.floats(0, 1), st.sampled_from(["cosine", "constant", "drops"]))
def test_the_rate_never_leaves_its_range(done, shape):
    schedule = Schedule(
        steps=100, shape=shape, warmup=0.1, final=0.05, milestones=(0.5, 0.9), factor=0.1
    )
    assert 0.005 < learning_rate_factor(schedule, done) <= 1


def test_the_rate_rises_and_falls():
    schedule = Schedule(steps=100, warmup=0.1, final=0.0)
    rates = [learning_rate_factor(schedule, progress(schedule, i, 0)) for i in range(101)]
    assert rates[10] == 1
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0)
    drops = Schedule(minutes=10, shape="drops", milestones=(0.5, 0.9))
    assert learning_rate_factor(drops, progress(drops, 7, 299)) == 1
    assert learning_rate_factor(drops, progress(drops, 7, 301)) == pytest.approx(0.1)
    assert learning_rate_factor(drops, progress(drops, 7, 900)) == pytest.approx(0.01)


def test_what_is_due():
    assert [s for s in range(1, 10) if due(3, 0, s, 0, 0)] == [3, 6, 9]
    assert due(0, 1, 5, 60.5, 59.9)
    assert not due(0, 1, 5, 60.9, 60.5)
    assert not due(0, 0, 5, 1e9, 0)


def content(step):
    return {"state": {"step": step, "x": torch.arange(1000.0)}}


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    with pytest.raises(TrainingError, match="nothing to go on from"):
        read_checkpoint(tmp_path)
    write_checkpoint(tmp_path, content(1))
    write_checkpoint(tmp_path, content(2))
    assert read_checkpoint(tmp_path)["state"]["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([NAME, PREVIOUS])
    (tmp_path / ".checkpoint.12.tmp").write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    last = tmp_path / NAME
    whole = last.read_bytes()
    last.unlink()
    assert read_checkpoint(tmp_path)["state"]["step"] == 1
    middle = len(whole) // 2
    for damaged in (whole[:-100], b"", whole[:middle] + b"\xff\x00" + whole[middle + 2 :]):
        last.write_bytes(damaged)
        with pytest.raises(TrainingError, match="of step 1, is whole"):
            read_checkpoint(tmp_path)
    (tmp_path / PREVIOUS).write_bytes(b"PK")
    with pytest.raises(TrainingError, match="is no better"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last(tmp_path):
    write_checkpoint(tmp_path, content(1))
    with pytest.raises(Exception, match="pickle"):
        write_checkpoint(tmp_path, {"state": lambda: None})
    assert [p.name for p in tmp_path.iterdir()] == [NAME]
    assert read_checkpoint(tmp_path)["state"]["step"] == 1


def test_a_log_is_cut_at_the_checkpoint(tmp_path):
    log = RunLog(tmp_path, 0)
    for step in (5, 10, 15):
        log.write({"step": step, "loss": 1 / step, "skipped": 0})
    with (tmp_path / "log.csv").open("a") as file:
        file.write("20,0.3")
    again = RunLog(tmp_path, 10)
    again.write({"step": 15, "loss": math.pi, "skipped": 1})
    assert read_log(tmp_path) == [
        {"step": 5, "loss": 0.2, "skipped": 0},
        {"step": 10, "loss": 0.1, "skipped": 0},
        {"step": 15, "loss": math.pi, "skipped": 1},
    ]


def test_validations_are_logged_by_group_and_quality_and_cut_at_the_checkpoint(tmp_path):
    log = RunLog(tmp_path, 0)
    measured = np.arange(12.0).reshape(3, 2, 2)
    for step in (5, 10):
        log.write_validation(step, step / 2, ["a, b", "c", "a, b"], [1.0, 100.0], measured)
    log = RunLog(tmp_path, 5)
    rows = read_validation(tmp_path)
    assert [tuple(row.values()) for row in rows] == [
        ("5", "2.50", "a, b", "2", "1.00", "4.00000", "5.0000"),
        ("5", "2.50", "a, b", "2", "100.00", "6.00000", "7.0000"),
        ("5", "2.50", "c", "1", "1.00", "4.00000", "5.0000"),
        ("5", "2.50", "c", "1", "100.00", "6.00000", "7.0000"),
    ]
    log.write_validation(7, 3.5, ["c"], [None], measured[:1, :1])
    with (tmp_path / "validation.csv").open("a") as file:
        file.write("9,1.0,c")
    last = read_validation(tmp_path)[-1]
    assert (last["step"], last["quality"]) == ("7", "")
