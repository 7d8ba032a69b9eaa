"""Portable models in files, and what is wrong with damaged ones."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lic_fast
from lic_fast.errors import CheckpointError
from lic_fast.models.portable import portable_file
from tests.models.portable.making import calibration, pictures, portable, tiny
from tests.models.tiny import CLASSES


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(portable_file(portable(CLASSES[1])))
    return path


@pytest.mark.parametrize("model", CLASSES)
def test_a_file_gives_back_the_model(model, tmp_path):
    made, x = portable(model), pictures(model)
    path = tmp_path / "model.safetensors"
    path.write_bytes(portable_file(made))
    net = lic_fast.load(path)
    net.precision = "float32"
    assert net.portable
    assert not net.training
    assert net.fingerprint() == made.fingerprint()
    assert net.arguments == made.arguments
    assert net.compress(x) == made.compress(x)
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["lic_fast"])
    assert described["architecture"] == made.architecture
    assert described["fingerprint"] == made.fingerprint().hex()


@pytest.mark.parametrize("model", CLASSES)
def test_a_state_dict_gives_back_the_model(model, tmp_path):
    made = portable(model)
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": made.state_dict()}, path)
    for net in (model.from_state_dict(made.state_dict()), lic_fast.load(path)):
        assert net.portable
        assert net.fingerprint() == made.fingerprint()
    other = tiny(model)
    with pytest.raises(RuntimeError, match="inverse_step"):
        other.load_state_dict(made.state_dict())


@pytest.mark.parametrize("model", CLASSES)
def test_transforms_can_be_rounded_to_float16(model, tmp_path):
    net, x = tiny(model), pictures(model)
    made = lic_fast.make_portable(net, calibration(), float16=True)
    path = tmp_path / "model.safetensors"
    path.write_bytes(portable_file(made))
    whole = len(portable_file(portable(model)))
    transforms = {name: value for name, value in load_file(path).items() if name.startswith("g_s")}
    transforms |= {n: v for n, v in load_file(path).items() if n.startswith("syn_layers")}
    assert transforms
    for name, value in transforms.items():
        # What is no weight is made in float32 and stays so.
        assert value.dtype == torch.float16 or name not in dict(net.named_parameters()), name
    assert len(path.read_bytes()) < whole
    loaded = lic_fast.load(path)
    assert loaded.fingerprint() == made.fingerprint() != portable(model).fingerprint()
    decoded = loaded.decompress(**loaded.compress(x))["x_hat"]
    expected = portable(model).decompress(**portable(model).compress(x))["x_hat"]
    assert (decoded - expected).abs().mean() < 0.05
    weight = next(p for n, p in net.named_parameters() if n.startswith("h_a"))
    with torch.no_grad():
        weight.view(-1)[0] = 1e5
    with pytest.raises(ValueError, match=r"h_a.* beyond the range of float16"):
        lic_fast.make_portable(net, calibration(), float16=True)


def test_weights_of_float16_stay_so(tmp_path):
    net = tiny(CLASSES[1])
    net.half().float()
    made = lic_fast.make_portable(net, [torch.rand(3, 128, 128)])
    path = tmp_path / "model.safetensors"
    path.write_bytes(portable_file(made))
    assert load_file(path)["g_a.0.weight"].dtype == torch.float16
    assert lic_fast.load(path).fingerprint() == made.fingerprint()


def test_a_floating_point_model_has_no_such_file():
    with pytest.raises(ValueError, match="make_portable"):
        portable_file(tiny(CLASSES[1]))


def replace(entries, name, change):
    entries[f"{FIRST}.{name}"] = change(entries[f"{FIRST}.{name}"])


FIRST = "cc_mean_transforms.0.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop(f"{FIRST}.bias"), "bias is missing"),
        (lambda e: e.update(strange=torch.zeros(1)), "left over: strange"),
        (
            lambda e: e.update({f"{FIRST}.weight": e[f"{FIRST}.weight"].float()}),
            "must be torch.int8",
        ),
        (lambda e: e.update({f"{FIRST}.bias": e[f"{FIRST}.bias"][:-1]}), r"bias is torch.int32 \("),
        (lambda e: e[f"{FIRST}.bias"].fill_(2**31 - 1), "32 bits do not hold"),
        (lambda e: e[f"{FIRST}.scale"].fill_(float("nan")), "scale must be in"),
        (lambda e: e[f"{FIRST}.inverse_step"].fill_(0), "inverse_step must be in"),
        (lambda e: e[f"{FIRST}.zero"].fill_(2**14), "zero must be in"),
        (lambda e: e[f"{FIRST}.precision"].fill_(9), "7 bits or 14"),
        (lambda e: e[f"{FIRST}.weight"].view(-1)[:1].add_(1), "changed after it was written"),
        (lambda e: e["g_a.0.weight"].view(-1)[:1].fill_(float("nan")), "changed after"),
        (lambda e: e["gaussian_conditional._quantized_cdf"].zero_(), "tables|changed after"),
    ],
)
def test_damage_is_named(written, change, message):
    entries = load_file(written)
    with safe_open(written, "pt") as file:
        metadata = file.metadata()
    change(entries)
    save_file(entries, written, metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        lic_fast.load(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "metadata under 'lic_fast' are damaged"),
        ("[]", "metadata under 'lic_fast' are damaged"),
        ('{"portable": 3}', "version 3"),
        ('{"portable": 1}', "changed after it was written"),
    ],
)
def test_damaged_metadata_are_named(written, text, message):
    save_file(load_file(written), written, metadata={"lic_fast": text})
    with pytest.raises(CheckpointError, match=message):
        lic_fast.load(written)
