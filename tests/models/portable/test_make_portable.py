"""From a model in floating point to a portable one that codes almost as well."""

import copy

import pytest
import torch

import lic_fast
from lic_fast import backend
from lic_fast.entropy.integer.conv import IntegerConv2d
from lic_fast.models.portable import largest_sums
from lic_fast.ops.integer_layer import Quantizer
from tests.models.portable.making import calibration, pictures, portable, tiny
from tests.models.tiny import CLASSES


def bits(out):
    return sum(
        -likelihoods.double().log2().sum().item() for likelihoods in out["likelihoods"].values()
    )


@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_a_portable_model_is_almost_the_one_it_was_made_of(model):
    net, made, x = tiny(model), portable(model), pictures(model, batch=2)
    assert type(made) is type(net)
    assert made.portable
    assert not net.portable
    expected, out = net(x), made(x)
    assert bits(out) == pytest.approx(bits(expected), rel=0.02)
    # Where a symbol is rounded the other way the pictures differ there.
    assert (out["x_hat"] - expected["x_hat"]).abs().mean() < 0.1 * expected["x_hat"].std()


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("layout", ["lanes", "compressai"])
def test_the_stream_is_what_forward_says(model, layout):
    made, x = portable(model), pictures(model, batch=2)
    out = made(x)
    assert not out["x_hat"].requires_grad
    strings = made.compress(x, layout=layout)
    decoded = made.decompress(**strings, layout=layout)["x_hat"]
    assert torch.equal(decoded, out["x_hat"].clamp(0, 1))
    coded = 8 * sum(len(string) for kind in strings["strings"] for string in kind)
    assert coded == pytest.approx(bits(out), rel=0.05, abs=2000)


@pytest.mark.parametrize("bits", [14, 7])
@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_the_fast_path_is_the_definition_bit_for_bit(model, bits):
    made, x = portable(model, bits=bits), pictures(model)
    assert {layer.halves for layer in made.cc_scale_transforms[-1][::2]} == {bits // 7}
    strings = made.compress(x)
    with torch.inference_mode(), backend("reference"):
        y = made.analysis(x)
    z = torch.randn(1, made.entropy_bottleneck.channels, *(s // 64 for s in x.shape[2:])) * 4
    found = {}
    for name in ("auto", "reference"):
        with backend(name):
            found[name] = made._latents(
                z, lambda channels, mean, scale: y[:, channels].round() + mean
            )
    for kind in ("y_hat", "means", "scales"):
        fast, defined = (getattr(found[name], kind) for name in ("auto", "reference"))
        assert torch.equal(fast, defined)
    with backend("reference"):
        decoded = made.decode(made.encode(x))
        assert decoded.isfinite().all()
        assert made.decompress(**strings)["x_hat"].isfinite().all()


@pytest.mark.parametrize("model", CLASSES)
def test_sums_stay_within_32_bits_whatever_the_input(model):
    sums = largest_sums(portable(model))
    assert 0 < max(sums.values()) < 2**31
    layers = [
        n
        for n, m in tiny(model).named_modules()
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    entropy_path = ("h_mean_s", "h_scale_s", "cc_", "lrp_", "atten_")
    norms = {name for name in sums if name.endswith(".igdn.mix")}
    assert set(sums) == {name for name in layers if name.startswith(entropy_path)} | norms


def test_it_is_no_model_to_train_or_to_convert():
    made, x = copy.deepcopy(portable(CLASSES[1])), pictures(CLASSES[1])
    with pytest.raises(ValueError, match="does not train"):
        made.train()(x)
    made.eval()
    with pytest.raises(ValueError, match="portable already"):
        lic_fast.make_portable(made, calibration())
    before = made.fingerprint()
    assert made.update() is False
    with pytest.raises(ValueError, match="not remade"):
        made.update(force=True)
    assert made.fingerprint() == before
    with pytest.raises(ValueError, match=r"model\.precision"):
        made.double()(x.double())
    made.float()
    assert made.fingerprint() == before


def test_integers_survive_a_change_of_type():
    made = copy.deepcopy(portable(CLASSES[1]))
    layer = made.cc_mean_transforms[0][0]
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    made.half()
    made.float()
    assert {n: v.dtype for n, v in layer.state_dict().items()} == {
        n: v.dtype for n, v in before.items()
    }
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_precision_defaults_to_what_the_processor_is_good_at(monkeypatch):
    from lic_fast.models import base

    made = copy.deepcopy(portable(CLASSES[1]))
    made.precision = None
    for fast, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(base, "fast_bfloat16", lambda device, fast=fast: fast)
        assert made.precision == name
        assert tiny(CLASSES[1]).precision == "float32"
    made.precision = "float16"
    assert made.precision == "float16"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no calibration pictures"),
        ([torch.zeros(1, 64, 64)], r"\(3, H, W\)"),
        ([torch.zeros(3, 64, 64, dtype=torch.uint8)], "floating point"),
        ([torch.full((3, 64, 64), 255.0)], r"in \[0, 1\]"),
        ([torch.full((3, 64, 64), float("nan"))], r"in \[0, 1\]"),
    ],
)
def test_bad_pictures_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        lic_fast.make_portable(tiny(CLASSES[1]), images)


def test_other_bits_are_refused():
    with pytest.raises(ValueError, match="7 or 14 bits, not 8"):
        lic_fast.make_portable(tiny(CLASSES[1]), calibration(), bits=8)


def test_a_model_without_tables_is_refused():
    net = type(tiny(CLASSES[1]))(**tiny(CLASSES[1]).arguments)
    with pytest.raises(ValueError, match="update"):
        lic_fast.make_portable(net, calibration())


def test_progress_ends_where_it_said():
    told = {}
    lic_fast.make_portable(
        tiny(CLASSES[1]),
        [torch.rand(3, 40, 50)],  # smaller than what the model takes
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )
    assert set(told) == {"latents", "ranges", "covariances", "weights"}
    for steps in told.values():
        assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))


@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_what_only_3x3_layers_read_uses_9_bits_but_for_decoded_slices(model):
    net, made = tiny(model), portable(model)
    width = made.lrp_transforms[0][-1].bias.numel()
    read = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, given, name=name: read.setdefault(name, given[0])
        )
        for name, module in made.named_modules()
        if isinstance(module, IntegerConv2d) and module.halves == 2 and module.weight.shape[2] == 3
    ]
    with backend("reference"):
        made(calibration()[0][None])
    for handle in handles:
        handle.remove()
    ends = {f"cc_{kind}_transforms.{i}.0" for kind in ("mean", "scale") for i in range(2)}
    assert read.keys() >= ends | {"cc_mean_transforms.0.2"}
    attention = hasattr(made, "atten_mean")
    for name, x in read.items():
        layer = made.get_submodule(name)
        high = Quantizer(layer.inverse_step, layer.zero, 14)(x)[0].amax((0, 2, 3))
        wide = high > 3
        if name.startswith("lrp_transforms"):
            # Its own slice is the last it reads.
            assert name.endswith(".0")
            assert wide[-width:].any()
        elif attention or not name.endswith(".0"):
            assert not wide.any()
        else:
            slices = int(name.split(".")[1])
            first = len(wide) - width * min(slices, net.max_support_slices)
            assert not wide[:first].any()
            assert slices == 0 or wide[first:].any()
