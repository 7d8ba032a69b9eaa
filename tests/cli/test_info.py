import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import lic_fast
from lic_fast import codec
from tests.cli.conftest import Run, draw


def test_text_says_what_the_container_holds(run: Run, lic_file: Path) -> None:
    ran = run("info", lic_file)
    assert ran.status == 0, ran
    size = lic_file.stat().st_size
    lines = ran.out.splitlines()
    assert lines[0] == str(lic_file)
    values = {line[2:12].strip(): line[12:] for line in lines[1:]}
    assert values["picture"] == "72x48, coded as 128x64"
    assert values["size"] == f"{size} bytes, {8 * size / (72 * 48):.3f} bpp"
    assert values["model"].startswith("wacnn-nano-3, fingerprint ")
    assert values["metadata"] == "none"


def test_json_says_the_same_without_loading_a_model(
    run: Run, lic_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    source = draw(tmp_path / "b.png", 20, 30, exif=exif.tobytes())
    assert run("compress", source).status == 0
    fingerprint = lic_fast.zoo.load("wacnn-nano").fingerprint().hex()

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("info needs no model")

    monkeypatch.setattr(lic_fast.zoo, "load", refuse)
    ran = run("info", lic_file, tmp_path / "b.lic", "--json")
    assert ran.status == 0, ran
    first, second = json.loads(ran.out)
    assert first["file"] == str(lic_file)
    assert first["bytes"] == lic_file.stat().st_size
    assert (first["width"], first["height"]) == (72, 48)
    assert sum(first["padding"].values()) == 128 - 72 + 64 - 48
    assert first["z_shape"] == [1, 2]
    assert first["model"] == "wacnn-nano-3"
    assert first["fingerprint"] == second["fingerprint"] == fingerprint
    assert first["portable"] is True
    assert 0 < first["y_bytes"] + first["z_bytes"] < first["bytes"]
    assert first["exif_bytes"] is None
    assert second["exif_bytes"] > 10
    assert second["icc_profile_bytes"] is None


@pytest.mark.parametrize("layout", ["lanes", "compressai"])
def test_layouts_can_be_chosen_are_shown_and_are_read(
    run: Run, tmp_path: Path, layout: str
) -> None:
    source = draw(tmp_path / "a.png", 70, 30)
    assert run("compress", source, "--layout", layout).status == 0
    (described,) = json.loads(run("info", tmp_path / "a.lic", "--json").out)
    assert described["layout"] == layout
    assert described["y_substreams"] == 1
    assert f"layout {layout}\n" in run("info", tmp_path / "a.lic").out
    assert run("decompress", tmp_path / "a.lic", "-o", tmp_path / "b.png").status == 0
    other = run("compress", source, "--layout", "rans")
    assert other.status == 2
    assert "lanes" in other.err


def test_substreams_are_counted_unless_the_stream_is_damaged(
    run: Run, lic_file: Path, tmp_path: Path
) -> None:
    container = codec.unpack(lic_file.read_bytes())
    for y, text in ((b"\x15" + bytes(7), ", 3 substreams"), (b"", "layout lanes\n")):
        path = tmp_path / "changed.lic"
        path.write_bytes(codec.pack(replace(container, y=y)))
        ran = run("info", path)
        assert ran.status == 0
        assert text in ran.out


def test_bad_files_are_reported_and_the_rest_is_shown(
    run: Run, lic_file: Path, tmp_path: Path
) -> None:
    picture = draw(tmp_path / "a.png")
    damaged = tmp_path / "damaged.lic"
    damaged.write_bytes(lic_file.read_bytes()[:-1])
    ran = run("info", picture, lic_file, damaged, tmp_path / "gone.lic", "--json")
    assert ran.status == 1
    assert [entry["file"] for entry in json.loads(ran.out)] == [str(lic_file)]
    assert f"error: {picture}: not a .lic file but a PNG file" in ran.err
    assert f"error: {damaged}: " in ran.err
    assert "gone.lic: no such file or folder" in ran.err
    ran = run("info", damaged)
    assert (ran.status, ran.out) == (1, "")


def test_a_file_of_another_kind_is_not_read_to_its_end(run: Run, tmp_path: Path) -> None:
    # A hole of a terabyte: reading it would end in no memory.
    huge = tmp_path / "huge.lic"
    with open(huge, "wb") as file:
        try:
            file.truncate(1 << 40)
        except OSError:
            pytest.skip("this file system has no such files")
    for command in ("info", "decompress"):
        ran = run(command, huge)
        assert ran.status == 1
        assert "not a .lic file" in ran.err
