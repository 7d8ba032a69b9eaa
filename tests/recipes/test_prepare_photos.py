"""Photographs are shrunk, cut, named and left out as the script says."""

import hashlib
import importlib.util
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "recipes/prepare_photos.py"


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.is_file():
        pytest.skip("the recipes are not beside the tests")
    spec = importlib.util.spec_from_file_location("prepare_photos", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare_photos"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["prepare_photos"]


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path, **options)
    return path


def written(folder: Path) -> dict[str, np.ndarray]:
    result = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.mode == "RGB"
            result[path.name] = np.asarray(image)
    return result


def test_large_pictures_are_means_of_squares_at_two_scales(script, tmp_path):
    pixels = noise(1200, 1100)
    save(tmp_path / "in/deep/a.png", pixels)
    [source] = script.prepare([tmp_path / "in"], tmp_path / "out")
    tiles = written(tmp_path / "out")
    assert sorted(tiles) == [
        "in-deep-a-2-y0x0.png", "in-deep-a-2-y0x216.png",
        "in-deep-a-2-y166x0.png", "in-deep-a-2-y166x216.png",
        "in-deep-a-4-y0x0.png",
    ]  # fmt: skip
    for factor, top, left, name in [(2, 166, 216, "2-y166x216"), (4, 0, 0, "4-y0x0")]:
        means = pixels.reshape(1100 // factor, factor, 1200 // factor, factor, 3).mean((1, 3))
        tile = tiles[f"in-deep-a-{name}.png"]
        height, width = tile.shape[:2]
        assert (height, width) == ((384, 384) if factor == 2 else (275, 300))
        assert np.abs(tile - means[top : top + height, left : left + width]).max() <= 0.51
    assert (source.photographs, source.left_out, source.files) == (1, 0, 5)
    assert source.pixels == sum(tile.shape[0] * tile.shape[1] for tile in tiles.values())


@pytest.mark.parametrize("length", [256, 288, 431, 432, 500, 853, 1280, 2008])
def test_tiles_reach_from_edge_to_edge_and_leave_no_gap(script, length):
    places = script.starts(length)
    if len(places) == 1:
        assert length < 1.5 * script.STEP
        return
    assert places[0] == 0
    assert places[-1] + script.TILE == length
    assert max(np.diff(places)) <= script.TILE


@pytest.mark.parametrize(
    ("size", "file_bytes", "jpeg", "side", "factor"),
    [
        ((1024, 700), 1, True, 2048, 1),
        ((1025, 700), 10**6, True, 2048, 2),
        ((2560, 1600), 359_000, True, 2048, 2),
        ((2560, 1600), 358_000, True, 2048, 3),
        ((2560, 1600), 1, False, 2048, 2),
        ((4096, 4096), 10**7, True, 2048, 2),
        ((3391, 6028), 10**7, True, 2048, 3),
        ((5312, 2988), 10**7, True, 1700, 4),
    ],
)
def test_factors(script, size, file_bytes, jpeg, side, factor):
    assert script.first_factor(size, file_bytes, jpeg, side) == factor


def test_small_pictures_stay_as_they_are_in_rgb(script, tmp_path):
    colour, grey, alpha = noise(288, 300), noise(289, 300, 1), noise(290, 300, 4)
    for name, pixels in [("colour", colour), ("grey", grey), ("alpha", alpha)]:
        save(tmp_path / f"in/{name}.png", pixels)
    save(tmp_path / "in/narrow.png", noise(255, 1024))
    [source] = script.prepare([tmp_path / "in"], tmp_path / "out")
    tiles = written(tmp_path / "out")
    assert sorted(tiles) == [f"in-{name}-1-y0x0.png" for name in ("alpha", "colour", "grey")]
    np.testing.assert_array_equal(tiles["in-colour-1-y0x0.png"], colour)
    np.testing.assert_array_equal(tiles["in-grey-1-y0x0.png"], grey.repeat(3, 2))
    np.testing.assert_array_equal(tiles["in-alpha-1-y0x0.png"], alpha[..., :3])
    assert (source.photographs, source.left_out) == (3, 1)


def test_whole_pictures_are_shrunk_once(script, tmp_path):
    save(tmp_path / "in/a.jpg", noise(1700, 900), quality=90)
    script.prepare([tmp_path / "in"], tmp_path / "out", whole=True)
    assert {n: p.shape for n, p in written(tmp_path / "out").items()} == {
        "in-a-2.png": (450, 850, 3)
    }


def test_few_flat_tiles_are_kept(script, tmp_path):
    pixels = np.full((1020, 1020, 3), 99, np.uint8)
    pixels[:384, :384] = noise(384, 384)
    save(tmp_path / "in/sky.png", pixels)
    script.prepare([tmp_path / "in"], tmp_path / "out")
    assert len(script.starts(1020)) == 4
    # Four tiles have noise in them. Of the twelve others the first, fifth and ninth are kept.
    places = [(y, x) for y in (0, 212) for x in (0, 212)] + [(0, 424), (424, 0), (636, 0)]
    assert sorted(written(tmp_path / "out")) == sorted(f"in-sky-1-y{y}x{x}.png" for y, x in places)


def test_twice_the_same(script, tmp_path):
    save(tmp_path / "in/a.jpg", noise(1300, 1200))
    save(tmp_path / "in/b/a.jpg", noise(700, 600))
    digests = []
    for out in ("first", "second"):
        script.prepare([tmp_path / "in"], tmp_path / out)
        digests.append(
            {p.name: hashlib.sha256(p.read_bytes()).digest() for p in (tmp_path / out).iterdir()}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) > 4


def test_listed_names_and_links_are_left_out(script, tmp_path):
    kept = save(tmp_path / "in/Lake/contents/images/2560x1600.png", noise(300, 300))
    save(tmp_path / "in/Logo/contents/images/2560x1600.png", noise(300, 300))
    (tmp_path / "in/Lake/contents/images/800x600.png").symlink_to(kept)
    (tmp_path / "in/README").write_text("no picture")
    (tmp_path / "list.txt").write_text("# drawings\n\n*Logo/*  # a logo\n")
    patterns = script.read_patterns([tmp_path / "list.txt"])
    assert patterns == ["*Logo/*"]
    [source] = script.prepare([tmp_path / "in"], tmp_path / "out", patterns)
    assert list(written(tmp_path / "out")) == ["in-Lake-contents-images-2560x1600-1-y0x0.png"]
    assert (source.photographs, source.left_out) == (1, 1)


def test_the_list_names_drawings_and_keeps_photographs(script):
    patterns = script.read_patterns([script.LEFT_OUT])
    left_out = "usr/share/wallpapers/Shell/contents/images/5120x2880.jpg"
    kept = "usr/share/wallpapers/Path/contents/images/2560x1600.jpg"
    matches = [[p for p in patterns if fnmatchcase(name, p)] for name in (left_out, kept)]
    assert [len(m) for m in matches] == [1, 0]


def test_an_output_folder_with_something_in_it_is_refused(script, tmp_path):
    save(tmp_path / "in/a.png", noise(300, 300))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        script.prepare([tmp_path / "in"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_two_pictures_of_one_name_are_refused(script, tmp_path):
    save(tmp_path / "in/a.png", noise(300, 300))
    save(tmp_path / "in/a.jpg", noise(300, 300))
    with pytest.raises(FileExistsError, match=r"two pictures make in-a-1-y0x0\.png"):
        script.prepare([tmp_path / "in"], tmp_path / "out")


def test_command(script, tmp_path, monkeypatch, capsys):
    save(tmp_path / "in/a.png", noise(300, 300))
    save(tmp_path / "in/b.png", noise(301, 300))
    (tmp_path / "list").write_text("b.*")
    arguments = [str(tmp_path / "out"), str(tmp_path / "in"), "--leave-out", str(tmp_path / "list")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    script.main()
    assert capsys.readouterr().out.splitlines()[-1].split() == ["in", "1", "1", "1", "0.1"]
    with pytest.raises(SystemExit):
        script.main()
    assert "is not empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "other"), str(tmp_path / "gone")])
    with pytest.raises(SystemExit):
        script.main()
    assert "neither a folder nor a file" in capsys.readouterr().err
