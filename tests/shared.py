"""Reference data beside the checkout, which a user's clone does not have."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_path(name: str) -> Path:
    """The file or folder `name` of the reference data; skips the test where there is none."""
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"reference data {name} is not beside this checkout")
    return path


def has_shared(name: str) -> bool:
    """Whether there is such a file or folder of the reference data."""
    return (_SHARED / name).exists()
