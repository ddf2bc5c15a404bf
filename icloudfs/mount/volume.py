"""What ``df`` shows: the account's storage where it is known, else the library and the cache's disk."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import msgspec
import pyfuse3
import trio

from icloudfs.state import database, metadata

BLOCK = 4096
"""Bytes; ``f_bsize`` and ``f_frsize``."""

MAX_AGE = 60.0
"""Seconds before the figures are counted anew: summing up a million inodes takes a tenth of a second."""

NAME_MAX = 255
_LEAST_FREE_SHARE = 100
"""At least one part in so many is shown as free: at 100 % file managers and backups warn
(facts/desktop.md §2.3)."""

_FREE_INODES = 1 << 30
"""Always free: there is no limit, and ``df -i`` must not say that it is reached. It fits 32 bits."""


class Figures(msgspec.Struct, frozen=True):
    """Of the volume; bytes, and the number of inodes."""

    total: int
    free: int
    inodes: int

    def as_statvfs(self) -> pyfuse3.StatvfsData:
        total = -(-self.total // BLOCK)
        free = max(self.free // BLOCK, total // _LEAST_FREE_SHARE + 1)
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK
        data.f_blocks = max(total, free)
        data.f_bfree = data.f_bavail = free
        data.f_files = self.inodes + _FREE_INODES
        data.f_ffree = data.f_favail = _FREE_INODES
        data.f_namemax = NAME_MAX
        return data


class Volume:
    """Counts in a thread, on a connection of its own, at most once in ``MAX_AGE``."""

    def __init__(self, state: Path, cache_directory: Path) -> None:
        self._state = state
        self._cache_directory = cache_directory
        self._counted: Figures | None = None
        self._counted_at = 0.0
        self._lock = trio.Lock()

    async def figures(self) -> Figures:
        """The figures, at most ``MAX_AGE`` seconds old."""
        async with self._lock:
            if self._counted is None or trio.current_time() - self._counted_at > MAX_AGE:
                self._counted = await trio.to_thread.run_sync(self._count)
                self._counted_at = trio.current_time()
            return self._counted

    def _count(self) -> Figures:
        connection = database.connect(self._state, write=False)
        try:
            size, inodes = _one(connection, "SELECT coalesce(sum(size), 0), count(*) FROM inode")
            total, used = _quota(connection)
        finally:
            connection.close()
        if total:
            return Figures(total, max(total - used, 0), inodes)
        room = _room(self._cache_directory)
        return Figures(size + room, room, inodes)


def _quota(connection: apsw.Connection) -> tuple[int, int]:
    """The account's storage and how much of it is in use, bytes; zeros if it is not known."""
    total = metadata.get(connection, metadata.QUOTA_TOTAL)
    used = metadata.get(connection, metadata.QUOTA_USED)
    return (0, 0) if total is None or used is None else (int(total), int(used))


def _one(connection: apsw.Connection, query: str) -> tuple[int, int]:
    row = connection.execute(query).fetchone()
    assert row is not None
    first, second = row
    assert isinstance(first, int) and isinstance(second, int)
    return first, second


def _room(directory: Path) -> int:
    """Bytes an ordinary user may still write to the disk of ``directory``; 0 if it is not there."""
    try:
        figures = os.statvfs(directory)
    except OSError:
        return 0
    return figures.f_bavail * figures.f_frsize
