"""Files of portable models that are damaged, or wrong in any other way, are refused."""

import json
import random
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from lic_fast import runtime
from lic_fast.codec import decode_image, encode_image
from lic_fast.errors import CheckpointError, LicFastError, NoProgramError
from lic_fast.runtime import file as files
from tests.runtime.making import TINY, file_of, load_bytes, picture
from tests.runtime.mutations import bytes_of, changed, parts_of

_MOST = 2**30


@pytest.fixture(scope="module")
def data():
    return file_of("WACNN")


def test_a_file_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="absent: no such file"):
        runtime.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="no such file"):
        runtime.load(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        runtime.load("a\0b")
    for content in (b"", b"\0" * 8, b"\xff" * 100, b"PK\3\4", b"{}"):
        with pytest.raises(CheckpointError, match="damaged, or not a safetensors file"):
            load_bytes(content)


def test_a_file_that_is_cut(data):
    header = int.from_bytes(data[:8], "little")
    choose = random.Random(0)
    ends = [0, 1, 7, 8, 9, 8 + header // 2, 7 + header, 8 + header, 9 + header, len(data) - 1]
    for end in ends + [choose.randrange(len(data)) for _ in range(40)]:
        with pytest.raises(CheckpointError, match="damaged"):
            load_bytes(data[:end])
    with pytest.raises(CheckpointError, match="damaged"):
        load_bytes(data + b"\0")


class ReachedError(Exception):
    """A file has passed for a sound one."""


def test_a_flipped_byte_is_found_before_anything_is_made_of_it(data, monkeypatch):
    def reached(*_):
        raise ReachedError

    monkeypatch.setattr(files, "_data", reached)
    with pytest.raises(ReachedError):
        load_bytes(data)
    header = 8 + int.from_bytes(data[:8], "little")
    choose = random.Random(1)
    where = [*range(16), *(choose.randrange(header) for _ in range(140))]
    where += [choose.randrange(header, len(data)) for _ in range(140)] + [len(data) - 1]
    stated, arrays = parts_of(data)
    for position in where:
        damaged = bytearray(data)
        damaged[position] ^= 1 << choose.randrange(8)
        with pytest.raises((CheckpointError, ReachedError)) as caught:
            load_bytes(bytes(damaged))
        if caught.type is ReachedError:
            # A space, or a letter of an escaped character: it states the same.
            assert position < header
            again, found = parts_of(bytes(damaged))
            assert again == stated
            assert all(np.array_equal(found[name], array) for name, array in arrays.items())
        else:
            assert "model.safetensors: " in str(caught.value)


def with_stated(data, **changes):
    stated, arrays = parts_of(data)
    for name, value in changes.items():
        if value is None:
            del stated[name]
        else:
            stated[name] = value
    return stated, arrays


def test_a_file_without_a_digest_or_with_another(data):
    for digest in (None, "", "0" * 64, 5, [], {}):
        stated, arrays = with_stated(data, sha256=digest)
        content = save(arrays, metadata={"lic_fast": json.dumps(stated)})
        with pytest.raises(CheckpointError, match="not those that were written"):
            load_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"portable": 3}, "version 3; this lic_fast reads version 2"),
        ({"portable": "2"}, "version '2'"),
        ({"portable": [2]}, r"version \[2\]"),
        ({"graph": None}, "there is no 'graph'"),
        ({"graph": []}, "makes no sense"),
        ({"fingerprint": "00" * 7}, "eight bytes in hexadecimal"),
        ({"fingerprint": "00" * 9}, "eight bytes in hexadecimal"),
        ({"fingerprint": "0 " * 8}, "eight bytes in hexadecimal"),
        ({"fingerprint": None}, "there is no 'fingerprint'"),
        ({"multiple": 0}, "0 must be a whole number from 1 to 4096"),
        ({"multiple": True}, "True must be a whole number"),
        ({"z_downsampling": 3}, "no part of 64 pixels"),
        ({"architecture": 1}, "1 must be a text"),
    ],
)
def test_what_a_file_states_of_itself(data, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_bytes(bytes_of(*with_stated(data, **changes)))
    assert not isinstance(caught.value, NoProgramError)


def test_files_that_hold_no_program(data):
    stated, arrays = with_stated(data, graph=None, sha256=None, portable=1)
    for metadata in (
        {"lic_fast": json.dumps(stated)},
        {"lic_fast": json.dumps({"architecture": "WACNN", "arguments": {}})},
        {"lic_fast": "{}"},
        {"other": "things"},
        None,
    ):
        with pytest.raises(NoProgramError, match=r"no graph|no program"):
            load_bytes(save(arrays, metadata=metadata))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 10**5, '{"a":' * 10**5])
def test_metadata_that_are_no_json_object(text):
    with pytest.raises(CheckpointError, match="metadata under 'lic_fast' are damaged"):
        load_bytes(save({"a": np.zeros(1, np.float32)}, metadata={"lic_fast": text}))


@pytest.mark.parametrize("depth", [400, 900, 990, 3000])
def test_nesting_that_only_some_of_the_reader_can_follow(depth, data):
    stated, arrays = parts_of(data)
    nested = "[" * depth + "]" * depth
    text = json.dumps(stated | {"graph": "HERE", "portable": 2}).replace('"HERE"', nested)
    with pytest.raises(CheckpointError):
        load_bytes(save(arrays, metadata={"lic_fast": text}))


def change_of(data, change):
    stated, arrays = parts_of(data)
    change(stated["graph"])
    return bytes_of(stated, arrays)


def first_node(graph, kind, network="synthesis"):
    return next(node for node in graph[network]["nodes"] if node["kind"] == kind)


def chain(graph, kind, attributes, channels, count):
    """Puts nodes of one kind, which pass on what they read, in front of the synthesis' first."""
    synthesis = graph["synthesis"]
    (start,) = synthesis["inputs"]
    made = []
    for i in range(count):
        read = start if i == 0 else 10**5 + i - 1
        node = {"kind": kind, "inputs": [read], "output": 10**5 + i, "channels": channels(i)}
        made.append(node | {"attributes": attributes, "weights": {}})
    synthesis["nodes"] = made + synthesis["nodes"]


def test_networks_that_would_take_too_much(data):
    def growing(graph):
        chain(graph, "depth_to_space", {"factor": 2}, lambda i: 24 // 4 ** (i + 1) or 1, 12)

    def blocks(graph):
        chain(graph, "space_to_depth", {"factor": 1, "order": "rows_first"}, lambda i: 24, 5000)

    def stride(graph):
        first_node(graph, "conv_transpose2d")["attributes"]["stride"] = 2**20

    def padding(graph):
        first_node(graph, "conv_transpose2d")["attributes"]["padding"] = 2**20

    def up(graph):
        steps = graph["path"]["hyper"][0]["program"]["steps"]
        next(step for step in steps if step["is"] == "SubpixelStep")["up"] = 2**20

    def phases(graph):
        steps = graph["path"]["hyper"][0]["program"]["steps"]
        step = next(step for step in steps if step["is"] == "SubpixelStep")
        step["up"] = 2**20
        for name in ("weight", "bias", "scale"):
            step["layer"][name]["shape"] = [0, *step["layer"][name]["shape"][1:]]

    def channels(graph):
        program = graph["path"]["hyper"][0]["program"]
        program["maps"] += [{**program["maps"][-1], "channels": 2**20, "base": None, "first": 0}]

    def again(graph):
        layers = graph["path"]["slices"]["lrp"][0]
        layers[1:1] = [layers[1]] * 3000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for change in (growing, blocks, stride, padding, up, phases, channels, again):
        with pytest.raises(CheckpointError):
            load_bytes(change_of(data, change))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 1024 * (after - before) < _MOST


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TINY), st.integers(0, 2**32))
def test_a_file_that_is_wrong_anywhere_is_refused_or_codes(name, seed):
    content, what = changed(file_of(name), seed)
    pixels = picture(64, 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stage = "load"
    try:
        model = load_bytes(content)
        stage = "code"
        quality = 50 if model.anchor_qualities else None
        shown = decode_image(encode_image(pixels, model, quality=quality), model).pixels
        stage = "done"
    except (LicFastError, ValueError) as error:
        refused = isinstance(error, CheckpointError) and "model.safetensors: " in str(error)
        if stage == "load" and not refused:
            raise
    assert stage != "done" or shown.shape == pixels.shape
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 1024 * (after - before) < _MOST, what
