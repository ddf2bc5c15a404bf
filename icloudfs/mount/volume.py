"""What ``df`` shows: the account's storage where it is known, else the library and the cache's disk."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import apsw
import msgspec
import pyfuse3
import trio

from icloudfs.cache.disk import Disk
from icloudfs.errors import DiskSilent
from icloudfs.state import database, metadata

BLOCK = 4096
"""Bytes; ``f_bsize`` and ``f_frsize``."""

MAX_AGE = 60.0
"""Seconds before the figures are counted anew: summing up a million inodes takes a tenth of a second."""

PATIENCE = 2.0
"""Seconds that a disk may take to answer."""

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
    """Counts in a thread, on a connection of its own, at most once in ``MAX_AGE``. A disk that does not answer
    keeps nobody: what was found last is told then."""

    def __init__(self, state: Path, cache_directory: Path) -> None:
        self._state = state
        self._cache_directory = cache_directory
        self._disk_of_state, self._disk_of_cache = Disk(), Disk()
        self._counted: Figures | None = None
        self._room = 0
        self._counted_at = 0.0
        self._lock = trio.Lock()

    async def figures(self) -> Figures:
        """The figures, at most ``MAX_AGE`` seconds old unless a disk is silent. Raises DiskSilent if there are
        none yet."""
        async with self._lock:
            if self._counted is None or trio.current_time() - self._counted_at > MAX_AGE:
                try:
                    self._counted = await self._count()
                except DiskSilent:
                    if self._counted is None:
                        raise
                self._counted_at = trio.current_time()
            return self._counted

    async def _count(self) -> Figures:
        size, inodes, total, used = await self._disk_of_state.ask(self._ask_state, PATIENCE)
        if total:
            return Figures(total, max(total - used, 0), inodes)
        with suppress(DiskSilent):
            room = partial(_room, self._cache_directory)
            self._room = await self._disk_of_cache.ask(room, PATIENCE)
        return Figures(size + self._room, self._room, inodes)

    def _ask_state(self) -> tuple[int, int, int, int]:
        """Bytes of all files, and how many inodes; the account's storage, and how much of it is in use."""
        connection = database.connect(self._state, write=False)
        try:
            size, inodes = _one(connection, "SELECT coalesce(sum(size), 0), count(*) FROM inode")
            total, used = _quota(connection)
        finally:
            connection.close()
        return size, inodes, total, used


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
