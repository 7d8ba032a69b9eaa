"""Rooms import downwards only."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Modules that belong to no room: anybody may import them, and they import no room.
LEAVES = {"errors", "lazy", "ans", "rans", "stream_layout", "streams", "version", "_C"}
MAY_IMPORT = {
    "kernels": set(),
    "runtime": set(),
    "ops": {"kernels", "runtime"},
    "entropy": {"ops", "engine", "runtime"},
    "engine": {"ops", "kernels", "runtime"},
    "models": {"ops", "entropy", "engine", "runtime"},
    "zoo": {"models", "runtime"},
    "codec": {"models", "runtime"},
    "training": {"models", "codec", "ops"},
    "cli": {"codec", "models", "runtime", "training", "zoo"},
}
# The one exception: rules for the models' own modules, which the engine imports on first use.
ABOVE = {"lic_fast/engine/lowering/models.py": {"models"}}


def imports(path):
    """Rooms and leaves that a file imports, also inside functions."""
    return [name.split(".")[1] for name in modules(path)]


def modules(path, nested=True):
    """Names of lic_fast that a file imports, those of its functions too if they are wanted."""
    tree = ast.parse(path.read_text())
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if nested or (not function and not typing):
            waiting += ast.iter_child_nodes(node)
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.startswith("lic_fast."))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down(room):
    for path in files_of(room):
        name = str(path.relative_to(ROOT))
        may = MAY_IMPORT[room] | {room} | ABOVE.get(name, set())
        above = set(imports(path)) & MAY_IMPORT.keys() - may
        assert not above, f"{name} imports {above}"


def test_no_room_waits_for_itself():
    """What is imported when a room is, without what is above it, has an order."""
    order = TopologicalSorter()
    for room in MAY_IMPORT:
        for path in files_of(room):
            if str(path.relative_to(ROOT)) not in ABOVE:
                found = {name.split(".")[1] for name in modules(path, nested=False)}
                order.add(room, *(found & MAY_IMPORT.keys() - {room}))
    assert set(order.static_order()) == MAY_IMPORT.keys()


def test_the_engine_imports_the_models_on_first_use():
    code = "import sys, lic_fast.engine; sys.exit('lic_fast.models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def files_of(room):
    files = sorted(
        (ROOT / ("kernels" if room == "kernels" else f"lic_fast/{room}")).glob("**/*.py")
    )
    assert files
    return files


@pytest.mark.parametrize(
    "leaf", ["errors", "lazy", "ans", "rans", "stream_layout", "streams", "version"]
)
def test_leaves_import_no_room(leaf):
    assert set(imports(ROOT / f"lic_fast/{leaf}.py")) <= LEAVES


def test_files_can_be_read_in_one_sitting():
    for pattern in ("lic_fast/**/*.py", "kernels/**/*.py", "csrc/**/*.[ch]pp", "tests/**/*.py"):
        for path in ROOT.glob(pattern):
            lines = len(path.read_text().splitlines())
            assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"
