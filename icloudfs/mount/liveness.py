"""Whether the daemon of a mount is there, asked by what the kernel cannot answer alone: the opening of a file.

Names and attributes it answers from memory for days, also for a daemon that is dead. And a program asks, not
a thread of ours: one that waits for a daemon that hangs stays in the mount, and keeps it from being unmounted.
"""

from __future__ import annotations

import enum
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from icloudfs.mount import special

PATIENCE = 5.0
"""Seconds for an answer, which comes from memory, on a machine that is busy."""

_AFTER_KILL = 1.0
"""Seconds in which a program that is killed is out of the mount. It takes a millisecond, unless the daemon was
stopped between taking its request and answering that."""

_DEAD = {errno.ENOTCONN, errno.ECONNABORTED}
"""What every call that reaches a dead daemon's mount is told, and nothing else is."""

_LONGEST = 4096

_ASK = f"""
import os, sys
try:
    file = os.open(sys.argv[1], os.O_RDONLY)
    os.write(1, os.read(file, {_LONGEST}))
except OSError as error:
    sys.exit(error.errno)
"""


class Life(enum.Enum):
    """What came of asking."""

    ANSWERS = "whatever the answer is"
    DEAD = "its daemon has ended"
    SILENT = "its daemon is stuck"


class Look(NamedTuple):
    """At one mount."""

    life: Life
    pid: int | None = None
    """Of the daemon, where it told."""


class _Daemon(msgspec.Struct):
    pid: int


async def look(place: Path) -> Look:
    """Ask the icloudfs mount at ``place`` (absolute) for a sign of life. Nothing of ours is in it afterwards,
    but for a program that was killed, if it is stuck beyond that."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", "-c", _ASK, str(place / os.fsdecode(special.DAEMON))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path("/"),
    )
    assert process.stdout is not None
    try:
        async with process.stdout:
            with trio.move_on_after(PATIENCE):
                told = await _all(process.stdout)
                code = await process.wait()
                return Look(Life.DEAD if code in _DEAD else Life.ANSWERS, _pid(told))
    finally:
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(_AFTER_KILL, shield=True):
                await process.wait()
    return Look(Life.SILENT)


async def _all(stream: trio.abc.ReceiveStream) -> bytes:
    told = b""
    while part := await stream.receive_some(_LONGEST):
        told += part
    return told


def _pid(told: bytes) -> int | None:
    try:
        return msgspec.json.decode(told, type=_Daemon).pid
    except msgspec.MsgspecError:
        return None
