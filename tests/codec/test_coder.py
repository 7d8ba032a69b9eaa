"""The codec with coders of pictures that are no torch models, and what makes one of a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.codec import Target, decode_image, encode_image, encode_to_target, pack, unpack
from lic_fast.codec.coder import coder_of
from lic_fast.codec.metrics import psnr
from lic_fast.codec.torch_models import TorchCoder
from lic_fast.errors import ChecksumError, FormatError, ModelMismatchError, TargetError
from lic_fast.models import TCM, WACNN
from lic_fast.stream_layout import StreamLayout
from tests.codec.toy import ToyCoder
from tests.models.tiny import tiny, with_gains


def picture_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70))
def test_a_picture_of_any_size_comes_back(height, width):
    coder, picture = ToyCoder(), picture_of(height, width)
    data = encode_image(picture, coder, exif=b"e", model_name="toy")
    decoded = decode_image(data, coder)
    assert np.array_equal(decoded.pixels, picture)
    assert decoded.exif == b"e"
    container = unpack(data)
    assert (container.padded_height, container.padded_width) == (
        -(-height // 32) * 32,
        -(-width // 32) * 32,
    )
    left, top, right, bottom = container.padding
    assert 0 <= right - left <= 1
    assert 0 <= bottom - top <= 1
    assert container.portable


@pytest.mark.parametrize("layout", ["lanes", "compressai", StreamLayout.COMPRESSAI])
def test_a_layout_is_handed_on(layout):
    data = encode_image(picture_of(4, 5), ToyCoder(), layout=layout)
    assert unpack(data).layout is StreamLayout.of(layout)


def test_an_unknown_layout_is_refused_before_work():
    with pytest.raises(ValueError, match="no stream layout 'other'"):
        encode_image(picture_of(4, 5), ToyCoder(), layout="other")


def test_tensors_and_strided_arrays_are_pictures():
    coder, picture = ToyCoder(), picture_of(20, 30)
    expected = encode_image(picture, coder)
    assert encode_image(torch.from_numpy(picture), coder) == expected
    assert encode_image(np.asfortranarray(picture), coder) == expected
    assert np.array_equal(decode_image(expected, coder).pixels, picture)


def test_a_search_codes_the_latents_and_keeps_to_its_bound():
    coder, picture = ToyCoder(gains=True), picture_of(64, 96)
    sizes = [len(encode_image(picture, coder, quality=quality)) for quality in (1, 100)]
    bound = sum(sizes) // 2
    found = encode_to_target(picture, coder, Target(size=bound))
    assert 0.9 * bound < len(found.data) <= bound
    assert unpack(found.data).quality == found.quality
    found = encode_to_target(picture, coder, Target(psnr=35))
    decoded = decode_image(found.data, coder).pixels
    assert found.psnr == psnr(picture, decoded) >= 35
    with pytest.raises(TargetError, match="bytes are less than"):
        encode_image(picture, coder, size=sizes[0] - 1)
    with pytest.raises(ValueError, match="has no gains"):
        encode_image(picture, ToyCoder(), size=bound)


def test_what_does_not_decode_is_an_error():
    coder = ToyCoder()
    data = encode_image(picture_of(10, 10), coder)
    container = unpack(data)
    for changed in (
        replace(container, y=container.y[:-1]),
        replace(container, symbols_checksum=container.symbols_checksum ^ 1),
    ):
        with pytest.raises(ChecksumError, match="arithmetic is exact"):
            decode_image(pack(changed), coder)
    with pytest.raises(ModelMismatchError):
        decode_image(data, ToyCoder(fingerprint=b"another."))
    with pytest.raises(FormatError, match="states quality 50, but its model has no gains"):
        decode_image(encode_image(picture_of(4, 4), ToyCoder(gains=True)), coder)


def test_a_decoder_that_gives_another_size_is_no_picture():
    class Wrong(ToyCoder):
        def decode(self, streams, padding):
            return super().decode(streams, padding)[1:]

    with pytest.raises(FormatError, match=r"hold a picture of \(9, 12, 3\)"):
        decode_image(encode_image(picture_of(10, 12), Wrong()), Wrong())


def test_what_is_no_torch_model_is_used_as_it_is():
    coder = ToyCoder()
    assert coder_of(coder) is coder
    assert isinstance(coder_of(tiny(TCM)), TorchCoder)
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        coder_of(tiny(TCM).train())


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (3, 40, 21, 9)])
def test_a_torch_model_s_coder_is_the_model_around_padding(padding):
    left, top, right, bottom = padding
    net = with_gains(WACNN)
    coder = coder_of(net)
    picture = picture_of(64 - (top + bottom) % 64, 128 - left - right)
    padded = np.pad(picture, ((top, bottom), (left, right), (0, 0)), mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    expected = net.encode(x, quality=70, layout="lanes")
    assert coder.encode(picture, padding, quality=70, layout=StreamLayout.LANES) == expected
    latents = coder.analyse(picture, padding)
    streams, y_hat = coder.encode_latents(latents, quality=70, layout=StreamLayout.LANES)
    assert streams == expected
    x_hat = (net.decode(expected)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    window = x_hat[top : top + picture.shape[0], left : left + picture.shape[1]]
    assert np.array_equal(coder.decode(expected, padding), window)
    assert np.array_equal(coder.reconstruct(y_hat, padding, quality=70), window)
    for name in ("portable", "architecture", "multiple", "z_downsampling", "anchor_qualities"):
        assert getattr(coder, name) == getattr(net, name)
    assert coder.fingerprint() == net.fingerprint()
