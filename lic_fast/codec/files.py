"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_bytes_atomically"]


def write_bytes_atomically(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Writes a file under a temporary name beside its own, then moves it into place.

    Whatever fails, `path` holds what it held before and nothing else is left. A
    symbolic link stays one: what it points to is replaced.

    Args:
        path: Where the file goes; its folder exists.
        data: Its content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: There is such a file already, and `overwrite` is not
            set, or it is none that can be replaced, such as a device.
        IsADirectoryError: There is a folder of that name.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists already")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is no regular file and is not replaced")
    # Not tempfile: its files are private, and this one is to have a new file's permissions.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if overwrite:
            os.replace(temporary, path)
        else:
            _move_to_new(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
