"""What ``/proc`` tells of who asks: a request tells the thread, not the process.

Names are the first 15 bytes of what somebody chose. Anything here raises OSError if the thread is gone, or
lives where it cannot be seen from here.
"""

from __future__ import annotations

import os

_UP_TO = 4096
"""Bytes of a file that are read."""


def thread_name(thread: int) -> bytes:
    return _read(thread, "comm").rstrip(b"\n")


def process_name(thread: int) -> bytes:
    """Of the process that a thread belongs to: pools give their threads names of their own."""
    status = _read(thread, "status")
    process = status.partition(b"\nTgid:")[2].partition(b"\n")[0]
    return thread_name(int(process)) if process else b""


def groups(thread: int) -> list[int]:
    """The groups it is in beside its own. pyfuse3 reads that file as text, which a name in it need not be."""
    with open(f"/proc/{thread}/status", "rb") as status:  # noqa: PTH123 (as below)
        _, _, rest = status.read().partition(b"\nGroups:")
    return [int(number) for number in rest.partition(b"\n")[0].split()]


def arguments(thread: int) -> list[bytes]:
    """What its process was started with. It is in the process's own memory: if that is busy, this waits."""
    return _read(thread, "cmdline").split(b"\0")


def _read(thread: int, file: str) -> bytes:
    # Every opening of a folder asks: pathlib takes ten times as long.
    descriptor = os.open(f"/proc/{thread}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _UP_TO)
    finally:
        os.close(descriptor)
