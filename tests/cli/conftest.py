from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lic_fast import runtime
from lic_fast.cli.main import app

# The result of a command: exit status, standard output, standard error.
Run = Callable[..., "Ran"]


class Ran:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def __repr__(self) -> str:
        return f"status {self.status}\n--- out\n{self.out}--- err\n{self.err}"


def drawing(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours and a few sharp edges: what a codec for photographs can code."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    phases = rng.uniform(0, 6, (3, 2))
    waves = [np.sin(5 * x + a) + np.cos(4 * y + b) for a, b in phases]
    pixels = 128 + 50 * np.stack(waves, axis=2)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = rng.uniform(0, 255, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def draw(path: Path, height: int = 48, width: int = 72, seed: int = 0, **options: object) -> Path:
    """Writes a drawing to `path`, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing(height, width, seed)).save(path, **options)
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads(), runtime.threads()
    torch.set_num_threads(1)
    runtime.set_threads(1)
    yield
    torch.set_num_threads(threads[0])
    runtime.set_threads(threads[1])


@pytest.fixture
def run() -> Run:
    """Runs `lic-fast` with the given arguments in this process."""

    def invoke(*arguments: object) -> Ran:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture(scope="session")
def lic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good .lic file of 72x48 pixels, not to be changed."""
    folder = tmp_path_factory.mktemp("coded")
    source = draw(folder / "source.png")
    result = CliRunner().invoke(app, ["compress", str(source), "-q"])
    assert result.exit_code == 0, result.stderr
    return source.with_suffix(".lic")
