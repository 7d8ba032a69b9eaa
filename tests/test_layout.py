"""Rooms import downwards only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Modules that belong to no room: anybody may import them, and they import no room.
LEAVES = {"errors", "lazy", "ans", "rans", "stream_layout", "_C"}
MAY_IMPORT = {
    "kernels": set(),
    "ops": {"kernels"},
    "entropy": {"ops", "engine"},
    # Rules for the models' own modules; imported on first use.
    "engine": {"ops", "models"},
    "models": {"ops", "entropy", "engine"},
    "zoo": {"models"},
    "codec": {"models", "entropy"},
    "training": {"models", "codec", "ops"},
    "cli": {"codec", "models", "training", "zoo"},
}


def imports(path):
    """Rooms and leaves that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "lic_fast" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down(room):
    folder = ROOT / ("kernels" if room == "kernels" else f"lic_fast/{room}")
    files = sorted(folder.glob("**/*.py"))
    assert files
    for path in files:
        above = set(imports(path)) & MAY_IMPORT.keys() - MAY_IMPORT[room] - {room}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


@pytest.mark.parametrize("leaf", ["errors", "lazy", "ans", "rans", "stream_layout"])
def test_leaves_import_no_room(leaf):
    assert set(imports(ROOT / f"lic_fast/{leaf}.py")) <= LEAVES


def test_files_can_be_read_in_one_sitting():
    for pattern in ("lic_fast/**/*.py", "kernels/**/*.py", "csrc/**/*.[ch]pp", "tests/**/*.py"):
        for path in ROOT.glob(pattern):
            lines = len(path.read_text().splitlines())
            assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"
