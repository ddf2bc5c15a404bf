"""One process has two heaps, however many threads come and go."""

from __future__ import annotations

import subprocess
import sys

_COUNT = """
import ctypes, sys, threading
from icloudfs.memory import share_heaps

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "shared":
    share_heaps()
gate = threading.Barrier(12)

def hold():
    libc.malloc(1000)
    gate.wait()

threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def _heaps(how: str) -> int:
    asked = subprocess.run(
        [sys.executable, "-c", _COUNT, how], capture_output=True, text=True, check=True
    )
    return asked.stdout.count("<heap ")


def test_threads_share_heaps() -> None:
    assert _heaps("as it is") > 2
    assert _heaps("shared") == 2
