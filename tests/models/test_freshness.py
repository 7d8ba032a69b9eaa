"""Models and their fingerprints follow what is written to weights."""

import copy

import pytest
import torch

import lic_fast
from lic_fast import codec
from lic_fast.errors import ModelMismatchError
from lic_fast.models import WACNN
from tests.models.tiny import CLASSES, pictures, tiny

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def weights_of(model):
    return [parameter for parameter in model.parameters() if parameter.dim() > 1]


def negated(weight):
    weight.neg_()


def reversed_rows(weight):
    weight.copy_(weight.flip(0))


def averaged(weight):
    """Past the version counter, as averages of weights are often kept."""
    torch._foreach_lerp_([weight.data], [weight.data.roll(1, 0)], 0.25)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("write", [negated, reversed_rows, averaged, "replaced"])
def test_a_model_follows_its_weights(kind, write):
    model = tiny(kind)
    x = pictures(kind)[..., : model.multiple, : model.multiple]
    with torch.no_grad():
        before = model(x)["x_hat"]
        other = copy.deepcopy(model)
        for net in (model, other):
            for weight in weights_of(net):
                (averaged if write == "replaced" else write)(weight)
        if write == "replaced":
            state = {name: entry.clone() for name, entry in model.state_dict().items()}
            model.load_state_dict(state, assign=True)
        after = model(x)["x_hat"]
        assert not torch.equal(before, after)
        assert torch.equal(after, other(x)["x_hat"])
        assert torch.equal(after, model(x)["x_hat"])


@pytest.mark.parametrize("write", [negated, reversed_rows, averaged])
def test_the_fingerprint_follows_every_weight(write):
    model = tiny(WACNN)
    known = {model.fingerprint()}
    for weight in weights_of(model):
        if weight.requires_grad and not torch.equal(weight, weight.flip(0)):
            with torch.no_grad():
                write(weight)
            assert model.fingerprint() not in known
            known.add(model.fingerprint())
    assert model.fingerprint() == copy.deepcopy(model).fingerprint()


def test_a_file_of_the_model_before_is_refused():
    model = lic_fast.make_portable(tiny(WACNN), [pictures(WACNN)])
    pixels = (pictures(WACNN)[0].permute(1, 2, 0) * 255).byte().numpy()
    data = codec.encode_image(pixels, model)
    codec.decode_image(data, model)
    with torch.no_grad():
        reversed_rows(model.g_s[1].weight)
    with pytest.raises(ModelMismatchError):
        codec.decode_image(data, model)


def test_after_refresh_nothing_of_before_is_used():
    model = tiny(WACNN)
    x = pictures(WACNN)
    name, weight = next((n, w) for n, w in model.named_parameters() if w.numel() > 2000)
    row = weight.detach().numpy().reshape(-1)
    with torch.no_grad():
        before, known = model(x)["x_hat"], model.fingerprint()
        unseen = None
        for i in range(len(row)):  # where a stamp does not look is no promise: it is searched for
            row[i] += 100
            if model.fingerprint() == known:
                unseen = i
                break
            known = model.fingerprint()
        assert unseen is not None, name
        for i in range(unseen):
            row[i] -= 100
        lic_fast.refresh(model)
        other = copy.deepcopy(model)
        assert model.fingerprint() == other.fingerprint() != known
        after = model(x)["x_hat"]
        assert torch.equal(after, other(x)["x_hat"])
        assert not torch.equal(after, before)
