"""A process forks while another of its threads is in a coder: the child can use that coder."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork with")

# A thread is in one long call. The main thread forks in the midst of it, as it is refused before
# and after; what the child does with the coder is printed.
PROGRAM = """
import os, sys, threading, warnings
import numpy as np
from lic_fast import rans
from lic_fast.ans import BufferedRansEncoder, CdfTables, RansDecoder, RansEncoder

warnings.simplefilter("ignore")  # of Python, that threads and forks do not go together
tables = CdfTables([[0, 20000, 40000, 65000, 65536], [0, 300, 65536]], [5, 3], [-1, 0])
rng = np.random.default_rng(0)
n = 6_000_000
long = rng.integers(-3, 4, n).astype(np.int16), rng.integers(0, 2, n).astype(np.uint8)
few = long[0][:9], long[1][:9]
kind = sys.argv[1]

def attempt(call):
    try:
        return repr(call())
    except (RuntimeError, ValueError) as error:
        return str(error)

if kind == "Encoder":
    coder = rans.Encoder(tables, threads=1)
    begin = lambda: None
    work = lambda: coder.encode([long])
    probe = lambda: coder.encode([few])
    expected = [repr(rans.Encoder(tables, threads=1).encode([few]))]
    child = [probe]
elif kind == "Decoder":
    coder = rans.Decoder(tables, threads=1)
    streams = [rans.Encoder(tables, threads=1).encode([m]) for m in (long, few)]
    work = lambda: coder.decode(long[1])
    begin = lambda: coder.start(streams[0])
    probe = lambda: coder.decode(few[1])
    lost = "this Decoder was in use when the process was forked: what it held is lost, "
    expected = [lost + "and it is empty now", "None", repr(few[0].astype(np.int32))]
    child = [probe, lambda: coder.start(streams[1]), probe]
elif kind == "BufferedRansEncoder":
    coder = BufferedRansEncoder()
    begin = coder.flush
    work = lambda: coder.encode_with_indexes(*long, tables)
    probe = lambda: coder.encode_with_indexes(*few, tables)
    lost = "this BufferedRansEncoder was in use when the process was forked: what it held is lost, "
    expected = [lost + "and it is empty now", "None",
                repr(RansEncoder().encode_with_indexes(*few, tables))]
    child = [coder.flush, probe, coder.flush]
else:
    coder = RansDecoder()
    streams = [RansEncoder().encode_with_indexes(*m, tables) for m in (long, few)]
    work = lambda: coder.decode_stream(long[1], tables)
    begin = lambda: coder.set_stream(streams[0])
    probe = lambda: coder.decode_stream(few[1], tables)
    lost = "this RansDecoder was in use when the process was forked: what it held is lost, "
    expected = [lost + "and it is empty now", "None", repr(few[0].astype(np.int32))]
    child = [probe, lambda: coder.set_stream(streams[1]), probe]

def busy():
    return "in use by another thread" in attempt(probe)

for _ in range(200):
    begin()
    thread = threading.Thread(target=attempt, args=[work])
    thread.start()
    while thread.is_alive() and not busy():
        pass
    process = os.fork()
    if process == 0:
        found = [attempt(call) for call in child]
        print(found, expected, file=sys.stderr, flush=True)
        os._exit(found != expected)
    amidst = busy()
    status = os.waitpid(process, 0)[1]
    thread.join()
    if amidst:
        print(status)
        break
"""


@pytest.mark.parametrize("kind", ["Encoder", "Decoder", "BufferedRansEncoder", "RansDecoder"])
def test_a_child_can_use_what_a_thread_of_its_parent_was_using(kind):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0", done.stderr
