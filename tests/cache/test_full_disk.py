"""A full disk makes room, or fails that one read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from icloudfs.errors import CacheUnusable, DiskFull
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.server import MIB, Server, read_all, running, some_bytes

Capacity = Callable[[int], None]


@pytest.fixture
def disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Capacity:
    """Sets how many bytes of blocks the disk below the cache directory can take."""
    capacity = [1 << 40]
    pwrite = os.pwrite

    def limited(fd: int, data: bytes, offset: int) -> int:
        used = sum(
            path.stat().st_blocks * 512
            for path in directory.rglob("*")
            if path.is_file() and path.stat().st_size
        )
        if used + len(data) > capacity[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, offset)

    monkeypatch.setattr("icloudfs.cache.holding.os.pwrite", limited)

    def set_capacity(size: int) -> None:
        capacity[0] = size

    return set_capacity


async def test_a_full_disk_makes_room(
    server: Server, directory: Path, database: Database, disk: Capacity
) -> None:
    photos = [server.add(some_bytes(2 * MIB, seed)) for seed in range(4)]
    disk(5 * MIB)
    async with running(directory, database, server) as cache:
        for seed, photo in enumerate(photos):
            assert await read_all(cache, photo) == some_bytes(2 * MIB, seed)


async def test_a_disk_that_stays_full_fails_that_read(
    server: Server, directory: Path, database: Database, disk: Capacity
) -> None:
    kept, large = server.add(some_bytes(MIB, 1)), server.add(some_bytes(4 * MIB, 2))
    disk(3 * MIB)
    async with running(directory, database, server) as cache:
        handle = cache.open(kept)
        await handle.read(0, MIB)
        with pytest.raises(DiskFull):
            await read_all(cache, large)
        # What is open is still there, and the state says what is so.
        assert await handle.read(0, MIB) == some_bytes(MIB, 1)
        handle.close()
        disk(1 << 40)
        assert await read_all(cache, large) == some_bytes(4 * MIB, 2)
        await cache.fetch(large)
        row = contents.get(database.reader, large.checksum)
        assert row is not None and row.status == "downloaded"
        assert cache.usage == await database.write(contents.cached_bytes)


async def test_a_disk_that_breaks(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.add(some_bytes(MIB))

    def broken(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with running(directory, database, server) as cache:
        with monkeypatch.context() as patched:
            patched.setattr("icloudfs.cache.holding.os.pwrite", broken)
            with pytest.raises(CacheUnusable, match="cannot be written"):
                await read_all(cache, file)
        assert await read_all(cache, file) == some_bytes(MIB)
