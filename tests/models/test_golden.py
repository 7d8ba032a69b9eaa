"""The models against outputs of the original implementations."""

import json
import sys

import numpy as np
import pytest
import torch

import lic_fast
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer
from lic_fast.models.state_dict import normalize_state_dict
from tests.shared import shared_path

MANIFESTS = {
    "stf": (SymmetricalTransFormer, {}),
    "wacnn": (WACNN, {}),
    "tcm_n64": (TCM, {"N": 64}),
    "tcm_n128": (TCM, {}),
}


@pytest.fixture(scope="module")
def weights():
    sys.path.insert(0, str(shared_path("upstream")))
    try:
        import weights

        yield weights
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("name", MANIFESTS)
def test_state_dict_has_the_published_names_and_shapes(name):
    manifest = json.loads(shared_path(f"upstream/{name}.json").read_text())
    published = {key: tuple(shape) for key, shape in normalize_state_dict(manifest).items()}
    model, arguments = MANIFESTS[name]
    net = model(**arguments)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == published
    # Arguments that no shape shows keep their defaults.
    inferred = model.arguments_from_state_dict(net.state_dict())
    assert {**net.arguments, **inferred} == net.arguments


def decoded_with_the_references_symbols(net, x):
    """The picture behind the symbols of the reference, and how many of them were ties.

    A latent whose distance from its mean is halfway between integers but for rounding may become
    either of them: stf_a has one that is 3e-6 off. All other symbols must be the reference's.
    """
    symbols = {}

    def latents(quantize_for):
        y = net._network(net, x, "analysis")
        z = net._network(net.h_a, y)
        medians = net._medians()
        symbols_of_z = (z - medians).round()
        return symbols_of_z, net._latents(symbols_of_z + medians, quantize_for(y))

    def rounding(y):
        def quantize(channels, mean, scale):
            symbols[channels.start] = (y[:, channels] - mean).round()
            return symbols[channels.start] + mean

        return quantize

    ties = 0

    def forced(y):
        def quantize(channels, mean, scale):
            nonlocal ties
            distances, known = y[:, channels] - mean, symbols[channels.start]
            other = distances.round() != known
            ties += int(other.sum())
            assert ((distances - known).abs()[other] - 0.5 <= 5e-6 * y.abs().max()).all()
            return known + mean

        return quantize

    with lic_fast.backend("reference"):
        expected, _ = latents(rounding)
    symbols_of_z, decoded = latents(forced)
    assert torch.equal(symbols_of_z, expected)
    return net._network(net, decoded.y_hat, "synthesis")[0], ties


@pytest.mark.parametrize("picture", ["a", "b"])
@pytest.mark.parametrize("name", ["stf", "wacnn", "tcm_n64"])
def test_golden_outputs(name, picture, weights):
    golden = np.load(shared_path(f"upstream/golden/{name}_{picture}.npz"))
    model, arguments = MANIFESTS[name]
    net = weights.fill(model(**arguments), int(golden["seed"]), float(golden["gain"])).eval()
    net.update()
    x = torch.from_numpy(golden["image"]).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        out = net(x)

    expected = golden["x_hat"]
    with torch.no_grad():
        picture, ties = decoded_with_the_references_symbols(net, x)
    assert np.abs(picture.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()
    assert ties <= 2  # of some 100,000 latents: more would be an error of the arithmetic
    if not ties:  # else slices behind them have other symbols, too
        assert torch.equal(out["x_hat"][0], picture)
    for kind in "yz":
        bits = -out["likelihoods"][kind].double().log2().sum().item()
        assert bits == pytest.approx(float(golden[f"{kind}_bits"]), rel=1e-4)

    for layout, overhead in (("compressai", 1e-3), ("lanes", 4e-3)):
        streams = net.compress(x, layout=layout)
        assert tuple(streams["shape"]) == tuple(golden["shape"])
        decoded = net.decompress(**streams, layout=layout)["x_hat"]
        assert torch.equal(decoded, out["x_hat"].clamp(0, 1))
        # The real streams are as long as the likelihoods say, tables being quantised.
        for kind, string in zip("yz", streams["strings"], strict=True):
            length = len(golden[f"{kind}_string"])
            assert len(string[0]) == pytest.approx(length, rel=overhead, abs=16)
