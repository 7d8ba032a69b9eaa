"""The search for a position by its value, apart from any picture."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lic_fast.codec.search import highest_within

LAST = 9900


def search(function, limit, **options):
    """What is found, and what was measured."""
    measured = {}

    def measure(position):
        assert position not in measured
        assert 0 <= position <= LAST
        measured[position] = function(position)
        return measured[position]

    settings = {"start": 4900, "slope": 2.5e-4, "tolerance": 0.01, "step": 10} | options
    return highest_within(measure, limit, last=LAST, **settings), measured


@st.composite
def rising(draw):
    """A continuous curve of several straight parts, each of which rises."""
    slopes = draw(st.lists(st.floats(1e-5, 1e-2), min_size=1, max_size=7))
    width = LAST / len(slopes)
    corners = [draw(st.floats(-20, 20))]
    for slope in slopes:
        corners.append(corners[-1] + slope * width)

    def function(position):
        part = min(int(position / width), len(slopes) - 1)
        return corners[part] + slopes[part] * (position - part * width)

    return function


@given(rising(), st.floats(0, 1))
def test_what_rises_is_found_within_the_tolerance(function, part):
    limit = (1 - part) * function(0) + part * function(LAST)
    found, measured = search(function, limit)
    if found is None:  # the end itself, by rounding
        assert function(0) > limit
        return
    assert measured[found] <= limit
    near = min(found + 10, LAST)
    assert measured[found] >= limit - 0.01 or function(near) > limit or found == LAST
    assert len(measured) <= 30


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(-1, 8), st.floats(0, 3))
def test_noise_never_breaks_the_bound_or_the_search(random, limit, noise):
    known = {}

    def function(position):
        return known.setdefault(position, 7e-4 * position + noise * random.uniform(-1, 1))

    found, measured = search(function, limit)
    assert len(measured) <= 40
    if found is None:
        assert measured[0] > limit
    else:
        assert measured[found] <= limit


@pytest.mark.parametrize("limit", [-math.inf, -1.0])
def test_a_limit_below_all_values_has_no_position(limit):
    found, measured = search(lambda position: position / 1000, limit)
    assert found is None
    assert 0 in measured
    assert len(measured) <= 3


@pytest.mark.parametrize("limit", [10.0, 1e9, math.inf])
def test_a_limit_above_all_values_is_the_last_position(limit):
    found, measured = search(lambda position: position / 1000, limit)
    assert found == LAST
    assert len(measured) <= 3


@pytest.mark.parametrize("value", [-math.inf, 1.0])
def test_flat_values_within_the_limit_give_the_last_position(value):
    assert search(lambda position: value, 2.0)[0] == LAST


def test_infinite_values_are_no_trouble():
    """A picture that comes back without any error has an infinite PSNR."""

    def function(position):
        return position / 1000 if position > 3000 else -math.inf

    found, measured = search(function, 2.0)
    assert found is not None
    assert measured[found] == -math.inf
    assert min(p for p, v in measured.items() if v > 2.0) - found <= 10


def test_a_line_takes_three_measurements_and_a_known_slope_two():
    assert len(search(lambda position: 4e-4 * position, 1.0)[1]) == 3
    assert len(search(lambda position: 2.5e-4 * position, 1.0)[1]) == 2
