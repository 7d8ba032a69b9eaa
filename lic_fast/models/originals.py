"""From a model of the original code to one of lic_fast's that shares its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compressai.layers import GDN
from torch import nn

from lic_fast.errors import CheckpointError
from lic_fast.models.base import SliceCompressionModel
from lic_fast.models.checkpoint import MODELS, build
from lic_fast.models.state_dict import normalize_state_dict
from lic_fast.models.stf import SymmetricalTransFormer

__all__ = ["accelerate"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# What layers of torch compute by, beside their state dict.
_NUMBERS = (
    "kernel_size",
    "stride",
    "padding",
    "output_padding",
    "dilation",
    "groups",
    "padding_mode",
    "normalized_shape",
    "eps",
    "approximate",
    "negative_slope",
    "upscale_factor",
)
_PRIORS = ("entropy_bottleneck", "gaussian_conditional")
_STAGES = ("frozen_stages", "pretrain_img_size")


def accelerate(module: nn.Module) -> SliceCompressionModel:
    """lic_fast's model for one of the original classes, sharing its parameters and CDF tables.

    Shared are the parameter objects and the tables: training either model, loading weights into
    it, or its ``update(force=True)`` changes both. Everything else is the result's own: whether a
    module trains or evaluates (as in the argument, at first), hooks added later, and tensors that
    are put in the place of a parameter. Call ``.to`` on both. The argument stays as it was.

    Settings come along: flags of parameters and modules, of STF ``qk_scale``, ``drop_rate``,
    ``attn_drop_rate``, ``drop_path_rate``, ``frozen_stages`` and ``use_checkpoint``, of TCM
    ``drop_path_rate``. What the result would compute otherwise is refused: methods that a subclass
    overrides, hooks, layers of another kind or with other numbers than the original's.

    Args:
        module: An instance of ``SymmetricalTransFormer``, ``WACNN`` or ``TCM`` of the STF or
            LIC_TCM code or of a subclass, possibly inside ``DataParallel`` or
            ``DistributedDataParallel``. Classes are recognised by their name and their state
            dict, not by import. One of lic_fast's own is returned as is.

    Raises:
        TypeError: The class is none of these, or something in it would be lost; the message names
            it.
        CheckpointError: It is by name, but its entries are others.
    """
    inner: Any = getattr(module, "module", module)
    if isinstance(inner, SliceCompressionModel):
        return inner
    known = _known_class(type(inner))
    _check_plain(inner)
    entries = normalize_state_dict(inner.state_dict(keep_vars=True))
    flags = [(parameter, parameter.requires_grad) for parameter in inner.parameters()]
    try:
        model = build(known, entries, _settings(known, inner))
    finally:
        # Loading gives parameters the flags of those that they replace.
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    theirs = dict(inner.named_modules())
    _take_drop_path(model, theirs)
    for name, part in model.named_modules():
        _check_same(name, theirs.get(name), part)
        if name in theirs:
            part.training = theirs[name].training
    _check_dropouts(model, theirs)
    for name in _PRIORS:
        _share_buffers(name, theirs[name], model.get_submodule(name))
    return model


def _known_class(given: type[nn.Module]) -> type[SliceCompressionModel]:
    known = {model.__name__: model for model in MODELS}
    named = [kind for kind in given.__mro__ if kind.__name__ in known]
    if not named:
        raise TypeError(f"accelerate takes one of {', '.join(known)}, not {given.__name__}")
    original = named[-1]
    own = {"forward", "__call__"}.union(
        *(vars(kind) for kind in original.__mro__ if kind not in (nn.Module, object))
    )
    for kind in given.__mro__[: given.__mro__.index(original)]:
        changed = [
            name
            for name in vars(kind)
            if name in own and (name == "__call__" or not name.startswith("__"))
        ]
        if changed:
            raise TypeError(
                f"{kind.__module__}.{kind.__qualname__} overrides {', '.join(changed)} of "
                f"{original.__name__}, which accelerate would lose: it takes the original class, "
                "or a subclass that leaves its methods as they are"
            )
    return known[original.__name__]


def _check_plain(inner: nn.Module) -> None:
    """Refuses what would be left behind in the argument's modules."""
    for name, part in inner.named_modules():
        where = name or "the model"
        if any(getattr(part, hooks) for hooks in _HOOKS):
            raise TypeError(
                f"{where} has hooks, which accelerate would lose: register them in its result"
            )
        if "forward" in vars(part):
            raise TypeError(f"{where} has a forward of its own, which accelerate would lose")
        base = _layer(part)
        changed = base is not None and type(part).forward is not base.forward
        if changed and not type(part).__module__.startswith("lic_fast."):
            raise TypeError(
                f"{where} is a {type(part).__qualname__} with a forward of its own, which "
                f"accelerate would lose: the original has a {base.__name__}"  # type: ignore[union-attr]
            )


def _layer(part: nn.Module | None) -> type[nn.Module] | None:
    """The class of torch or CompressAI that a layer is of; None for what has layers in it."""
    if isinstance(part, GDN):
        return GDN
    for kind in type(part).__mro__:
        if kind.__module__.startswith("torch.nn.modules."):
            containers = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
            return None if kind in containers else kind
    return None


def _check_same(name: str, theirs: nn.Module | None, ours: nn.Module) -> None:
    """Refuses a layer of torch that computes otherwise than the one of its name."""
    kinds = _layer(theirs), _layer(ours)
    if theirs is None or None in kinds:
        return
    given, known = (kind.__name__ for kind in kinds if kind is not None)
    if given != known:
        raise TypeError(f"{name} is a {given}; in the original it is a {known}")
    for number in _NUMBERS:
        a, b = getattr(theirs, number, None), getattr(ours, number, None)
        if a != b and None not in (a, b):
            raise TypeError(f"{name}.{number} is {a}; accelerate would make it {b}")


def _settings(model: type[SliceCompressionModel], inner: Any) -> dict[str, Any]:
    """Arguments of the constructor that no state dict shows.

    Raises:
        TypeError: There is no argument for one of them.
    """
    settings: dict[str, Any] = {}
    if hasattr(inner, "max_support_slices"):
        settings["max_support_slices"] = inner.max_support_slices
    scales = dict(_scales(inner))
    if model is not SymmetricalTransFormer:
        for name, scale in scales.items():
            raise TypeError(f"{name} has the qk_scale {scale}; a {model.__name__} takes none")
        return settings
    if len(set(scales.values())) > 1:
        raise TypeError(f"the qk_scale of {', '.join(scales)} is not the same everywhere")
    if scales:
        settings["qk_scale"] = next(iter(scales.values()))
    parts = dict(inner.named_modules())
    settings["drop_rate"] = _rate(parts.get("pos_drop"))
    settings["attn_drop_rate"] = max(
        (_rate(part.attn_drop) for part in parts.values() if hasattr(part, "attn_drop")),
        default=0.0,
    )
    settings["use_checkpoint"] = any(
        getattr(part, "use_checkpoint", False) for part in parts.values()
    )
    return {**settings, **{n: getattr(inner, n) for n in _STAGES if hasattr(inner, n)}}


def _scales(inner: nn.Module) -> Iterator[tuple[str, float]]:
    """Factors of queries' and keys' products that are not head size^-1/2."""
    for name, part in inner.named_modules():
        table = getattr(part, "relative_position_bias_table", None)
        linear: Any = getattr(part, "qkv", None)
        if table is None:
            table = getattr(part, "relative_position_params", None)
            linear = getattr(part, "embedding_layer", None)
        scale = getattr(part, "scale", None) or getattr(part, "qk_scale", None)
        if table is None or linear is None or scale is None:
            continue
        heads = table.shape[1] if table.dim() == 2 else len(table)
        usual = (linear.in_features / heads) ** -0.5
        if abs(float(scale) - usual) > 1e-6 * usual:
            yield name, float(scale)


def _rate(part: Any) -> float:
    """Of a dropout or stochastic depth, which may be a module, a number or absent."""
    for name in ("drop_prob", "p"):
        if isinstance(part, nn.Module) and hasattr(part, name):
            return float(getattr(part, name) or 0.0)
    return float(part) if isinstance(part, (int, float)) else 0.0


def _take_drop_path(model: SliceCompressionModel, theirs: dict[str, nn.Module]) -> None:
    ours: dict[str, Any] = dict(model.named_modules())
    for name, part in theirs.items():
        if not name.endswith("drop_path"):
            continue
        if name in ours:
            ours[name].p = _rate(part)
        elif _rate(part):
            raise TypeError(f"{name} has the rate {_rate(part)}; accelerate would make it 0")


def _check_dropouts(model: SliceCompressionModel, theirs: dict[str, nn.Module]) -> None:
    """Refuses rates of dropout that differ within the argument, or that the class has none of."""
    ours: dict[str, Any] = dict(model.named_modules())
    for name, part in theirs.items():
        if not isinstance(part, nn.Dropout):
            continue
        parent, _, leaf = name.rpartition(".")
        made = _rate(ours[name] if name in ours else getattr(ours.get(parent), leaf, None))
        if part.p != made:
            raise TypeError(f"{name} has the rate {part.p}; accelerate would make it {made}")


def _share_buffers(name: str, theirs: nn.Module, ours: nn.Module) -> None:
    """Gives both one dictionary, in which each finds the tables that the other puts there."""
    if theirs._buffers.keys() != ours._buffers.keys():
        raise CheckpointError(
            f"{name} has the buffers {', '.join(theirs._buffers)}, it should have "
            f"{', '.join(ours._buffers)}"
        )
    ours._buffers = theirs._buffers
