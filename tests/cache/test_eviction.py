"""Room: least recently used goes first, and never what somebody needs."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
import trio

from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes


def _here(database: Database, files: list[File]) -> list[bool]:
    rows = [contents.get(database.reader, file.checksum) for file in files]
    return [row is not None and row.status == "downloaded" for row in rows]


def _on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def photos(server: Server) -> list[File]:
    return [server.add(some_bytes(MIB, seed)) for seed in range(6)]


async def _age(database: Database, files: list[File]) -> None:
    """Give the files access times that ascend from the first to the last."""

    def age(connection: apsw.Connection) -> None:
        for when, file in enumerate(files):
            connection.execute(
                "UPDATE content SET accessed = ? WHERE checksum = ?", (when, file.checksum)
            )

    await database.write(age)


async def test_the_least_recently_used_makes_room(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        for photo in photos[:4]:
            await cache.fetch(photo)
    await _age(database, photos)
    async with running(directory, database, server, limit=4 * MIB) as cache:
        handle = cache.open(photos[0])  # a look at the oldest makes it the newest
        handle.close()
        await cache.fetch(photos[4])
        assert cache.usage == 4 * MIB
        assert _here(database, photos) == [True, False, True, True, True, False]
        assert _on_disk(directory / "content") == 4 * MIB
        assert list((directory / "leaving").iterdir()) == []
        assert await read_all(cache, photos[1]) == some_bytes(MIB, 1)


async def test_what_is_open_stays(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server, limit=2 * MIB) as cache:
        handles = [cache.open(photo) for photo in photos[:3]]
        for handle in handles:
            await handle.read(0, 128 * KIB)
        assert cache.usage == 3 * MIB  # more than the limit, for as long as they are open
        for seed, handle in enumerate(handles):
            assert await handle.read(MIB // 2, KIB) == some_bytes(MIB, seed)[MIB // 2 :][:KIB]
        for handle in handles:
            handle.close()
        await trio.sleep(0.1)
        assert cache.usage <= 2 * MIB


async def test_what_is_pinned_stays(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server, limit=2 * MIB) as cache:
        await cache.fetch(photos[0])
        database.write_now(
            lambda connection: connection.execute("UPDATE content SET pinned = 1") and None
        )
        await cache.fetch(photos[1])
        await cache.fetch(photos[2])
        assert _here(database, photos[:3]) == [True, False, True]


async def test_parts_count_and_leave_too(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server, limit=MIB + 64 * KIB) as cache:
        handle = cache.open(photos[0])
        await handle.read(0, KIB)
        handle.close()
        await trio.sleep(0.05)
        assert cache.usage == 128 * KIB
        await cache.fetch(photos[1])
        assert cache.usage == MIB
        assert contents.get(database.reader, photos[0].checksum) is None
        assert list((directory / "partial").iterdir()) == []


async def test_a_file_larger_than_the_limit_is_read_and_not_kept(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(8 * MIB)
    file = server.add(content)
    async with running(directory, database, server, limit=MIB, whole_below=2 * MIB) as cache:
        assert await read_all(cache, file) == content
        await trio.sleep(0.2)
        assert cache.usage == 0 and _on_disk(directory / "content") == 0
        assert list((directory / "partial").iterdir()) == []


async def test_evict_on_request(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        for photo in photos:
            await cache.fetch(photo)
        assert await cache.evict(2 * MIB + 1) == 3 * MIB
        assert cache.usage == 3 * MIB
        assert await cache.evict(100 * MIB) == 3 * MIB
        assert cache.usage == 0 == _on_disk(directory / "content")
        assert await cache.evict(1) == 0


async def test_the_limit_holds_while_many_are_fetched_at_once(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    server.pace = 0.005
    async with running(directory, database, server, limit=3 * MIB) as cache:
        async with trio.open_nursery() as nursery:
            for photo in photos:
                nursery.start_soon(cache.fetch, photo)
        await trio.sleep(0.1)
        assert cache.usage <= 3 * MIB
        assert _on_disk(directory / "content") == cache.usage


async def test_evicting_and_opening_at_once(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    """Readers and eviction in each other's way: right bytes every time, and the sums agree."""
    async with running(directory, database, server) as cache:

        async def read(seed: int) -> None:
            for _ in range(6):
                assert await read_all(cache, photos[seed]) == some_bytes(MIB, seed)

        async def evict() -> None:
            for _ in range(30):
                await cache.evict(2 * MIB)
                await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(evict)
            for seed in range(6):
                nursery.start_soon(read, seed)
        await trio.sleep(0.1)
        assert cache.usage == await database.write(contents.cached_bytes)
        assert cache.usage == _on_disk(directory / "content")
