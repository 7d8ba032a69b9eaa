"""Files are written whole or not at all."""

import io
import os
import stat
import threading

import pytest

from lic_fast.codec import write_bytes_atomically


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
