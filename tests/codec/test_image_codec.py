"""Pictures of every size through the embedded model, and files that must not decode."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import ImageCms

import lic_fast
from lic_fast import zoo
from lic_fast.codec import decode_image, encode_image, pack, read_picture, unpack
from lic_fast.codec.colour import is_srgb
from lic_fast.codec.metrics import ms_ssim, psnr
from lic_fast.errors import (
    ChecksumError,
    FormatError,
    ImageError,
    LatentError,
    LicFastError,
    ModelMismatchError,
)
from lic_fast.models import TCM, SymmetricalTransFormer
from tests.models.portable.making import portable
from tests.models.tiny import tiny
from tests.shared import shared_path


@pytest.fixture(scope="module")
def nano():
    return zoo.load("wacnn-nano")


def gradient(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [40 + rows * 150 / (height + 1), 60 + columns * 150 / (width + 1), 128 + 0 * rows]
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (130, 1), (63, 65), (64, 64), (65, 129)])
def test_every_size_comes_back(size, nano):
    picture = gradient(*size)
    data = encode_image(picture, nano, icc_profile=b"i", exif=b"e", model_name="nano")
    decoded = decode_image(data, nano)
    assert decoded.pixels.shape == picture.shape
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.icc_profile, decoded.exif) == (b"i", b"e")
    assert psnr(picture, decoded.pixels) > 28
    container = unpack(data)
    assert (container.height, container.width) == size
    assert container.padded_height % 64 == container.padded_width % 64 == 0
    assert container.model_name == "nano"
    assert container.portable


@pytest.mark.parametrize("model", [SymmetricalTransFormer, TCM])
@pytest.mark.parametrize("size", [(1, 1), (70, 129)])
def test_the_other_models_pad_to_their_own_multiples(model, size):
    net = tiny(model)
    picture = gradient(*size)
    container = unpack(encode_image(picture, net))
    assert container.padded_height == -(-size[0] // net.multiple) * net.multiple
    decoded = decode_image(pack(container), net).pixels
    left, top, right, bottom = container.padding
    assert abs(left - right) <= 1
    assert abs(top - bottom) <= 1
    padded = np.pad(picture, ((top, bottom), (left, right), (0, 0)), mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = (net(x)["x_hat"].clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0)
    window = expected[top : top + size[0], left : left + size[1]]
    assert np.array_equal(decoded, window.numpy())


def test_a_real_photograph_is_as_good_as_the_card_says(nano):
    picture = read_picture(shared_path("kodak/kodim03.png")).pixels
    nano.precision = "float32"
    data = encode_image(picture, nano)
    decoded = decode_image(data, nano).pixels
    nano.precision = None
    assert 8 * len(data) / picture[..., 0].size == pytest.approx(0.3556, rel=0.01)
    assert psnr(picture, decoded) == pytest.approx(34.44, abs=0.05)
    assert ms_ssim(picture, decoded) == pytest.approx(0.9737, abs=0.001)


def test_damaged_files_never_reach_the_model(nano):
    data = encode_image(gradient(5, 7), nano, model_name="wacnn-nano")
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_image(data[:length], nano)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            decode_image(bytes(changed), nano)


def test_altered_streams_under_a_right_checksum_never_decode(nano):
    """Somebody, or another machine's arithmetic, changed symbols: an error and no picture."""
    container = unpack(encode_image(gradient(64, 64), nano))
    random = np.random.default_rng(0)
    for _ in range(12):
        for name in ("y", "z"):
            stream = bytearray(getattr(container, name))
            stream[random.integers(len(stream))] ^= 1 << random.integers(8)
            with pytest.raises(ChecksumError, match="deliberately wrong"):
                decode_image(pack(replace(container, **{name: bytes(stream)})), nano)
    for y in (b"", container.y[:-4], container.y + b"\0\0\0\0", container.y[:-1], container.z):
        with pytest.raises(ChecksumError):
            decode_image(pack(replace(container, y=y)), nano)
    wrong = replace(container, symbols_checksum=container.symbols_checksum ^ 1)
    with pytest.raises(ChecksumError, match="arithmetic is exact"):
        decode_image(pack(wrong), nano)
    with pytest.raises(ChecksumError, match="arithmetic is exact"):
        decode_image(pack(replace(wrong, portable=False)), nano)


@pytest.mark.parametrize("flag", [False, True])
def test_a_floating_point_file_that_decodes_wrongly_says_why_and_what_to_do(flag):
    net = tiny(SymmetricalTransFormer)
    container = replace(unpack(encode_image(gradient(64, 64), net)), portable=flag)
    wrong = replace(container, symbols_checksum=container.symbols_checksum ^ 1)
    for damaged in (wrong, replace(container, y=container.y[:-2])):
        with pytest.raises(ChecksumError) as caught:
            decode_image(pack(damaged), net)
        message = str(caught.value)
        assert "computes in floating point" in message
        assert "CPU instruction set, PyTorch or number of threads" in message
        assert "lic-fast export" in message
        assert lic_fast.make_portable.__name__ in message
        assert "encode the picture again" in message
        assert "arithmetic is exact" not in message


def test_the_remedy_that_the_message_names_works():
    """Encoded again with the portable model, a symbol cannot come out different."""
    net = portable(SymmetricalTransFormer)
    container = unpack(encode_image(gradient(64, 64), net))
    assert container.portable
    with lic_fast.backend("reference"):
        decode_image(pack(container), net)
    wrong = replace(container, symbols_checksum=container.symbols_checksum ^ 1)
    with pytest.raises(ChecksumError, match="written with a fault, or deliberately wrong"):
        decode_image(pack(wrong), net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": (0, 0, 0, 0)}, "does not fill"),
        ({"padding": (64, 0, 56, 57)}, "does not fill"),
        ({"padding": (0, 0, 60, 57)}, "does not fill"),
        ({"z_shape": (1, 2)}, "for this picture it is"),
        ({"width": 2**15, "height": 2**15}, "more than the 67108864"),
    ],
)
def test_geometry_that_no_encoder_writes(change, message, nano):
    container = unpack(encode_image(gradient(7, 8), nano))
    with pytest.raises(FormatError, match=message):
        decode_image(pack(replace(container, **change)), nano)


def test_padding_may_be_at_any_side(nano):
    container = unpack(encode_image(gradient(7, 8), nano))
    rows, columns = 64 - 7, 64 - 8
    moved = replace(container, padding=(columns, 0, 0, rows))
    decoded = decode_image(pack(moved), nano).pixels
    assert decoded.shape == (7, 8, 3)
    assert not np.array_equal(decoded, decode_image(pack(container), nano).pixels)


def test_the_bound_on_pixels_is_the_caller_s(nano):
    data = encode_image(gradient(20, 20), nano)
    with pytest.raises(FormatError, match="399 pixels"):
        decode_image(data, nano, max_pixels=399)
    assert decode_image(data, nano, max_pixels=400).pixels.shape == (20, 20, 3)


def test_padding_cannot_pass_the_bound(nano):
    """One row of pixels is coded as 64: a bound on the picture alone would not hold memory."""
    container = unpack(encode_image(gradient(1, 64), nano))
    long = replace(container, width=2**18, z_shape=(1, 2**12))
    with pytest.raises(FormatError, match="262144x1 is coded as 262144x64, more than four times"):
        decode_image(pack(long), nano, max_pixels=2**20)
    with pytest.raises(ChecksumError):  # the bound lets it through, its stream does not
        decode_image(pack(replace(container, width=128, z_shape=(1, 2))), nano, max_pixels=128)


def test_a_side_that_the_format_cannot_state_is_refused_before_work(nano, monkeypatch):
    monkeypatch.setattr(type(nano), "encode", None)
    with pytest.raises(FormatError, match=r"4194241 pixels: .* holds 4194240"):
        encode_image(np.zeros((1, 64 * 65535 + 1, 3), np.uint8), nano)


def test_another_model_is_named(nano):
    data = encode_image(gradient(8, 8), nano, model_name="wacnn-nano")
    other = tiny(TCM)
    message = f"{nano.fingerprint().hex()} .'wacnn-nano'., not with this one, "
    with pytest.raises(ModelMismatchError, match=message + other.fingerprint().hex()):
        decode_image(data, other)


def test_an_srgb_profile_costs_nothing(nano):
    picture = gradient(20, 30)
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    bare = encode_image(picture, nano)
    data = encode_image(picture, nano, icc_profile=usual)
    assert len(data) == len(bare)
    assert unpack(data).srgb
    decoded = decode_image(data, nano)
    assert is_srgb(decoded.icc_profile)
    # What came back is again no more than a flag.
    assert encode_image(picture, nano, icc_profile=decoded.icc_profile) == data
    assert decode_image(bare, nano).icc_profile is None


def test_other_metadata_are_small_and_come_back_byte_for_byte(nano):
    picture = gradient(20, 30)
    bare = encode_image(picture, nano)
    profile = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()) * 6
    # As cameras write it: names and numbers, and a maker's note that is mostly zeros.
    exif = b"II*\0" + b"Exposure time 1/250, f/2.8 " * 40 + bytes(19_000)
    data = encode_image(picture, nano, icc_profile=profile, exif=exif)
    assert len(data) - len(bare) < (len(profile) + len(exif)) / 10
    decoded = decode_image(data, nano)
    assert (decoded.icc_profile, decoded.exif) == (profile, exif)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape", [(70, 90), (70, 90, 1)])
def test_a_grey_picture_is_coded(kind, shape, nano):
    grey = gradient(70, 90)[..., 0]
    data = encode_image(kind(grey.reshape(shape)), nano)
    assert data == encode_image(np.repeat(grey[..., None], 3, 2), nano)
    pixels = decode_image(data, nano).pixels.astype(int)
    assert psnr(np.repeat(grey[..., None], 3, 2), pixels.astype(np.uint8)) > 30
    assert np.abs(pixels - pixels.mean(2, keepdims=True)).mean() < 2


def test_a_tensor_is_coded_as_the_array(nano):
    picture = gradient(30, 40)
    assert encode_image(torch.from_numpy(picture), nano) == encode_image(picture, nano)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8,), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((8, 8), np.float32),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        torch.zeros(8, 8, 3),
        [[[1, 2, 3]]],
    ],
)
def test_arrays_that_are_no_pictures(image, nano):
    with pytest.raises(ImageError, match=r"uint8 \(H, W, 3\)"):
        encode_image(image, nano)


def test_arrays_need_not_be_contiguous(nano):
    picture = gradient(64, 70)
    expected = encode_image(picture, nano)
    assert encode_image(np.asfortranarray(picture), nano) == expected
    assert encode_image(picture[::-1, ::-1][::-1, ::-1], nano) == expected


def test_a_model_in_training_is_refused():
    net = tiny(TCM).train()
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        encode_image(gradient(8, 8), net)
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        decode_image(b"", net)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_never_become_a_picture(value):
    net = tiny(TCM)
    data = encode_image(gradient(8, 8), net)
    fingerprint = net.fingerprint()
    with torch.no_grad():
        net.g_s[-1][0].bias.fill_(value)
    net.fingerprint = lambda: fingerprint
    with pytest.raises(LatentError, match="not finite"):
        decode_image(data, net)


def test_decoding_on_another_instruction_set_is_right(nano, tmp_path):
    picture = gradient(128, 192)
    picture = picture + np.random.default_rng(0).integers(0, 40, picture.shape, dtype=np.uint8)
    data = encode_image(picture, nano)
    (tmp_path / "a.lic").write_bytes(data)
    np.save(tmp_path / "expected.npy", decode_image(data, nano).pixels)
    script = """
import sys, numpy as np
from lic_fast import codec, zoo
folder = sys.argv[1]
expected = np.load(folder + "/expected.npy").astype(int)
decoded = codec.decode_image(open(folder + "/a.lic", "rb").read(), zoo.load()).pixels
print("difference", abs(decoded - expected).max())
"""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # The transforms' rounding, and here their type too, is the machine's.
    word, difference = done.stdout.split()
    assert word == "difference"
    assert int(difference) <= 4


def test_every_error_is_one_to_catch():
    for error in (ChecksumError, FormatError, ImageError, ModelMismatchError):
        assert issubclass(error, LicFastError)
        assert issubclass(error, ValueError)
