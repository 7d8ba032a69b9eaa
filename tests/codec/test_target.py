"""Files of a wanted quality, size, rate or PSNR."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast import zoo
from lic_fast.codec import (
    Target,
    decode_image,
    encode_image,
    encode_to_target,
    pack,
    unpack,
)
from lic_fast.codec.container import QUALITIES
from lic_fast.codec.metrics import psnr
from lic_fast.errors import FormatError, LicFastError, TargetError
from lic_fast.models import TCM, WACNN, SymmetricalTransFormer, gains
from tests.cli.conftest import drawing
from tests.models.portable.making import portable_with_gains
from tests.models.tiny import faithful_transforms, tiny, with_gains

PICTURE = drawing(70, 100)


@pytest.fixture(scope="module", autouse=True)
def _faithful():
    with pytest.MonkeyPatch.context() as patch:
        faithful_transforms(patch)
        yield


@pytest.fixture(scope="module", params=["float", "portable"])
def net(request):
    return with_gains() if request.param == "float" else portable_with_gains()


def size_of(net, quality, **options):
    return len(encode_image(PICTURE, net, quality=quality, **options))


def tenth(quality, direction):
    """The qualities in hundredths of a tenth up or down: neither rates nor PSNR rise everywhere."""
    hundredths = round(100 * quality)
    return [
        (hundredths + direction * i) / 100
        for i in range(1, 11)
        if hundredths + direction * i in QUALITIES
    ]


def test_the_file_has_the_models_scale():
    assert [QUALITIES[0] / 100, QUALITIES[-1] / 100] == [gains.WORST, gains.BEST]


def test_a_better_quality_is_a_larger_file_and_a_better_picture(net):
    files = [encode_image(PICTURE, net, quality=quality) for quality in (1, 25, 50, 75)]
    sizes = [len(data) for data in files]
    decoded = [psnr(PICTURE, decode_image(data, net).pixels) for data in files]
    assert sizes == sorted(set(sizes))
    assert decoded == sorted(set(decoded))
    assert decoded[-1] > decoded[0] + 10


@pytest.mark.parametrize(
    ("quality", "stated"),
    [(None, 50), (1, 1), (100, 100), (33.333, 33.33), (2 / 3 + 66, 66.67), (50.004999, 50)],
)
def test_a_quality_is_rounded_to_hundredths_and_decoded_with_what_the_file_states(
    net, quality, stated
):
    data = encode_image(PICTURE, net, quality=quality)
    container = unpack(data)
    assert container.quality == stated
    left, top, right, bottom = container.padding
    padded = np.pad(PICTURE, ((top, bottom), (left, right), (0, 0)), mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    streams, y_hat = net.encode_latents(net.analyse(x), quality=stated)
    assert (container.y, container.z) == (streams.y[0], streams.z[0])
    x_hat = net.reconstruct(y_hat, quality=stated)[0, :, top:-bottom, left:-right]
    expected = (x_hat * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(decode_image(data, net).pixels, expected)


@pytest.mark.parametrize("model", [SymmetricalTransFormer, TCM])
def test_the_other_models_take_a_quality_too(model):
    net = with_gains(model)
    sizes = [size_of(net, quality) for quality in (20, 60, 100)]
    assert sizes == sorted(set(sizes))
    data = encode_image(PICTURE, net, size=sizes[1])
    assert len(data) <= sizes[1]
    assert decode_image(data, net).pixels.shape == PICTURE.shape


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_size_is_kept_and_used(net, data):
    smallest, largest = size_of(net, 1), size_of(net, 100)
    size = data.draw(st.integers(smallest, largest + 50))
    found = encode_to_target(PICTURE, net, Target(size=size))
    assert len(found.data) <= size
    assert unpack(found.data).quality == found.quality
    assert found.psnr is None
    assert 1 <= found.codings <= 12
    if len(found.data) < 0.99 * size and found.quality < 100:
        assert any(size_of(net, quality) > size for quality in tenth(found.quality, 1))


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_a_psnr_is_kept_and_not_exceeded_by_much(net, data):
    lowest = psnr(PICTURE, decode_image(encode_image(PICTURE, net, quality=1), net).pixels)
    wanted = data.draw(st.floats(lowest + 0.03, 32.8))
    found = encode_to_target(PICTURE, net, Target(psnr=wanted))
    decoded = decode_image(found.data, net).pixels
    assert found.psnr == psnr(PICTURE, decoded) >= wanted
    assert 1 <= found.codings <= 16
    if found.psnr > wanted + 0.02:
        worse = (encode_image(PICTURE, net, quality=q) for q in tenth(found.quality, -1))
        assert any(psnr(PICTURE, decode_image(data, net).pixels) < wanted for data in worse)


def test_a_rate_counts_every_byte_of_the_file(net):
    metadata = {"icc_profile": b"i" * 300, "exif": b"e" * 200, "model_name": "a name"}
    for bpp in (1.3, 2.0):
        found = encode_image(PICTURE, net, bpp=bpp, **metadata)
        assert 0.98 * bpp < 8 * len(found) / PICTURE[..., 0].size <= bpp
        assert unpack(found).exif == b"e" * 200
        plain = encode_image(PICTURE, net, bpp=bpp)
        assert unpack(plain).quality > unpack(found).quality


def test_a_rate_allows_exactly_its_bytes():
    for pixels, size in ((7000, 613), (3, 1), (10**6 + 1, 3)):
        bpp = 8 * size / pixels
        allowed = Target(bpp=bpp).largest_file(pixels)
        assert 8 * allowed / pixels <= bpp
        assert allowed in (size, size - 1)
    for bpp in (np.float32(0.5), np.float64(0.5), Fraction(1, 2)):
        assert Target(bpp=bpp).largest_file(1600) == 100
    assert Target(bpp=np.int8(100)).largest_file(1600) == 20000
    assert Target(bpp=10**400).largest_file(8) == 10**400
    assert Target(bpp=1e300).largest_file(1) > 1e299
    assert Target(bpp=1e-300).largest_file(10**9) == 0
    assert Target(size=17).largest_file(3) == 17
    assert Target(psnr=17).largest_file(3) is None


def test_one_analysis_serves_all_codings(net, monkeypatch):
    calls = []
    real = type(net).analyse
    monkeypatch.setattr(type(net), "analyse", lambda self, x: calls.append(1) or real(self, x))
    found = encode_to_target(PICTURE, net, Target(size=1500))
    assert found.codings > 1
    assert len(calls) == 1


def test_bounds_out_of_reach_name_the_extreme(net):
    smallest = size_of(net, 1)
    with pytest.raises(TargetError, match=f"{smallest - 1} bytes are less .* is {smallest} bytes"):
        encode_image(PICTURE, net, size=smallest - 1)
    assert len(encode_image(PICTURE, net, size=smallest)) == smallest
    with pytest.raises(TargetError, match=f"0.001 bpp are less .* {8 * smallest / 7000:.4f} bpp"):
        encode_image(PICTURE, net, bpp=0.001)
    for bpp in (1e-300, 5e-324):
        with pytest.raises(TargetError):
            encode_image(PICTURE, net, bpp=bpp)
    best = psnr(PICTURE, decode_image(encode_image(PICTURE, net, quality=100), net).pixels)
    with pytest.raises(TargetError, match=f"50 dB are more .* is {best:.2f} dB at quality 100"):
        encode_image(PICTURE, net, psnr=50)
    assert issubclass(TargetError, LicFastError)
    assert issubclass(TargetError, ValueError)


def test_bounds_that_everything_keeps_to_give_the_ends(net):
    for options in ({"size": 10**6}, {"size": 10**400}, {"bpp": 1e300}):
        found = encode_to_target(PICTURE, net, Target(**options))
        assert (found.quality, found.codings) == (100, 2)
        assert found.data == encode_image(PICTURE, net, quality=100)
    for wanted in (5, 1e-300):
        found = encode_to_target(PICTURE, net, Target(psnr=wanted))
        assert found.quality == 1
        assert found.codings <= 3


def test_a_picture_without_any_error_keeps_to_every_psnr():
    net = with_gains()
    black = np.zeros((5, 6, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WACNN, "synthesis", lambda self, y: torch.zeros(1, 3, 64, 64))
        found = encode_to_target(black, net, Target(psnr=1000))
    assert found.psnr == float("inf")
    assert found.quality == 1


@pytest.mark.parametrize("layout", ["lanes", "compressai"])
def test_a_search_codes_in_the_layout_that_was_asked_for(net, layout):
    data = encode_image(PICTURE, net, size=1500, layout=layout)
    assert unpack(data).layout.name.lower() == layout
    assert decode_image(data, net).pixels.shape == PICTURE.shape
    with pytest.raises(ValueError, match="layout"):
        encode_image(PICTURE, net, size=1500, layout="rans")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 50, "size": 1}, "one of quality, size, bpp and psnr, not quality and size"),
        ({"bpp": 1.0, "psnr": 30.0}, "not bpp and psnr"),
        ({"quality": 0.99}, "quality is 1 to 100, not 0.99"),
        ({"quality": 100.004}, "quality is 1 to 100, not 100.004"),
        ({"quality": float("nan")}, "quality is a number, not nan"),
        ({"quality": "50"}, "quality is a number, not '50'"),
        ({"quality": True}, "quality is a number, not True"),
        ({"quality": 10**400}, "quality is"),
        ({"size": 0}, "size is more than 0, not 0"),
        ({"size": 1000.0}, "size is a whole number, not 1000.0"),
        ({"bpp": -1.0}, "bpp is more than 0, not -1"),
        ({"bpp": float("inf")}, "bpp is a number, not inf"),
        ({"psnr": 0}, "psnr is more than 0"),
        ({"psnr": float("inf")}, "psnr is a number, not inf"),
    ],
)
def test_targets_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Target(**options)
    with pytest.raises(ValueError, match=message):
        encode_image(PICTURE, None, **options)


@pytest.mark.parametrize("options", [{"quality": 50}, {"size": 1000}, {"bpp": 1.0}, {"psnr": 30.0}])
@pytest.mark.parametrize("make", [zoo.load, lambda: tiny(WACNN)])
def test_a_model_of_one_rate_says_so(options, make):
    with pytest.raises(ValueError, match="this model has no gains"):
        encode_image(PICTURE, make(), **options)


def test_a_file_whose_quality_contradicts_its_model_is_refused(net):
    container = unpack(encode_image(PICTURE, net, quality=60))
    with pytest.raises(FormatError, match="states no quality"):
        decode_image(pack(replace(container, quality=None)), net)
    other = tiny(WACNN)
    single = unpack(encode_image(PICTURE, other))
    assert single.quality is None
    with pytest.raises(FormatError, match="states quality 60, but its model has no gains"):
        decode_image(pack(replace(single, quality=60.0)), other)


@settings(max_examples=15, deadline=None)
@given(st.integers(QUALITIES[0], QUALITIES[-1]))
def test_another_quality_than_was_coded_is_another_picture_and_no_crash(net, hundredths):
    """The symbols do not depend on it: it is part of what the file's checksum guards."""
    container = unpack(encode_image(PICTURE, net, quality=60))
    decoded = decode_image(pack(replace(container, quality=hundredths / 100)), net)
    assert decoded.pixels.shape == PICTURE.shape


def test_a_grey_picture_is_searched_for_as_any_other():
    net = with_gains()
    grey = PICTURE[..., 0]
    found = encode_to_target(torch.from_numpy(grey.copy()), net, Target(psnr=26))
    decoded = decode_image(found.data, net).pixels
    assert found.psnr == psnr(np.repeat(grey[..., None], 3, 2), decoded) >= 26
