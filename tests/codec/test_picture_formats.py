"""Formats: whatever Pillow reads and writes, and the names of those that it does not."""

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

import lic_fast
from lic_fast.codec import (
    Picture,
    PictureWarning,
    is_whole_picture,
    read_picture,
    readable_suffixes,
    writable_suffixes,
    write_picture,
)
from lic_fast.codec.colour import is_srgb, srgb_profile
from lic_fast.codec.formats import kind_of, picture_suffixes
from lic_fast.codec.jpeg_xl import jpeg_xl_size
from lic_fast.errors import ImageError

EXIF = b"II*\0\x08\0\0\0\1\0\x0f\x01\2\0\4\0\0\0abc\0\0\0\0\0"
LOSSY = {".avif", ".avifs", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
LOSSY |= {".heic", ".heics", ".heif", ".heifs", ".hif"}


@pytest.fixture
def pixels():
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, rows + columns], -1).astype(np.uint8)


def test_the_usual_formats_are_there():
    usual = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".tga"}
    assert usual <= set(readable_suffixes())
    assert usual <= set(writable_suffixes())
    for feature, suffix in (("avif", ".avif"), ("jpg_2000", ".jp2")):
        if features.check(feature):
            assert suffix in readable_suffixes()
            assert suffix in writable_suffixes()


def test_what_is_no_picture_is_not_taken_for_one():
    strangers = {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".fits", ".wmf", ".emf"}
    assert not strangers & set(picture_suffixes())
    assert not strangers & set(writable_suffixes())
    # Formats of icons, other modes and palettes hold no photograph.
    assert not {".ico", ".icns", ".xbm", ".msp", ".pgm", ".pbm", ".pfm"} & set(writable_suffixes())


def test_pictures_that_a_plug_in_would_read_are_not_passed_over():
    assert {".heic", ".heif", ".jxl", ".avif"} <= set(picture_suffixes())


@pytest.mark.filterwarnings("ignore::lic_fast.codec.PictureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", writable_suffixes())
def test_what_is_written_is_read(suffix, pixels, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_picture(path, Picture(pixels, srgb_profile(), EXIF))
    assert is_whole_picture(path)
    picture = read_picture(path)
    error = np.abs(picture.pixels.astype(int) - pixels)
    assert (
        error.max() == 0 if suffix not in LOSSY else error.mean() < (12 if suffix == ".gif" else 3)
    )
    assert picture.icc_profile is None or is_srgb(picture.icc_profile)
    with pytest.raises(FileExistsError):
        write_picture(path, Picture(pixels))
    write_picture(tmp_path / f"one{suffix}", Picture(pixels[:1, :1]))
    assert read_picture(tmp_path / f"one{suffix}").pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".jxl", ".heic"])
def test_a_quality_makes_files_smaller(suffix, tmp_path):
    if suffix not in writable_suffixes():
        pytest.skip(f"nothing here writes {suffix}")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = []
    for quality in (20, 90, None):
        path = tmp_path / f"{quality}{suffix}"
        write_picture(path, Picture(noise), quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".jxl", ".heic"])
def test_metadata_are_kept_where_the_format_holds_them(suffix, pixels, tmp_path):
    if suffix not in writable_suffixes():
        pytest.skip(f"nothing here writes {suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(tmp_path / f"a{suffix}", Picture(pixels, srgb_profile(), EXIF))
    picture = read_picture(tmp_path / f"a{suffix}")
    assert is_srgb(picture.icc_profile)
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[0x010F].rstrip("\0") == "abc"


def test_metadata_that_a_format_does_not_hold_are_said_to_be_left_out(pixels, tmp_path):
    with pytest.warns(PictureWarning, match="GIF holds no colour profile and no EXIF data"):
        write_picture(tmp_path / "a.gif", Picture(pixels, srgb_profile(), EXIF))
    with pytest.warns(PictureWarning, match="PPM holds no EXIF data, left out"):
        write_picture(tmp_path / "a.ppm", Picture(pixels, None, EXIF))


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".png", ".webp", ".tif"])
def test_of_several_frames_the_first_is_read_and_it_is_said_once(suffix, pixels, tmp_path):
    if suffix not in writable_suffixes():
        pytest.skip(f"nothing here writes {suffix}")
    frames = [Image.fromarray(values) for values in (pixels, 255 - pixels, pixels // 2)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = read_picture(path).pixels
    assert [str(w.message) for w in caught] == [f"{path}: has 3 frames, of which the first is read"]
    assert np.abs(read.astype(int) - pixels).mean() < 6


def test_the_first_frame_of_an_animation_may_be_partly_transparent(pixels, tmp_path):
    image = Image.fromarray(pixels).quantize(16)
    image.save(tmp_path / "a.gif", transparency=int(np.asarray(image)[0, 0]))
    with pytest.raises(ImageError, match="transparency"):
        read_picture(tmp_path / "a.gif")
    image.save(tmp_path / "b.gif", transparency=200)
    assert np.array_equal(read_picture(tmp_path / "b.gif").pixels, np.asarray(image.convert("RGB")))


def test_deep_ppm_is_reduced_with_a_warning(tmp_path):
    for name, magic, channels in (("a.pgm", b"P5", 1), ("a.ppm", b"P6", 3)):
        samples = np.array([0x1234] * channels + [65535] * channels, ">u2").tobytes()
        (tmp_path / name).write_bytes(magic + b" 2 1 65535\n" + samples)
        with pytest.warns(PictureWarning, match="16 bits"):
            read = read_picture(tmp_path / name).pixels
        assert read.tolist() == [[[0x12] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which takes the package pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF, which takes the package pillow-heif"),
        (b"\0\0\0\x1cftypmif3\0\0\0\0miafavif", "AVIF, which takes a Pillow with AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "a raw picture of a camera"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL, which takes the package pillow-jxl-plugin"),
        (b"\xff\x0a\x00", "JPEG XL, which takes the package pillow-jxl-plugin"),
        (b"%PDF-1.7", "PDF, a drawing or page"),
        (b'<?xml version="1.0"?>\n<svg xmlns', "SVG, a drawing"),
        (b"\n<svg>", "SVG, a drawing"),
        (b"\x89LIC\1", "a .lic file already"),
    ],
)
def test_formats_that_nothing_here_reads_are_named(head, kind, tmp_path, monkeypatch):
    assert kind_of(head).startswith(kind)
    # As it is where no plug-in is installed.
    monkeypatch.setattr("lic_fast.codec.picture_files.formats_of", lambda head: ["PNG", "BMP"])
    (tmp_path / "a").write_bytes(head + bytes(100))
    with pytest.raises(ImageError, match=f"a: {kind}"):
        read_picture(tmp_path / "a")


def test_no_kind_is_made_up():
    for head in (b"", b"hello", bytes(64), b"\0\0\0\x18ftyp"):
        assert kind_of(head) in (None, "a video, not a picture")


def test_postscript_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", None)
    monkeypatch.setattr("subprocess.Popen", None)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    (tmp_path / "a.eps").write_bytes(text)
    with pytest.raises(ImageError, match="PostScript, a drawing or page"):
        read_picture(tmp_path / "a.eps")


def test_a_plug_in_that_the_program_has_registered_is_used(tmp_path):
    script = """
import sys
from PIL import Image, ImageFile

class Flat(ImageFile.ImageFile):
    format = "FLAT"
    def _open(self):
        assert self.fp.read(4) == b"FLAT"
        self._mode, self._size = "RGB", (3, 2)
        self.tile = [ImageFile._Tile("raw", (0, 0, 3, 2), 4, ("RGB", 0, 1))]

Image.register_open("FLAT", Flat, lambda head: head.startswith(b"FLAT"))
Image.register_extension("FLAT", ".flat")
from lic_fast import codec
assert ".flat" in codec.readable_suffixes() and ".flat" not in codec.writable_suffixes()
print(codec.read_picture(sys.argv[1]).pixels.tolist())
"""
    (tmp_path / "a.flat").write_bytes(b"FLAT" + bytes(range(18)))
    command = [sys.executable, "-c", script, str(tmp_path / "a.flat")]
    root = Path(lic_fast.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(np.arange(18).reshape(2, 3, 3).tolist())


# JPEG XL: Pillow's plug-in decodes on opening, so the size has to be known before.


def codestream(width, height):
    """The beginning of a JPEG XL codestream with both sides in full (18181-1, A.3)."""
    bits, position = 0, 0

    def write(value, count):
        nonlocal bits, position
        bits |= value << position
        position += count

    def side(value):
        selector = next(i for i, n in enumerate((9, 13, 18, 30)) if value <= 1 << n)
        write(selector, 2)
        write(value - 1, (9, 13, 18, 30)[selector])

    write(0, 1)
    side(height)
    write(0, 3)
    side(width)
    return b"\xff\x0a" + bits.to_bytes(16, "little")


def box(kind, payload):
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (70000, 513), (2**30, 2**30)])
def test_the_size_of_jpeg_xl_is_read_from_bare_and_boxed_files(size):
    stream = codestream(*size)
    head = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"Exif", bytes(9))
    long = struct.pack(">I4sQ", 1, b"free", 20) + bytes(4)
    for data in (
        stream,
        head + box(b"jxlc", stream),
        head + long + box(b"jxlp", bytes(4) + stream),
        head + struct.pack(">I4s", 0, b"jxlc") + stream,
    ):
        assert jpeg_xl_size(io.BytesIO(data)) == size
    for data in (b"", b"\x89PNG", head, head[:20], head + struct.pack(">I4s", 3, b"free")):
        assert jpeg_xl_size(io.BytesIO(data)) is None


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_the_size_of_jpeg_xl_is_read_across_boxes(length):
    stream = codestream(70000, 513)
    parts = [stream[i : i + length] for i in range(0, len(stream), length)]
    boxes = [box(b"jxlp", i.to_bytes(4, "big") + part) for i, part in enumerate(parts)]
    data = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"Exif", b"").join(boxes)
    assert jpeg_xl_size(io.BytesIO(data)) == (70000, 513)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63 + 9, 2**63 - 1, 2**62, 15, 0])
def test_a_box_of_jpeg_xl_of_an_impossible_length_is_an_error_of_its_file(length, tmp_path):
    box_header = struct.pack(">I4sQ", 1, b"free", length)
    (tmp_path / "a.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + box_header + bytes(40))
    with pytest.raises(ImageError, match=r"a\.jxl"):
        read_picture(tmp_path / "a.jxl")


def test_sizes_of_jpeg_xl_as_an_encoder_writes_them():
    pytest.importorskip("pillow_jxl")
    for size in [(8, 8), (64, 64), (120, 100), (640, 480), (160, 90), (257, 9), (200, 100)]:
        for options in ({}, {"use_container": True}):
            file = io.BytesIO()
            Image.new("RGB", size).save(file, "JXL", effort=1, **options)
            file.seek(0)
            assert jpeg_xl_size(file) == size


def test_too_many_pixels_of_jpeg_xl_are_refused_before_they_are_decoded(tmp_path):
    (tmp_path / "a.jxl").write_bytes(codestream(2**20, 2**20))
    with pytest.raises(ImageError, match="1048576x1048576 is more than the 67108864 pixels"):
        read_picture(tmp_path / "a.jxl")


def test_jpeg_xl_has_an_orientation_of_its_own(tmp_path, pixels):
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jxl", lossless=True, exif=exif.tobytes())
    picture = read_picture(tmp_path / "a.jxl")
    assert np.array_equal(picture.pixels, pixels)  # the EXIF data's says nothing
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x0112] == 1


# Which files are whole.


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif", ".jxl"])
def test_a_picture_that_was_cut_short_is_told_from_a_whole_one(suffix, pixels, tmp_path):
    if suffix not in writable_suffixes():
        pytest.skip(f"nothing here writes {suffix}")
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_picture(path, Picture(noise))
    whole = path.read_bytes()
    assert is_whole_picture(path)
    for length in (0, 1, 3, 10, 15, 24, len(whole) // 2, len(whole) - len(whole) // 8):
        path.write_bytes(whole[:length])
        assert not is_whole_picture(path)


def test_what_is_no_picture_is_no_picture_that_was_cut_short(pixels, tmp_path):
    (tmp_path / "a.png").write_text("a letter")
    with pytest.raises(ImageError, match="no picture of a format"):
        is_whole_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", Picture(pixels))
    with pytest.raises(ImageError, match="more than the 10 pixels"):
        is_whole_picture(tmp_path / "b.png", max_pixels=10)
    # Another format under the suffix can be read, and would be lost.
    (tmp_path / "b.png").rename(tmp_path / "c.jpg")
    assert is_whole_picture(tmp_path / "c.jpg")
    (tmp_path / "c.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:-80])
    with pytest.raises(ImageError, match="damaged"):
        is_whole_picture(tmp_path / "c.jpg")
    with pytest.raises(FileNotFoundError):
        is_whole_picture(tmp_path / "gone.png")


# CMYK.


def cmyk_profile():
    """An ICC profile of an imaginary press: black ink is mid grey, the others are faint."""
    header = struct.pack(
        ">I4sI4s4s4s12s4s24s4s12s48s",
        *(0, b"", 0x02100000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp"),
        *(b"", b"", struct.pack(">iii", 63190, 65536, 54061), b""),
    )
    identity = bytes(range(256))
    table = bytearray()
    for corner in range(16):  # the last ink changes fastest
        c, m, y, k = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = 100 - 10 * (c + m + y) - 50 * k
        table += bytes([round(lightness * 2.55), 128 - 20 * c + 20 * m, 128 + 30 * y])
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + table + identity * 3
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"p\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"A2B0": lut, b"A2B1": lut}
    position = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for tag, payload in tags.items():
        directory += tag + struct.pack(">II", position + len(body), len(payload))
        body += payload + bytes(-len(payload) % 4)
    data = header + directory + body
    return struct.pack(">I", len(data)) + data[4:]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_converted_by_its_profile_and_said_once(suffix, tmp_path):
    inks = np.zeros((16, 24, 4), np.uint8)
    inks[:, 12:, 3] = 255  # white paper, and black ink
    path = tmp_path / f"a{suffix}"
    options = {"quality": 100} if suffix == ".jpg" else {}
    image = Image.frombytes("CMYK", (24, 16), inks.tobytes())
    image.save(path, icc_profile=cmyk_profile(), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_picture(path)
    [warning] = caught
    assert str(warning.message) == f"{path}: CMYK is converted to sRGB by its colour profile"
    assert picture.icc_profile is None
    assert (picture.pixels[:, :8] >= 250).all()
    black = picture.pixels[:, 16:].astype(int)
    # Half the lightness where ideal ink would be black (black point compensation makes it darker
    # than mid grey only where the darkest colour of the press is not black).
    assert black.std() < 2
    expected = ImageCms.profileToProfile(
        Image.frombytes("CMYK", (24, 16), inks.tobytes()),
        ImageCms.ImageCmsProfile(io.BytesIO(cmyk_profile())),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert np.abs(picture.pixels.astype(int) - np.asarray(expected)).max() <= 3
    assert black.mean() > 60


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("profile", [None, b"no profile at all", srgb_profile()])
def test_cmyk_without_a_profile_of_use_is_converted_and_said_once(suffix, profile, tmp_path):
    path = tmp_path / f"a{suffix}"
    options = {"quality": 100} if suffix == ".jpg" else {}
    image = Image.new("CMYK", (24, 16), (0, 255, 255, 0))
    image.save(path, **({"icc_profile": profile} if profile else {}), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_picture(path)
    [warning] = caught
    assert "converted to RGB as if the inks were ideal" in str(warning.message)
    assert ("profile cannot be used" in str(warning.message)) == bool(profile)
    assert picture.icc_profile is None
    assert np.abs(picture.pixels.astype(int) - [255, 0, 0]).max() <= 3
