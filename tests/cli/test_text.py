import os

import pytest

from lic_fast.cli.text import display, human_bytes, ratio, size_in_bytes


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


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("200kB", 200_000),
        ("200 kB", 200_000),
        ("1.5KiB", 1536),
        ("0.1kB", 100),
        ("2.9B", 2),
        ("3MB", 3_000_000),
        ("1MiB", 1_048_576),
        ("9" * 18 + "MiB", (10**18 - 1) * 1_048_576),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "0", "0.9", "-1", "+1", "1e3", "1 GB", "1kb", "1K", "kB", ".5kB", "1.kB", "1,5kB",
     "1  kB", "nan", "inf", "1kB\n", "9" * 19, "\u0663kB", "0x10"],
)  # fmt: skip
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size: .*B, kB, KiB, MB, MiB"):
        size_in_bytes(text)


def test_ratio_keeps_three_digits() -> None:
    assert [ratio(378, 10), ratio(12_345, 100), ratio(1, 2), ratio(5, 0)] == [
        "37.8x",
        "123x",
        "0.5x",
        "5.0x",
    ]
