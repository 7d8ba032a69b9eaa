import os
import subprocess
import sys

import pytest

from lic_fast import runtime

PRINT = "from lic_fast import runtime; print(runtime.threads())"


def printed(code, **environment):
    given = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**given, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.fixture
def _restored():
    before = runtime.threads()
    yield
    runtime.set_threads(before)


@pytest.mark.usefixtures("_restored")
def test_what_was_set_is_taken():
    for n in (1, 7):
        runtime.set_threads(n)
        assert runtime.threads() == n


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True, None])
@pytest.mark.usefixtures("_restored")
def test_what_is_no_number_of_threads(n):
    before = runtime.threads()
    with pytest.raises(ValueError, match="a whole number from 1 up"):
        runtime.set_threads(n)
    assert runtime.threads() == before


@pytest.mark.parametrize(("text", "n"), [("3", 3), ("5,2", 5), (" 4 ", 4)])
def test_the_environment_is_read(text, n):
    assert printed(PRINT, OMP_NUM_THREADS=text) == n


@pytest.mark.parametrize("text", ["", "0", "many", "-2"])
def test_without_it_there_is_one_for_each_core(text):
    assert 1 <= printed(PRINT, OMP_NUM_THREADS=text) <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_are_those_that_the_process_may_use():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + PRINT
    assert printed(code) == 1
