"""The report of a long run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lic_fast.training.log import RunLog

PATH = Path(__file__).parents[2] / "recipes/long_run.py"


@pytest.fixture(scope="module")
def long_run():
    spec = importlib.util.spec_from_file_location("long_run", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logged(folder):
    log = RunLog(folder, 0)
    for step in range(100, 2600, 100):
        row = {"step": step, "minutes": step / 10, "lr": 1e-3, "loss": 1 + 1 / step, "bpp": 0.5}
        log.write(row | {"distortion": 1e-3, "skipped": 1, "steps_per_second": 0.25})
    bpp = np.array([0.2, 0.4, 0.8])
    psnr = np.array([30.0, 33.0, 36.0])
    for step, factor in ((1000, 1.2), (2000, 1.0)):
        measured = np.stack([bpp * factor, psnr], -1)[None]
        log.write_validation(step, step / 10, ["photographs"], [1.0, 50.5, 100.0], measured)


def test_it_says_where_the_run_is(long_run, tmp_path):
    logged(tmp_path)
    text = long_run.report(tmp_path)
    assert "2500 steps in 4.2 hours, 0.25 steps/s at the end, 1 skipped" in text
    # A fifth more rate at every PSNR.
    assert "| 1000 | 0.240, 30.00 | 0.480, 33.00 | 0.960, 36.00 | 1.200 |" in text
    assert "| 2000 | 0.200, 30.00 | 0.400, 33.00 | 0.800, 36.00 | 1.000 |" in text
    assert len([line for line in text.splitlines() if line.endswith("30.00 dB |")]) == 9


def test_a_model_of_one_rate_has_one_column(long_run, tmp_path):
    logged(tmp_path)
    log = RunLog(tmp_path, 900)
    log.write_validation(900, 90.0, ["photographs"], [None], np.array([[[0.5, 31.0]]]))
    text = long_run.report(tmp_path)
    assert "| steps | bpp, dB | rate |" in text
    assert "| 900 | 0.500, 31.00 | - |" in text
    assert "nan" not in text


def test_a_run_that_was_resumed_at_its_end_has_the_speed_of_its_last_steps(long_run, tmp_path):
    logged(tmp_path)
    row = {"step": 2500, "minutes": 250.0, "loss": 1.0, "bpp": 0.5, "distortion": 1e-3}
    RunLog(tmp_path, 2500).write(row | {"skipped": 1})
    assert "0.25 steps/s at the end" in long_run.report(tmp_path)


def test_a_run_without_a_log_is_no_error(long_run, tmp_path):
    assert "Nothing is logged yet" in long_run.report(tmp_path)


def test_a_process_that_is_not_the_runs_is_left_alone(long_run, tmp_path):
    assert long_run.process(tmp_path) is None
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "process.json").write_text(f'{{"pid": {other.pid}}}')
        assert long_run.process(tmp_path) is None
        with pytest.raises(SystemExit, match="no process is going"):
            long_run.main(["pause", str(tmp_path)])
        assert other.poll() is None
    finally:
        other.communicate(b"\n")
    (tmp_path / "process.json").write_text("{")
    assert long_run.process(tmp_path) is None
