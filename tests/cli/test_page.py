"""The report as a page: it stands alone, and a browser has nothing against it."""

import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.util import find_spec

import numpy as np
import pytest

from lic_fast.cli import plots
from lic_fast.cli.compare import AnchorCurves, closeups, worst
from lic_fast.cli.curves import Curve, Point
from lic_fast.cli.page import Closeup, Evaluated, html_text
from lic_fast.cli.report import Row
from tests.cli.conftest import draw

NASTY = "<script>alert(1)</script>&\"'.png"
ROWS = [
    Row("a.png", 200, 100, 1000, 0.4, 30.0, 0.9, 0.5, 0.6),
    Row(NASTY, 8, 8, 100, 0.9, math.inf, math.nan, 0.1, 0.2),
]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
VOID = {"meta", "img", "br", "path", "use", "rect", "line"}


class Checked(HTMLParser):
    """Balanced tags, and what the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.asked += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.asked += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def settings(model):
    return {"model": model, "device": "cpu", "rate": "r", "timing": "t"}


def page():
    models = [
        Evaluated("mine & yours", ROWS, settings("m<1>"), [("bad.png", "cut <off>")]),
        Evaluated("mine & yours", ROWS[:1], settings("m2")),
    ]
    curves = [
        Curve("mine & yours", [model.point() for model in models], "model"),
        Curve("JPEG", [Point("1", 0.2, 27.0, 0.9), Point("2", 0.8, 33.0, 0.97)], "anchor"),
        Curve("_$paper$", [Point("p", 0.3, 31.0)], "reference", "a <source>"),
    ]
    pixels = np.full((20, 30, 3), 99, np.uint8)
    return html_text(models, curves, [Closeup(NASTY, [("original", pixels)])], ["a <note>"])


def test_a_page_asks_for_nothing_and_escapes_everything():
    text = page()
    read = Checked(text)
    assert all(asked.startswith(("#", "data:image/png;base64,")) for asked in read.asked)
    shown = "".join(read.text)
    for words in (NASTY, "m<1>", "cut <off>", "a <source>", "a <note>", "mine & yours"):
        assert words in shown
    elsewhere = set(re.findall(r"https?://[^\"\s<]+", text))
    assert elsewhere <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_a_page_says_what_was_measured():
    shown = "".join(Checked(page()).text)
    assert "0.4000" in shown
    assert "∞" in shown
    # At 30 dB JPEG takes 0.4 bpp.
    assert "+0.0 %" in shown


def test_the_same_page_comes_out_twice():
    assert page() == page()


@pytest.mark.skipif(not plots.available(), reason="needs matplotlib")
def test_plots_leave_out_what_has_no_quality():
    curve = Curve("c", [Point("p", 0.3, 31.0), Point("q", 0.5, 33.0)], "model")
    assert "<svg" in plots.rate_distortion([curve], "psnr_db", 1.0)
    assert plots.rate_distortion([curve], "ms_ssim", 1.0) is None
    assert plots.rate_distortion([curve], "psnr_db", 0.1) is None


def test_a_page_without_matplotlib_says_so(monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    assert "lic_fast[report]" in page()


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_a_browser_has_nothing_against_it(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    ran = subprocess.run(
        [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}",
         f"--screenshot={tmp_path / 'page.png'}", "--window-size=1000,1500", file.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in ran.stderr
    from PIL import Image

    with Image.open(tmp_path / "page.png") as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50


def picture(seed, size=(96, 128)):
    x = np.linspace(0, 200, size[1])[None, :, None] + np.linspace(0, 50, size[0])[:, None, None]
    noise = np.random.default_rng(seed).integers(-5, 6, (*size, 3))
    return (x + noise).clip(0, 255).astype(np.uint8)


def test_the_worst_are_those_farthest_below_the_anchor():
    pictures = {name: picture(i) for i, name in enumerate("abc")}
    anchors = AnchorCurves(["jpeg"])
    for name, pixels in pictures.items():
        anchors.measure(name, pixels)
    [curve] = anchors.curves()
    assert len(curve.points) == 7
    assert all(math.isfinite(p.bpp) and p.psnr_db > 20 for p in curve.points)
    middle = curve.points[3]
    rows = [
        Row(name, 128, 96, 1, middle.bpp, middle.psnr_db - loss, math.nan, 0, 0)
        for name, loss in (("a", 1), ("b", 3), ("c", 2))
    ]
    chosen = worst(rows, anchors, 2)
    assert [row.file for row, _ in chosen] == ["b", "c"]
    assert "below JPEG" in chosen[0][1]

    def spoiled(pixels):
        out = pixels.copy()
        out[-8:, -8:] = 0
        return out

    [first, _] = closeups(chosen, anchors, pictures.__getitem__, spoiled, "m")
    assert [caption.split(",")[0] for caption, _ in first.parts] == ["original", "m", "JPEG"]
    assert first.parts[0][1].shape == (96, 128, 3)
    none = AnchorCurves([])
    assert [row.file for row, _ in worst(rows, none, 1)] == ["b"]
    assert none.curves() == []


def test_a_codec_that_does_not_take_a_picture_is_left_out_of_it(monkeypatch):
    from lic_fast.cli import compare

    real = compare.code

    def code(name, quality, pixels):
        if name == "webp" and pixels[0, 0, 0] == 7:
            raise OSError("too odd")
        return real(name, quality, pixels)

    monkeypatch.setattr(compare, "code", code)
    odd = picture(1)
    odd[0, 0, 0] = 7
    anchors = AnchorCurves(["jpeg", "webp"])
    anchors.measure("odd", odd)
    assert [curve.name for curve in anchors.curves()] == ["JPEG"]
    assert anchors.last("odd")[0] == "jpeg"
    plain = picture(2)
    plain[0, 0, 0] = 9
    anchors.measure("plain", plain)
    assert [curve.name for curve in anchors.curves()] == ["JPEG", "WebP"]
    assert anchors.last("plain")[0] == "webp"
    assert anchors.last("unknown") is None


def test_the_command_writes_the_page(run, tmp_path):
    folder = tmp_path / "pictures"
    draw(folder / "b<i>.png", 176, 192, seed=1)
    draw(folder / "small.png", 24, 40, seed=2)
    out = tmp_path / "report.html"
    ran = run(
        "eval", folder, "-m", "x=wacnn-nano-3", "-m", "x=wacnn-nano-4", "--html", out,
        "--anchors", "jpeg,webp", "--csv", tmp_path / "r.csv", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert ran.status == 0, ran
    shown = "".join(Checked(out.read_text(encoding="utf-8")).text)
    for words in ("wacnn-nano", "b<i>.png", "rate over JPEG", "rate over WebP", "original"):
        assert words in shown
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0].startswith("model,quality,file,")
    assert len(lines) == 7
    assert (tmp_path / "r.json").read_text().count('"configuration"') == 2
    assert "exists already" in run("eval", folder, "--html", out).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--html", "-"], "--html takes a file"),
        (["--html", "a", "--json", "a"], "name the same file"),
        (["--html", "r.html", "--anchors", "gif"], "there are jpeg"),
        (["-m", "=wacnn-nano"], "write CURVE=MODEL"),
        (["-m", "x="], "write CURVE=MODEL"),
    ],
)
def test_what_makes_no_report_is_refused(arguments, words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "a.png")
    ran = run("eval", tmp_path / "a.png", *arguments)
    assert ran.status == 2
    assert words in ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_an_anchor_that_is_missing_is_named(run, tmp_path, monkeypatch):
    from lic_fast.cli import anchors

    monkeypatch.setattr(
        anchors, "find_spec", lambda name: None if name == "pillow_jxl" else find_spec(name)
    )
    ran = run(
        "eval", draw(tmp_path / "a.png", 40, 40), "--html", tmp_path / "r.html", "--anchors", "jxl"
    )
    assert ran.status == 0, ran
    assert "JPEG XL is not compared: needs the package" in (tmp_path / "r.html").read_text()
