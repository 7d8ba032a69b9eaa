"""Recipes: everything that decides what a run computes, from a TOML file.

``recipes/`` has one for each shipped model and for each model of the papers.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lic_fast.errors import RecipeError
from lic_fast.models import MODELS, SliceCompressionModel
from lic_fast.training.fields import (
    choice,
    integer,
    integers,
    number,
    numbers,
    read_section,
    switch,
    table_of,
    words,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Recipe", "read_recipe"]

# Five scales and an 11-tap window (pytorch_msssim).
_SMALLEST_MS_SSIM_CROP = 161


@dataclass(frozen=True)
class Data:
    """``[data]``: what a batch is made of.

    Attributes:
        crop: Side of the square crops in pixels.
        batch: Crops of a step, of all processes together.
        flip: Whether half of the crops are mirrored.
        max_side: Pictures with a longer side are shrunk to it when they are decoded, by an area
            filter, which takes JPEG's artefacts along; 0 leaves them as they are.
        drawn: Share of the crops that the run draws itself (text, flat fields, dithering and
            the like: ``drawn.py``) instead of cutting them from a picture.
        seed: Of crops, drawn pictures, noise and, without a checkpoint, the first weights.
        workers: Processes that cut crops; 0 is enough for a CPU, -1 chooses.
    """

    crop: int = integer(256, least=16, most=8192)
    batch: int = integer(16, least=1, most=65536)
    flip: bool = switch(True)
    max_side: int = integer(0, least=0)
    drawn: float = number(0.0, least=0, most=1)
    seed: int = integer(0, least=0, most=2**31 - 1)
    workers: int = integer(-1, least=-1, most=256)


@dataclass(frozen=True)
class Loss:
    """``[loss]``: lambda * 255^2 * MSE + bpp, or lambda * (1 - MS-SSIM) + bpp, of each picture.

    Attributes:
        lambda_: lambda, of a model of one rate; 0 if there are `lambdas`.
        lambdas: One for each anchor of a model with gains, ascending; each picture of a batch is
            coded at one anchor, all anchors equally often.
        metric: "mse" or "ms-ssim".
        relative: Whether log(1 + loss) of each picture is minimised, so that a picture that
            takes many bits, or a large lambda, does not outweigh all others.
    """

    lambda_: float = number(0.0, least=0)
    lambdas: tuple[float, ...] = numbers((), above=0, below=1e6)
    metric: str = choice("mse", "ms-ssim", default="mse")
    relative: bool = switch(False)


@dataclass(frozen=True)
class Optimizer:
    """``[optimizer]``.

    Attributes:
        name: "adam", "adamw", or "muon", which takes fewer but dearer steps.
        lr: Learning rate at the schedule's height.
        weight_decay: Of AdamW, or of the weights that Muon trains.
        clip: Largest norm of all gradients together; 0 does not clip.
        aux_lr: Learning rate of the factorised prior's quantiles, constant.
        patience: Steps in a row whose gradients are not finite, after which the run ends.
    """

    name: str = choice("adam", "adamw", "muon", default="adam")
    lr: float = number(1e-4, above=0)
    weight_decay: float = number(0.0, least=0)
    clip: float = number(1.0, least=0)
    aux_lr: float = number(1e-3, above=0)
    patience: int = integer(50, least=1)


@dataclass(frozen=True)
class Schedule:
    """``[schedule]``: the run's length, and the learning rate along it.

    Attributes:
        steps: Length in steps; 0 if it is in minutes.
        minutes: Length in minutes of wall-clock time, validation included; 0 if it is in steps.
        shape: "cosine" from the height to `final`, "constant", or "drops".
        warmup: Share of the run in which the rate rises to its height.
        final: Learning rate at the end of the cosine over that at its height.
        milestones: Shares of the run at which the shape "drops" multiplies the rate by `factor`.
        factor: See `milestones`.
    """

    steps: int = integer(0, least=0)
    minutes: float = number(0.0, least=0)
    shape: str = choice("cosine", "constant", "drops", default="cosine")
    warmup: float = number(0.0, least=0, most=0.9)
    final: float = number(0.0, least=0, most=1)
    milestones: tuple[float, ...] = numbers((), above=0, below=1)
    factor: float = number(0.1, above=0, most=1)


@dataclass(frozen=True)
class Precision:
    """``[precision]``.

    Attributes:
        autocast: Type in which convolutions and matrix products run, "float32" or "bfloat16"; "auto"
            takes bfloat16 where the device multiplies it;
            weights, likelihoods and the loss are in float32.
        channels_last: Memory layout of maps and weights: "auto" takes it on GPUs, and on CPUs
            with bfloat16 if all numbers of channels but the picture's are multiples of 16.
    """

    autocast: str = choice("auto", "float32", "bfloat16", default="auto")
    channels_last: str = choice("auto", "on", "off", default="auto")


@dataclass(frozen=True)
class Quantization:
    """``[quantization]``: the portable model's rounding in training, with gradients through it.

    Attributes:
        bits: Of activations in the mean and scale networks, 14 or 7, in training and in the
            portable model that the run leaves; 0 trains without rounding, and leaves 14.
        begin: Share of the run at which the rounding begins.
        steps: The grids of the activations are chosen anew every so many steps.
        images: Training pictures that they are chosen by.
    """

    bits: int = integers(0, 7, 14, default=0)
    begin: float = number(0.0, least=0, most=1)
    steps: int = integer(500, least=1)
    images: int = integer(8, least=1)


@dataclass(frozen=True)
class Ema:
    """``[ema]``: exponential moving average of the weights, which is what ships.

    Attributes:
        decay: Share of the average that a step keeps; 0 for no average. In the first steps
            it is less, (1 + steps) / (10 + steps).
    """

    decay: float = number(0.999, least=0, most=0.999999)


@dataclass(frozen=True)
class Validation:
    """``[validation]``: real streams of whole pictures, with the averaged weights.

    Attributes:
        steps: Validate every so many steps; 0 for never, but at the end.
        minutes: The same in minutes.
        images: Take so many of the pictures, evenly; 0 for all.
    """

    steps: int = integer(0, least=0)
    minutes: float = number(0.0, least=0)
    images: int = integer(8, least=0)


@dataclass(frozen=True)
class Checkpoint:
    """``[checkpoint]``: when the run is saved; always at its end.

    Attributes:
        steps: Every so many steps; 0 for never.
        minutes: Every so many minutes; 0 for never.
    """

    steps: int = integer(0, least=0)
    minutes: float = number(5.0, least=0)


@dataclass(frozen=True)
class Log:
    """``[log]``.

    Attributes:
        steps: Steps that one line of the log is the mean of.
    """

    steps: int = integer(50, least=1)


@dataclass(frozen=True)
class Export:
    """``[export]``: what follows the last step.

    Attributes:
        portable: Whether to write a portable model beside the one in floating point.
        images: Training pictures that it is calibrated on.
        float16: Whether its transforms' weights are rounded to float16.
    """

    portable: bool = switch(False)
    images: int = integer(48, least=1)
    float16: bool = switch(False)


@dataclass(frozen=True)
class Start:
    """``[start]``: what a run takes from the checkpoint that it starts from.

    Attributes:
        fresh: Modules, as "h_a", that get fresh weights instead of the checkpoint's: those of
            a hyperprior that has died, say.
    """

    fresh: tuple[str, ...] = words()


@dataclass(frozen=True)
class Model:
    """``[model]``.

    Attributes:
        architecture: "WACNN", "SymmetricalTransFormer" or "TCM".
        arguments: The constructor's, ``[model.arguments]``.
    """

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> type[SliceCompressionModel]:
        """The class."""
        return {model.architecture: model for model in MODELS}[self.architecture]


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; each attribute is a table of the file.

    Attributes:
        model: None if the checkpoint from which the run starts is to decide.
    """

    loss: Loss
    schedule: Schedule
    model: Model | None = None
    start: Start = field(default_factory=Start)
    data: Data = field(default_factory=Data)
    optimizer: Optimizer = field(default_factory=Optimizer)
    precision: Precision = field(default_factory=Precision)
    quantization: Quantization = field(default_factory=Quantization)
    ema: Ema = field(default_factory=Ema)
    validation: Validation = field(default_factory=Validation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    log: Log = field(default_factory=Log)
    export: Export = field(default_factory=Export)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any], source: str) -> Recipe:
        """A recipe from the tables of a TOML file.

        Args:
            tables: By name.
            source: The file, for messages.

        Raises:
            RecipeError: A table or a key is unknown or missing, or has an impossible value.
        """
        unknown = [name for name in tables if name not in {"model", *_SECTIONS}]
        if unknown:
            raise RecipeError(
                f"{source}: a recipe has no [{unknown[0]}]; it has "
                f"{', '.join(f'[{name}]' for name in ('model', *_SECTIONS))}"
            )
        sections: dict[str, Any] = {
            name: read_section(kind, name, tables.get(name, {}), source)
            for name, kind in _SECTIONS.items()
        }
        model = _model(tables["model"], source) if "model" in tables else None
        if model is not None:
            model = _with_qualities(model, len(sections["loss"].lambdas), source)
        recipe = cls(model=model, **sections)
        _check(recipe, source)
        return recipe

    def to_tables(self) -> dict[str, Any]:
        """The inverse of :meth:`from_tables`, of plain values."""
        tables = {name: table_of(getattr(self, name)) for name in _SECTIONS}
        if self.model is not None:
            tables["model"] = {
                "architecture": self.model.architecture,
                "arguments": dict(self.model.arguments),
            }
        return tables


_SECTIONS: dict[str, type[Any]] = {
    "start": Start,
    "data": Data,
    "loss": Loss,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "quantization": Quantization,
    "ema": Ema,
    "validation": Validation,
    "checkpoint": Checkpoint,
    "log": Log,
    "export": Export,
}
assert {*_SECTIONS, "model"} == {key.name for key in fields(Recipe)}


def _check(recipe: Recipe, source: str) -> None:
    """What no single key can tell."""
    schedule, data = recipe.schedule, recipe.data
    if (schedule.steps > 0) == (schedule.minutes > 0):
        raise RecipeError(f"{source}: [schedule] needs either steps or minutes, above 0")
    if schedule.milestones and schedule.shape != "drops":
        raise RecipeError(f'{source}: [schedule] milestones need shape = "drops"')
    loss = recipe.loss
    if (loss.lambda_ > 0) == bool(loss.lambdas):
        raise RecipeError(f"{source}: [loss] needs either lambda, above 0, or lambdas")
    if len(loss.lambdas) == 1:
        raise RecipeError(f"{source}: [loss] lambdas are at least two; for one there is lambda")
    if recipe.loss.metric == "ms-ssim" and data.crop < _SMALLEST_MS_SSIM_CROP:
        raise RecipeError(
            f"{source}: [data] crop must be at least {_SMALLEST_MS_SSIM_CROP} for the five scales "
            f"of MS-SSIM, not {data.crop}"
        )
    if recipe.optimizer.weight_decay and recipe.optimizer.name == "adam":
        raise RecipeError(f'{source}: [optimizer] weight_decay needs name = "adamw" or "muon"')


def _model(table: Any, source: str) -> Model:
    if not isinstance(table, Mapping):
        raise RecipeError(f"{source}: model must be a table, [model]")
    unknown = [key for key in table if key not in ("architecture", "arguments")]
    if unknown:
        raise RecipeError(
            f"{source}: [model] has no {unknown[0]!r}; its keys are architecture and, in "
            "[model.arguments], those of the constructor"
        )
    names = [model.architecture for model in MODELS]
    name = table.get("architecture")
    if name not in names:
        raise RecipeError(
            f"{source}: [model] architecture must be one of {', '.join(names)}, not {name!r}"
        )
    arguments = table.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise RecipeError(f"{source}: model.arguments must be a table, [model.arguments]")
    model = Model(name, {key: _tuples(value) for key, value in arguments.items()})
    known = [p for p in inspect.signature(model.kind).parameters if p != "norm_layer"]
    for key in arguments:
        if key not in known:
            raise RecipeError(
                f"{source}: [model.arguments] {name} has no {key!r}; it has {', '.join(known)}"
            )
    return model


def _with_qualities(model: Model, anchors: int, source: str) -> Model:
    """The model with an anchor for each lambda, which a recipe need not say."""
    if model.arguments.get("qualities", anchors) != anchors:
        raise RecipeError(
            f"{source}: [model.arguments] qualities must be the number of [loss] lambdas, "
            f"{anchors}, not {model.arguments['qualities']}"
        )
    return replace(model, arguments={**model.arguments, "qualities": anchors}) if anchors else model


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list | tuple) else value


def read_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: A TOML file.
        changes: Keys to set otherwise, each ``section.key=value`` with a value as in TOML; a
            word needs no quotes.

    Raises:
        RecipeError: The file is no TOML file, or no recipe; the message names file and key.
        OSError: It cannot be read.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path}: no TOML file: {error}") from None
    return Recipe.from_tables(changed(tables, changes), str(path))


def changed(tables: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The tables with some keys set otherwise; see :func:`read_recipe`.

    Raises:
        RecipeError: A change has another form.
    """
    result = {
        name: dict(table) if isinstance(table, Mapping) else table for name, table in tables.items()
    }
    for change in changes:
        name, equals, text = change.partition("=")
        section, _, key = name.strip().rpartition(".")
        if not (equals and section and key):
            raise RecipeError(f"{change!r} is not of the form section.key=value")
        table: Any = result
        for part in section.split("."):
            table[part] = dict(table.get(part, {}))
            table = table[part]
        table[key] = _value(text.strip())
    return result


def _value(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["value"] if len(found) == 1 else text
