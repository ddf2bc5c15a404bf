"""Many files fetched at once: in parallel, once each, and no further than makes sense."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from icloudfs.errors import LoginNeeded, Offline
from icloudfs.progress import Note, Progress, to_nobody
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, Server, running, some_bytes


@pytest.fixture
def photos(server: Server) -> list[File]:
    return [server.add(some_bytes(100 * KIB, seed)) for seed in range(40)]


async def test_in_parallel_and_once(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    server.pace = 0.01
    told: list[Progress | Note] = []
    async with running(directory, database, server) as cache:
        await cache.fetch(photos[0])
        with trio.fail_after(0.7):  # one by one it would take more than a second
            result = await cache.prefetch([*photos, *photos], told.append, 8, 80)
        assert (result.fetched, result.already, result.failed) == (39, 41, [])
        assert result.bytes == 39 * 100 * KIB and len(server.gets) == 40
        assert told[-1] == Progress("downloading", 80, 80)


async def test_one_broken_photo_is_no_reason_to_stop(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    server.remove(photos[3])

    async def coming() -> AsyncIterator[File]:
        for photo in photos:
            yield photo

    async with running(directory, database, server) as cache:
        result = await cache.prefetch(coming(), to_nobody, 3)
    assert result.fetched == 39 and result.failed_count == 1
    assert (
        result.failed[0].checksum == photos[3].checksum and "no record" in result.failed[0].reason
    )


@pytest.mark.parametrize("error", [Offline("away"), LoginNeeded("who?")])
async def test_what_all_would_meet_ends_it(
    server: Server, directory: Path, database: Database, photos: list[File], error: Exception
) -> None:
    asked = 0

    def coming() -> Iterator[File]:
        nonlocal asked
        for photo in photos:
            asked += 1
            yield photo

    if isinstance(error, Offline):
        server.away = True
    else:
        server.errors = [error] * 40
    async with running(directory, database, server) as cache:
        with trio.fail_after(10), pytest.raises(type(error)):
            await cache.prefetch(coming(), to_nobody, 2)
    assert asked <= 8


async def test_cancelled_it_asks_for_no_more(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    server.pace = 0.02
    async with running(directory, database, server) as cache:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cache.prefetch, photos, to_nobody, 4)
                while len(server.gets) < 4:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            while cache.transfers():  # noqa: ASYNC110
                await trio.sleep(0.01)
        asked = len(server.gets)
        await trio.sleep(0.1)
        assert asked == len(server.gets) < 20
        assert cache.usage == 100 * KIB * len(server.gets)
