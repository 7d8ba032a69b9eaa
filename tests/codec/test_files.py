"""Files are written whole or not at all."""

import errno
import io
import os
import stat
import threading

import pytest

from lic_fast.codec import HardLinkWarning, obstacle, write_bytes_atomically


def test_an_existing_file_is_not_touched(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(FileExistsError, match="exists already"):
        write_bytes_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    write_bytes_atomically(path, b"after", overwrite=True)
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_writers_one_wins(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise PermissionError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    path = tmp_path / "a"
    outcomes = []

    def write(i):
        try:
            write_bytes_atomically(path, bytes([i]) * 1000)
            outcomes.append(i)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert path.read_bytes() == bytes([outcomes[0]]) * 1000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, overwrite):
    path = tmp_path / "a"
    if overwrite:
        path.write_bytes(b"before")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    def full(descriptor, _):
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes_atomically(path, b"after", overwrite=overwrite)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_failure_without_hard_links_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_bytes_atomically(tmp_path / "a", b"after")
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder is a folder"):
        write_bytes_atomically(tmp_path / "folder", b"", overwrite=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="no regular file"):
        write_bytes_atomically(tmp_path / "pipe", b"", overwrite=True)
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes_atomically(tmp_path / "link", b"after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "link", "pipe", "target"]


def test_permissions_are_those_of_a_new_file(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_bytes_atomically(tmp_path / "ours", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")}
    assert len(modes) == 1


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_bytes_atomically(tmp_path / "missing" / "a", b"")


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    path.chmod(mode)
    seen = []
    write = os.fdopen

    def watched(descriptor, how):
        # Nobody may read the new content whom the mode keeps from the old.
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, how)

    monkeypatch.setattr(os, "fdopen", watched)
    write_bytes_atomically(path, b"after", overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"after"
    assert seen == [0o600]


def test_the_mode_of_a_link_s_target_is_kept(tmp_path):
    (tmp_path / "target").write_bytes(b"before")
    (tmp_path / "target").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes_atomically(tmp_path / "link", b"after", overwrite=True)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid() != 0, reason="needs to be root")
def test_the_owner_is_kept_where_it_can_be(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    os.chown(path, 1234, 4321)
    write_bytes_atomically(path, b"after", overwrite=True)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_other_names_of_a_file_keep_its_content_and_it_is_said(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"before")
    os.link(path, other)
    with pytest.warns(HardLinkWarning, match=r"a: .*hard links\) keep the old content"):
        write_bytes_atomically(path, b"after", overwrite=True)
    assert (path.read_bytes(), other.read_bytes()) == (b"after", b"before")


@pytest.mark.parametrize("step", ["open", "replace", "link", "write"])
def test_errors_name_what_the_user_named(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    overwrite = step == "replace"

    def refuse(name, *_):
        raise OSError(errno.EROFS, "Read-only file system", name)

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(descriptor, _):
        os.close(descriptor)
        return Full()

    if step == "write":
        monkeypatch.setattr(os, "fdopen", full)
    elif step == "link":
        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(os, "replace", refuse)
    else:
        monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match=r"Read-only|No space") as caught:
        write_bytes_atomically(path, b"after", overwrite=overwrite)
    assert caught.value.filename == str(path)
    assert "tmp" not in str(caught.value).removeprefix(str(tmp_path)).replace(str(path), "")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said_by_the_name_that_was_given(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes_atomically(tmp_path / "missing" / "a", b"")
    assert caught.value.filename == str(tmp_path / "missing" / "a")


def test_obstacles_are_seen_before_anything_is_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name, overwrite, message in (
        ("new", False, None),
        ("deep/er/new", False, None),
        ("file", True, None),
        ("nowhere", True, None),
        ("file", False, "exists already"),
        ("nowhere", False, "exists already"),
        ("folder", True, "is a folder"),
        ("pipe", True, "no regular file"),
        ("pipe", False, "no regular file"),
        ("file/deep/new", True, "file: Not a directory"),
    ):
        fault = obstacle(tmp_path / name, overwrite=overwrite)
        assert (fault is None) == (message is None)
        assert message is None or message in str(fault)
    assert isinstance(obstacle("/dev/null", overwrite=True), FileExistsError)
