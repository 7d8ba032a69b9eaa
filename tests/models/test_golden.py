"""The models against outputs of the original implementations."""

import json
import sys

import numpy as np
import pytest
import torch

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
    difference = np.abs(out["x_hat"][0].numpy() - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()
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
