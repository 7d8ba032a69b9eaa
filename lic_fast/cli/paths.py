"""Which files a command reads, and where it writes: decided before any work begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lic_fast.cli.text import display
from lic_fast.errors import LicFastError

__all__ = [
    "Inputs",
    "Job",
    "PlanError",
    "Sifted",
    "Source",
    "blocked",
    "collect",
    "collect_pictures",
    "plan",
    "sift",
]


class PlanError(Exception):
    """The arguments ask for something that would lose a file, or make no sense."""


@dataclass(frozen=True)
class Source:
    """One file to read.

    Attributes:
        path: The file.
        relative: Its place under the folder it was found in, or its bare name if it
            was named itself. Output folders keep this structure.
    """

    path: Path
    relative: Path


@dataclass(frozen=True)
class Job:
    """One file to read, and the file to write for it.

    Attributes:
        source: The file to read.
        target: The file to write.
        overwrite: Whether `target` may be replaced.
    """

    source: Path
    target: Path
    overwrite: bool = False


@dataclass
class Sifted:
    """Jobs, told apart by what is at the names that they would write to.

    Attributes:
        todo: Those to do.
        skipped: Those whose output is there and whole.
        problems: Inputs whose output cannot be written, each with the reason.
    """

    todo: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)


@dataclass
class Inputs:
    """What the paths on the command line stand for.

    Attributes:
        sources: The files, in the order of the arguments, folders sorted by name.
        problems: Paths that are not there or hold nothing to do, each with the reason.
        single: Whether one path was given and it is no folder.
    """

    sources: list[Source] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    single: bool = False


def collect_pictures(paths: Sequence[Path]) -> Inputs:
    """Lists the pictures that `paths` stand for, of any format that is read here."""
    suffixes: tuple[str, ...] = ()
    if any(os.path.isdir(path) for path in paths):
        # Asks Pillow, for whose plug-ins neither `--help` nor a single file is to wait.
        from lic_fast.codec.formats import picture_suffixes

        suffixes = picture_suffixes()
    return collect(paths, suffixes, "pictures")


def collect(paths: Sequence[Path], suffixes: Iterable[str], kind: str) -> Inputs:
    """Lists the files that `paths` stand for.

    A file stands for itself, whatever its suffix. A folder stands for the files below
    it whose suffix is in `suffixes` (lower case, with the dot; compared without regard
    to case), links to folders not followed, hidden files and folders left out. A file
    reached twice counts once.

    Args:
        paths: Files and folders.
        suffixes: What to take from a folder, such as ``.png``.
        kind: What such files are called in messages, such as "pictures".
    """
    wanted = frozenset(suffixes)
    inputs = Inputs(single=len(paths) == 1 and not os.path.isdir(paths[0]))
    seen: set[str] = set()
    for path in paths:
        # os.path, because Path.is_dir raises where a parent folder may not be searched.
        folder = os.path.isdir(path)
        before = len(inputs.problems)
        found = _walk(path, wanted, inputs.problems) if folder else [path]
        if not found and len(inputs.problems) == before:
            inputs.problems.append((path, f"this folder holds no {kind}"))
        for file in found:
            key = os.path.abspath(file)
            if key in seen:
                continue
            seen.add(key)
            if not os.path.lexists(file):
                inputs.problems.append((file, "no such file or folder"))
                continue
            if not os.path.isfile(file):
                inputs.problems.append((file, "no regular file"))
                continue
            relative = file.relative_to(path) if folder else Path(file.name)
            inputs.sources.append(Source(file, relative))
    return inputs


def _walk(folder: Path, wanted: frozenset[str], problems: list[tuple[Path, str]]) -> list[Path]:
    def unreadable(error: OSError) -> None:
        reason = error.strerror or "cannot be listed"
        problems.append((Path(error.filename or folder), reason))

    found = []
    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name)
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in wanted
        ]
    return found


def plan(
    inputs: Inputs,
    out: str | None,
    suffix: str,
    *,
    keep_suffix: bool = False,
    wrong_name: Callable[[Path], str | None] | None = None,
) -> list[Job]:
    """Names the output of every input, each its own.

    Args:
        inputs: From :func:`collect`.
        out: A file, for a single input file, unless it is a folder that exists or ends
            in a separator; a folder otherwise. None writes beside each input.
        suffix: Of the outputs, with the dot.
        keep_suffix: Append `suffix` to the input's whole name instead of replacing the
            input's own suffix.
        wrong_name: Says what is wrong with an output file's name, or None; asked only
            when `out` is a file.

    Raises:
        PlanError: Two inputs have the same output, an output is itself an input, `out`
            is a file although there are several inputs, or `wrong_name` rejects it.
    """
    jobs = []
    as_file = out is not None and inputs.single and not _means_folder(out)
    if out == "-":
        raise PlanError("-o -: standard output is not supported; name a file or a folder")
    if out is not None and not as_file and os.path.lexists(out) and not os.path.isdir(out):
        raise PlanError(f"-o {display(out)} is a file; several inputs need a folder")
    for source in inputs.sources:
        if out is not None and as_file:
            target = Path(out)
            wrong = wrong_name(target) if wrong_name is not None else None
            if wrong is not None:
                raise PlanError(f"-o {display(out)}: {wrong}")
        else:
            name = _output_name(source.path.name, suffix, keep_suffix)
            folder = source.path.parent if out is None else Path(out) / source.relative.parent
            target = folder / name
        jobs.append(Job(source.path, target))
    _refuse_collisions(jobs)
    return jobs


def sift(
    jobs: Iterable[Job], *, overwrite: bool = False, is_whole: Callable[[Path], bool] | None = None
) -> Sifted:
    """Looks at the outputs of jobs before any work is done for them.

    Args:
        jobs: From :func:`plan`.
        overwrite: Whether existing files may be replaced.
        is_whole: Whether an existing output is whole, for jobs with such outputs to be
            skipped and those with others to be done again; it raises an error for
            a file of another kind. None for existing outputs to be an obstacle.
    """
    found = Sifted()
    for job in jobs:
        target = job.target
        again = False
        if is_whole is not None and os.path.isfile(target):
            try:
                if is_whole(target):
                    found.skipped.append(job)
                    continue
            except (LicFastError, OSError) as problem:
                reason = f"{display(target)} exists already and is no output to skip: "
                found.problems.append((job.source, reason + _reason(problem, target)))
                continue
            again = True
        fault = blocked(target, overwrite or again)
        if fault is None:
            found.todo.append(replace(job, overwrite=overwrite or again))
        else:
            found.problems.append((job.source, fault))
    return found


def blocked(target: Path, overwrite: bool) -> str | None:
    """Why a file cannot be written to a name, so far as can be seen before; None if it can."""
    from lic_fast.codec.files import obstacle

    fault = obstacle(target, overwrite=overwrite)
    if fault is None:
        return None
    replaceable = os.path.isfile(target) or os.path.islink(target)
    way_out = "; --overwrite replaces it" if replaceable and not overwrite else ""
    return display(str(fault)) + way_out


def _reason(problem: Exception, path: Path) -> str:
    words = problem.strerror if isinstance(problem, OSError) else None
    return display(words or str(problem)).removeprefix(f"{display(path)}: ")


def _means_folder(out: str) -> bool:
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return out.endswith(separators) or os.path.isdir(out)


def _output_name(name: str, suffix: str, keep_suffix: bool) -> str:
    return (name if keep_suffix else Path(name).stem) + suffix


def _identity(path: Path) -> str:
    """The same for two names of one file, so far as names tell."""
    key = os.path.join(os.path.realpath(path.parent), path.name)
    # The usual file systems there do not tell a.lic from A.lic.
    return key.casefold() if sys.platform in ("darwin", "win32") else key


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {_identity(job.source): job.source for job in jobs}
    by_target: dict[str, list[Job]] = {}
    for job in jobs:
        by_target.setdefault(_identity(job.target), []).append(job)
    for key, same in by_target.items():
        target = display(same[0].target)
        if len(same) > 1:
            names = ", ".join(display(job.source) for job in same)
            raise PlanError(
                f"{len(same)} inputs would be written to {target}: {names}. "
                "Nothing has been done; --keep-suffix names each output after its input's "
                "whole name, or give them in separate calls with different folders after -o"
            )
        if key in sources:
            raise PlanError(f"the output {target} is itself an input; name another with -o")
