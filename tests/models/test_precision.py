"""Transforms in other floating-point types, where they run as programs; all else stays."""

import pytest
import torch

from lic_fast import backend
from tests.models.tiny import CLASSES, pictures, tiny


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_other_precisions_give_almost_the_same_picture(model, precision, name):
    net, x = tiny(model), pictures(model)
    with backend(name):
        streams = net.encode(x)
        expected = net.decode(streams)
        net.precision = precision
        # Any precision decodes any stream.
        out = net.decode(streams)
        assert out.dtype == torch.float32
        # bfloat16 has 8 bits of mantissa; tens of layers add up. CPUs have no fast float16, and
        # the modules of the reference backend compute in the parameters' type.
        error = (out - expected).abs().max()
        assert error < 0.06
        assert (error > 0) == (precision == "bfloat16" and name == "auto")
        own = net.encode(x)
        torch.testing.assert_close(net(x)["x_hat"].clamp(0, 1), net.decode(own))
        net.precision = "float32"
        assert torch.equal(net.decode(streams), expected)


def test_precision_is_checked_and_belongs_to_no_state():
    net = tiny(CLASSES[0])
    before = net.fingerprint()
    names = set(net.state_dict())
    assert net.precision == "float32"
    with pytest.raises(ValueError, match=r"float32, bfloat16, float16, or None .*'int8'"):
        net.precision = "int8"
    net.precision = "bfloat16"
    assert net.fingerprint() == before
    assert set(net.state_dict()) == names


@pytest.mark.parametrize("name", ["auto", "reference"])
@torch.no_grad()
def test_a_model_in_float64_computes_in_float64(name):
    net, x = tiny(CLASSES[1]).double(), pictures(CLASSES[1]).double()
    with backend(name):
        y = net._network(net, x, "analysis")
    assert y.dtype == torch.float64
    with torch.enable_grad():
        expected = net.analysis(x)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)


def test_training_stays_in_float32():
    net, x = tiny(CLASSES[1]).train(), pictures(CLASSES[1])
    net.precision = "bfloat16"
    out = net(x)
    out["x_hat"].mean().backward()
    assert net.g_a[0].weight.grad.dtype == torch.float32


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes become constants
@pytest.mark.parametrize("model", CLASSES)
def test_transforms_can_be_traced(model):
    net, x = tiny(model), pictures(model)

    class Transforms(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return net.synthesis(net.analysis(x))

    with torch.no_grad():
        traced = torch.jit.trace(Transforms(), x, check_trace=False)
        other = pictures(model, seed=1)
        expected = net.synthesis(net.analysis(other))
        assert (traced(other) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("model", CLASSES)
def test_gradients_follow_under_autocast(model, training):
    net, x = tiny(model).train(training), pictures(model)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    rate = sum(-part.float().log2().sum() for part in out["likelihoods"].values())
    (rate / x[0, 0].numel() + out["x_hat"].float().square().mean()).backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if not n.endswith("quantiles")}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
