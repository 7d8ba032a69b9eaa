"""Rates at equal quality."""

import math
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lic_fast.cli.curves import Curve, Point, bd_rate, psnr_at, rate_at, saving
from lic_fast.cli.references import is_kodak, references

LINE = Curve("line", [Point(str(i), 0.1 * 2**i, 28.0 + 2 * i) for i in range(5)], "anchor")


def test_points_are_in_order_of_rate():
    assert [p.label for p in Curve("c", [LINE.points[2], LINE.points[0]], "model").points] == [
        "0",
        "2",
    ]


@given(st.floats(28, 36))
def test_rate_and_psnr_are_inverse(psnr):
    rate = rate_at(LINE, psnr)
    assert rate == pytest.approx(0.1 * 2 ** ((psnr - 28) / 2))
    assert psnr_at(LINE, min(max(rate, 0.1), 1.6)) == pytest.approx(psnr)


def test_nothing_is_said_beyond_a_curve():
    for psnr in (27.9, 36.1, math.inf, math.nan):
        assert math.isnan(rate_at(LINE, psnr))
    for bpp in (0.09, 1.7, math.nan):
        assert math.isnan(psnr_at(LINE, bpp))
    assert math.isnan(rate_at(Curve("one", LINE.points[:1], "anchor"), 28.0))
    exact = Point("exact", 3.0, math.inf)
    assert math.isnan(saving(exact, LINE))
    assert rate_at(Curve("c", [*LINE.points, exact], "anchor"), 30.0) == pytest.approx(0.2)


def test_savings_at_equal_psnr():
    assert saving(Point("m", 0.15, 30.0), LINE) == pytest.approx(-0.25)
    assert saving(Point("m", 0.25, 30.0), LINE) == pytest.approx(0.25)


@pytest.mark.skipif(find_spec("bjontegaard") is None, reason="needs bjontegaard")
def test_bd_rate_is_the_constant_ratio_of_rates():
    half = Curve("half", [Point(p.label, p.bpp / 2, p.psnr_db) for p in LINE.points], "model")
    assert bd_rate(half, LINE) == pytest.approx(-0.5, abs=1e-6)
    assert bd_rate(LINE, half) == pytest.approx(1.0, abs=1e-6)
    # Curves of different numbers of points.
    more = Curve("half", [*half.points, Point("last", 1.6, 38.0)], "model")
    assert len(more.points) > len(LINE.points)
    assert bd_rate(more, LINE) == pytest.approx(-0.5, abs=1e-6)


def test_bd_rate_is_not_given_where_it_says_nothing():
    assert bd_rate(Curve("few", LINE.points[:3], "model"), LINE) is None
    far = Curve("far", [Point(p.label, p.bpp, p.psnr_db + 20) for p in LINE.points], "model")
    assert bd_rate(far, LINE) is None
    falling = Curve("f", [Point(p.label, p.bpp, -p.psnr_db) for p in LINE.points], "model")
    assert bd_rate(falling, LINE) is None


def test_references_have_sources_and_rise():
    for curve in references():
        assert curve.kind == "reference"
        assert curve.source
        psnr = [p.psnr_db for p in curve.points]
        assert psnr == sorted(psnr)
        assert all(0 < p.bpp < 2 and 20 < p.psnr_db < 45 for p in curve.points)


def test_the_kodak_set_is_known_by_its_names():
    names = [f"kodim{i:02d}.png" for i in range(24, 0, -1)]
    assert is_kodak(names)
    assert not is_kodak(names[1:])
    assert not is_kodak([*names, "other.png"])
