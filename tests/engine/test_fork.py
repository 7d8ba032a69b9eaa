"""A process forks while its threads run programs for the first time: parent and child go on."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork with")

# Threads build and run networks, so that most forks find some thread in the midst of packing
# weights, planning or computing. A child runs what they were at, by which it would wait for them
# for ever if a lock of theirs had come along, and what has been run before.
PROGRAM = """
import os, sys, threading, time, warnings
import numpy as np
from lic_fast import _C

warnings.simplefilter("ignore")  # of Python, that threads and forks do not go together
FORKS, SECONDS = 50, 600

def numbers(*shape):
    return (np.random.default_rng(0).standard_normal(shape) * 0.05).astype(np.float32)

WIDE, HEAD, NARROW = numbers(96, 96, 3, 3), numbers(288, 96), numbers(3, 96, 3, 3)
FIRST, TABLE, PAD = numbers(96, 3, 3, 3), numbers(49, 3), numbers(288)
IMAGE = np.random.default_rng(1).integers(0, 256, (1, 48, 40, 3), dtype=np.uint8)
BYTES = np.random.default_rng(2).integers(0, 128, (1, 40, 40, 64), dtype=np.uint8)
INT8 = np.random.default_rng(3).integers(-9, 9, (64, 64, 3, 3), dtype=np.int8)

def floats():
    builder = _C.ProgramBuilder(False)
    x = builder.conv2d(builder.pixels(), FIRST, None, 1, 1)
    x = builder.conv2d(x, WIDE, None, 1, 1, "gelu", x)
    a = builder.window_attention(builder.linear(x, HEAD), TABLE, PAD, 4, 2, 0.2, -100.0)
    x = builder.conv2d(builder.linear(a, WIDE[..., 0, 0].copy(), None, "none", x), NARROW, None,
                       1, 1)
    return builder.build([builder.unary(x, "sigmoid")], pixels=True)

def integers():
    ones = np.full(64, 0.01, np.float32)
    border = [np.zeros(64, np.uint8)]
    return _C.IntegerLayer(INT8, np.zeros(64, np.int32), ones, border, 1, 1, "none", None)

def result(network):
    if isinstance(network, _C.IntegerLayer):
        return network.run([BYTES], None, 2).tobytes()
    out = np.zeros_like(IMAGE)
    assert network.run([IMAGE], [out], 2)
    return out.tobytes()

old = [floats(), integers()]
expected = [result(network) for network in old]
current, runs, wrong, stop = list(old), [0, 0], [], threading.Event()

def work(i):
    while not stop.is_set():
        current[i] = floats() if i == 0 else integers()  # seen by a child before it has run
        if result(current[i]) != expected[i]:
            wrong.append(i)
        runs[i] += 1

def in_time(process):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return "hangs"

threads = [threading.Thread(target=work, args=[i]) for i in range(2)]
for thread in threads:
    thread.start()
codes = []
for fork in range(FORKS):
    time.sleep(0.002 * (fork % 7))
    process = os.fork()
    if process == 0:
        code = 1
        try:
            # Both, the one of which is older than the fork, and one of the child's own.
            for some in (current, old, [floats(), integers()]):
                assert [result(network) for network in some] == expected
            code = 0
        finally:
            os._exit(code)
    codes.append(in_time(process))
    if codes[-1] != 0:
        break
before = list(runs)
while any(now == then for now, then in zip(runs, before)) and all(t.is_alive() for t in threads):
    time.sleep(0.01)  # the parent goes on
stop.set()
for thread in threads:
    thread.join()
print(codes, wrong)
"""


def test_threads_run_programs_while_the_process_forks():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=1200
    )
    assert done.stdout.strip() == f"{[0] * 50} []", done.stderr
