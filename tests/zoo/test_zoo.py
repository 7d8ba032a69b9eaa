"""The embedded models."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import lic_fast
from lic_fast import zoo
from lic_fast.codec import decode_image, encode_image
from lic_fast.models import MODELS
from tests.shared import shared_path


def card_of(name):
    return zoo.path(name).with_name(f"{zoo.describe(name).family}.md").read_text()


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_loads_and_has_a_card(name):
    entry = zoo.describe(name)
    net = zoo.load(name)
    assert entry.name == name
    assert entry.fingerprint == net.fingerprint()
    assert zoo.find(net.fingerprint()) == name
    assert type(net).__name__ == entry.architecture
    assert type(net) in MODELS
    assert net.portable
    [row] = [line for line in card_of(name).splitlines() if line.startswith(f"| `{name}` |")]
    for stated in (
        f"| {entry.lambda_} |",
        f"| {entry.kodak_bpp:.3f} |",
        f"| {entry.kodak_psnr:.2f} |",
    ):
        assert stated in row
    x = torch.full((1, 3, 64, 128), 0.5)
    decoded = net.decompress(**net.compress(x))["x_hat"]
    assert (decoded - x).abs().mean() < 0.05


@pytest.mark.parametrize("name", zoo.names())
def test_the_fingerprint_is_the_same_on_every_machine(name):
    script = f"from lic_fast import zoo; print(zoo.load({name!r}).fingerprint().hex())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == zoo.load(name).fingerprint().hex()
    assert f"`{done.stdout.strip()}`" in card_of(name)


def test_qualities_of_a_family_take_more_rate_and_give_better_pictures():
    for family, names in zoo.families().items():
        entries = [zoo.describe(name) for name in names]
        assert [entry.quality for entry in entries] == list(range(1, len(names) + 1))
        for worse, better in itertools.pairwise(entries):
            assert worse.lambda_ < better.lambda_
            assert worse.kodak_bpp < better.kodak_bpp
            assert worse.kodak_psnr < better.kodak_psnr
        assert zoo.resolve(family) in names
        assert zoo.resolve(names[0]) == names[0]


def test_a_coder_is_the_model_without_torch():
    coder = zoo.coder()
    assert coder.fingerprint() == zoo.describe(zoo.DEFAULT).fingerprint
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    data = encode_image(picture, coder)
    assert data == encode_image(picture, zoo.load())
    decoded = decode_image(data, coder).pixels
    assert decoded.shape == picture.shape
    with pytest.raises(KeyError, match="wacnn-nano-1"):
        zoo.coder("none")


def test_unknown_names_list_the_known_ones():
    assert zoo.DEFAULT in zoo.names()
    assert zoo.resolve() == zoo.DEFAULT
    assert zoo.find(bytes(8)) is None
    for call in (zoo.describe, zoo.path, zoo.load, zoo.resolve):
        with pytest.raises(KeyError, match=r"no model 'wacnn-huge' in .*wacnn-nano-1"):
            call("wacnn-huge")


def test_all_models_together_are_small():
    assert sum(zoo.path(name).stat().st_size for name in zoo.names()) < 60e6


@pytest.mark.parametrize("number", [3, 20])
def test_a_trained_checkpoint_gives_what_the_original_gave_on_kodak(number):
    known = json.loads(shared_path("models/wacnn-nano-kodak.json").read_text())[number - 1]
    assert known["image"] == number
    picture = np.asarray(Image.open(shared_path(f"kodak/kodim{number:02d}.png")))
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    net = lic_fast.load(shared_path("models/wacnn-nano.safetensors"))
    streams = net.compress(x)
    for layout, margin in (("compressai", 1e-3), ("lanes", 5e-3)):
        strings = net.compress(x, layout=layout)["strings"]
        bits = 8 * sum(len(string) for kind in strings for string in kind)
        assert bits / x[0, 0].numel() == pytest.approx(known["bpp_strings"], rel=margin)
    decoded = (net.decompress(**streams)["x_hat"] * 255).round()
    psnr = 10 * np.log10(255**2 / (decoded - x * 255).square().mean().item())
    assert psnr == pytest.approx(known["psnr"], abs=0.01)
