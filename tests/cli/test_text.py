import os

import pytest

from lic_fast.cli.text import display, human_bytes, ratio


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("größe.png", "größe.png"),
        ("two\nlines.png", "two\\nlines.png"),
        ("\x1b[31mred.png", "\\x1b[31mred.png"),
        (os.fsdecode(b"\xff.png"), "\\udcff.png"),
    ],
)
def test_display_is_printable_whatever_the_name(name: str, shown: str) -> None:
    assert display(name) == shown
    assert display(name).encode().decode().isprintable()


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345, "12.3 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.00 MB"),
        (1_234_567, "1.23 MB"),
    ],
)
def test_human_bytes(size: int, shown: str) -> None:
    assert human_bytes(size) == shown


def test_ratio_keeps_three_digits() -> None:
    assert [ratio(378, 10), ratio(12_345, 100), ratio(1, 2), ratio(5, 0)] == [
        "37.8x",
        "123x",
        "0.5x",
        "5.0x",
    ]
