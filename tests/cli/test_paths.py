import os
from pathlib import Path

import pytest

from lic_fast.cli.paths import Inputs, PlanError, collect, plan

SUFFIXES = [".png", ".jpg"]


def make(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def targets(inputs: Inputs, out: str | None, **options: object) -> list[str]:
    return [str(job.target) for job in plan(inputs, out, ".lic", **options)]


def test_a_folder_gives_its_pictures_sorted_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.JPG", "notes.txt", "deep/er/c.png", ".hidden.png", ".git/d.png")
    inputs = collect([tmp_path], SUFFIXES, "pictures")
    assert [str(source.relative) for source in inputs.sources] == [
        "a.JPG",
        "b.png",
        os.path.join("deep", "er", "c.png"),
    ]
    assert inputs.problems == []
    assert not inputs.single


def test_a_file_named_itself_counts_whatever_its_suffix(tmp_path: Path) -> None:
    [path] = make(tmp_path, ".odd.name")
    inputs = collect([path], SUFFIXES, "pictures")
    assert [source.path for source in inputs.sources] == [path]
    assert inputs.single


def test_what_cannot_be_read_is_a_problem_and_the_rest_stays(tmp_path: Path) -> None:
    [good] = make(tmp_path, "good.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    absent = tmp_path / "absent.png"
    inputs = collect([absent, good, empty, pipe], SUFFIXES, "pictures")
    assert [source.path for source in inputs.sources] == [good]
    assert inputs.problems == [
        (absent, "no such file or folder"),
        (empty, "this folder holds no pictures"),
        (pipe, "no regular file"),
    ]


def test_a_broken_link_in_a_folder_is_reported(tmp_path: Path) -> None:
    link = tmp_path / "gone.png"
    link.symlink_to(tmp_path / "nowhere.png")
    inputs = collect([tmp_path], SUFFIXES, "pictures")
    assert [path for path, _ in inputs.problems] == [link]


def test_a_file_reached_twice_counts_once(tmp_path: Path) -> None:
    [path] = make(tmp_path, "a.png")
    roundabout = tmp_path / "x" / ".." / "a.png"
    (tmp_path / "x").mkdir()
    inputs = collect([path, tmp_path, roundabout], SUFFIXES, "pictures")
    assert [source.path for source in inputs.sources] == [path]


def test_outputs_lie_beside_their_inputs(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "deep/a.png", "archive.tar.png")
    assert targets(collect([tmp_path], SUFFIXES, "pictures"), None) == [
        str(tmp_path / "a.lic"),
        str(tmp_path / "archive.tar.lic"),
        str(tmp_path / "deep" / "a.lic"),
    ]


def test_an_output_folder_keeps_the_structure_of_input_folders(tmp_path: Path) -> None:
    [alone] = make(tmp_path, "alone.png")
    make(tmp_path / "in", "a.png", "deep/a.png")
    out = tmp_path / "out"
    assert targets(collect([alone, tmp_path / "in"], SUFFIXES, "pictures"), str(out)) == [
        str(out / "alone.lic"),
        str(out / "a.lic"),
        str(out / "deep" / "a.lic"),
    ]


def test_for_a_single_file_out_is_a_file_unless_it_is_a_folder(tmp_path: Path) -> None:
    inputs = collect(make(tmp_path, "a.png"), SUFFIXES, "pictures")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert targets(inputs, str(tmp_path / "x.bin")) == [str(tmp_path / "x.bin")]
    assert targets(inputs, str(folder)) == [str(folder / "a.lic")]
    assert targets(inputs, str(tmp_path / "new") + os.sep) == [str(tmp_path / "new" / "a.lic")]


def test_several_inputs_do_not_go_into_a_file(tmp_path: Path) -> None:
    paths = make(tmp_path, "a.png", "b.png", "there.lic")
    with pytest.raises(PlanError, match="several inputs need a folder"):
        plan(collect(paths[:2], SUFFIXES, "pictures"), str(paths[2]), ".lic")
    with pytest.raises(PlanError, match="standard output is not supported"):
        plan(collect(paths[:1], SUFFIXES, "pictures"), "-", ".lic")


def test_two_inputs_never_share_an_output(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png", "b.png")
    inputs = collect([tmp_path], SUFFIXES, "pictures")
    with pytest.raises(PlanError, match=r"2 inputs would be written to .*a\.lic: .*a\.jpg.*a\.png"):
        plan(inputs, None, ".lic")
    assert targets(inputs, None, keep_suffix=True) == [
        str(tmp_path / name) for name in ("a.jpg.lic", "a.png.lic", "b.png.lic")
    ]


def test_inputs_of_one_name_collide_in_one_output_folder(tmp_path: Path) -> None:
    paths = make(tmp_path, "x/a.png", "y/a.png")
    with pytest.raises(PlanError, match="2 inputs would be written"):
        plan(collect(paths, SUFFIXES, "pictures"), str(tmp_path / "out"), ".lic")


def test_a_collision_through_a_linked_folder_is_seen(tmp_path: Path) -> None:
    [first, second] = make(tmp_path, "real/a.png", "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PlanError, match="2 inputs would be written"):
        plan(collect([first, tmp_path / "link" / "a.jpg"], SUFFIXES, "p"), None, ".lic")
    assert second.exists()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_names_that_differ_in_case_only_collide_where_files_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    inputs = collect(make(tmp_path, "a.png", "A.jpg"), SUFFIXES, "pictures")
    monkeypatch.setattr("sys.platform", "linux")
    assert len(plan(inputs, None, ".lic")) == 2
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(PlanError, match="2 inputs would be written"):
        plan(inputs, None, ".lic")


def test_an_output_never_replaces_an_input(tmp_path: Path) -> None:
    paths = make(tmp_path, "a.lic", "b.png")
    with pytest.raises(PlanError, match="is itself an input"):
        plan(collect(paths[:1], SUFFIXES, "pictures"), None, ".lic")
    with pytest.raises(PlanError, match="is itself an input"):
        plan(collect(paths[1:], SUFFIXES, "pictures"), str(paths[1]), ".lic")


def test_only_a_named_output_file_is_judged_by_its_name(tmp_path: Path) -> None:
    inputs = collect(make(tmp_path, "a.png"), SUFFIXES, "pictures")

    def judge(path: Path) -> str | None:
        return None if path.suffix == ".lic" else f"{path.suffix} will not do"

    with pytest.raises(PlanError, match=r"\.gif will not do"):
        plan(inputs, str(tmp_path / "a.gif"), ".lic", wrong_name=judge)
    assert len(plan(inputs, str(tmp_path / "a.lic"), ".x", wrong_name=judge)) == 1
    assert len(plan(inputs, None, ".x", wrong_name=judge)) == 1
