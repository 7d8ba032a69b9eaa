"""The model that a run begins with."""

import pytest
import torch

from lic_fast.errors import RecipeError, TrainingError
from lic_fast.models import TCM, WACNN
from lic_fast.training.recipe import Recipe
from lic_fast.training.start import first_model
from tests.models.tiny import ARGUMENTS, tiny


def recipe(fresh=(), model=None):
    tables = {"loss": {"lambda": 0.01}, "schedule": {"steps": 1}, "start": {"fresh": list(fresh)}}
    if model is not None:
        arguments = dict(ARGUMENTS[model])
        tables["model"] = {"architecture": model.architecture, "arguments": arguments}
    return Recipe.from_tables(tables, "recipe.toml")


def checkpoint(folder, model):
    net = tiny(model, seed=9)
    path = folder / "start.pth"
    torch.save({"state_dict": net.state_dict()}, path)
    return net, path


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("model", [WACNN, TCM])
def test_fresh_modules_have_the_seeds_weights_and_the_others_the_checkpoints(
    model, stated, tmp_path
):
    net, path = checkpoint(tmp_path, model)
    fresh = ("h_a", "g_s.0", "entropy_bottleneck")
    wanted = recipe(fresh, model if stated else None)
    made = first_model(wanted, path)
    again = first_model(wanted, path)
    torch.manual_seed(0)
    seeded = model(**net.arguments)
    for name, value in made.named_parameters():
        source = seeded if name.startswith(tuple(f"{part}." for part in fresh)) else net
        assert torch.equal(value, source.get_parameter(name)), name
        assert torch.equal(value, again.get_parameter(name)), name
    # Tables belong to the weights that there were.
    with pytest.raises(ValueError, match="update"):
        made.eval().cdf_tables()


def test_without_fresh_modules_all_weights_are_the_checkpoints(tmp_path):
    net, path = checkpoint(tmp_path, WACNN)
    for name, value in first_model(recipe(), path).named_parameters():
        assert torch.equal(value, net.get_parameter(name)), name


@pytest.mark.parametrize("name", ["h_b", "", "h_a.weight"])
def test_a_module_that_is_not_there_is_named(name, tmp_path):
    _, path = checkpoint(tmp_path, WACNN)
    with pytest.raises(RecipeError, match=rf"no module '{name}'.*g_a, g_s, h_a"):
        first_model(recipe([name]), path)


def test_fresh_is_a_list_of_strings():
    for value in ("h_a", [1], 3):
        with pytest.raises(RecipeError, match=r"\[start\] fresh must be a list of strings"):
            Recipe.from_tables(
                {"loss": {"lambda": 1}, "schedule": {"steps": 1}, "start": {"fresh": value}}, "r"
            )


def many_rates(count, model=None):
    tables = {"loss": {"lambdas": [0.01 * (i + 1) for i in range(count)]}, "schedule": {"steps": 1}}
    if model is not None:
        tables["model"] = {"architecture": model.architecture, "arguments": dict(ARGUMENTS[model])}
    return Recipe.from_tables(tables, "recipe.toml")


@pytest.mark.parametrize("stated", [False, True])
def test_a_model_of_one_rate_begins_one_of_many(stated, tmp_path):
    net, path = checkpoint(tmp_path, WACNN)
    made = first_model(many_rates(3, WACNN if stated else None), path)
    assert made.y_gain.shape == (3, net.M)
    assert made.arguments["qualities"] == 3
    for name, value in net.named_parameters():
        assert torch.equal(value, made.get_parameter(name)), name
    assert torch.equal(made.y_gain, WACNN(**ARGUMENTS[WACNN], qualities=3).y_gain)


def test_gains_come_along(tmp_path):
    net = tiny(WACNN, qualities=3)
    with torch.no_grad():
        net.y_gain.mul_(1.5)
    path = tmp_path / "start.pth"
    torch.save(net.state_dict(), path)
    assert torch.equal(first_model(many_rates(3), path).y_gain, net.y_gain)


def test_lambdas_and_gains_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "start.pth"
    torch.save(tiny(WACNN, qualities=3).state_dict(), path)
    for wanted in (many_rates(2, WACNN), recipe(model=WACNN)):
        with pytest.raises(TrainingError, match="qualities 3 for"):
            first_model(wanted, path)
    with pytest.raises(RecipeError, match="3 anchors needs as many"):
        first_model(recipe(), path)


def test_matching_takes_what_has_the_same_name_and_shape(tmp_path):
    net = tiny(WACNN, seed=9)
    path = tmp_path / "start.pth"
    torch.save(net.state_dict(), path)
    # Other latents: the first layers are the checkpoint's, those that know M are fresh.
    arguments = ARGUMENTS[WACNN] | {"M": 48}
    tables = {
        "loss": {"lambdas": [0.01, 0.02]},
        "schedule": {"steps": 1},
        "start": {"matching": True},
        "model": {"architecture": "WACNN", "arguments": arguments},
    }
    made = first_model(Recipe.from_tables(tables, "r"), path)
    torch.manual_seed(0)
    seeded = WACNN(**arguments, qualities=2)
    names = {"taken": 0, "fresh": 0}
    for name, value in made.named_parameters():
        old = dict(net.named_parameters()).get(name)
        taken = old is not None and old.shape == value.shape
        assert torch.equal(value, old if taken else seeded.get_parameter(name)), name
        names["taken" if taken else "fresh"] += 1
    assert min(names.values()) > 5
    for wrong in ({"fresh": ["h_a"]}, {}):
        changed = {**tables, "start": {"matching": True, **wrong}}
        if not wrong:
            del changed["model"]
        with pytest.raises(RecipeError, match="matching needs a"):
            Recipe.from_tables(changed, "r")
