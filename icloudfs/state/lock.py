"""One writer an account: the lock file beside the database.

The lock is the kernel's, so it ends with the process however that ends; the text in the file only tells
others who holds it. It belongs to an open file description (``F_OFD_SETLK``, fcntl(2)): unlike that of
``flock`` it can be looked at without being taken, so whoever only looks is in no writer's way.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from icloudfs import ours
from icloudfs.apple.session import stem
from icloudfs.errors import AlreadyRunning

_FLOCK = "hhqqi0q"
"""``struct flock``: type, whence, start, length, process."""

_LONGEST = 8192
"""Bytes of the text: a path has up to 4096."""

_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class Daemon(NamedTuple):
    """Who holds a lock to serve a folder."""

    folder: Path
    pid: int


def lock_path(cookie_directory: Path, account: str) -> Path:
    return cookie_directory / f"{stem(account)}.lock"


class WriterLock:
    """Held by the daemon or a one-shot sync for as long as it lives. A context manager."""

    def __init__(self, cookie_directory: Path, account: str, purpose: str) -> None:
        self._path = lock_path(cookie_directory, account)
        self._account = account
        self._purpose = purpose
        self._fd = -1

    def __enter__(self) -> WriterLock:
        """Take the lock. Raises AlreadyRunning, naming the holder, if somebody has it."""
        ours.make_directory(self._path.parent)
        self._fd = ours.open_file(self._path, os.O_RDWR)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except BlockingIOError:
            holder = _text(self._fd)
            os.close(self._fd)
            raise AlreadyRunning(
                f"icloudfs is already running for {self._account}"
                + (f" ({holder})." if holder else "."),
                hint=_way_out(holder),
            ) from None
        self._write(f"{self._purpose}, process {os.getpid()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write("")
        os.close(self._fd)

    def _write(self, text: str) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, os.fsencode(text), 0)


def holder(cookie_directory: Path, account: str) -> str | None:
    """Who holds the lock, or None if nobody does. Never waits, and never takes it."""
    return _holder(lock_path(cookie_directory, account))


def mounted_on(folder: Path) -> str:
    """The purpose of one who serves ``folder``."""
    return f"mounted on {folder}"


def daemon(holder: str) -> Daemon | None:
    """What ``holder`` tells of one who serves a folder; None for one who does something else."""
    told = re.fullmatch(r"mounted on (.+), process ([0-9]+)", holder, re.DOTALL)
    return None if told is None else Daemon(Path(told[1]), int(told[2]))


def daemons(cookie_directory: Path) -> Iterator[Daemon]:
    """Who holds the lock of any account there to serve a folder, and can be seen from here."""
    for path in cookie_directory.glob("*.lock"):
        found = daemon(_holder(path) or "")
        if found is not None and _has_open(found.pid, path):
            yield found


def _way_out(holder: str) -> str:
    """What to do where ``holder`` has the lock."""
    served = daemon(holder)
    if served is None:
        return "Wait until it is done, or stop it."
    return f"Use that one, or end it first: icloudfs unmount {shlex.quote(str(served.folder))}"


def _holder(path: Path) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        in_the_way = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        if struct.unpack(_FLOCK, in_the_way)[0] == fcntl.F_UNLCK:
            return None
        return _text(fd) or "another process"
    finally:
        os.close(fd)


def _text(fd: int) -> str:
    """A path in it need not be UTF-8."""
    return os.fsdecode(os.read(fd, _LONGEST)).strip()


def _has_open(pid: int, path: Path) -> bool:
    """Whether the process is the one that is meant: one in a container has that number elsewhere."""
    wanted = path.resolve()
    with suppress(OSError):
        return any(_leads(file) == wanted for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _leads(descriptor: Path) -> Path | None:
    """By its name alone: to look at the file itself could wait for a disk. None if it is closed by now."""
    with suppress(FileNotFoundError):
        return descriptor.readlink()
    return None
