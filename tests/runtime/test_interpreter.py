"""Portable models' files run by an interpreter written from docs/portable.md alone."""

import numpy as np
import pytest

from lic_fast.codec import decode_image, encode_image, unpack
from lic_fast.stream_layout import StreamLayout
from tests.runtime.interpreter import Runtime
from tests.runtime.making import MODELS, file_of, loaded, picture


@pytest.mark.parametrize("name", MODELS)
def test_the_interpreter_runs_whole_models(name, monkeypatch):
    own, model = Runtime(file_of(name)), loaded(name, "float32")
    # Random weights give latents that are all rounded to zero.
    louder = np.float32(1 if name in ("zoo", "gains") else 30)
    analyse = model.analyse
    monkeypatch.setattr(model, "analyse", lambda *arguments: analyse(*arguments) * louder)
    pixels = picture(61, 50) if name in ("zoo", "TCM") else picture(70, 61)
    quality = 70.5 if name == "gains" else None
    data = encode_image(pixels, model, quality=quality)
    container = unpack(data)
    assert container.fingerprint.hex() == own.stated["fingerprint"]
    streams = container.z, container.y
    z_symbols, symbols, means, y_hat = own.decode(*streams, container.z_shape)
    assert np.count_nonzero(symbols) > 50
    assert np.count_nonzero(z_symbols) > 0 or name == "zoo"

    # The decoder's latents, bit for bit, and its picture.
    latents = model.analyse(pixels, container.padding)
    layout = StreamLayout.LANES
    again, decoded = model.encode_latents(latents, quality=quality, layout=layout)
    assert (again.z[0], again.y[0]) == streams
    assert decoded[0].transpose(2, 0, 1).tobytes() == y_hat.tobytes()
    shown = own.picture(y_hat, container.padding, quality)
    difference = np.abs(decode_image(data, model).pixels.astype(int) - shown)
    assert difference.max() <= 1
    assert difference.mean() < 0.01
    rounded = decode_image(data, loaded(name, "bfloat16")).pixels.astype(int)
    assert np.abs(rounded - shown).mean() < 1

    # The encoder's symbols, but for ties.
    y = own.analyse(pixels, container.padding) * louder
    y, z = own.rounded_next(y, quality)
    for numbers, expected in ((z, z_symbols), (y - means, symbols)):
        assert np.abs(numbers - expected).max() <= 0.5 + 2e-3
        assert np.mean(np.rint(numbers) != expected) <= 2e-3


def test_the_interpreter_refuses_a_damaged_file():
    data = bytearray(file_of("WACNN"))
    data[-1] ^= 1
    with pytest.raises(AssertionError):
        Runtime(bytes(data))
