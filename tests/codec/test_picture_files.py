"""Picture files: what comes in, what is refused, what goes out."""

import contextlib
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from lic_fast.codec import (
    Picture,
    PictureWarning,
    read_picture,
    writable_suffixes,
    write_picture,
)
from lic_fast.codec.exif import upright
from lic_fast.errors import ImageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = [".png", ".webp", ".tif", ".tiff", ".bmp", ".jp2", ".ppm", ".tga", ".qoi", ".sgi"]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


def exif_data(orientation=None):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if orientation:
        exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    return exif.tobytes()


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_round_trip(suffix, pixels, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_picture(path, Picture(pixels))
    assert np.array_equal(read_picture(path).pixels, pixels)
    assert Image.open(path).size == (17, 13)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_is_close(suffix, tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64))] * 2, -1)[..., :3]
    write_picture(tmp_path / f"a{suffix}", Picture(picture))
    back = read_picture(tmp_path / f"a{suffix}").pixels
    assert np.abs(back.astype(int) - picture).mean() < 2
    write_picture(tmp_path / "small.jpg", Picture(picture), quality=20)
    assert (tmp_path / "small.jpg").stat().st_size < (tmp_path / f"a{suffix}").stat().st_size


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_are_written(suffix, pixels, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_picture(path, Picture(pixels, SRGB, exif_data()))
    image = Image.open(path)
    assert image.info["icc_profile"] == SRGB
    assert image.getexif()[0x010F].rstrip("\0") == "Maker"
    picture = read_picture(path)
    assert picture.icc_profile == SRGB
    if suffix == ".tif":  # where EXIF is taken from among the tags of the file's structure
        exif = Image.Exif()
        exif.load(picture.exif)
        assert dict(exif.get_ifd(0x8769)) == {0x9003: "2024:05:06 07:08:09"}
        assert set(exif) == {0x010F, 0x8769}
    else:
        assert picture.exif == exif_data().removeprefix(b"Exif\0\0")
    write_picture(tmp_path / "again.tif", picture)
    again = Image.open(tmp_path / "again.tif").getexif()
    assert again[0x010F].rstrip("\0") == "Maker"
    assert again.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_orientation_is_applied(suffix, orientation, tmp_path):
    stored = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 24, 3), dtype=np.uint8))
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    stored.save(path, exif=exif_data(orientation), **options)
    plain = tmp_path / f"plain{suffix}"
    stored.save(plain, **options)
    turned = Image.open(plain).convert("RGB")
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    picture = read_picture(path)
    assert np.array_equal(picture.pixels, expected)
    assert picture.pixels.shape[:2] == ((24, 8) if orientation > 4 else (8, 24))
    if suffix == ".tif":
        return
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x0112] == 1
    assert kept[0x010F] == "Maker"
    assert kept.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    write_picture(tmp_path / "back.png", picture)
    assert np.array_equal(read_picture(tmp_path / "back.png").pixels, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_and_palette_become_rgb(mode, suffix, pixels, tmp_path):
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / f"a{suffix}")
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}").pixels, expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_reduced_with_a_warning(suffix, tmp_path):
    values = np.array([[0, 127, 128, 129, 257, 32767, 32768, 65407, 65408, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    with pytest.warns(PictureWarning, match="16 bits"):
        picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.pixels[0, :, 0].tolist() == np.rint(values[0] / 257).astype(int).tolist()
    assert (picture.pixels == picture.pixels[..., :1]).all()


def png_chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def test_sixteen_bit_rgb_is_reduced_with_a_warning(tmp_path):
    samples = np.array([0, 0x1234, 0xFFFF], ">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data += png_chunk(b"IDAT", zlib.compress(b"\0" + samples)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.warns(PictureWarning, match="16 bits"):
        picture = read_picture(tmp_path / "a.png")
    assert picture.pixels[0, 0].tolist() == [0, 0x12, 0xFF]


def tiff(order, bits, photometric, samples, *, planes=1, sample_format=1):
    """An uncompressed TIFF file of one row of four pixels, one strip per plane."""
    channels = len(bits)
    size = len(samples) // (channels if planes == 2 else 1)
    strips = channels if planes == 2 else 1
    entries = [
        (256, "I", [4]),
        (257, "I", [1]),
        (258, "H", bits),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [0] * strips),
        (277, "H", [channels]),
        (278, "I", [1]),
        (279, "I", [size] * strips),
        (284, "H", [planes]),
        (339, "H", [sample_format] * channels),
    ]
    end = 8 + 2 + 12 * len(entries) + 4
    outside = [struct.calcsize(f"{len(v)}{kind}") for _, kind, v in entries]
    first = end + sum(length for length in outside if length > 4)
    directory, more = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        if tag == 273:
            values = [first + i * size for i in range(strips)]
        payload = struct.pack(f"{order}{len(values)}{kind}", *values)
        directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values))
        if len(payload) > 4:
            directory += struct.pack(order + "I", end + len(more))
            more += payload
        else:
            directory += payload.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8) + directory + bytes(4) + more + samples


SIXTEEN = [0, 0x1000, 0x8000, 0xFFFF]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_tiff_of_either_byte_order(order, channels, tmp_path):
    samples = np.repeat(np.array(SIXTEEN, f"{order}u2"), channels).tobytes()
    photometric = 1 if channels == 1 else 2
    (tmp_path / "a.tif").write_bytes(tiff(order, [16] * channels, photometric, samples))
    with pytest.warns(PictureWarning, match="16 bits"):
        picture = read_picture(tmp_path / "a.tif")
    assert picture.pixels[0].tolist() == [[v] * 3 for v in (0, 16, 128, 255)]


@pytest.mark.parametrize(
    ("bits", "photometric", "options", "message"),
    [
        ([16], 0, {}, "16 bits per sample of which 0 is white"),
        ([16], 1, {"sample_format": 2}, "signed samples"),
        ([8], 1, {"sample_format": 2}, "signed samples"),
        ([12], 1, {}, "12 bits per sample"),
        ([16] * 3, 2, {"planes": 2}, "16 bits per sample in separate planes"),
    ],
)
def test_tiff_that_pillow_would_misread_is_refused(bits, photometric, options, message, tmp_path):
    samples = bytes(range(sum(bits) * 4 // 8))
    (tmp_path / "a.tif").write_bytes(tiff("<", bits, photometric, samples, **options))
    with Image.open(tmp_path / "a.tif") as image:  # Pillow itself has no objection
        image.load()
    with pytest.raises(ImageError, match=f"a.tif: TIFF files with {message}.*-depth 8"):
        read_picture(tmp_path / "a.tif")


def test_tiff_of_eight_bits_in_all_its_forms(tmp_path):
    planes = bytes([16] * 4 + [128] * 4 + [240] * 4)
    (tmp_path / "a.tif").write_bytes(tiff(">", [8] * 3, 2, planes, planes=2))
    assert read_picture(tmp_path / "a.tif").pixels[0].tolist() == [[16, 128, 240]] * 4
    (tmp_path / "b.tif").write_bytes(tiff("<", [8], 0, bytes([0, 16, 128, 255])))
    assert read_picture(tmp_path / "b.tif").pixels[0, :, 1].tolist() == [255, 239, 127, 0]


@pytest.mark.parametrize("mode", ["F", "LAB", "I"])
def test_other_colour_spaces_are_refused(mode, pixels, tmp_path):
    image = Image.fromarray(pixels)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
        )
    elif mode in "FI":
        image = image.convert("L").convert(mode)
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"mode {mode} are not coded; convert it to RGB"):
        read_picture(tmp_path / "a.tif")


def test_of_several_frames_the_first_is_read(pixels, tmp_path):
    first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    for suffix, options in ((".tif", {}), (".webp", {"lossless": True}), (".png", {})):
        path = tmp_path / f"a{suffix}"
        first.save(path, save_all=True, append_images=[second], **options)
        with pytest.warns(PictureWarning, match="2 frames"):
            assert np.array_equal(read_picture(path).pixels, pixels)


def test_a_grey_profile_does_not_describe_rgb(pixels, tmp_path):
    grey = bytearray(SRGB)
    grey[16:20] = b"GRAY"
    Image.fromarray(pixels).convert("L").save(tmp_path / "a.png", icc_profile=bytes(grey))
    with pytest.warns(PictureWarning, match="profile"):
        assert read_picture(tmp_path / "a.png").icc_profile is None


@pytest.mark.parametrize("form", ["chunk before", "chunk behind", "text"])
def test_exif_of_png_wherever_it_stands(form, tmp_path):
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    data = exif_data(6)
    lines = b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"
    exif = png_chunk(b"eXIf", data.removeprefix(b"Exif\0\0"))
    if form == "text":
        exif = png_chunk(b"tEXt", b"Raw profile type exif\0" + lines)
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    chunks = [exif, png_chunk(b"IDAT", zlib.compress(rows))]
    if form == "chunk behind":
        chunks.reverse()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0))
    whole = b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, png_chunk(b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(whole)
    picture = read_picture(tmp_path / "a.png")
    assert picture.exif == exif_data(1).removeprefix(b"Exif\0\0")
    assert np.array_equal(picture.pixels, np.rot90(stored, -1))


@pytest.mark.parametrize("text", ["", "no lines", "\nexif\n  3\nxyz\n", "\nexif\n 2\nabcd"])
def test_broken_exif_text_is_dropped(text, pixels, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", text)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_picture(tmp_path / "a.png")
    assert picture.exif is None
    assert np.array_equal(picture.pixels, pixels)
    assert [w.category for w in caught] == ([PictureWarning] if text else [])


def test_the_caller_s_bound_holds_where_pillow_s_is_lower(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "blue")]
    for suffix in (".png", ".tif", ".webp", ".bmp", ".jpg"):
        more = {"save_all": True, "append_images": frames[1:]} if suffix == ".tif" else {}
        frames[0].save(tmp_path / f"a{suffix}", **more)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", r".*has 2 frames", PictureWarning)
            pixels = read_picture(tmp_path / f"a{suffix}", max_pixels=120).pixels
        assert pixels.shape == (10, 12, 3)
        assert (pixels[..., 0] > 250).all()
    assert Image.MAX_IMAGE_PIXELS == 50


def test_pillow_s_bound_is_back_after_threads(tmp_path, pixels):
    limit = Image.MAX_IMAGE_PIXELS
    write_picture(tmp_path / "a.png", Picture(pixels))
    (tmp_path / "b.png").write_bytes(b"none")

    def read(i):
        for _ in range(20):
            with contextlib.suppress(ImageError):
                read_picture(tmp_path / ("a.png" if i % 2 else "b.png"))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit == Image.MAX_IMAGE_PIXELS


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"x" * 20) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(bomb)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="60000x60000 is more than the 67108864 pixels"):
            read_picture(tmp_path / "a.png")
    assert limit == Image.MAX_IMAGE_PIXELS
    Image.new("RGB", (11, 10)).save(tmp_path / "b.png")
    with pytest.raises(ImageError, match="more than the 100 pixels"):
        read_picture(tmp_path / "b.png", max_pixels=100)
    assert read_picture(tmp_path / "b.png", max_pixels=110).pixels.shape == (10, 11, 3)


@pytest.mark.parametrize("suffix", writable_suffixes())
def test_damaged_files_are_image_errors(suffix, pixels, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_picture(path, Picture(np.tile(pixels, (8, 8, 1))))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # GIF and PCX have runs, of which those that are missing leave black rows.
        for cut in [0, 1, 5, 20, len(whole) // 2, len(whole) - len(whole) // 8]:
            path.write_bytes(whole[:cut])
            with pytest.raises(ImageError, match=path.name):
                read_picture(path)
        for _ in range(60):
            changed = bytearray(whole)
            for place in random.integers(0, min(len(whole), 200), 3):
                changed[place] = random.integers(256)
            path.write_bytes(changed)
            with contextlib.suppress(ImageError):
                assert read_picture(path).pixels.dtype == np.uint8


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ImageError, match="no picture of a format that Pillow or a plug-in"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(ImageError, match=r"ends with .*\.jpg, .*\.png, "):
        write_picture(tmp_path / "a.xyz", Picture(np.zeros((1, 1, 3), np.uint8)))
    for quality, name in ((0, "a.jpg"), (101, "a.webp"), (50, "c.png")):
        with pytest.raises(
            ImageError, match="quality is 1 to 100 and for AVIF, HEIF, JPEG, JXL, WEBP"
        ):
            write_picture(tmp_path / name, Picture(np.zeros((1, 1, 3), np.uint8)), quality=quality)


def test_what_a_format_cannot_hold_is_said(pixels, tmp_path):
    with pytest.warns(PictureWarning, match="BMP holds no colour profile, left out"):
        write_picture(tmp_path / "a.bmp", Picture(pixels, SRGB))
    with pytest.raises(ImageError, match="JPEG cannot hold this picture"):
        write_picture(tmp_path / "wide.jpg", Picture(np.zeros((1, 70000, 3), np.uint8)))
    with pytest.raises(ImageError, match="WEBP cannot hold this picture"):
        write_picture(tmp_path / "wide.webp", Picture(np.zeros((1, 17000, 3), np.uint8)))
    with pytest.warns(PictureWarning, match="EXIF data, which is left out"):
        write_picture(tmp_path / "b.jpg", Picture(pixels, None, exif_data() + bytes(70000)))
    assert read_picture(tmp_path / "b.jpg").exif is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bmp", "b.jpg"]


@pytest.mark.parametrize("broken", [b"", b"II", b"XX*\0" + bytes(8), b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_is_dropped(broken, pixels, tmp_path):
    assert upright(broken) is None
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0" + broken + b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_picture(tmp_path / "a.png").exif is None


def test_noise_fits_a_jpeg_file(tmp_path):
    noise = 255 * np.random.default_rng(0).integers(0, 2, (400, 400, 3), dtype=np.uint8)
    for quality in (95, 100):
        write_picture(tmp_path / f"{quality}.jpg", Picture(noise), quality=quality)
        assert read_picture(tmp_path / f"{quality}.jpg").pixels.shape == noise.shape


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 3), np.uint8),
        np.zeros((3, 3, 4), np.uint8),
        np.zeros((3, 3, 3)),
        np.zeros((0, 3, 3), np.uint8),
        [[[1, 2, 3]]],
    ],
)
def test_arrays_that_are_no_pictures_are_not_written(pixels, tmp_path):
    with pytest.raises(ImageError, match=r"uint8 \(H, W, 3\)"):
        write_picture(tmp_path / "a.png", Picture(pixels))
    assert list(tmp_path.iterdir()) == []
