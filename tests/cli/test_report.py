import csv
import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from lic_fast.cli.report import Row, csv_text, document, json_text, mean_of, table

FIRST = Row("a.png", 200, 100, 1000, 0.4, 30.0, 0.9, 0.5, 0.6)
SMALL = Row("[bold]b, 2.png", 8, 8, 100, 12.5, 40.0, math.nan, 0.1, 0.2)
EXACT = replace(FIRST, file="c.png", psnr_db=math.inf, ms_ssim=1.0)


def test_the_mean_leaves_out_what_is_not_finite() -> None:
    mean = mean_of([FIRST, SMALL, EXACT])
    assert mean.bytes == pytest.approx(700)
    assert mean.bpp == pytest.approx((0.4 + 12.5 + 0.4) / 3)
    assert mean.psnr_db == pytest.approx(35.0)
    assert mean.ms_ssim == pytest.approx(0.95)
    assert mean.decode_s == pytest.approx(1.4 / 3)
    assert math.isnan(mean_of([SMALL]).ms_ssim)


def test_json_has_null_where_a_value_is_not_finite() -> None:
    rows = [FIRST, SMALL, EXACT]

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    text = json_text([document(rows, mean_of(rows), {"model": "m"}, [("bad.png", "cut")])])
    read = json.loads(text, parse_constant=refuse)
    assert read["configuration"] == {"model": "m"}
    assert [image["ms_ssim"] for image in read["images"]] == [0.9, None, 1.0]
    assert [image["psnr_db"] for image in read["images"]] == [30.0, 40.0, None]
    assert read["images"][0]["file"] == "a.png"
    assert read["mean"]["psnr_db"] == pytest.approx(35.0)
    assert read["failed"] == [{"file": "bad.png", "error": "cut"}]


def test_json_and_csv_without_any_image() -> None:
    mean = mean_of([])
    assert json.loads(json_text([document([], mean, {}, [])]))["mean"]["bpp"] is None
    assert csv_text([("m", None, [], mean)]).splitlines()[1] == "mean,,,,,,,,"


def test_csv_reads_back() -> None:
    rows = [FIRST, SMALL, EXACT]
    read = list(csv.DictReader(io.StringIO(csv_text([("m", 20.5, rows, mean_of(rows))]))))
    assert [line["file"] for line in read] == ["a.png", "[bold]b, 2.png", "c.png", "mean"]
    assert [line["ms_ssim"] for line in read] == ["0.9", "", "1.0", "0.95"]
    assert float(read[0]["bpp"]) == FIRST.bpp
    assert math.isinf(float(read[2]["psnr_db"]))
    assert read[3]["width"] == ""
    several = csv_text([("m", 20.5, rows, mean_of(rows)), ("n", None, rows, mean_of(rows))])
    read = list(csv.DictReader(io.StringIO(several)))
    assert [(line["model"], line["quality"]) for line in read] == [("m", "20.5")] * 4 + [
        ("n", "")
    ] * 4


def test_the_table_shows_rows_and_mean_and_takes_names_literally() -> None:
    rows = [FIRST, SMALL, EXACT]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(rows, mean_of(rows), "a title [x]", "a caption"))
    lines = console.export_text().splitlines()
    [small] = [line for line in lines if "[bold]b, 2.png" in line]
    assert [cell.strip() for cell in small.split("│")][1:-1] == [
        "[bold]b, 2.png",
        "8x8",
        "100",
        "12.5000",
        "40.000",
        "-",
        "0.100",
        "0.200",
    ]
    [mean] = [line for line in lines if "mean" in line]
    assert "3 images" in mean
    assert "35.000" in mean
    assert any("inf" in line for line in lines)
    assert any("a title [x]" in line for line in lines)
