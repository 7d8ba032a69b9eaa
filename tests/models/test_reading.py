"""Weights are looked at together, once for each transform, and every change is seen."""

import copy

import pytest
import torch

from lic_fast import _C
from lic_fast.models.reading import weights_read_at_once
from lic_fast.ops import prepared
from tests.models.tiny import CLASSES, tiny

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def pixels(model):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(1, 3, model.multiple, model.multiple, generator=generator)


def transformed(model, x):
    """Latents and a picture of them."""
    with torch.no_grad():
        y = model._transformed(model.analysis, x)
        return y, model._transformed(model.synthesis, y)


def weights_of(model, children):
    return [
        parameter
        for name, parameter in model.named_parameters()
        if name.split(".")[0] in children and parameter.dim() > 1
    ]


TRANSFORMS = {"g_a", "g_s", "layers", "syn_layers", "patch_embed", "end_conv"}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("way", ["data", "in place", "replaced"])
def test_transforms_follow_their_weights(kind, way):
    model = tiny(kind)
    x = pixels(model)
    before = transformed(model, x)
    other = copy.deepcopy(model)
    for net in (model, other):
        for weight in weights_of(net, TRANSFORMS):
            if way == "data":
                weight.data.mul_(1.25)
            else:
                with torch.no_grad():
                    weight.mul_(1.25)
    if way == "replaced":
        state = {name: entry.clone() for name, entry in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
    after = transformed(model, x)
    for old, new, fresh in zip(before, after, transformed(other, x), strict=True):
        assert not torch.equal(old, new)
        assert torch.equal(new, fresh)
    assert all(map(torch.equal, after, transformed(model, x)))


def reads_of(monkeypatch, work):
    """Tensors of each reading."""
    counts = []
    digests = _C.digests

    def counted(pieces, threads):
        counts.append(len(pieces))
        return digests(pieces, threads)

    with monkeypatch.context() as patch:
        patch.setattr(_C, "digests", counted)
        work()
    return [count for count in counts if count]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_child_is_read_at_once(kind, monkeypatch):
    model = tiny(kind)
    children = {name.split(".")[0] for name, _ in model.named_parameters()} & TRANSFORMS
    weights = [p for name, p in model.named_parameters() if name.split(".")[0] in children]

    def use():
        for weight in weights:
            prepared("used", [weight], object)

    def together():
        with torch.no_grad(), weights_read_at_once(model):
            use()

    assert len(reads_of(monkeypatch, use)) == len(weights)
    together()
    assert len(reads_of(monkeypatch, together)) == len(children)
    # Others are found from the next call but one on.
    state = {name: entry.clone() for name, entry in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    weights = [p for name, p in model.named_parameters() if name.split(".")[0] in children]
    together()
    assert len(reads_of(monkeypatch, together)) == len(children)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_hook_may_write_to_weights(kind):
    model = tiny(kind)
    x = pixels(model)
    y, _ = transformed(model, x)
    child = model.layers if hasattr(model, "layers") else model.g_a
    first = next(m for m in child.modules() if m._parameters)
    last = [weight for weight in child.parameters() if weight.dim() > 1][-1]

    def double(*_):
        last.data.mul_(2)

    handle = first.register_forward_hook(double)
    hooked, _ = transformed(model, x)
    handle.remove()
    # Layers with hooks round otherwise, as they are not fused with others.
    after, _ = transformed(model, x)
    torch.testing.assert_close(hooked, after, rtol=0, atol=1e-4 * after.abs().max().item())
    assert (hooked - y).abs().max() > 1e-3 * y.abs().max()
