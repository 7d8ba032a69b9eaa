"""The container: what is written comes back, and nothing else gets in."""

import re
import struct
import tracemalloc
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


def forged(data: bytes, changes: dict[int, bytes] | None = None) -> bytes:
    """The same file, with bytes at some places changed and the checksum that it should have."""
    for place, value in (changes or {}).items():
        data = data[:place] + value + data[place + len(value) :]
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
    srgb=st.booleans(),
    quality=st.none() | st.integers(100, 10000).map(lambda hundredths: hundredths / 100),
    icc_profile=st.none() | payloads,
    exif=st.none() | payloads,
    model_name=st.text(max_size=20),
    other_sections=st.lists(
        st.tuples(st.integers(131, 255), payloads), max_size=3, unique_by=lambda s: s[0]
    ).map(tuple),
).filter(lambda container: not (container.srgb and container.icc_profile is not None))


@given(containers)
def test_round_trip(container):
    assert unpack(pack(container), max_pixels=2**64) == container


def sections_by_the_documentation(data):
    """Types and payloads of a file, read as docs/format.md says."""
    position, found = HEADER, {}
    for _ in range(data[HEADER - 1]):
        kind, length = struct.unpack_from("<BI", data, position)
        found[kind] = data[position + 5 : position + 5 + length]
        position += 5 + length
    assert position == len(data) - 4
    return found


def test_metadata_are_deflated_as_documented():
    profile, exif = b"profile " * 400, bytes(range(256)) * 80
    container = replace(SMALL, icc_profile=profile, exif=exif)
    data = pack(container)
    sections = sections_by_the_documentation(data)
    for kind, original in ((128, profile), (129, exif)):
        payload = sections[kind]
        assert struct.unpack_from("<I", payload)[0] == len(original)
        assert zlib.decompress(payload[4:], wbits=-15) == original
        assert len(payload) < len(original) / 10
    assert unpack(data) == container
    assert len(data) < len(pack(SMALL)) + (len(profile) + len(exif)) / 20


def test_an_srgb_profile_is_a_flag():
    data = pack(replace(SMALL, srgb=True))
    assert len(data) == len(pack(SMALL))
    assert data[5] == 2
    assert unpack(data).srgb
    assert not unpack(pack(SMALL)).srgb
    assert unpack(pack(replace(SMALL, srgb=True, portable=True))).portable
    for write in (
        lambda: pack(replace(SMALL, srgb=True, icc_profile=b"another")),
        lambda: unpack(forged(pack(replace(SMALL, icc_profile=b"p")), {5: b"\2"})),
    ):
        with pytest.raises(FormatError, match="said to be sRGB and has another"):
            write()


def with_exif(payload):
    """A file with this payload of its EXIF section, under a right checksum."""
    section = struct.pack("<BI", 129, len(payload)) + payload
    data = pack(SMALL)
    return forged(data[: HEADER - 1] + b"\3" + section + data[HEADER:])


def raw_deflate(data):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "section of the EXIF data is cut"),
        (b"\1\0\0", "section of the EXIF data is cut"),
        (struct.pack("<I", 3), "not of the 3 bytes"),
        (struct.pack("<I", 4) + raw_deflate(b"abc"), "not of the 4 bytes"),
        (struct.pack("<I", 2) + raw_deflate(b"abc"), "not of the 2 bytes"),
        (struct.pack("<I", 0) + raw_deflate(b"abc"), "not of the 0 bytes"),
        (struct.pack("<I", 3) + raw_deflate(b"abc")[:-1], "not of the 3 bytes"),
        (struct.pack("<I", 3) + raw_deflate(b"abc") + b"x", "not of the 3 bytes"),
        (struct.pack("<I", 3) + zlib.compress(b"abc"), "cannot be inflated|not of the 3 bytes"),
        (struct.pack("<I", 3) + b"\xff\xff\xff", "cannot be inflated"),
        (struct.pack("<I", 2**24 + 1) + raw_deflate(b"abc"), "claims 16777217 bytes, at most"),
        (struct.pack("<I", 2**32 - 1) + raw_deflate(b"abc"), "claims 4294967295 bytes, at most"),
    ],
)
def test_deflated_sections_that_no_encoder_writes(payload, message):
    with pytest.raises(FormatError, match=message):
        unpack(with_exif(payload))


def test_a_section_that_inflates_a_thousandfold_takes_no_more_memory_than_it_states():
    bomb = raw_deflate(bytes(2**28))
    assert len(bomb) < 2**19
    tracemalloc.start()
    with pytest.raises(FormatError, match="not of the 1000 bytes"):
        unpack(with_exif(struct.pack("<I", 1000) + bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * len(bomb)


def test_the_largest_metadata_come_back_and_larger_ones_are_not_written():
    exif = bytes(2**24)
    assert unpack(pack(replace(SMALL, exif=exif))).exif == exif
    assert unpack(pack(replace(SMALL, exif=b"", icc_profile=b""))).exif == b""
    with pytest.raises(FormatError, match="EXIF data of 16777217 bytes"):
        pack(replace(SMALL, exif=exif + b"x"))


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 2**32 - 1) | st.integers(0, 100))
def test_random_deflated_sections(payload, length):
    try:
        container = unpack(with_exif(struct.pack("<I", length) + payload))
    except FormatError:
        return
    assert len(container.exif) == length


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
        (5, b"\x04", "unknown flags 0x04"),
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
    streams = (container.y, container.z, container.model_name.encode())
    assert sum(map(len, streams)) <= len(tail)
    assert unpack(pack(container)) == container


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
