"""One writer an account: the lock file beside the database.

The lock is the kernel's, so it ends with the process however that ends; the text in the file only tells
others who holds it. It belongs to an open file description (``F_OFD_SETLK``, fcntl(2)): unlike that of
``flock`` it can be looked at without being taken, so whoever only looks is in no writer's way.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

from icloudfs import ours
from icloudfs.apple.session import stem
from icloudfs.errors import AlreadyRunning

_FLOCK = "hhqqi0q"
"""``struct flock``: type, whence, start, length, process."""

_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


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
            holder = os.read(self._fd, 4096).decode("utf-8", "replace").strip()
            os.close(self._fd)
            raise AlreadyRunning(
                f"icloudfs is already running for {self._account}"
                + (f" ({holder})." if holder else "."),
                hint="Use the running one, or stop it with 'icloudfs unmount'.",
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
        os.pwrite(self._fd, text.encode(), 0)


def holder(cookie_directory: Path, account: str) -> str | None:
    """Who holds the lock, or None if nobody does. Never waits, and never takes it."""
    path = lock_path(cookie_directory, account)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        in_the_way = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        if struct.unpack(_FLOCK, in_the_way)[0] == fcntl.F_UNLCK:
            return None
        return os.read(fd, 4096).decode("utf-8", "replace").strip() or "another process"
    finally:
        os.close(fd)
