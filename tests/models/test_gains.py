"""Gains: one model codes at any quality."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lic_fast
from lic_fast.entropy import LatentStreams
from lic_fast.models import WACNN
from lic_fast.models.gains import anchor_qualities, check_quality, first_gains, interpolated
from lic_fast.models.portable.calibration import one_anchor_each
from tests.models.portable.making import portable
from tests.models.tiny import CLASSES, pictures, tiny

QUALITIES = st.floats(1, 100)


def spread(net):
    """The same model with gains so far apart that qualities differ."""
    with torch.no_grad():
        exponents = torch.linspace(-2, 2, len(net.y_gain))[:, None]
        net.y_gain.copy_(torch.exp(exponents + 0.1 * torch.randn(net.y_gain.shape)))
        net.y_inv_gain.copy_(1 / net.y_gain)
    return net


@given(st.integers(2, 9), QUALITIES)
def test_between_anchors_gains_are_geometric(anchors, quality):
    torch.manual_seed(0)
    gains = torch.rand(anchors, 5, dtype=torch.float64) + 0.1
    position = (quality - 1) / 99 * (anchors - 1)
    lower = min(int(position), anchors - 2)
    part = position - lower
    expected = gains[lower] ** (1 - part) * gains[lower + 1] ** part
    found = interpolated(gains, [quality])
    assert found.shape == (1, 5, 1, 1)
    torch.testing.assert_close(found.flatten(), expected)


@given(st.integers(2, 9))
def test_at_anchors_they_are_the_trained_ones(anchors):
    gains = torch.rand(anchors, 4) + 0.1
    found = interpolated(gains, anchor_qualities(anchors))
    torch.testing.assert_close(found.flatten(1), gains)


def test_first_gains_rise_by_the_square_root_of_two():
    gains = first_gains(5, 3)
    torch.testing.assert_close(gains[1:] / gains[:-1], torch.full((4, 3), 2**0.5))
    torch.testing.assert_close(gains[2], torch.ones(3))
    with pytest.raises(ValueError, match="at least 2, not 1"):
        first_gains(1, 3)


@pytest.mark.parametrize("model", CLASSES)
def test_models_without_gains_are_what_they_were(model):
    net = tiny(model)
    assert not [name for name in net.state_dict() if "gain" in name]
    assert net.anchor_qualities == []
    x = pictures(model)
    strings = net.compress(x)
    assert set(strings) == {"strings", "shape"}
    for call in (
        lambda: net(x, quality=50),
        lambda: net.compress(x, quality=50),
        lambda: net.decompress(**strings, quality=50),
        lambda: net.encode(x, quality=50),
    ):
        with pytest.raises(ValueError, match="no gains: it codes at the one rate"):
            call()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("model", CLASSES)
def test_strings_decode_to_what_forward_gives_at_any_quality(model, exact):
    net = portable(model, qualities=3) if exact else spread(tiny(model, qualities=3))
    x = pictures(model, batch=2)
    with torch.no_grad():
        for quality in (1, 37.5, 100.0, [80, 20]):
            strings = net.compress(x, quality=quality)
            decoded = net.decompress(**strings)["x_hat"]
            assert torch.equal(decoded, net(x, quality=quality)["x_hat"].clamp(0, 1))


def test_each_image_of_a_batch_has_a_quality_of_its_own():
    net = spread(tiny(WACNN, qualities=3))
    x = pictures(WACNN, batch=3)
    qualities = [3.0, 99.0, 50.0]
    together = net.encode(x, quality=torch.tensor(qualities))
    assert together.quality == qualities
    for i, quality in enumerate(qualities):
        alone = net.encode(x[i : i + 1], quality=quality)
        assert (alone.y[0], alone.z[0]) == (together.y[i], together.z[i])
    assert net.encode(x).y == net.encode(x, quality=50).y


def test_a_better_quality_takes_more_bits_and_loses_less():
    net = spread(tiny(WACNN, qualities=3))
    # A synthesis that inverts nothing cannot show it: the latents themselves do.
    y = net.analyse(pictures(WACNN))
    sizes, errors = [], []
    for quality in (1, 30, 60, 100):
        streams, y_hat = net.encode_latents(y, quality=quality)
        sizes.append(len(streams.y[0]) + len(streams.z[0]))
        gains = interpolated(net.y_inv_gain.detach(), [quality])
        errors.append(float((y_hat * gains - y).square().mean()))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("model", CLASSES)
def test_several_qualities_take_one_analysis(model):
    net = spread(tiny(model, qualities=3))
    x = pictures(model, batch=2)
    y = net.analyse(x)
    for quality in (1, 64, [2, 71]):
        streams, y_hat = net.encode_latents(y, quality=quality)
        assert streams == net.encode(x, quality=quality)
        assert torch.equal(net.reconstruct(y_hat, quality=quality), net.decode(streams))


def test_strings_need_the_quality_they_were_coded_with():
    net = tiny(WACNN, qualities=2)
    x = pictures(WACNN)
    strings = net.compress(x, quality=70)
    assert strings["quality"] == [70.0]
    with pytest.raises(ValueError, match="decoded with the quality"):
        net.decompress(strings["strings"], strings["shape"])
    streams = net.encode(x, quality=70)
    without = LatentStreams(streams.y, streams.z, streams.shape, streams.checksums)
    with pytest.raises(ValueError, match="decoded with the quality"):
        net.decode(without)
    _, y_hat = net.encode_latents(net.analyse(x), quality=70)
    with pytest.raises(ValueError, match="decoded with the quality"):
        net.reconstruct(y_hat)


@pytest.mark.parametrize(
    "quality",
    [np.int64(60), np.float32(60), np.array([60.0]), np.array(60), torch.tensor(60), (60,)],
    ids=repr,
)
def test_numbers_of_every_kind_are_qualities(quality):
    assert check_quality(quality, 1) == [60.0]


@pytest.mark.parametrize(
    "quality",
    [0, 100.5, -3, float("nan"), float("inf"), "60", True, [50, 50], [], [None], object()],
)
def test_what_is_no_quality_is_refused(quality):
    if isinstance(quality, str):
        with pytest.raises(ValueError, match="not '60'"):
            check_quality(quality, 1)
    net = tiny(WACNN, qualities=2)
    with pytest.raises(ValueError, match=r"from 1 to 100|qualities for a batch of 1"):
        net.compress(pictures(WACNN), quality=quality)


@pytest.mark.parametrize("model", CLASSES)
def test_a_state_dict_tells_the_number_of_anchors(model, tmp_path):
    net = spread(tiny(model, qualities=3))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    for made in (model.from_state_dict(net.state_dict()), lic_fast.load(tmp_path / "net.pth")):
        assert made.arguments["qualities"] == 3
        assert made.fingerprint() == net.fingerprint()


def test_gains_are_part_of_the_fingerprint():
    net = tiny(WACNN, qualities=3)
    before = net.fingerprint()
    assert before != tiny(WACNN).fingerprint()
    with torch.no_grad():
        net.y_inv_gain[0, 0] += 0.5
    assert net.fingerprint() != before


def test_covariances_see_every_anchor_equally_often():
    latents = [(torch.tensor(picture), torch.tensor(a)) for picture in range(6) for a in range(3)]
    few = one_anchor_each(latents, 3)
    assert [(int(p), int(a)) for p, a in few] == [(i, i % 3) for i in range(6)]
    assert one_anchor_each(latents[:6], 3) == latents[:6]
    assert one_anchor_each(latents, 0) == latents


def test_a_portable_model_is_calibrated_at_all_anchors():
    net = portable(WACNN, qualities=3)
    assert net.portable
    assert len(net.y_gain) == 3
    x = pictures(WACNN, batch=1)
    # Means and scales of both ends are those of floating point, but for the rounding.
    source = tiny(WACNN, qualities=3)
    for quality in (1, 100):
        with torch.no_grad():
            exact = net(x, quality=quality)["likelihoods"]["y"].log2().sum()
            plain = source(x, quality=quality)["likelihoods"]["y"].log2().sum()
        assert abs(exact / plain - 1) < 0.05
