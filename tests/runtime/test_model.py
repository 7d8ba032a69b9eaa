"""Portable models in the runtime give what the torch models of the same files give."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from lic_fast import runtime
from lic_fast.codec import Target, decode_image, encode_image, encode_to_target, unpack
from lic_fast.codec.torch_models import TorchCoder
from lic_fast.errors import ChecksumError, LatentError, LicFastError
from lic_fast.stream_layout import StreamLayout
from tests.runtime.making import TINY, loaded, picture, torch_model

SIZES = [(1, 1), (64, 128), (131, 77)]


@cache
def both(name, precision="float32"):
    """A model in torch, and in the runtime."""
    net = copy.deepcopy(torch_model(name))
    net.precision = precision
    return net, loaded(name, precision)


@pytest.fixture(autouse=True)
def threads_as_before():
    before, torchs = runtime.threads(), torch.get_num_threads()
    yield
    runtime.set_threads(before)
    torch.set_num_threads(torchs)


def quality_of(name):
    return 63.25 if name == "gains" else None


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TINY)
def test_files_and_pixels_are_those_of_the_torch_model(name, precision):
    net, model = both(name, precision)
    assert model.precision == precision
    assert model.anchor_qualities == net.anchor_qualities
    for i, size in enumerate(SIZES):
        layout = list(StreamLayout)[i % 2]
        options = {"quality": quality_of(name), "layout": layout, "model_name": "tiny"}
        pixels = picture(*size, seed=i)
        data = encode_image(pixels, model, **options)
        assert data == encode_image(pixels, net, **options)
        shown = decode_image(data, model).pixels
        assert shown.shape == pixels.shape
        assert np.array_equal(shown, decode_image(data, net).pixels)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TINY)
def test_streams_and_latents_are_those_of_the_torch_model(name, threads):
    net, model = both(name)
    runtime.set_threads(threads)
    torch.set_num_threads(threads)
    pixels, quality, padding = picture(120, 250), quality_of(name), (3, 0, 3, 8)
    coder = TorchCoder(net)
    latents, expected = model.analyse(pixels, padding), coder.analyse(pixels, padding)
    assert np.array_equal(latents, expected.permute(0, 2, 3, 1).numpy())
    # Those of random weights are all rounded to zero.
    latents, expected = latents * np.float32(40), expected * 40
    for layout in StreamLayout:
        streams, y_hat = model.encode_latents(latents, quality=quality, layout=layout)
        wanted, decoded = coder.encode_latents(expected, quality=quality, layout=layout)
        assert streams == wanted
        assert np.array_equal(y_hat, decoded.permute(0, 2, 3, 1).numpy())
        assert np.count_nonzero(y_hat) > 100
        shown = model.decode(streams, padding)
        assert np.array_equal(shown, coder.decode(wanted, padding))
        assert np.array_equal(shown, model.reconstruct(y_hat, padding, quality=quality))
        assert shown.std() > 0


@pytest.mark.parametrize("quality", [1, 33.33, 50, 100])
def test_any_quality_is_coded_as_by_the_torch_model(quality):
    net, model = both("gains")
    pixels = picture(64, 64)
    data = encode_image(pixels, model, quality=quality)
    assert data == encode_image(pixels, net, quality=quality)
    assert np.array_equal(decode_image(data, model).pixels, decode_image(data, net).pixels)


def test_targets_are_reached_by_the_same_searches():
    net, model = both("gains")
    pixels = picture(100, 130)
    sizes = [len(encode_image(pixels, model, quality=quality)) for quality in (1, 100)]
    assert sizes[0] < sizes[1]
    for target in (Target(size=sum(sizes) // 2), Target(bpp=4 * sum(sizes) / pixels[..., 0].size)):
        found, wanted = (encode_to_target(pixels, one, target) for one in (model, net))
        assert found.data == wanted.data
        assert found.quality == wanted.quality == unpack(found.data).quality
    levels = [encode_to_target(pixels, model, Target(quality=q)).data for q in (1, 100)]
    errors = [decode_image(data, model).pixels.astype(float) - pixels for data in levels]
    within = sorted(10 * np.log10(255**2 / np.mean(error**2)) for error in errors)
    target = Target(psnr=within[0])
    results = []
    for one in (model, net):
        try:
            results.append(encode_to_target(pixels, one, target).data)
        except LicFastError as error:
            results.append(str(error))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", TINY)
def test_calls_from_several_threads_are_separate(name):
    _, model = both(name)
    runtime.set_threads(2)
    pictures = [picture(64 + 9 * i, 80, seed=i) for i in range(6)]

    def code(pixels):
        data = encode_image(pixels, model, quality=quality_of(name))
        return data, decode_image(data, model).pixels

    expected = [code(pixels) for pixels in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            for (data, shown), wanted in zip(pool.map(code, pictures), expected, strict=True):
                assert data == wanted[0]
                assert np.array_equal(shown, wanted[1])


def test_qualities_and_streams_that_do_not_fit_are_refused_as_by_models():
    (net, model), (_, one_rate) = both("gains"), both("WACNN")
    pixels = picture(64, 64)
    for coder in (TorchCoder(net), model):
        with pytest.raises(ValueError, match="a quality is a number from 1 to 100"):
            coder.encode(pixels, (0, 0, 0, 0), quality=101, layout=StreamLayout.LANES)
    with pytest.raises(ValueError, match="no gains"):
        one_rate.encode(pixels, (0, 0, 0, 0), quality=50, layout=StreamLayout.LANES)
    streams = model.encode(pixels, (0, 0, 0, 0), quality=None, layout=StreamLayout.LANES)
    assert streams.quality == [50]
    changed = replace(streams, checksums=[streams.checksums[0] ^ 1])
    with pytest.raises(ChecksumError, match="have checksum"):
        model.decode(changed, (0, 0, 0, 0))
    latents = model.analyse(pixels, (0, 0, 0, 0))
    latents[0, 0, 0, 0] = np.nan
    with pytest.raises(LatentError, match="not finite"):
        model.encode_latents(latents, quality=50, layout=StreamLayout.LANES)
    with pytest.raises(LatentError, match="not finite"):
        model.reconstruct(latents, (0, 0, 0, 0), quality=50)
