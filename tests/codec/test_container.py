"""The container: what is written comes back, and nothing else gets in."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.codec import Container, pack, unpack
from lic_fast.codec.container import SectionType
from lic_fast.errors import ChecksumError, FormatError

SMALL = Container(
    width=5,
    height=3,
    padding=(0, 0, 59, 61),
    fingerprint=bytes(range(8)),
    z_shape=(1, 1),
    symbols_checksum=0x12345678,
    y=b"yyyyyyyy",
    z=b"zzzz",
)
HEADER = 43


def forged(data: bytes) -> bytes:
    """The same file with the checksum that it should have."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


payloads = st.binary(max_size=40)
containers = st.builds(
    Container,
    width=st.integers(1, 2**32 - 1),
    height=st.integers(1, 2**32 - 1),
    padding=st.tuples(*[st.integers(0, 2**16 - 1)] * 4),
    fingerprint=st.binary(min_size=8, max_size=8),
    z_shape=st.just((1, 1)),
    symbols_checksum=st.integers(0, 2**32 - 1),
    y=payloads,
    z=payloads,
    portable=st.booleans(),
    quality=st.none() | st.integers(100, 10000).map(lambda hundredths: hundredths / 100),
    icc_profile=st.none() | payloads,
    exif=st.none() | payloads,
    model_name=st.text(max_size=20),
    other_sections=st.lists(
        st.tuples(st.integers(131, 255), payloads), max_size=3, unique_by=lambda s: s[0]
    ).map(tuple),
)


@given(containers)
def test_round_trip(container):
    assert unpack(pack(container), max_pixels=2**64) == container


def test_other_kinds_of_bytes_are_read():
    data = pack(replace(SMALL, model_name="nano", exif=b"e"))
    for kind in (bytearray, memoryview):
        assert unpack(kind(data)) == unpack(data)
    with pytest.raises(TypeError):
        unpack("text")


def test_a_name_that_is_no_text_is_written_as_it_can_be():
    assert unpack(pack(replace(SMALL, model_name="a\udcffb"))).model_name == "a?b"


def test_layout_is_the_documented_one():
    data = pack(replace(SMALL, model_name="nano", portable=True, quality=34.5))
    assert data[:16] == b"\x89LIC\x01\x01\x01\x00" + bytes(range(8))
    assert data[16:24] == struct.pack("<II", 5, 3)
    assert data[24:36] == struct.pack("<6H", 0, 0, 59, 61, 1, 1)
    assert data[36:43] == struct.pack("<HIB", 3450, 0x12345678, 3)
    sections = b"\x82\x04\0\0\0nano" + b"\x02\x04\0\0\0zzzz" + b"\x01\x08\0\0\0yyyyyyyy"
    assert data[43:-4] == sections
    assert data[-4:] == struct.pack("<I", zlib.crc32(data[:-4]))


def test_documentation_names_every_section_and_the_header():
    text = (Path(__file__).resolve().parents[2] / "docs/format.md").read_text()
    assert f"## Header, {HEADER} bytes" in text
    for kind in SectionType:
        assert re.search(rf"^\| {kind.value} \|", text, re.MULTILINE)
    fields = re.findall(r"^\| (\d+) \| (\d+) \| [a-z]", text, re.MULTILINE)
    position = 0
    for offset, size in fields:
        assert int(offset) == position
        position += int(size)
    assert position == HEADER


def test_every_truncation_and_extension_is_refused():
    data = pack(replace(SMALL, exif=b"e", model_name="m"))
    for length in range(len(data)):
        with pytest.raises(FormatError):
            unpack(data[:length])
    for more in (b"\0", data):
        with pytest.raises(FormatError):
            unpack(data + more)


def test_every_flipped_bit_is_refused():
    data = pack(replace(SMALL, exif=b"e", model_name="m"))
    for i in range(8 * len(data)):
        changed = bytearray(data)
        changed[i // 8] ^= 1 << i % 8
        with pytest.raises(FormatError):
            unpack(bytes(changed))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (4, b"\x00", "unknown version 0"),
        (4, b"\x02", "version 2, this lic_fast reads version 1: update it"),
        (5, b"\x02", "unknown flags 0x02"),
        (6, b"\x02", "unknown stream layout 2"),
        (7, b"\x01", "reserved byte 0x01"),
        (16, b"\0\0\0\0", "not 0x3"),
        (20, b"\0\0\0\0", "not 5x0"),
        (16, b"\xff\xff\xff\xff", "more than the 67108864 pixels"),
        (32, b"\0\0", "z of 0x1"),
        (34, b"\xff\xff", "z of 1x65535"),
        (36, b"\x01\0", "a quality is 1 to 100, or 0 for none, not 0.01"),
        (36, b"\x63\0", "not 0.99"),
        (36, b"\x11\x27", "not 100.01"),
        (36, b"\xff\xff", "not 655.35"),
        (42, b"\x00", "22 bytes follow the last section"),
        (42, b"\x01", "13 bytes follow the last section"),
        (42, b"\x03", "section 2 of 3 lies beyond the end"),
        (HEADER, b"\x01", "section type 1 occurs twice"),
        (HEADER, b"\x03", "section type 3 is unknown and not one to skip"),
        (HEADER, b"\xff", "z's stream is missing"),
        (HEADER + 1, b"\xff\xff\xff\xff", "claims 4294967295 bytes, of which the file has 17"),
        (HEADER + 1, b"\x11", "section 1 of 2 lies beyond|claims|missing"),
    ],
)
def test_forged_fields_are_named(offset, value, message):
    data = bytearray(pack(SMALL))
    data[offset : offset + len(value)] = value
    with pytest.raises(FormatError, match=message):
        unpack(forged(bytes(data)))


def test_trailing_bytes_under_a_right_checksum_are_refused():
    with pytest.raises(FormatError, match="3 bytes follow the last section"):
        unpack(forged(pack(SMALL) + b"\0\0\0"))


def test_a_name_that_is_not_utf_8_is_refused():
    data = pack(replace(SMALL, model_name="nano")).replace(b"nano", b"\xff\xfe\xfd\xfc")
    with pytest.raises(FormatError, match="name is not UTF-8"):
        unpack(forged(data))


def test_damage_and_a_newer_version_are_told_apart():
    data = bytearray(pack(SMALL))
    data[4] = 9
    with pytest.raises(FormatError, match="version 9"):
        unpack(bytes(data))
    data[4], data[20] = 1, 99
    with pytest.raises(ChecksumError, match="damaged or cut"):
        unpack(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .lic file"),
        (b"\x89LI", "not a .lic file"),
        (b"\x89PNG\r\n\x1a\n", "but a PNG file"),
        (b"\xff\xd8\xff\xe0", "but a JPEG file"),
        (b"\x89LIC", "cut: it has 4 bytes"),
    ],
)
def test_other_files_are_named(data, message):
    with pytest.raises(FormatError, match=message):
        unpack(data)


@settings(max_examples=300)
@given(st.sampled_from([b"", b"\x89LIC", b"\x89LIC\x01\0\0\0"]), st.binary(max_size=120))
def test_random_bytes_are_refused(head, tail):
    with pytest.raises(FormatError):
        unpack(head + tail)


@settings(max_examples=500)
@given(st.binary(max_size=120), st.integers(0, 8))
def test_random_bytes_under_a_right_checksum(tail, sections):
    head = bytearray(pack(SMALL)[:HEADER])
    head[42] = sections
    data = bytes(head) + tail
    try:
        container = unpack(data + struct.pack("<I", zlib.crc32(data)))
    except FormatError:
        return
    assert sum(len(payload) for _, payload in container.sections()) <= len(tail)


@settings(max_examples=500)
@given(st.data())
def test_forged_headers_give_an_error_or_a_sane_container(data):
    file = bytearray(pack(SMALL))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(4, len(file) - 5))] = data.draw(st.integers(0, 255))
    try:
        container = unpack(forged(bytes(file)), max_pixels=1000)
    except FormatError:
        return
    assert 1 <= container.width * container.height <= 1000
    assert container.z_shape[0] * container.z_shape[1] >= 1
    assert unpack(pack(container)) == container


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"width": 2**32},
        {"padding": (0, 0, 2**16, 0)},
        {"fingerprint": b"short"},
        {"z_shape": (2**16, 1), "height": 2**20},
        {"quality": 0.0},
        {"quality": 0.99},
        {"quality": 100.01},
        {"quality": 50.005},
        {"quality": float("nan")},
        {"quality": float("inf")},
        {"other_sections": ((200, b""),) * 254},
    ],
)
def test_what_does_not_fit_is_not_written(change):
    with pytest.raises(FormatError):
        pack(replace(SMALL, **change))
