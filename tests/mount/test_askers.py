"""Who asks may be called anything: a process chooses its name itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icloudfs.mount import askers
from icloudfs.mount.browsers import browser

_CALLED = """
import sys
open("/proc/self/comm", "wb").write(bytes.fromhex(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"a\nTgid:\t1\nGroups:\t7", b"\xe2\x80\xa8", b"\\n) R"]
)
def test_a_process_of_any_name(name: bytes) -> None:
    words = [sys.executable, "-c", _CALLED, name.hex()]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, extra_groups=[7, 1234]) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        try:
            assert askers.thread_name(process.pid) == name[:15].rstrip(b"\n")
            assert askers.process_name(process.pid) == name[:15].rstrip(b"\n")
            assert askers.groups(process.pid) == [7, 1234]
            assert browser(process.pid) is None
        finally:
            process.stdin.close()


def test_one_that_is_gone() -> None:
    with pytest.raises(OSError):
        askers.groups(2**22 + 1)
    assert askers.groups(os.getpid()) == sorted(os.getgroups())
