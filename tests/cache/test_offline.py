"""No network: cached content reads as before, everything else fails soon and recovers by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from icloudfs.apple.records import Record, Zone
from icloudfs.cache.urls import AFTER
from icloudfs.errors import Offline
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.library import announce
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes


async def test_the_server_stopped(server: Server, directory: Path, database: Database) -> None:
    cached, uncached = server.add(some_bytes(MIB, 1)), server.add(some_bytes(MIB, 2))
    async with running(directory, database, server, timeout=30) as cache:
        await cache.fetch(cached)
        server.away = True
        for _ in range(5):
            with trio.fail_after(2), pytest.raises(Offline):
                await read_all(cache, uncached)
        assert await read_all(cache, cached) == some_bytes(MIB, 1)
        row = contents.get(database.reader, cached.checksum)
        assert row is not None and row.status == "downloaded"
        assert contents.get(database.reader, uncached.checksum) is None
        server.away = False
        await trio.sleep(0.3)
        assert await read_all(cache, uncached) == some_bytes(MIB, 2)


async def test_a_server_that_never_answers(
    server: Server, directory: Path, database: Database
) -> None:
    files = [server.add(some_bytes(MIB, seed)) for seed in range(4)]
    server.silent = True
    async with running(directory, database, server, timeout=0.5) as cache:
        began = trio.current_time()
        with pytest.raises(Offline):
            await read_all(cache, files[0])
        assert 0.4 < trio.current_time() - began < 1
        # Known to be away: a second at most.
        began = trio.current_time()
        with pytest.raises(Offline):
            await read_all(cache, files[1])
        assert trio.current_time() - began < 1.3
        # Many at once do not wait one after the other.
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for file in files * 5:
                nursery.start_soon(_fails, cache.fetch, file)
        assert trio.current_time() - began < 1.3
        server.silent = False
        await trio.sleep(1.1)
        assert await read_all(cache, files[3]) == some_bytes(MIB, 3)


async def _fails(fetch: object, file: object) -> None:
    with pytest.raises(Offline):
        await fetch(file)  # type: ignore[operator]


class _SilentAboutMany(Server):
    """Answers look-ups of one record, and no others."""

    async def lookup(self, zone: Zone, names: Sequence[str]) -> Sequence[Record]:
        if len(names) > 1:
            await trio.sleep_forever()
        return await super().lookup(zone, names)


async def test_a_look_up_that_others_began_never_ends(directory: Path, database: Database) -> None:
    """It ends a little before the read would, whose kernel asks a second time: that is told at once."""
    server = _SilentAboutMany()
    files = [server.add(some_bytes(KIB, seed)) for seed in range(20)]
    announce(database, [(file, f"{file.ino}.JPG") for file in files])
    async with running(directory, database, server, timeout=0.5) as cache:
        await read_all(cache, files[0])
        await trio.sleep(AFTER + 0.05)
        server.silent = True
        with pytest.raises(Offline):
            await read_all(cache, files[1])
        began = trio.current_time()
        with pytest.raises(Offline):
            await read_all(cache, files[1])
        assert trio.current_time() - began < 0.1


async def test_who_has_found_out_tells_the_readers(
    server: Server, directory: Path, database: Database
) -> None:
    file, other = server.add(some_bytes(KIB, 1)), server.add(some_bytes(KIB, 2))
    server.silent = True
    async with running(directory, database, server, timeout=30) as cache:
        cache.heard(Offline("No connection."))
        await trio.sleep(0.3)
        began = trio.current_time()
        for _ in range(2):  # as the kernel does for one read
            with pytest.raises(Offline):
                await read_all(cache, file)
        assert trio.current_time() - began < 1.3
        # And that it is back: nobody gives up after a second any more.
        server.silent, server.look_up_takes = False, 1.5
        cache.heard(None)
        assert await read_all(cache, other) == some_bytes(KIB, 2)


async def test_a_body_that_stops_coming(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(some_bytes(3 * MIB))
    server.pace = 0.01
    async with running(directory, database, server, timeout=0.4) as cache:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails, cache.fetch, file)
            await trio.sleep(0.2)
            server.silent = True
        sent = server.sent
        assert 0 < sent < file.size
        server.silent, server.pace = False, 0
        await trio.sleep(0.3)
        assert await read_all(cache, file) == some_bytes(3 * MIB)
    assert server.sent == file.size  # what had come did not come again


async def test_the_network_goes_away_half_way(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(3 * MIB)
    file = server.add(content)
    server.goes_away_after = MIB
    async with running(directory, database, server) as cache:
        with trio.fail_after(2), pytest.raises(Offline):
            await read_all(cache, file)
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "partial" and row.ranges == [(0, MIB)]
    server.goes_away_after, server.away = None, False
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == content
    assert server.sent == len(content)


async def test_a_slow_network_is_found_to_be_back(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read gives up after a while, but what it began goes on and finds the network."""
    monkeypatch.setattr("icloudfs.cache.reachability.PATIENCE", 0.3)
    content = some_bytes(MIB)
    file = server.add(content)
    async with running(directory, database, server, timeout=10) as cache:
        server.away = True
        with pytest.raises(Offline):
            await read_all(cache, file)
        server.away = False
        server.look_up_takes = 0.5
        await trio.sleep(0.3)
        with pytest.raises(Offline):
            await read_all(cache, file)
        await trio.sleep(0.3)
        assert await read_all(cache, file) == content
    assert len(server.lookups) == 1


async def test_heads_and_streams_that_are_here_are_read_offline(
    server: Server, directory: Path, database: Database
) -> None:
    photo, film = server.add(some_bytes(MIB, 1)), server.add(some_bytes(8 * MIB, 2))
    async with running(directory, database, server, whole_below=2 * MIB) as cache:
        handles = [cache.open(photo), cache.open(film)]
        for handle in handles:
            await handle.read(0, 16 * KIB)
        server.away = True
        assert await handles[0].read(4 * KIB, KIB) == some_bytes(MIB, 1)[4 * KIB : 5 * KIB]
        assert await handles[1].read(8 * KIB, KIB) == some_bytes(8 * MIB, 2)[8 * KIB : 9 * KIB]
        for handle in handles:
            handle.close()


async def test_readers_that_wait_are_told_when_the_cache_ends(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(some_bytes(MIB))
    server.silent = True
    async with trio.open_nursery() as nursery:
        async with running(directory, database, server) as cache:
            handle = cache.open(file)
            nursery.start_soon(_fails, lambda _: handle.read(0, 128 * KIB), file)
            await trio.sleep(0.1)
        with pytest.raises(Offline):
            await handle.read(0, 128 * KIB)
        handle.close()
