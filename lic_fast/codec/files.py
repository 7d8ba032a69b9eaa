"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["HardLinkWarning", "obstacle", "write_bytes_atomically"]


class HardLinkWarning(UserWarning):
    """A file was replaced that has other names, which keep what it held."""


def obstacle(path: str | Path, *, overwrite: bool = False) -> OSError | None:
    """Why a file cannot be written to a name, so far as can be seen without writing.

    Args:
        path: Where the file would go; its folder may have to be made first.
        overwrite: Whether an existing file may be replaced.
    """
    path = Path(path)
    # os.path, because Path's methods raise where a folder may not be searched.
    if os.path.isdir(path):
        return IsADirectoryError(f"{path} is a folder")
    if os.path.exists(path) and not os.path.isfile(path):
        return FileExistsError(f"{path} is no regular file and is not replaced")
    if os.path.lexists(path) and not overwrite:
        return FileExistsError(f"{path} exists already")
    for folder in path.parents:
        if os.path.lexists(folder):
            if not os.path.isdir(folder):
                return NotADirectoryError(f"{folder}: Not a directory")
            break
    return None


def write_bytes_atomically(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Writes a file under a temporary name beside its own, then moves it into place.

    Whatever fails, `path` holds what it held before and nothing else is left. A
    symbolic link stays one: what it points to is replaced. A file that replaces another
    has that one's permissions and, where this process may give them, its owner and group. Other
    names of that one (hard links) keep what it held, and a :class:`HardLinkWarning` says so.
    A new file has the permissions that the process gives to new files.

    Args:
        path: Where the file goes; its folder exists.
        data: Its content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: There is such a file already, and `overwrite` is not
            set, or it is none that can be replaced, such as a device.
        IsADirectoryError: There is a folder of that name.
        OSError: The file cannot be written. It names `path`, never the temporary file.
    """
    path = Path(path)
    fault = obstacle(path, overwrite=overwrite)
    if fault is not None:
        raise fault
    with _named(path):
        target = path.resolve() if path.is_symlink() else path
        try:
            replaced = os.stat(target)
        except FileNotFoundError:
            replaced = None
        # Not tempfile: its files are private, and a new one is to have a new file's permissions.
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        descriptor = os.open(
            temporary,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0),
            0o666 if replaced is None else 0o600,
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                if replaced is not None:
                    _take_over(temporary, replaced)
                file.write(data)
            if overwrite:
                os.replace(temporary, target)
            else:
                _move_to_new(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if replaced is not None and replaced.st_nlink > 1:
        warnings.warn(
            f"{path}: replaced under this name; its other names (hard links) keep the old content",
            HardLinkWarning,
            stacklevel=2,
        )


def _take_over(temporary: Path, replaced: os.stat_result) -> None:
    """Gives a new file the owner, group and permissions of the one that it is to replace."""
    ours = os.stat(temporary)
    if hasattr(os, "chown") and (ours.st_uid, ours.st_gid) != (replaced.st_uid, replaced.st_gid):
        with suppress(OSError):
            os.chown(temporary, replaced.st_uid, replaced.st_gid)
    os.chmod(temporary, stat.S_IMODE(replaced.st_mode) & 0o777)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Has errors of the operating system name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _move_to_new(temporary: Path, path: Path) -> None:
    """Moves a file to a name that must be free, even if somebody else takes it meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(f"{path} exists already") from None
    except OSError:
        # No hard links here: take the name first, then replace what was taken.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    else:
        temporary.unlink()
