"""Alpha: opaque everywhere it is no reason to refuse a picture, else it is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lic_fast.codec import read_picture
from lic_fast.errors import ImageError
from tests.codec.test_picture_files import png_chunk


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


TRANSPARENT = ["RGBA", "LA", "PA", "palette", "palette of alphas", "colour", "grey", "16-bit grey"]


def save_with_alpha(path, mode, pixels, opaque):
    """Writes a picture that could be transparent, and is in one pixel unless `opaque`."""
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA", "PA"):
        image = image.convert("P" if mode == "PA" else "RGB").convert(mode)
        alpha = Image.new("L", image.size, 255)
        alpha.putpixel((3, 2), 255 if opaque else 254)
        image.putalpha(alpha)
        image.save(path)
    elif mode.startswith("palette"):
        image = image.quantize(16)
        values = np.where(np.asarray(image) == 5, 4, np.asarray(image))
        indexes = Image.fromarray(values)
        indexes.putpalette(image.getpalette())
        key = 5 if opaque else int(values[0, 0])
        alphas = bytes(255 if i != key else 0 for i in range(16))
        indexes.save(path, transparency=key if mode == "palette" else alphas)
    elif mode == "colour":
        key = (1, 2, 3) if opaque else tuple(map(int, pixels[2, 3]))
        image.save(path, transparency=key)
    else:
        values = np.asarray(image.convert("L"))
        values = values.astype(np.uint16) * 256 if mode == "16-bit grey" else values
        values = np.where(values == 0, 1, values).astype(values.dtype)
        Image.fromarray(values).save(path, transparency=0 if opaque else int(values[1, 1]))


@pytest.mark.parametrize("mode", TRANSPARENT)
def test_transparency_is_refused_with_a_way_out(mode, pixels, tmp_path):
    path = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    save_with_alpha(path, mode, pixels, opaque=False)
    with pytest.raises(ImageError, match=r"transparency.*flatten it first.*alpha") as error:
        read_picture(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("mode", TRANSPARENT)
@pytest.mark.filterwarnings("ignore:.*16 bits:lic_fast.codec.PictureWarning")
def test_alpha_that_is_opaque_everywhere_is_no_reason_to_refuse(mode, pixels, tmp_path):
    path = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    save_with_alpha(path, mode, pixels, opaque=True)
    with Image.open(path) as image:
        assert image.has_transparency_data
        expected = np.asarray(image.convert("RGBA"))[..., :3] if mode != "16-bit grey" else None
    read = read_picture(path).pixels
    assert expected is None or np.array_equal(read, expected)
    if mode in ("RGBA", "colour"):
        assert np.array_equal(read, pixels)


def test_a_transparent_colour_of_sixteen_bits_is_not_taken_for_opaque(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    samples = np.array([0, 0x1234, 0xFFFF], ">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"tRNS", samples)
    data += png_chunk(b"IDAT", zlib.compress(b"\0" + samples)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match="transparency"):
        read_picture(tmp_path / "a.png")
