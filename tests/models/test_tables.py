"""Priors of which no tables can be made are refused before memory is taken."""

import resource

import pytest
import torch

import lic_fast
from lic_fast.errors import CheckpointError
from lic_fast.models import WACNN
from tests.models.tiny import CLASSES, pictures, tiny

TABLES = ("_offset", "_quantized_cdf", "_cdf_length")


def without_tables(net):
    entries = {name: value.clone() for name, value in net.state_dict().items()}
    return {name: value for name, value in entries.items() if not name.endswith(TABLES)}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        ([-1e6, 0, 1e6], r"-1e\+06, 0 and 1e\+06 in channel 0: 2000001 symbols, of at most 8192"),
        ([0, 0, 8192], "8193 symbols"),
        ([-1e38, 0, 1e38], "symbols, of at most"),
        ([-10, 0, float("inf")], "not finite"),
        ([-10, float("nan"), 10], "not finite"),
    ],
)
def test_far_or_endless_quantiles_are_refused(model, quantiles, message, tmp_path):
    entries = without_tables(tiny(model))
    entries["entropy_bottleneck.quantiles"][:] = torch.tensor(quantiles)
    torch.save(entries, tmp_path / "far.pth")
    before = peak()
    with pytest.raises(CheckpointError, match=message if "finite" not in message else "finite"):
        lic_fast.load(tmp_path / "far.pth")
    net = tiny(model)
    with torch.no_grad():
        net.entropy_bottleneck.quantiles[-1:] = torch.tensor(quantiles)
    assert net.update() is False  # there are tables, of the numbers before
    with pytest.raises(ValueError, match=message.replace("channel 0", r"channel \d")):
        net.update(force=True)
    for name in TABLES:
        setattr(net.entropy_bottleneck, name, torch.empty(0, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"symbols|finite"):
        net.update()
    with pytest.raises(ValueError, match="no CDF tables"):
        lic_fast.make_portable(net, [pictures(model)])
    assert peak() - before < 400_000  # kilobytes


@torch.no_grad()
def test_the_widest_tables_are_made_and_code():
    net, x = tiny(WACNN), pictures(WACNN)
    net.entropy_bottleneck.quantiles[1] = torch.tensor([-4095.0, 0, 4096])
    assert net.update(force=True)
    assert net.entropy_bottleneck._quantized_cdf.shape[1] == 8192 + 2
    coded = net.compress(x)
    assert torch.equal(net.decompress(**coded)["x_hat"], net(x)["x_hat"].clamp(0, 1))


def test_quantiles_can_be_set_from_the_weights():
    net = tiny(WACNN)
    with torch.no_grad():
        net.entropy_bottleneck.quantiles[:] = torch.tensor([-1e6, 0, 1e6])
    assert net.update(force=True, update_quantiles=True)
    net.cdf_tables()


@pytest.mark.parametrize("scale", [0.0, -1.0, 6000.0, 1e9, float("inf"), float("nan")])
def test_scales_without_a_table_are_refused(scale):
    net = tiny(WACNN)
    with pytest.raises(ValueError, match="scales of a scale table must be above 0 and at most 5"):
        net.update(scale_table=[0.11, scale], force=True)
    assert net.update(scale_table=[0.11, 1.0, 300.0], force=True)
    assert len(net.gaussian_conditional._quantized_cdf) == 3
