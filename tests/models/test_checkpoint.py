"""Checkpoints in all the forms that they are published in."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lic_fast
from lic_fast.errors import CheckpointError
from lic_fast.models import TCM, WACNN
from tests.models.tiny import CLASSES, pictures, tiny

every_model = pytest.mark.parametrize("model", CLASSES)


def published(state_dict):
    """Names as the original code wrote them."""
    names = {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}
    pattern = re.compile(r"entropy_bottleneck\.(matrices|biases|factors)\.(\d)")
    return {
        pattern.sub(lambda m: f"entropy_bottleneck.{names[m[1]]}{m[2]}", name): value
        for name, value in state_dict.items()
    }


@every_model
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".safetensors"])
@pytest.mark.parametrize("form", ["plain", "wrapped", "prefixed", "old names", "no tables"])
def test_load_understands_every_published_form(model, suffix, form, tmp_path):
    net = tiny(model)
    entries = {name: value.contiguous() for name, value in net.state_dict().items()}
    if form == "prefixed":
        entries = {f"module.{name}": value for name, value in entries.items()}
    elif form == "old names":
        entries = published(entries)
        assert "entropy_bottleneck._matrix0" in entries
    elif form == "no tables":
        derived = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "position_index")
        entries = {n: v for n, v in entries.items() if not n.endswith(derived)}
    path = tmp_path / f"checkpoint{suffix}"
    if suffix == ".safetensors":
        if form == "wrapped":
            pytest.skip("safetensors holds a state dict and nothing else")
        save_file(entries, path)
    else:
        wrapped = {"epoch": 3, "loss": 0.5, "state_dict": entries, "optimizer": {"lr": 1e-4}}
        torch.save(wrapped if form == "wrapped" else entries, path)

    loaded = lic_fast.load(path)
    assert type(loaded) is model
    assert not loaded.training
    x = pictures(model)
    assert loaded.compress(x)["strings"] == net.compress(x)["strings"]
    assert loaded.fingerprint() == net.fingerprint()


def test_half_precision_files_are_loaded_as_float32(tmp_path):
    net = tiny(WACNN)
    path = tmp_path / "half.safetensors"
    save_file(
        {n: v.half() if v.is_floating_point() else v for n, v in net.state_dict().items()}, path
    )
    assert {p.dtype for p in lic_fast.load(path).parameters()} == {torch.float32}


def test_loading_leaves_random_numbers_alone():
    entries = tiny(WACNN).state_dict()
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    WACNN.from_state_dict(entries)
    assert torch.equal(torch.rand(4), expected)


def test_from_state_dict_holds_a_copy():
    net = tiny(WACNN)
    entries = net.state_dict()
    other = WACNN.from_state_dict(entries)
    with torch.no_grad():
        other.g_a[0].weight.zero_()
    assert net.g_a[0].weight.abs().sum() > 0


@every_model
def test_a_file_that_fits_no_model_is_named_entry_by_entry(model, tmp_path):
    entries = dict(tiny(model).state_dict())
    del entries["h_a.0.conv1.bias" if model is TCM else "h_a.0.bias"]
    entries["extra.weight"] = torch.zeros(1)
    path = tmp_path / "odd.pth"
    torch.save(entries, path)
    with pytest.raises(CheckpointError) as error:
        lic_fast.load(path)
    message = str(error.value)
    assert f"closest to {model.architecture}" in message
    assert re.search(r"missing h_a\.0\.(conv1\.)?bias;", message)
    assert "left over extra.weight;" in message
    assert str(path) in message


def test_a_shape_that_does_not_fit_is_named(tmp_path):
    entries = dict(tiny(WACNN).state_dict())
    entries["g_a.2.weight"] = torch.zeros(8, 9, 5, 5)
    torch.save(entries, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"g_a.2.weight \(8, 9, 5, 5\) for \(8, 8, 5, 5\)"):
        lic_fast.load(tmp_path / "odd.pth")


def test_an_unrelated_network_is_refused(tmp_path):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match="fits none of SymmetricalTransFormer, WACNN, TCM"):
        lic_fast.load(tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match="left over weight, bias"):
        WACNN.from_state_dict(nn.Linear(3, 4).state_dict())


def test_one_missing_entry_is_named_even_if_widths_hang_on_it(tmp_path):
    entries = dict(tiny(WACNN).state_dict())
    del entries["g_a.0.weight"]
    torch.save(entries, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"cannot be told: KeyError\('g_a\.0\.weight'\)"):
        lic_fast.load(tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="holds no state dict: 3 are not names"):
        WACNN.from_state_dict({3: torch.zeros(1)})
    wrapped = WACNN.from_state_dict({"state_dict": tiny(WACNN).state_dict()})
    assert wrapped.fingerprint() == tiny(WACNN).fingerprint()


def shortened(table):
    return table[:-1]


def quantized(weight):
    return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("g_a.0.weight", lambda v: v.fill_(float("nan")), "g_a.0.weight are not finite"),
        (
            "g_a.0.weight",
            lambda v: v.to(torch.complex64),
            "g_a.0.weight is torch.complex64, it must be float16",
        ),
        ("g_a.0.weight", lambda v: v.int(), "is torch.int32, it must be float"),
        (
            "g_a.0.weight",
            lambda v: v.to(torch.float8_e4m3fn),
            "torch.float8_e4m3fn, it must be float16",
        ),
        ("g_a.0.weight", quantized, "g_a.0.weight is torch.qint8, it must be float16, bfloat16"),
        ("g_a.0.weight", torch.Tensor.bool, "g_a.0.weight is torch.bool, it must be float16"),
        (
            "g_a.0.weight",
            lambda v: v.to_sparse(),
            "g_a.0.weight is no plain tensor: torch.sparse_coo",
        ),
        ("g_a.0.weight", lambda v: v[:, :0].repeat(50000, 1, 1, 1), "are empty"),
        ("g_a.4.conv_b.0.attn.relative_position_bias_table", lambda v: v[:, :0], "are empty"),
        ("g_a.4.conv_b.0.attn.relative_position_bias_table", lambda v: v[:7], "do not fit|shape"),
        ("entropy_bottleneck._offset", torch.Tensor.float, "_offset is torch.float32"),
        ("entropy_bottleneck._quantized_cdf", shortened, "has 5 CDF tables, it needs 6"),
        ("entropy_bottleneck._cdf_length", lambda v: v + 1000, "CDF tables are damaged"),
        ("gaussian_conditional._quantized_cdf", shortened, "has 63 CDF tables, it needs 64"),
        ("gaussian_conditional._cdf_length", lambda v: v * 0, "CDF tables are damaged"),
        ("gaussian_conditional.scale_table", lambda v: v.flip(0), "does not ascend"),
    ],
)
def test_entries_that_no_model_can_have_are_refused(name, change, message, tmp_path):
    entries = dict(tiny(WACNN).state_dict())
    entries[name] = change(entries[name].clone())
    torch.save(entries, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=message):
        lic_fast.load(tmp_path / "odd.pth")


def test_an_entry_under_two_names_is_refused(tmp_path):
    entries = dict(tiny(WACNN).state_dict())
    entries["module.g_a.0.weight"] = entries["g_a.0.weight"] + 1
    torch.save(entries, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="entries twice"):
        lic_fast.load(tmp_path / "odd.pth")


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_files_that_are_no_checkpoints(tmp_path, capsys):
    cases = {
        "missing.pth": (None, "no such file"),
        "model.txt": (b"x", "name ends with"),
        "empty.pth": (b"", "damaged"),
        "text.pth": (b"hello", "damaged"),
        "text.safetensors": (b"hello", "damaged"),
        "huge.safetensors": (b"\xff" * 16, "damaged"),
        "code.pth": (pickle.dumps(Payload()), "could run code"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            lic_fast.load(tmp_path / name)
    assert "never run" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no state dict but a list"):
        lic_fast.load(tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(CheckpointError, match="'epoch' are not names of tensors"):
        lic_fast.load(tmp_path / "epoch.pth")
    torch.save(tiny(WACNN).state_dict(), tmp_path / "cut.pth")
    whole = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        lic_fast.load(tmp_path / "cut.pth")
