"""The script for a session with a GPU, where there is none."""

import json
from unittest import mock

from benchmarks import gpu
from tests.models.tiny import CLASSES, tiny


def test_it_runs_on_a_cpu_and_every_case_is_measured(tmp_path):
    output = tmp_path / "gpu.json"
    with mock.patch.object(gpu, "build", return_value=tiny(CLASSES[1])):
        gpu.main(
            [
                *("--device", "cpu", "--size", "128x128", "--models", "WACNN"),
                *("--repeats", "2", "-o", str(output)),
            ]
        )
    report = json.loads(output.read_text())
    assert report["size"] == "128x128"
    assert [row["arithmetic"] for row in report["cases"]] == list(gpu.ARITHMETICS)
    for row in report["cases"]:
        assert row["repeatable"]
        assert row["bytes"] > 0
        for kind in ("encode", "decode"):
            assert 0 < row[kind]["least_ms"] <= row[kind]["median_ms"]
    reference, fused, portable = report["cases"]
    assert reference["rms_from_reference"] == 0
    assert fused["rms_from_reference"] < 0.01
    assert portable["symbols_as_on_cpu"]
