"""Streams and latents of portable models that can never change, and a decoder that is not ours."""

import copy
import hashlib
import json
import lzma
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load

from lic_fast import backend, zoo
from lic_fast.codec import read_picture
from lic_fast.entropy import symbols_checksum
from lic_fast.entropy.coding import SliceDecoder
from lic_fast.runtime.coding import decode_hyperlatent, open_stream
from lic_fast.stream_layout import StreamLayout
from tests.models.portable.independent_decoder import Model
from tests.models.portable.make_vectors import FOLDER, MODELS, expected, model_of


def vector(name):
    """The model's file, the arrays, and hashes of layers."""
    data = lzma.decompress((FOLDER / f"{name}.safetensors.xz").read_bytes())
    arrays = dict(np.load(FOLDER / f"{name}.npz"))
    return data, arrays, json.loads((FOLDER / f"{name}.json").read_text())


def given_numbers_of(name):
    """A model with the vector's entropy path; what this machine would calibrate may differ."""
    model = copy.deepcopy(model_of(name))
    state, entries = model.state_dict(), load(vector(name)[0])
    assert entries.keys() < state.keys()
    model.load_state_dict(state | {k: v.to(state[k].dtype) for k, v in entries.items()})
    return model


class Kept(SliceDecoder):
    """Keeps symbols + means, which are latents that an encoder would round to the same symbols."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.quantized = []

    def __call__(self, *arguments):
        self.quantized.append(super().__call__(*arguments))
        return self.quantized[-1]


def digest(values):
    """As tests/portability/trace.py has it, of maps without a batch."""
    values = np.ascontiguousarray(values[None]) + np.float32(0)
    head = f"{values.dtype.str} {values.shape} ".encode()
    return hashlib.sha256(head + values.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", ["auto", "reference"])
@torch.no_grad()
def test_the_library_reads_and_writes_what_it_wrote(name, how):
    _, arrays, layers = vector(name)
    model = given_numbers_of(name)
    z_tables, y_tables = model.cdf_tables()
    lanes = StreamLayout.LANES
    with backend(how):
        z = decode_hyperlatent(
            arrays["z_stream"].tobytes(), arrays["z_symbols"].shape, z_tables, lanes
        )
        assert np.array_equal(z, arrays["z_symbols"])
        reader = open_stream(arrays["y_stream"].tobytes(), y_tables, lanes)
        decoder = Kept(reader, model.gaussian_conditional.scale_table)
        latents = model._latents(torch.from_numpy(z)[None] + model._medians(), decoder)
        assert latents.y_hat[0].contiguous().numpy().tobytes() == arrays["y_hat"].tobytes()
        again, hashes = expected(model, torch.cat(decoder.quantized, 1), z)
    wrong = [layer for layer in layers if hashes.get(layer) != layers[layer]]
    assert hashes.keys() == layers.keys()
    assert not wrong, f"{wrong[0]} is the first of {len(wrong)} layers that give something else"
    assert again.keys() == arrays.keys()
    for key, values in again.items():
        assert values.tobytes() == arrays[key].tobytes(), key


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_written_from_the_documentation_reads_them(name):
    data, arrays, layers = vector(name)
    model = Model(data)
    streams = (arrays[f"{kind}_stream"].tobytes() for kind in "yz")
    z_symbols, y_symbols, y_hat = model.decode(*streams, arrays["z_symbols"].shape[1:])
    # There channels are first.
    hashes = set(layers.values())
    unknown = {
        layer
        for layer, values in model.layers.items()
        if not {digest(values), digest(values.transpose(1, 2, 0))} & hashes
    }
    assert not unknown
    assert np.array_equal(z_symbols, arrays["z_symbols"])
    assert np.array_equal(y_symbols, arrays["y_symbols"])
    assert y_hat.dtype == np.float32
    assert y_hat.tobytes() == arrays["y_hat"].tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_the_vectors_leave_nothing_out(name):
    data, arrays, layers = vector(name)
    entries = load(data)
    precisions = {tuple(v.tolist()) for k, v in entries.items() if k.endswith(".precision")}
    assert precisions == {(7, 1), (14, 1), (14, 2)}
    assert np.count_nonzero(arrays["y_symbols"]) > 1000
    escapes = int(entries["gaussian_conditional._cdf_length"].max())
    assert np.abs(arrays["y_symbols"]).max() > escapes
    assert (entries["entropy_bottleneck._offset"] > arrays["z_symbols"].min()).any()
    assert ("attention" in " ".join(layers)) == (name == "tcm")


def test_the_decoder_from_the_documentation_reads_the_embedded_models_streams():
    path = str(resources.files("lic_fast.cli") / "data" / "coffee.png")
    pixels = read_picture(path).pixels[100:228, 200:392]
    net = zoo.load()
    net.precision = "float32"
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        coded = net.encode(x)
    model = Model(zoo.path(zoo.DEFAULT).read_bytes())
    z_symbols, symbols, y_hat = model.decode(coded.y[0], coded.z[0], coded.shape)
    assert np.count_nonzero(symbols) > 100
    assert symbols_checksum(z_symbols, [symbols]) == coded.checksums[0]
    with torch.no_grad():
        assert torch.equal(net.reconstruct(torch.from_numpy(y_hat)[None]), net.decode(coded))
