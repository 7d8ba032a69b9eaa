"""The example of docs/engine.md, as a reader would run it."""

import re
from pathlib import Path

import torch

import lic_fast

PAGE = Path(__file__).resolve().parents[2] / "docs/engine.md"


def test_a_new_activation_by_the_page_runs_as_a_program():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    net, engine = names["net"], lic_fast.engine
    x = torch.rand(2, 3, 40, 24)
    with torch.no_grad():
        assert engine.why_modules(net, x) is None
        expected, found = net(x), engine.run(net, x)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_page_names_what_there_is():
    root = PAGE.parents[1]
    for path in re.findall(r"`((?:csrc|engine|ops)/[\w/.]+)`", PAGE.read_text()):
        place = root / path if path.startswith("csrc") else root / "lic_fast" / path
        assert place.exists() or list(place.parent.glob(place.name + ".*")), path
