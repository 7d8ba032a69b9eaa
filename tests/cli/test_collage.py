import numpy as np
import pytest

from lic_fast.cli.collage import Captions, amplified_difference, compose, is_cropped

CAPTIONS = Captions(("Original", "a line"), ("Decoded", "a line", "another"), ("Difference",))


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def find(picture: np.ndarray, panel: np.ndarray) -> list[tuple[int, int]]:
    """Where `panel` stands in `picture`, pixel for pixel."""
    height, width = panel.shape[:2]
    corners = np.argwhere((picture[: -height + 1, : -width + 1] == panel[0, 0]).all(axis=2))
    return [
        (y, x)
        for y, x in corners.tolist()
        if np.array_equal(picture[y : y + height, x : x + width], panel)
    ]


def test_difference_is_amplified_around_grey_and_clipped() -> None:
    original = np.array([[[100, 100, 100], [0, 255, 7]]], dtype=np.uint8)
    decoded = np.array([[[100, 101, 98], [255, 0, 7]]], dtype=np.uint8)
    shown = amplified_difference(original, decoded)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[128, 136, 112], [255, 0, 128]]]


def test_the_three_panels_stand_side_by_side_pixel_for_pixel() -> None:
    original, decoded = noise(150, 400, 1), noise(150, 400, 2)
    picture = compose(original, decoded, CAPTIONS)
    panels = (original, decoded, amplified_difference(original, decoded))
    places = [find(picture, panel) for panel in panels]
    assert [len(place) for place in places] == [1, 1, 1]
    (top_a, left_a), (top_b, left_b), (top_c, left_c) = (place[0] for place in places)
    assert top_a == top_b == top_c
    assert left_b - left_a == left_c - left_b >= 400
    below = picture[top_a + 150 :]
    for left in (left_a, left_b, left_c):
        # Dark ink on a light ground under every panel.
        assert below[:, left : left + 400].min() < 100
        assert below[:, left : left + 400].max() > 200


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (500, 3)])
def test_small_pictures_are_enlarged_by_a_whole_factor(height: int, width: int) -> None:
    original, decoded = noise(height, width, 1), noise(height, width, 2)
    picture = compose(original, decoded, CAPTIONS)
    factor = max(1, min(360 // width, 1024 // height))
    assert len(find(picture, original.repeat(factor, axis=0).repeat(factor, axis=1))) == 1


def test_of_a_large_picture_the_centre_is_shown() -> None:
    original = noise(40, 1500, 1)
    assert is_cropped(40, 1500)
    assert not is_cropped(1024, 1024)
    picture = compose(original, original, CAPTIONS)
    assert len(find(picture, original[:, 238 : 238 + 1024])) == 2
    assert picture.shape[1] < 3 * 1100


def test_long_captions_widen_the_columns() -> None:
    pixels = noise(50, 360, 1)
    line = "a long line of text " * 4
    wide = compose(pixels, pixels, Captions((line,), ("b",), ("c",)))
    assert wide.shape[1] > compose(pixels, pixels, CAPTIONS).shape[1]


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 3\)"):
        compose(noise(2, 3, 1), noise(3, 2, 1), CAPTIONS)
