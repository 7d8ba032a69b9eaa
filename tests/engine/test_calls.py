"""How much of an encode and of a decode is Python of ours: few calls, whatever the machine."""

import sys
from pathlib import Path

import pytest
import torch

import lic_fast

PACKAGE = str(Path(lic_fast.__file__).parent)
MOST = 300


def calls_of(function):
    """Calls of the package's Python functions, by file and name."""
    names = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            names.append(f"{frame.f_code.co_filename}: {frame.f_code.co_qualname}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return names


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_a_portable_model_makes_few_calls(direction):
    model = lic_fast.zoo.load()
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    streams = model.encode(picture)
    model.decode(streams)  # programs are made by now
    once = {"encode": lambda: model.encode(picture), "decode": lambda: model.decode(streams)}
    names = calls_of(once[direction])
    assert any("entropy" in name for name in names)
    assert len(names) <= MOST
