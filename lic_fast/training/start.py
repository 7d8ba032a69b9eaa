"""The model that a run begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from compressai.entropy_models import EntropyModel

from lic_fast.errors import RecipeError, TrainingError
from lic_fast.models import SliceCompressionModel, load
from lic_fast.models.state_dict import TABLES
from lic_fast.training.recipe import Recipe

__all__ = ["first_model", "without_tables"]


def first_model(recipe: Recipe, start: Path | None) -> SliceCompressionModel:
    """The recipe's model with random weights, or with those of a checkpoint.

    Args:
        recipe: Its [model] may be missing if there is a checkpoint, which then decides.
        start: Any file that :func:`lic_fast.load` takes, of a model in floating point.

    Raises:
        RecipeError: The recipe has no [model] and there is no checkpoint; or its arguments do
            not fit each other, or the lambdas not the model's gains.
        TrainingError: The checkpoint is of another model than the recipe's, or portable.
        CheckpointError: It cannot be read.
    """
    model = _built(recipe) if start is None else _continued(recipe, start)
    anchors, lambdas = len(model.anchor_qualities), len(recipe.loss.lambdas)
    if anchors != lambdas:
        raise RecipeError(
            f"a model of {anchors} anchors needs as many [loss] lambdas, not {lambdas}"
            if anchors
            else f"a model without gains has no use for {lambdas} [loss] lambdas: give one lambda"
        )
    return model


def _continued(recipe: Recipe, start: Path) -> SliceCompressionModel:
    """The recipe's model with the weights of a checkpoint."""
    loaded = load(start)
    if loaded.portable:
        raise TrainingError(
            f"{start}: a portable model does not train: start from the checkpoint that it was "
            "made from"
        )
    if recipe.model is None:
        anchors = len(recipe.loss.lambdas) or len(loaded.anchor_qualities)
        arguments = loaded.arguments | {"qualities": anchors}
        model = _seeded(recipe, lambda: type(loaded)(**arguments))
    else:
        model = _built(recipe)
    if type(model) is not type(loaded):
        raise TrainingError(
            f"{start} is a {loaded.architecture}, the recipe's model a {model.architecture}"
        )
    if model.anchor_qualities and not loaded.anchor_qualities:
        # From a model of one rate to one of many, with the gains that every run begins with.
        loaded.y_gain, loaded.y_inv_gain = model.y_gain, model.y_inv_gain
        loaded.arguments["qualities"] = model.arguments["qualities"]
    others = [
        f"{name} {loaded.arguments[name]} for {wanted}"
        for name, wanted in model.arguments.items()
        if loaded.arguments.get(name, wanted) != wanted and name not in _UNSEEN
    ]
    if others:
        raise TrainingError(f"{start} has other widths than the recipe: {', '.join(others)}")
    loaded, model = without_tables(loaded), without_tables(model)
    _refresh(loaded, model, recipe.start.fresh)
    model.load_state_dict(loaded.state_dict())
    return model


def _refresh(
    loaded: SliceCompressionModel, model: SliceCompressionModel, names: tuple[str, ...]
) -> None:
    """Gives these modules of `loaded` the weights that they have in `model`."""
    modules = dict(loaded.named_modules())
    for name in names:
        if not name or name not in modules:
            children = ", ".join(name for name, _ in loaded.named_children())
            raise RecipeError(
                f"[start] fresh: a {loaded.architecture} has no module {name!r}; it has "
                f"{children}, and those inside of them"
            )
        modules[name].load_state_dict(model.get_submodule(name).state_dict())


# Arguments that a state dict need not show.
_UNSEEN = ("max_support_slices", "qk_scale")


def _built(recipe: Recipe) -> SliceCompressionModel:
    if recipe.model is None:
        raise RecipeError(
            "the recipe has no [model]: it needs a checkpoint to start from (--from), which has one"
        )
    model = recipe.model
    try:
        return _seeded(recipe, lambda: model.kind(**model.arguments))
    # Numbers that fit no network are refused by whatever meets them first.
    except (ValueError, TypeError, RuntimeError, ArithmeticError, IndexError) as error:
        raise RecipeError(f"[model.arguments] make no {model.architecture}: {error}") from None


def _seeded(recipe: Recipe, build: Callable[[], SliceCompressionModel]) -> SliceCompressionModel:
    torch.manual_seed(recipe.data.seed)
    return build()


def without_tables(model: SliceCompressionModel) -> SliceCompressionModel:
    """Empties its CDF tables, which belong to the weights that it had."""
    for module in model.modules():
        if isinstance(module, EntropyModel):
            for name in TABLES:
                table = getattr(module, name, None)
                if isinstance(table, torch.Tensor) and name != "scale_table":
                    setattr(module, name, table.new_empty(0))
    return model
