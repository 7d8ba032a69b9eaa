"""The check of what kernels take on GPUs that are not here."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.kernels.aot import TARGETS, Usage, fused, match


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


# As a module of its own, since Triton decides when it is imported whether it interprets.
FUSED = """
import os
del os.environ["TRITON_INTERPRET"]
from dataclasses import replace
from tests.kernels.aot import TARGETS, all_configurations, compile_for
for name in ({names!r}):
    (found,) = (c for c in all_configurations() if c.name == name)
    assert found.exact
    fusing = replace(found, options=found.options | {{"enable_fp_fusion": True}})
    for target in TARGETS:
        print(compile_for(found, target).fused, compile_for(fusing, target).fused)
"""


def test_exact_kernels_round_every_product_and_it_would_be_seen_if_they_did_not(tmp_path):
    names = [
        "integer_conv2d_kernel 16x32x128 3x3/1 7 bits to 7 gelu",
        "exact add_residual_kernel strided",
    ]
    command = [sys.executable, "-c", FUSED.format(names=names)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    rows = [[int(n) for n in row.split()] for row in result.stdout.splitlines()]
    assert len(rows) == len(names) * len(TARGETS)
    for exact, fusing in rows:
        assert exact == 0
        assert fusing > 8


def test_problems():
    assert Usage(255, 0, 163 << 10, 7).problems("sm_80") == []
    assert Usage(255, 8, 0, 0).problems("sm_90", exact=True) == ["spills"]
    (too_much,) = Usage(255, 0, (64 << 10) + 1, 0).problems("gfx942")
    assert "65536 bytes" in too_much
    assert Usage(255, 0, 0, 7).problems("sm_80", exact=True) == ["fuses 7 products with sums"]


def test_what_counts_as_fused():
    ptx = "mul.rn.f32 a; add.rn.f32 b; div.rn.f32 c; mad.lo.s32 d; mul.lo.s32 e; mul.wide.u32 f"
    assert fused(SimpleNamespace(asm={"ptx": ptx})) == 0
    for one in ("fma.rn.f32 a", "fma.rn.ftz.f32 a", "mul.f32 a", "fma.rn.f32x2 a", "mad.rn.f64 a"):
        assert fused(SimpleNamespace(asm={"ptx": f"{ptx}; {one};"})) == 1
    division = "v_div_scale_f32 a\n" + "v_fma_f32 b\n" * 3 + "v_fmac_f32_e32 c\n" * 2
    division += "v_div_fmas_f32 d\nv_div_fixup_f32 e\n"
    other = "v_mfma_i32_32x32x16_i8 a\nv_mad_u64_u32 b\nv_mul_f32_e32 c\nv_add_f32_e32 d\n"
    assert fused(SimpleNamespace(asm={"amdgcn": division * 2 + other})) == 0
    for one in ("v_fma_f32", "v_pk_fma_f32", "v_fmac_f32_e32", "v_fmaak_f32", "v_mac_f32_e32"):
        assert fused(SimpleNamespace(asm={"amdgcn": f"{division}{other}{one} a"})) == 1


def test_a_report_of_another_form_is_an_error():
    assert match(r"REG:(\d+) STACK:(\d+)", "x REG:12 STACK:8") == ("12", "8")
    with pytest.raises(ValueError, match="REG"):
        match(r"REG:(\d+)", "registers 12")
