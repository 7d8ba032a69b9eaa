"""One machine: encodes the latents that all are given, and decodes what the first one wrote.

    python -m tests.portability.worker CONFIGURATION JOBS STREAMS RESULTS

JOBS holds for every model a file ``NAME.json``: the model's file, the latents' file, the
layouts. Without STREAMS, "-", the process decodes its own streams: it is the first one.
For every model RESULTS gets ``NAME.npz``, or ``NAME.txt`` with the exception.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lic_fast
from lic_fast.entropy import LatentStreams
from lic_fast.entropy.coding import SliceDecoder, SliceEncoder
from lic_fast.errors import LicFastError
from lic_fast.models import base
from lic_fast.runtime.coding import encode_messages, hyperlatent_message
from lic_fast.stream_layout import StreamLayout
from tests.portability.configurations import BASE, CONFIGURATIONS, Configuration
from tests.portability.interpreted import check_that_all_were_launched, launch_on_the_cpu
from tests.portability.trace import traced


class Recorder(SliceDecoder):
    """The decoder of the models, which keeps what the entropy path gave it."""

    last: Recorder

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.indexes: list[np.ndarray] = []
        read = self._reader.decode

        def decode(indexes: np.ndarray) -> np.ndarray:
            self.indexes.append(indexes.copy())
            return read(indexes)

        self._reader = _Reader(decode)
        Recorder.last = self

    def checksum(self, z_symbols: np.ndarray) -> int:
        """And the hyperlatents."""
        self.z_symbols = z_symbols
        return super().checksum(z_symbols)


class _Reader:
    """Of :class:`Recorder`: the one that it was given belongs to the model."""

    def __init__(self, decode: Any) -> None:
        self.decode = decode


@torch.no_grad()
def encoded(model: Any, y: torch.Tensor, z: np.ndarray, layout: StreamLayout) -> LatentStreams:
    """What the models' ``encode`` does with latents."""
    z_tables, y_tables = model.cdf_tables()
    encoder = SliceEncoder(y, model.gaussian_conditional.scale_table)
    medians = model._medians()
    model._latents(torch.from_numpy(z)[None].to(medians) + medians, encoder)
    return LatentStreams(
        encode_messages([encoder.message], y_tables, layout),
        encode_messages([hyperlatent_message(z)], z_tables, layout),
        z.shape[1:],
        [encoder.checksum(z)],
        layout,
    )


def decoded(model: Any, streams: LatentStreams) -> dict[str, np.ndarray]:
    """All that ``decode`` arrives at."""
    latents = model._latents
    seen: list[torch.Tensor] = []

    def watched(*arguments: Any) -> Any:
        out = latents(*arguments)
        seen.append(out.y_hat)
        return out

    model._latents = watched
    x_hat = model.decode(streams)
    del model._latents
    recorder = Recorder.last
    return {
        "z_symbols": recorder.z_symbols.astype(np.int32),
        "y_symbols": np.concatenate([s.ravel() for s in recorder.symbols]).astype(np.int32),
        "indexes": np.concatenate([i.ravel() for i in recorder.indexes]).astype(np.int32),
        "y_hat": seen[0].cpu().contiguous().numpy(),
        "picture": x_hat.cpu().contiguous().numpy(),
    }


def run(
    job: dict[str, Any], configuration: Configuration, streams: Path | None
) -> dict[str, np.ndarray]:
    """The results for one model."""
    model = lic_fast.load(job["model"], configuration.device)
    assert model.portable
    model.precision = configuration.precision  # type: ignore[assignment]
    latents = np.load(job["latents"])
    y = torch.from_numpy(latents["y"]).to(configuration.device)
    found = {}
    for name in job["layouts"]:
        layout = StreamLayout.of(name)
        own, layers = None, {}
        if not configuration.interpreted:
            own = encoded(model, y, latents["z"], layout)
        if configuration.interpreted or (job["traced"] and layout is StreamLayout.LANES):
            with traced(model) as layers:
                one_by_one = encoded(model, y, latents["z"], layout)
            # In the interpreter layers never run as chains: one run does for both.
            own = own or one_by_one
            layers["layers one by one, y_stream"] = np.frombuffer(one_by_one.y[0], np.uint8)
        written = {
            "y_stream": np.frombuffer(own.y[0], np.uint8),
            "z_stream": np.frombuffer(own.z[0], np.uint8),
            "checksum": np.array(own.checksums, np.uint32),
        }
        first = written
        if streams is not None:
            with np.load(streams / f"{job['name']}.npz") as arrays:
                first = {entry: arrays[f"{name} {entry}"] for entry in written}
        given = LatentStreams(
            [first["y_stream"].tobytes()],
            [first["z_stream"].tobytes()],
            own.shape,
            [int(first["checksum"][0])],
            layout,
        )
        entries = layers | written
        try:
            entries |= decoded(model, given)
        except LicFastError as error:  # beside it, the layers say where it went wrong
            entries[f"{type(error).__name__}: {error}"] = np.zeros(0)
        found |= {f"{name} {entry}": values for entry, values in entries.items()}
    return found


def main() -> None:
    """See the module."""
    name, jobs, streams, results = sys.argv[1:]
    configuration = next(c for c in (BASE, *CONFIGURATIONS) if c.name == name)
    torch.set_num_threads(configuration.threads)
    if configuration.aten == "default":
        assert torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    if configuration.interpreted:
        launch_on_the_cpu()
    base.SliceDecoder = Recorder  # type: ignore[misc]
    before = None if streams == "-" else Path(streams)
    for path in sorted(Path(jobs).glob("*.json")):
        job = json.loads(path.read_text())
        if configuration.interpreted and not job["tiny"]:
            continue
        started = time.perf_counter()
        try:
            with lic_fast.backend(configuration.backend):  # type: ignore[arg-type]
                found = run(job, configuration, before)
        except Exception:
            (Path(results) / f"{job['name']}.txt").write_text(traceback.format_exc())
        else:
            np.savez(Path(results) / f"{job['name']}.npz", **found)  # type: ignore[arg-type]
            if configuration.interpreted:
                check_that_all_were_launched()
        print(f"{job['name']} {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
