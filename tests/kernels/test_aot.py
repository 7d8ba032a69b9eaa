"""The check of what kernels take on GPUs that are not here."""

import os
import subprocess
import sys

import pytest

from tests.kernels.aot import TARGETS, Usage, match


def test_a_kernel_compiles_for_every_target():
    name = "window attention, TCM, 8, float16, forward"
    command = [sys.executable, "-m", "tests.kernels.aot", "--jobs", "1", "--only", name]
    # The interpreter, which these tests may run in, compiles nothing.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    rows = [row.strip("| ").split(" | ") for row in result.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[name, target] for target in TARGETS]
    for _, _, registers, spills, shared in rows:
        assert int(registers) >= 32
        assert int(spills) == 0
        assert int(shared) > 0


def test_problems():
    assert Usage(255, 0, 163 << 10).problems("sm_80") == []
    assert Usage(255, 8, 0).problems("sm_90") == ["spills"]
    (too_much,) = Usage(255, 0, (64 << 10) + 1).problems("gfx942")
    assert "65536 bytes" in too_much


def test_a_report_of_another_form_is_an_error():
    assert match(r"REG:(\d+) STACK:(\d+)", "x REG:12 STACK:8") == ("12", "8")
    with pytest.raises(ValueError, match="REG"):
        match(r"REG:(\d+)", "registers 12")
