"""What `make bench-models` and `make chart` make of times, and that they time what they say."""

import json
import time
from contextlib import nullcontext
from threading import Event, Thread
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import lic_fast
from benchmarks import chart_models, report_models
from benchmarks.models import converted, floors, measure, nets, parts
from benchmarks.models.__main__ import command
from lic_fast.models import TCM
from tests.models.tiny import CLASSES, pictures, tiny

CONTENDERS = {
    "reference": {"transforms": "float32", "entropy_path": "float32"},
    "openvino bf16": {"transforms": "bfloat16", "entropy_path": "bfloat16"},
    "auto": {"transforms": "float32", "entropy_path": "float32"},
    "auto bf16": {"transforms": "bfloat16", "entropy_path": "float32"},
}
CASE = {
    "model": "STF",
    "input": "768x500",
    "padded": "768x512",
    "flops": {"analysis": 200e9, "encode": 300e9},
    "rates": {"float32": 200e9, "bfloat16": 400e9},
    "seconds": {
        "analysis": {"reference": [2.0, 4.0, 9.0], "auto": [2.0, 2.0, 2.0], "auto bf16": [1, 1, 1]},
        "entropy encoding": {"reference": [0.0025], "auto": [0.00125], "auto bf16": [0.0025]},
        "encode": {"reference": [6.0], "auto": [3.0], "auto bf16": [2.0]},
        "decode": {"reference": [7.0], "auto": [3.5], "auto bf16": [1.0]},
    },
    "bits_per_pixel": {"reference": 0.5, "auto": 0.5, "auto bf16": 0.5},
    "peak_megabytes": {
        "reference": {"encode": 500.4, "decode": 600.0},
        "auto": None,
        "auto bf16": {"encode": 250.0, "decode": 300.0},
    },
    "absent": {"openvino bf16": "OpenVINO is not installed"},
    "conditions": {"others_share_of_cpu": 0.031, "longest_standstill_s": 0.02},
}
REPORT = {
    "date": "2026-01-31",
    "machine": {
        "cpu": "A CPU",
        "gpu": None,
        "cores": 4,
        "threads": 2,
        "instruction_sets": ["avx2", "fma"],
        "versions": {"torch": "2.14.1", "openvino": None},
    },
    "settings": {"rounds": 3, "convolution_of_the_floor": "3x3, of a kind"},
    "parts": {"analysis": "g_a", "encode": "model.encode"},
    "contenders": CONTENDERS,
    "cases": [CASE],
}


def test_report_has_medians_ratios_and_shares():
    text = "\n".join(report_models.lines(REPORT))
    for line in (
        "A CPU, 2 of 4 cores, avx2 fma; torch 2.14.1;",
        "## STF, 768x500 (padded to 768x512)",
        "| | reference | auto | auto bf16 |",
        # 200 GFLOP at 200 GFLOP/s are a second, at 400 half of one.
        "| analysis, 200 GFLOP | 4000 (25%) | 2000 (2.00×, 50%) | 1000 (4.00×, 50%) |",
        "| entropy encoding | 2.50 | 1.25 (2.00×) | 2.50 (1.00×) |",
        # Of 300 GFLOP, auto bf16 has the analysis' 200 in bfloat16: half a second and another half.
        "| encode, 300 GFLOP | 6000 (25%) | 3000 (2.00×, 50%) | 2000 (3.00×, 50%) |",
        "| decode | 7000 | 3500 (2.00×) | 1000 (7.00×) |",
        "| peak memory of encode, MB | 500 | – | 250 |",
        "Other processes used 3% of the machine's processors meanwhile.",
        "No OpenVINO, bf16: OpenVINO is not installed.",
    ):
        assert line in text.splitlines(), line


def test_report_without_the_reference_has_no_ratios():
    present = {"auto": 0.5}
    case = {**CASE, "bits_per_pixel": present, "seconds": {"encode": {"auto": [3.0]}}}
    assert "| encode, 300 GFLOP | 3000 (50%) |" in report_models.case_lines(case, CONTENDERS)


def test_floor_of_bfloat16_is_float32_s_where_that_is_faster():
    flops = {"analysis": 200e9, "encode": 300e9}
    rates = {"float32": 200e9, "bfloat16": 20e9}
    assert report_models.floor_seconds("analysis", flops, rates, "bfloat16", "float32") == 1.0
    assert report_models.floor_seconds("encode", flops, rates, "bfloat16", "bfloat16") == 1.5


def test_command_of_a_report_says_nothing_of_where_it_went():
    arguments = ["--models", "STF", "-o", "some/where.json", "--rounds", "2"]
    expected = "python -m benchmarks.models --models STF --rounds 2"
    assert command(arguments) == expected
    assert command(["--output", "x.json"]) == "python -m benchmarks.models"


def test_floor_of_what_does_no_counted_arithmetic():
    assert report_models.floor_seconds("entropy encoding", {}, {}, "float32", "float32") is None


def test_chart_is_an_svg_with_the_medians(tmp_path, monkeypatch):
    source, target = tmp_path / "models.json", tmp_path / "models.svg"
    source.write_text(json.dumps(REPORT))
    arguments = ["chart_models.py", str(source), "-o", str(target), "--input", "768x500"]
    monkeypatch.setattr("sys.argv", arguments)
    chart_models.main()
    first = target.read_bytes()
    texts = {"".join(e.itertext()).strip() for e in ElementTree.fromstring(first).iter()}
    assert {"STF", "6.00", "3.00", "2.00", "7.00", "3.50", "1.00", "PyTorch"} <= texts
    assert "OpenVINO, bfloat16" not in texts
    chart_models.main()
    assert target.read_bytes() == first


def test_chart_of_an_input_that_was_not_measured():
    with pytest.raises(ValueError, match="1920x1080"):
        chart_models.medians(REPORT, "1920x1080")


@pytest.mark.parametrize("text", ["768x512", "768x512x8"])
def test_input_and_its_text(text):
    assert str(nets.Input.parse(text)) == text


@pytest.mark.parametrize("text", ["768", "0x512", "768x512x8x1", "768xx", "-1x5", ""])
def test_hostile_input_text(text):
    with pytest.raises(ValueError, match="is not WIDTHxHEIGHT"):
        nets.Input.parse(text)


def test_input_padded():
    assert nets.Input(1920, 1080, 2).padded(64) == (1920, 1088, 2)


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_parts_run_and_do_what_the_model_does(model, backend):
    net, x = tiny(model), pictures(model, batch=2)
    with lic_fast.backend(backend):
        streams = net.encode(x)
        works = parts.works(net, x)
        assert set(works) == set(parts.PARTS)
        for work in works.values():
            work()
            work()
        assert works["encode"]() == streams
        expected = net.decode(streams)
        torch.testing.assert_close(works["decode"](), expected, rtol=0, atol=0)
        # From the latents as the decoder had them.
        torch.testing.assert_close(works["synthesis"]().clamp(0, 1), expected, rtol=0, atol=0)
        assert "_network" not in net.__dict__


@torch.no_grad()
def test_arithmetic_adds_up():
    net, x = tiny(TCM), pictures(TCM)
    with lic_fast.backend("reference"):
        works = parts.works(net, x)
        flops = {name: floors.count_flops(work) for name, work in works.items()}
    assert flops["decode"] == flops["slices"] + flops["synthesis"]
    # h_a is what the encoder has and the decoder has not.
    assert flops["analysis"] + flops["slices"] < flops["encode"]
    assert flops["encode"] < flops["analysis"] + flops["slices"] + flops["hyper"]


@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_every_network_is_replaced_and_used(model):
    net, x = tiny(model), pictures(model)
    used = set()

    def wrap(name, module, example):
        def run(x):
            assert x.shape == example.shape
            used.add(name)
            return module(x)

        return run

    with lic_fast.backend("reference"):
        streams = net.encode(x)
        expected = net.decode(streams)
        replaced = []
        converted.convert_networks(net, x, lambda *a: replaced.append(a[0]) or wrap(*a))
        assert net.encode(x) == streams
        np.testing.assert_array_equal(net.decode(streams), expected)
    assert used == set(replaced)
    assert {"analysis", "synthesis", "h_a", "h_mean_s", "lrp_transforms.0"} <= used


def test_standstill_waits_for_this_process_to_rest(monkeypatch):
    monkeypatch.setattr(measure, "_LONGEST_WAIT", 0.1)
    stop = Event()

    def spin():
        while not stop.is_set():
            pass

    thread = Thread(target=spin)
    thread.start()
    try:
        with pytest.raises(measure.BusyThreadsError):
            measure.standstill()
    finally:
        stop.set()
        thread.join()
    assert measure.standstill() > 0


def test_rounds_run_every_turn_in_every_round():
    calls = []
    turns = {
        name: measure.Turn(lambda name=name: calls.append(name) or time.sleep(0.11), nullcontext)
        for name in "ab"
    }
    times, conditions = measure.rounds(turns, 2, "cpu", lambda i: None)
    # Twice untimed, so that each finds its own memory, and once timed.
    assert calls == [name for name in "abba" for _ in range(3)]
    assert all(len(found) == 2 and min(found) >= 0.11 for found in times.values())
    assert conditions["others_share_of_cpu"] >= 0
