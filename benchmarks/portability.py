"""What becomes of a stream that is decoded on another machine than the one it was encoded on.

    python -m benchmarks.portability [--upstream FOLDER] [--checkpoint FILE]

prints a Markdown table. Other machines are processes that are held to fewer instructions or
threads. Rows are models in three forms: coded as the original implementations do (plain
PyTorch, strings of compressai.ans, no checks), the same weights in `.lic` files, and portable
models made of them, in `.lic` files. FOLDER holds the weights with which the models are compared
with the originals; without it they are random. FILE is a trained model in floating point.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from compressai import ans
from torch import Tensor

import lic_fast
from benchmarks.models import nets
from benchmarks.models.machine import describe
from lic_fast import rans
from lic_fast.codec import decode_image, encode_image, metrics, read_picture
from lic_fast.entropy.coding import SliceDecoder
from lic_fast.errors import LicFastError
from lic_fast.models import TCM, WACNN, SliceCompressionModel, SymmetricalTransFormer
from lic_fast.models.portable import convert, portable_file
from lic_fast.runtime.coding import decode_hyperlatent
from lic_fast.stream_layout import StreamLayout

SIZE = (256, 384)
MACHINES: dict[str, dict[str, str]] = {
    "as the encoder": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "AVX-512 without VNNI": {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "LIC_FAST_ISA": "avx512",
    },
    "AVX2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "LIC_FAST_ISA": "avx2",
    },
    "SSE4.1": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "LIC_FAST_ISA": "scalar",
    },
}
# Those that this one can stand for.
MACHINES = {
    title: machine
    for title, machine in MACHINES.items()
    if machine.get("LIC_FAST_ISA", "scalar") in rans.instruction_sets()
}
MODELS: dict[str, tuple[str, Callable[[], SliceCompressionModel]]] = {
    "STF": ("stf", SymmetricalTransFormer),
    "WACNN": ("wacnn", WACNN),
    "TCM, N=64": ("tcm_n64", lambda: TCM(N=64)),
}
FORMS = {
    "original": "as the original codes it",
    "lic": "`.lic`, floating point",
    "portable": "`.lic`, portable",
}


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=Path, help="weights.py and golden/*.npz")
    parser.add_argument("--checkpoint", type=Path, help="a trained model in floating point")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        titles = []
        for title, model in models(arguments.upstream, arguments.checkpoint):
            write(folder, str(len(titles)), model)
            titles.append(title)
        report(folder, titles, arguments.upstream is not None)


def models(
    upstream: Path | None, checkpoint: Path | None
) -> Iterator[tuple[str, SliceCompressionModel]]:
    """Models in floating point, and their names."""
    for title, (name, build) in MODELS.items():
        if upstream is None:
            yield title, nets.build(name.partition("_")[0].upper())
            continue
        sys.path.insert(0, str(upstream))
        import weights  # type: ignore[import-not-found]

        golden = np.load(upstream / "golden" / f"{name}_a.npz")
        model = weights.fill(build(), int(golden["seed"]), float(golden["gain"])).eval()
        model.update()
        yield title, model
    if checkpoint is not None:
        yield f"{checkpoint.stem}, trained", lic_fast.load(checkpoint)


def write(folder: Path, name: str, model: SliceCompressionModel) -> None:
    """The model and the portable one that is made of it."""
    torch.save(model.state_dict(), folder / f"{name}.pth")
    # To the nearest integers: careful rounding takes minutes and changes rates alone.
    with mock.patch.object(convert, "covariances", return_value={}):
        made = convert.make_portable(model, [to_tensor(picture())[0]])
    (folder / f"{name}.safetensors").write_bytes(portable_file(made))


def report(folder: Path, titles: list[str], golden: bool) -> None:
    """Runs the machines and prints what they say."""
    run(folder, "encode", {})
    found = {title: run(folder, title, machine) for title, machine in MACHINES.items()}
    machine = describe("cpu")
    weights = "the weights of the comparison with the originals" if golden else "random weights"
    print("# A stream decoded on another machine\n")
    print(f"`python -m benchmarks.portability`: STF, WACNN and TCM with {weights},")
    print(f"{SIZE[1]}x{SIZE[0]} pixels of a photograph, encoded on an {machine['cpu']} with all")
    print(f"instructions and {machine['cores']} threads, and decoded by processes that are held")
    print(f"to others. torch {machine['versions']['torch']}.\n")
    print("Beside the picture that the encoder's own process decodes: the same pixels, pixels")
    print("that differ by a grey level (the synthesis transform is floating point in all of them),")
    print("or the PSNR of what came out instead, if it is a picture at all.")
    print('"As the original codes it" is plain PyTorch, strings of compressai.ans, and no check.\n')
    print(f"| model | coded | {' | '.join(MACHINES)} |")
    print(f"|---|---|{'---|' * len(MACHINES)}")
    for number, title in enumerate(titles):
        for form, described in FORMS.items():
            cells = [found[machine][f"{number} {form}"] for machine in MACHINES]
            print(f"| {title} | {described} | {' | '.join(cells)} |")


def run(folder: Path, task: str, machine: dict[str, str]) -> dict[str, str]:
    """A process, and what it printed."""
    kept = {n: v for n, v in os.environ.items() if not any(n in m for m in MACHINES.values())}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.portability", "worker", task, str(folder)],
        env=kept | machine,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return result


def work(task: str, folder: Path) -> None:
    """Encodes all models' streams, or decodes them and prints a cell for each."""
    cells = {}
    for path in sorted(folder.glob("*.pth")):
        for form in FORMS:
            model = lic_fast.load(
                path.with_suffix(".safetensors" if form == "portable" else ".pth")
            )
            model.precision = "float32"
            stream = folder / f"{path.stem} {form}"
            if task == "encode":
                encode(model, form, stream)
            else:
                cells[stream.name] = outcome(model, form, stream)
    print(json.dumps(cells))


def encode(model: SliceCompressionModel, form: str, stream: Path) -> None:
    """Writes the stream, and the pixels that this process makes of it."""
    if form == "original":
        with lic_fast.backend("reference"):
            coded = model.encode(to_tensor(picture()), layout="compressai")
        torch.save({"y": coded.y[0], "z": coded.z[0], "shape": coded.shape}, stream)
    else:
        stream.write_bytes(encode_image(picture(), model))
    np.save(f"{stream}.npy", decoded(model, form, stream))


def outcome(model: SliceCompressionModel, form: str, stream: Path) -> str:
    """What came out, in words."""
    expected = np.load(f"{stream}.npy")
    try:
        found = decoded(model, form, stream)
    except LicFastError as error:
        return f"refused: {type(error).__name__}"
    if not np.isfinite(found).all():
        return "NaN"
    expected, found = to_pixels(expected), to_pixels(found)
    difference = np.abs(expected.astype(int) - found).max()
    if difference == 0:
        return "the same"
    if difference <= 4:
        return f"{difference} grey level{'' if difference == 1 else 's'}"
    psnr = metrics.psnr(expected, found)
    return f"{'noise' if psnr < 25 else 'damaged'}, PSNR {psnr:.1f} dB"


def decoded(model: SliceCompressionModel, form: str, stream: Path) -> np.ndarray:
    """(H, W, 3): uint8, or of the original float32, not clamped."""
    if form != "original":
        return decode_image(stream.read_bytes(), model).pixels
    coded = torch.load(stream)
    with lic_fast.backend("reference"), torch.no_grad():
        return decoded_unchecked(model, coded)[0].permute(1, 2, 0).numpy()


def decoded_unchecked(model: SliceCompressionModel, coded: dict[str, Any]) -> Tensor:
    """`decompress` of the original: nothing is compared and no end is looked for."""
    layout = StreamLayout.COMPRESSAI
    z_tables, _ = model.cdf_tables()
    shape = (model.entropy_bottleneck.channels, *coded["shape"])
    z = torch.from_numpy(decode_hyperlatent(coded["z"], shape, z_tables, layout))
    medians = model._medians()
    conditional = model.gaussian_conditional
    decoder = SliceDecoder(Unchecked(coded["y"], conditional), conditional.scale_table)
    return model.synthesis(model._latents(z[None] + medians, decoder).y_hat)


class Unchecked:
    """CompressAI's decoder, which reads on where a stream has ended."""

    def __init__(self, stream: bytes, conditional: Any) -> None:
        self._decoder = ans.RansDecoder()
        # Whatever lies behind the stream in memory; so that nothing else is read, zeros.
        self._decoder.set_stream(stream + bytes(1 << 20))
        tables = (conditional._quantized_cdf, conditional._cdf_length, conditional._offset)
        self._tables = [table.int().tolist() for table in tables]

    def decode(self, indexes: np.ndarray) -> np.ndarray:
        """Symbols in the order of the indexes."""
        symbols = self._decoder.decode_stream(indexes.ravel().tolist(), *self._tables)
        return np.array(symbols, np.int32).reshape(indexes.shape)


def picture() -> np.ndarray:
    """Of the bundled photograph."""
    path = Path(str(resources.files("lic_fast.cli") / "data" / "coffee.png"))
    return read_picture(path).pixels[64 : 64 + SIZE[0], 128 : 128 + SIZE[1]]


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def to_pixels(picture: np.ndarray) -> np.ndarray:
    """As uint8."""
    if picture.dtype == np.uint8:
        return picture
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    main()
