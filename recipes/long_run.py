r"""A training run that goes on in the background for days, whatever happens to the checkout.

python recipes/long_run.py start runs/nano --photos PHOTOS --validate FOLDER ...
python recipes/long_run.py resume runs/nano
python recipes/long_run.py report runs/nano -o benchmarks/results/training.md

`start` installs this checkout into an environment of its own, runs/nano/env, and trains
recipes/wacnn-nano.toml (or --recipe) there by one thread at low priority (nice 10). `resume`
goes on from the last checkpoint with that same installation; `update` gives the run the checkout
as it is now. `pause` and `continue` stop the process while something is measured. `report` says
where the run is: steps, loss, and the validation's rate and quality at each anchor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from lic_fast.training.log import read_log, read_validation

CHECKOUT = Path(__file__).resolve().parents[1]
NICE = 10
_SPEED = "steps_per_second"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "resume", "update", "pause", "continue", "report"):
        command = commands.add_parser(name)
        command.add_argument("run", type=Path, help="the run's folder")
        if name == "start":
            command.add_argument("--photos", nargs="+", required=True, type=Path)
            command.add_argument("--validate", nargs="+", default=[], type=Path)
            command.add_argument(
                "--recipe", type=Path, default=CHECKOUT / "recipes/wacnn-nano.toml"
            )
            command.add_argument("--from", dest="start", type=Path, help="a checkpoint")
            command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
        if name in ("start", "resume"):
            command.add_argument("--threads", type=int, default=1)
        if name == "report":
            command.add_argument("-o", "--out", type=Path, help="a file instead of the screen")
    options = parser.parse_args(arguments)
    run: Path = options.run.absolute()
    if options.command == "start":
        if (run / "checkpoint.pt").exists():
            raise SystemExit(f"{run} holds a run already: resume it, or name another folder")
        install(run)
        more = ["--recipe", options.recipe.absolute(), *(p.absolute() for p in options.photos)]
        if options.start is not None:
            more += ["--from", options.start.absolute()]
        for folder in options.validate:
            more += ["--validate", folder.absolute()]
        for change in options.set:
            more += ["--set", change]
        launch(run, options.threads, more)
    elif options.command == "resume":
        launch(run, options.threads, ["--resume"])
    elif options.command == "update":
        install(run)
    elif options.command == "report":
        text = report(run)
        if options.out is None:
            print(text)
        else:
            options.out.write_text(text)
    else:
        send(run, signal.SIGSTOP if options.command == "pause" else signal.SIGCONT)


def install(run: Path) -> None:
    """Puts the checkout into the run's own environment, which later changes do not reach."""
    if process(run) is not None:
        raise SystemExit(f"{run}: the run is going; end it first (kill {process(run)})")
    python = run / "env/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", run / "env"], check=True)
    pip = [python, "-m", "pip", "install", "-q", "-c", CHECKOUT / "constraints.txt"]
    subprocess.run([*pip, f"{CHECKOUT}[train]"], check=True)
    # The same version again is not the same code.
    subprocess.run([*pip, "--no-deps", "--force-reinstall", CHECKOUT], check=True)


def launch(run: Path, threads: int, more: Sequence[str | Path]) -> None:
    """Trains in the background."""
    if process(run) is not None:
        raise SystemExit(f"{run}: the run is going already, as process {process(run)}")
    command = ["nice", "-n", str(NICE), run / "env/bin/python", "-m", "lic_fast", "train"]
    command += ["-o", run, "--device", "cpu", "--threads", str(threads), *more]
    with (run / "output.txt").open("ab") as output:
        started = subprocess.Popen(
            command,
            cwd=run,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Linux weighs sessions, not processes, where it groups them (man 7 sched, "autogroup").
    with suppress(OSError):
        Path(f"/proc/{started.pid}/autogroup").write_text(str(NICE))
    (run / "process.json").write_text(json.dumps({"pid": started.pid}) + "\n")
    print(f"process {started.pid}; its words go to {run / 'output.txt'}")


def process(run: Path) -> int | None:
    """The number of the run's process, None if it has ended."""
    try:
        pid = int(json.loads((run / "process.json").read_text())["pid"])
        os.kill(pid, 0)
        words = Path(f"/proc/{pid}/cmdline")
        # Numbers come again.
        known = not words.exists() or os.fsencode(run) in words.read_bytes()
    except (OSError, ValueError, KeyError):
        return None
    return pid if known else None


def send(run: Path, wanted: signal.Signals) -> None:
    """Sends a signal to the run's process."""
    pid = process(run)
    if pid is None:
        raise SystemExit(f"{run}: no process is going")
    os.kill(pid, wanted)


def report(run: Path) -> str:
    """Where the run is, in Markdown."""
    rows = [row for row in read_log(run) if "loss" in row]
    if not rows:
        return f"# {run.name}\n\nNothing is logged yet.\n"
    last = rows[-1]
    # A run that was resumed at its end has made no step since.
    speed = next((row[_SPEED] for row in reversed(rows) if _SPEED in row), math.nan)
    lines = [
        f"# Training run {run.name}",
        "",
        f"{last['step']:.0f} steps in {last['minutes'] / 60:.1f} hours, "
        f"{speed:.2f} steps/s at the end, {last['skipped']:.0f} skipped. "
        "Written by `python recipes/long_run.py report`.",
        "",
        "Training crops, means over each tenth of the log; the loss is the recipe's, bpp and PSNR "
        "are over all anchors.",
        "",
        "| steps | hours | loss | bpp | PSNR |",
        "|---|---|---|---|---|",
    ]
    for group in _tenths(rows):
        loss, bpp, mse = (
            sum(row[name] for row in group) / len(group) for name in ("loss", "bpp", "distortion")
        )
        end = group[-1]
        psnr = -10 * math.log10(max(mse, 1e-12))
        lines.append(
            f"| {end['step']:.0f} | {end['minutes'] / 60:.1f} | {loss:.4f} | {bpp:.3f} "
            f"| {psnr:.2f} dB |"
        )
    return "\n".join([*lines, *_validations(run), ""])


def _tenths(rows: list[dict[str, float]]) -> list[list[dict[str, float]]]:
    size = max(1, math.ceil(len(rows) / 10))
    return [rows[i : i + size] for i in range(0, len(rows), size)]


Curve = list[tuple[float, float, float]]
"""Quality, bits per pixel and PSNR in dB, by rising quality."""


def _validations(run: Path) -> list[str]:
    curves: dict[str, dict[int, Curve]] = {}
    for row in read_validation(run):
        quality = float(row["quality"] or "nan")
        point = quality, float(row["bpp"]), float(row["psnr"])
        curves.setdefault(row["group"], {}).setdefault(int(row["step"]), []).append(point)
    lines = []
    for group, by_step in curves.items():
        steps = sorted(by_step)
        newest = by_step[steps[-1]]
        heading = " | ".join(_title(quality) for quality, _, _ in newest)
        lines += [
            "",
            f"Validation on {group}, real streams of the averaged weights: bpp and dB. The last "
            "column is the rate at equal PSNR over that of the newest weights, where both curves "
            "have it.",
            "",
            f"| steps | {heading} | rate |",
            "|---|" + "---|" * (len(newest) + 1),
        ]
        for step in steps:
            cells = " | ".join(f"{bpp:.3f}, {psnr:.2f}" for _, bpp, psnr in by_step[step])
            rate = _relative_rate(by_step[step], newest)
            lines.append(f"| {step} | {cells} | {'-' if math.isnan(rate) else f'{rate:.3f}'} |")
    return lines


def _title(quality: float) -> str:
    """Of a column; NaN stands for the rate of a model without gains."""
    return "bpp, dB" if math.isnan(quality) else f"quality {quality:.4g}"


def _relative_rate(curve: Curve, other: Curve) -> float:
    """The geometric mean of the rates of `curve` over those of `other` at the PSNRs of `other`."""
    logarithms = [
        math.log(rate / bpp)
        for _, bpp, psnr in other
        if math.isfinite(rate := _rate_at(curve, psnr)) and bpp > 0
    ]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else math.nan


def _rate_at(curve: Curve, psnr: float) -> float:
    """Log-linear between the curve's points; NaN beyond them."""
    for (_, low_rate, low), (_, high_rate, high) in pairwise(curve):
        if low <= psnr <= high and low_rate > 0 and high_rate > 0:
            part = (psnr - low) / (high - low) if high > low else 0.0
            return math.exp((1 - part) * math.log(low_rate) + part * math.log(high_rate))
    return math.nan


if __name__ == "__main__":
    main()
