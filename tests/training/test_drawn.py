"""Drawn pictures: each kind, and their share of a run's crops."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lic_fast.errors import RecipeError
from lic_fast.training import Job, drawn, train
from lic_fast.training.cache import open_cache
from lic_fast.training.data import Crops
from lic_fast.training.drawn import KINDS, draw
from lic_fast.training.recipe import Data, read_recipe
from tests.training.test_quantization import StopAt, Stopped
from tests.training.test_run import RECIPE

ROOT = Path(__file__).parents[2]


def generator(seed):
    return np.random.Generator(np.random.Philox(key=[seed, 7]))


def photograph(side):
    """A smooth picture with a little noise, as a stand-in for one."""
    y, x = np.mgrid[:side, :side]
    smooth = np.stack([128 + 100 * np.sin(x / 9), 2 * y % 256, (x + y) % 256], axis=2)
    noisy = smooth + np.random.default_rng(0).normal(size=(side, side, 3)) * 6
    return noisy.clip(0, 255).astype(np.uint8)


def pictures(name, count=24, side=96, given=None):
    return [KINDS[name](generator(seed), side, given) for seed in range(count)]


def colours(picture):
    return len(np.unique(picture.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("side", [16, 37, 128])
def test_each_kind_is_a_picture_of_the_generator_alone(name, side):
    photo = photograph(side)
    before = photo.copy()
    for given in (None, photo):
        found = pictures(name, 12, side, given)
        for picture in found:
            assert picture.shape == (side, side, 3)
            assert picture.dtype == np.uint8
        assert len({picture.tobytes() for picture in found}) > 6
        again = pictures(name, 12, side, given)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert np.array_equal(photo, before)


def test_a_drawn_picture_is_of_any_kind(monkeypatch):
    assert len({draw(generator(seed), 32).tobytes() for seed in range(60)}) > 50
    photo = photograph(32)
    named = {name: lambda *given, name=name: (name, *given[1:]) for name in KINDS}
    monkeypatch.setattr(drawn, "KINDS", named)
    chosen = [draw(generator(seed), 32, photo) for seed in range(300)]
    assert {name for name, *_ in chosen} == set(KINDS)
    assert all(side == 32 and given is photo for _, side, given in chosen)


def test_fields_are_flat():
    for picture in pictures("fields"):
        across = (picture[:, 1:] != picture[:, :-1]).any(axis=2).mean()
        down = (picture[1:] != picture[:-1]).any(axis=2).mean()
        assert colours(picture) <= 24
        assert across < 0.2
        assert down < 0.2
    extremes = [np.isin(picture, (0, 255)).all(axis=2).mean() for picture in pictures("fields")]
    assert np.mean(extremes) > 0.2


def test_gradients_are_smooth():
    steps = [
        np.abs(np.diff(picture.astype(int), axis=axis)).mean()
        for picture in pictures("gradients")
        for axis in (0, 1)
    ]
    assert max(steps) < 12
    assert np.median([colours(picture) for picture in pictures("gradients")]) > 50


@pytest.mark.parametrize("given", [None, photograph(96)], ids=["alone", "photograph"])
def test_dithered_pictures_have_two_colours_that_alternate(given):
    found = pictures("dithering", given=given)
    assert all(colours(picture) <= 2 for picture in found)
    black_and_white = [picture for picture in found if np.isin(picture, (0, 255)).all()]
    assert len(black_and_white) > len(found) / 2
    changes = [(picture[:, 1:] != picture[:, :-1]).any(axis=2).mean() for picture in found]
    assert np.median(changes) > 0.15


def test_a_dithered_photograph_is_like_it():
    photo = photograph(96)
    grey = np.asarray(Image.fromarray(photo).convert("L").resize((12, 12), Image.Resampling.BOX))
    likeness = []
    for picture in pictures("dithering", given=photo):
        mean = np.asarray(
            Image.fromarray(picture).convert("L").resize((12, 12), Image.Resampling.BOX)
        )
        if mean.std():
            likeness.append(np.corrcoef(grey.ravel(), mean.ravel())[0, 1])
    assert np.sum(np.array(likeness) > 0.8) >= len(likeness) / 4


def test_palettes_are_small():
    # Levels of each channel are at most six, so 216 colours.
    assert max(colours(picture) for picture in pictures("palette")) <= 216
    assert np.median([colours(picture) for picture in pictures("palette")]) <= 16


def test_stripes_are_of_one_to_eight_pixels():
    for picture in pictures("stripes", side=128):
        changes = (picture[:, 1:] != picture[:, :-1]).any(axis=2)
        changes_down = (picture[1:] != picture[:-1]).any(axis=2)
        assert max(changes.mean(), changes_down.mean()) > 1 / 10
        assert colours(picture) <= 16


def test_text_and_screens_have_edges_on_flat_ground():
    for name in ("text", "screens"):
        for picture in pictures(name, 12, 128):
            values, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
            assert len(values) > 1
            assert counts.max() > 0.04 * 128 * 128
        steps = [np.abs(np.diff(p.astype(int), axis=1)).max() for p in pictures(name, 12, 128)]
        assert np.median(steps) > 100


def test_noise_is_of_many_strengths():
    strengths = [np.diff(picture.astype(float), axis=1).std() for picture in pictures("noise", 60)]
    assert np.quantile(strengths, 0.2) < 15
    assert np.quantile(strengths, 0.8) > 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    paths = []
    for i in range(3):
        paths.append(folder / f"{i}.png")
        Image.fromarray(photograph(80)[i:, : 70 + i]).save(paths[-1])
    return open_cache(paths, folder / "cache")


def crops(cache, **keys):
    return Crops(cache, Data(crop=32, batch=4, **{"seed": 5} | keys))


def test_no_crop_is_drawn_by_default_and_all_at_a_share_of_one(cache):
    numbers = list(range(60))
    cut = crops(cache).__getitems__(numbers)
    assert torch.equal(crops(cache, drawn=0.0).__getitems__(numbers), cut)
    every = crops(cache, drawn=1.0).__getitems__(numbers)
    # A kind may give the photograph back, with a little noise that rounds to nothing.
    assert sum(torch.equal(a, b) for a, b in zip(every, cut, strict=True)) <= 2


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_the_crops_is_drawn_and_the_others_stay(cache, share):
    numbers = list(range(1000))
    cut = crops(cache).__getitems__(numbers)
    found = crops(cache, drawn=share).__getitems__(numbers)
    differ = (found != cut).flatten(1).any(1)
    # Four standard deviations of a binomial.
    assert abs(float(differ.float().mean()) - share) < 4 * (share * (1 - share) / 1000) ** 0.5
    everything = crops(cache, drawn=1.0).__getitems__(numbers)
    assert torch.equal(found[differ], everything[differ])
    other = crops(cache, drawn=share, seed=6).__getitems__(numbers)
    assert not torch.equal(found, other)


def test_drawn_crops_are_functions_of_their_number(cache):
    numbers = list(range(50))
    at_once = crops(cache, drawn=0.5).__getitems__(numbers)
    later = crops(cache, drawn=0.5)
    for number in reversed(numbers):
        assert torch.equal(later.__getitems__([number])[0], at_once[number])


@pytest.mark.skipif(find_spec("accelerate") is None, reason="needs accelerate")
def test_a_run_that_draws_goes_on_bit_for_bit(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    changes = ["schedule.steps=5", "log.steps=1", "checkpoint.steps=1"]
    photos = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(photos):
        Image.fromarray(photograph(90 + i)).save(path)

    def run(name, share, stop=0, resume=False):
        recipe = read_recipe(tmp_path / "tiny.toml", [*changes, f"data.drawn={share}"])
        job = Job(
            tmp_path / name, recipe, photos, cache=tmp_path / "c", resume=resume, device="cpu"
        )
        outcome = train(job, StopAt(stop) if stop else None)
        return torch.cat([p.flatten() for p in outcome.model.parameters()])

    whole = run("whole", 0.5)
    assert not torch.equal(whole, run("photographs", 0))
    with pytest.raises(Stopped):
        run("stopped", 0.5, stop=3)
    assert torch.equal(run("stopped", 0.5, resume=True), whole)


def test_the_share_is_a_key_of_the_recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("[loss]\nlambda = 0.01\n[schedule]\nsteps = 3\n[data]\ndrawn = 0.1\n")
    assert read_recipe(path).data.drawn == 0.1
    assert read_recipe(path, ["data.drawn=0"]).data.drawn == 0
    for share in ("-0.1", "1.1", "nan", "'x'"):
        with pytest.raises(RecipeError, match="drawn"):
            read_recipe(path, [f"data.drawn={share}"])


def test_the_script_writes_pictures_of_each_kind(tmp_path):
    script = [sys.executable, ROOT / "recipes" / "draw_pictures.py", tmp_path / "out"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*map(str, script), "--count", "1", "--side", "64"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{name}-0.png" for name in KINDS}
    for name in names:
        assert Image.open(tmp_path / "out" / name).size == (64, 64)
