"""Where torch is not installed pictures are coded, and what needs it says so in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lic_fast
from lic_fast import codec, runtime, zoo
from lic_fast.errors import CheckpointError, NoProgramError
from lic_fast.models import SliceCompressionModel
from lic_fast.models.portable import portable_file
from tests.cli.conftest import Run, draw, drawing, pixels_of
from tests.codec.toy import ToyCoder
from tests.models.portable.making import portable
from tests.models.tiny import CLASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(lic_fast.__file__).parents[1]

# An environment without torch, and the end of a program that must not have imported it.
BLOCK = """
import sys
NAMES = {"compressai", "pytorch_msssim", "torch", "torchvision", "triton"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""
CHECK = """
found = {name.partition(".")[0] for name in sys.modules} & {
    "compressai", "pytorch_msssim", "torch", "torchvision", "triton"}
assert not found, found
"""
# A command, with coders that need no weights for those of the zoo.
TOYS = """
from lic_fast import runtime
from tests.codec.toy import zoo_load
runtime.load = zoo_load
"""
COMMAND = """
from lic_fast.cli.main import main
sys.argv = ["lic-fast", *sys.argv[1:]]
try: main()
except SystemExit as end: status = end.code
"""


def python(code: str, *arguments: object, cwd: Path | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout, done.stderr


def test_packages_and_their_names_are_there() -> None:
    code = BLOCK + (
        "import lic_fast, lic_fast.cli.main\n"
        "from lic_fast import ans, codec, rans, runtime, streams, zoo\n"
        "for name in codec.__all__: assert getattr(codec, name) is not None\n"
        "import numpy as np\n"
        "picture = np.zeros((4, 4, 3), np.uint8)\n"
        "assert codec.metrics.psnr(picture, picture) == float('inf')\n"
    )
    assert python(code + CHECK) == (0, "", "")


def test_commands_work_without_torch_and_with_it_do_not_import_it(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    for block in (BLOCK, "import sys\n"):
        code = block + TOYS + COMMAND + CHECK + "sys.exit(status)"
        status, out, err = python(code, "compress", "a.png", "--overwrite", cwd=tmp_path)
        assert (status, err) == (0, "")
        assert out.startswith("a.png -> a.lic: 72x48, ")
        status, out, err = python(code, "info", "a.lic", cwd=tmp_path)
        assert (status, err) == (0, "")
        assert "wacnn-nano-3, fingerprint 0905b4d591dad085" in out
        arguments = ("decompress", "a.lic", "-o", "b.png", "--overwrite")
        assert python(code, *arguments, cwd=tmp_path) == (0, "b.png\n", "")
        assert (pixels_of(tmp_path / "b.png") == drawing(48, 72)).all()
        arguments = ("compress", "a.png", "-m", "wacnn-nano-1", "--device", "cpu", "--overwrite")
        assert python(code, *arguments, cwd=tmp_path)[0] == 0
        arguments = ("decompress", "a.lic", "-m", "wacnn-nano-1", "-o", "b.png", "--overwrite")
        assert python(code, *arguments, cwd=tmp_path) == (0, "b.png\n", "")


def check_model_needs_no_torch(folder: Path, block: str, model: Path | None, name: str) -> None:
    """Compresses and decompresses, and compares with the torch model of the same file."""
    draw(folder / "a.png")
    given = () if model is None else ("-m", model)
    code = block + COMMAND + CHECK + "sys.exit(status)"
    status, out, err = python(code, "compress", "a.png", *given, cwd=folder)
    assert (status, err) == (0, "")
    assert out.startswith("a.png -> a.lic: 72x48, ")
    arguments = ("decompress", "a.lic", "-o", "b.png", *given)
    assert python(code, *arguments, cwd=folder) == (0, "b.png\n", "")
    net = lic_fast.load(model or zoo.path(name))
    data = (folder / "a.lic").read_bytes()
    assert data == codec.encode_image(drawing(48, 72), net, model_name=name)
    decoded = codec.decode_image(data, net).pixels
    assert abs(pixels_of(folder / "b.png").astype(int) - decoded).max() <= 1


@pytest.mark.parametrize("architecture", CLASSES)
def test_an_exported_model_needs_no_torch(
    tmp_path: Path, architecture: type[SliceCompressionModel]
) -> None:
    model = tmp_path / "exported.safetensors"
    model.write_bytes(portable_file(portable(architecture)))
    check_model_needs_no_torch(tmp_path, BLOCK, model, "exported")


@pytest.mark.parametrize("block", [BLOCK, "import sys\n"], ids=["not installed", "installed"])
def test_the_zoo_s_models_need_no_torch(tmp_path: Path, block: str) -> None:
    check_model_needs_no_torch(tmp_path, block, None, "wacnn-nano-3")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("lic_fast.load", "lic_fast.load"),
        ("lic_fast.make_portable", "lic_fast.make_portable"),
        ("lic_fast.ops", "lic_fast.ops"),
        ("lic_fast.zoo.load()", "lic_fast.zoo.load"),
        ("exec('from lic_fast.models import WACNN')", "lic_fast.models"),
        ("lic_fast.codec.metrics.ms_ssim(picture, picture)", "MS-SSIM"),
    ],
)
def test_names_that_need_torch_say_so(code: str, what: str) -> None:
    program = BLOCK + (
        "import lic_fast, numpy\n"
        "from lic_fast.errors import MissingTorchError\n"
        "picture = numpy.zeros((200, 200, 3), numpy.uint8)\n"
        f"try: {code}\n"
        "except ModuleNotFoundError as error:\n"
        "    assert type(error) is MissingTorchError\n"
        "    print(error)\n"
    )
    status, out, err = python(program)
    assert (status, err) == (0, "")
    assert out.count("\n") == 1
    assert out.startswith(f"{what} needs ")
    assert "pip install lic_fast" in out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("compress a.png -m model.pth", "the model model"),
        ("compress a.png -m model.safetensors", "the model model"),
        ("compress a.png --device cuda", "--device cuda"),
        ("compress a.png --precision bfloat16", "--precision bfloat16"),
        ("decompress b.lic -m model.pth", "the model model"),
        ("decompress b.lic --device cuda", "--device cuda"),
        ("eval a.png", "lic-fast eval"),
        ("demo --image a.png", "lic-fast demo"),
        ("export model.pth --calibrate a.png -o m.safetensors", "lic-fast export"),
        ("train a.png --recipe r.toml -o run", "lic-fast train"),
    ],
)
def test_commands_that_need_torch_say_so(
    tmp_path: Path, lic_file: Path, arguments: str, what: str
) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "b.lic").write_bytes(lic_file.read_bytes())
    for name in ("model.pth", "model.safetensors", "r.toml"):
        (tmp_path / name).touch()
    no_program = (
        "from lic_fast import errors, runtime\n"
        "def load(path): raise errors.NoProgramError(f'{path}: holds no program')\n"
        "runtime.load = load\n"
    )
    code = BLOCK + no_program + COMMAND + CHECK + "sys.exit(status)"
    status, out, err = python(code, *arguments.split(), cwd=tmp_path)
    assert (status, out) == (1, ""), err
    assert err.count("\n") == 1
    assert err.startswith(f"error: {what} needs torch, which is not installed")


def test_a_decoder_that_needs_torch_says_so_of_its_file(tmp_path: Path, lic_file: Path) -> None:
    (tmp_path / "a.lic").write_bytes(lic_file.read_bytes())
    code = BLOCK + COMMAND + CHECK + "sys.exit(status)"
    arguments = ("decompress", "a.lic", "--precision", "float32")
    status, _, err = python(code, *arguments, cwd=tmp_path)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: a.lic: --precision float32 needs torch")


def test_a_file_without_a_program_is_a_torch_model_s(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw(tmp_path / "a.png")

    def load(path: Path) -> None:
        raise NoProgramError(f"{path}: holds no program")

    monkeypatch.setattr(runtime, "load", load)
    assert run("compress", source).status == 0
    expected = codec.encode_image(drawing(48, 72), zoo.load(), model_name="wacnn-nano-3")
    assert (tmp_path / "a.lic").read_bytes() == expected
    assert run("decompress", tmp_path / "a.lic", "--overwrite").status == 0


def test_a_damaged_file_is_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = draw(tmp_path / "a.png")
    model = tmp_path / "model.safetensors"
    model.write_bytes(zoo.path("wacnn-nano-3").read_bytes())

    def load(path: Path) -> None:
        raise CheckpointError(f"{path}: damaged")

    monkeypatch.setattr(runtime, "load", load)
    ran = run("compress", source, "-m", model)
    assert (ran.status, ran.err) == (1, f"error: {model}: damaged\n")
    assert not (tmp_path / "a.lic").exists()


def test_options_that_take_torch(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = draw(tmp_path / "a.png")

    def refuse(path: Path) -> None:
        raise AssertionError("the runtime has no such option")

    monkeypatch.setattr(runtime, "load", refuse)
    assert run("compress", source, "--precision", "float32").status == 0
    monkeypatch.setattr(runtime, "load", lambda path: ToyCoder(gains=True))
    model = tmp_path / "model.safetensors"
    model.touch()
    ran = run("compress", source, "-m", model, "--size", "5kB", "--overwrite")
    assert ran.status == 0, ran
    assert (tmp_path / "a.lic").stat().st_size <= 5000
    assert run("decompress", tmp_path / "a.lic", "-m", model, "--overwrite").status == 0


def test_what_the_runtime_needs_is_among_what_the_package_needs() -> None:
    listed = (CHECKOUT / "requirements-runtime.txt").read_text().splitlines()
    needed = {line for line in listed if line and not line.startswith("#")}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert needed <= set(project["dependencies"])
    left_out = set(project["dependencies"]) - needed
    names = {"torch", "triton", "compressai", "pytorch-msssim"}
    assert {line.split(">")[0] for line in left_out} == names
