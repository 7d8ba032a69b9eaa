import csv
import io
import json
import os
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run, draw


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    draw(folder / "large.png", 176, 192, seed=1)
    draw(folder / "deep" / "small.png", 24, 40, seed=2)
    (folder / "bad.jpg").write_bytes(b"no JPEG")
    return folder


def test_json_on_standard_output(run: Run, pictures: Path, tmp_path: Path) -> None:
    ran = run("eval", pictures, "--json", "-", "--device", "cpu")
    assert ran.status == 1, ran

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(ran.out, parse_constant=refuse)
    large, small = document["images"]
    assert large["file"] == "large.png"
    assert small["file"] == os.path.join("deep", "small.png")
    assert (large["width"], large["height"]) == (192, 176)

    # The same file as compress writes, so the same rate.
    assert run("compress", pictures, "-o", tmp_path / "out", "--strip").status == 1
    for row, name in ((large, "large.lic"), (small, "deep/small.lic")):
        size = (tmp_path / "out" / name).stat().st_size
        assert row["bytes"] == size
        assert row["bpp"] == pytest.approx(8 * size / (row["width"] * row["height"]))
        assert 20 < row["psnr_db"] < 60
        assert 0 < row["encode_s"] < 60
        assert 0 < row["decode_s"] < 60
    assert 0.8 < large["ms_ssim"] <= 1
    assert small["ms_ssim"] is None
    assert document["mean"]["ms_ssim"] == large["ms_ssim"]
    assert document["mean"]["bpp"] == pytest.approx((large["bpp"] + small["bpp"]) / 2)
    [failed] = document["failed"]
    assert failed["file"].endswith("bad.jpg")
    configuration = document["configuration"]
    assert configuration["model"] == "wacnn-nano-3"
    assert configuration["architecture"] == "WACNN"
    assert configuration["device"] == "cpu"
    assert configuration["threads"] == torch.get_num_threads()
    assert configuration["torch"] == torch.__version__


def test_table_and_files_at_once(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "bad.jpg").unlink()
    as_json, as_csv = tmp_path / "r.json", tmp_path / "r.csv"
    ran = run("eval", pictures, "--json", as_json, "--csv", as_csv)
    assert ran.status == 0, ran
    assert "large.png" in ran.out
    [small] = [line for line in ran.out.splitlines() if "small.png" in line]
    assert "│       - │" in small
    rows = list(csv.DictReader(io.StringIO(as_csv.read_text())))
    assert [row["file"] for row in rows] == ["large.png", os.path.join("deep", "small.png"), "mean"]
    assert rows[1]["ms_ssim"] == ""
    document = json.loads(as_json.read_text())
    assert float(rows[0]["psnr_db"]) == document["images"][0]["psnr_db"]
    assert float(rows[2]["bpp"]) == document["mean"]["bpp"]


def test_reports_never_replace_a_file_unasked(run: Run, tmp_path: Path) -> None:
    source, report = draw(tmp_path / "a.png"), tmp_path / "r.json"
    report.write_text("precious")
    ran = run("eval", source, "--json", report)
    assert ran.status == 1
    assert "exists already" in ran.err
    assert ran.out == ""
    assert report.read_text() == "precious"
    assert run("eval", source, "--json", report, "--overwrite").status == 0
    assert len(json.loads(report.read_text())["images"]) == 1


@pytest.mark.parametrize(
    "outputs",
    [("--json", "-", "--csv", "-"), ("--json", "r", "--csv", "r"), ("--json", ".")],
)
def test_outputs_in_each_others_way_are_usage_errors(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("eval", draw(tmp_path / "a.png"), *outputs)
    assert ran.status == 2, ran
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_folder_without_pictures_still_gives_valid_json(run: Run, tmp_path: Path) -> None:
    ran = run("eval", tmp_path, "--json", "-")
    assert ran.status == 1
    document = json.loads(ran.out)
    assert document["images"] == []
    assert document["mean"]["bpp"] is None
    assert "holds no pictures" in document["failed"][0]["error"]


def test_a_family_is_its_models(run: Run, tmp_path: Path) -> None:
    ran = run("eval", draw(tmp_path / "a.png"), "-m", "wacnn-nano", "--csv", "-")
    assert ran.status == 0, ran
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert {row["model"] for row in rows} == {f"wacnn-nano-{quality}" for quality in range(1, 5)}
