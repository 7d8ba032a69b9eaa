"""Freed memory is kept by the command line's own process, and by no other."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    "glibc" not in platform.libc_ver() or sys.platform != "linux", reason="another C library"
)

# Maps of 64 MiB come and go; printed is how many pages the second time asked the system for.
FAULTS = """
import resource
import numpy as np
{before}
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(16 << 20, np.float32).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fill()
print(fill())
"""
CODED = """
from tests.models.tiny import WACNN, pictures, tiny
net = tiny(WACNN)
net.decode(net.encode(pictures(WACNN)))
net(pictures(WACNN))
"""
KEPT = "from lic_fast.cli.memory import keep_freed_memory; assert keep_freed_memory()"


def faults(before, monkeypatch):
    # Other allocators and settings of this one are not what is tested.
    for name in ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_a_process_that_keeps_memory_fills_it_again(monkeypatch):
    assert faults(KEPT, monkeypatch) < 16


def test_the_library_leaves_its_hosts_allocator_alone(monkeypatch):
    """Memory of 64 MiB goes back to the system after a picture, as it does without lic_fast."""
    without = faults("", monkeypatch)
    assert without >= 32  # 4 KiB pages, or huge ones
    assert faults(CODED, monkeypatch) >= 32
