"""The cache and the real client against a local iCloud: every fault of a content or a look-up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from icloudfs.apple import (
    Challenge,
    CodeAnswer,
    DeviceCode,
    Endpoints,
    ICloud,
    Master,
    Rendition,
    SessionStore,
    Zone,
    transport,
)
from icloudfs.apple import checksum as apple
from icloudfs.cache import Cache, ICloudSource
from icloudfs.errors import ContentMismatch, ContentUnavailable, IcloudfsError, Offline
from icloudfs.simulator import Account, LibraryPlan, Simulator
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, read_all

ZONE = Zone("private", "PrimarySync")
ACCOUNT = Account(iteration=1000)
PLAN = LibraryPlan(assets=0, oddities=False, shared="none", other_zones=False)
_TRUST = httpx.create_ssl_context(trust_env=False)


class _Code:
    async def code(self, challenge: Challenge) -> CodeAnswer:
        return DeviceCode(ACCOUNT.code)


@dataclass
class World:
    """A simulator, a client that is signed in, and a cache."""

    sim: Simulator
    icloud: ICloud
    cache: Cache
    database: Database
    doors: trio.CancelScope
    """Cancelled, the server is gone."""

    async def take(self, kind: Any) -> File:
        """A new photo, as the tree would describe it."""
        added = self.sim.phone.add_photo(kind)
        [master] = await self.icloud.photos.lookup(ZONE, [added.master])
        assert isinstance(master, Master)
        original = master.resources["resOriginal"]
        self.sim.traffic.reset()
        return File(
            ino=2,
            size=original.size,
            checksum=original.checksum,
            rendition=Rendition.ORIGINAL,
            zone=ZONE,
            master=added.master,
            asset=added.asset,
        )

    async def reads_right(self, file: File) -> bool:
        return apple.of(await read_all(self.cache, file)) == file.checksum

    def sent(self, file: File) -> int:
        return self.sim.traffic.content_bytes[file.checksum]

    def gets(self, file: File) -> int:
        return self.sim.traffic.content_gets[file.checksum]

    @property
    def look_ups(self) -> int:
        return self.sim.traffic.calls["lookup"]


@asynccontextmanager
async def _world(
    directory: Path, database: Database, *, timeout: float = 5.0
) -> AsyncIterator[World]:
    sim = Simulator(PLAN, ACCOUNT)
    doors = trio.CancelScope()

    async def open_doors(task_status: trio.TaskStatus[str]) -> None:
        with doors:
            async with sim.running() as address:
                task_status.started(address.url)
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        url = await nursery.start(open_doors)
        store = SessionStore(directory / "session", ACCOUNT.apple_id)
        async with ICloud(store, Endpoints.at(url), ACCOUNT.apple_id) as icloud:
            await icloud.login(ACCOUNT.password, _Code())
            source = ICloudSource(icloud, timeout)
            cache = Cache(
                directory, database, source, limit=0, whole_below=8 * MIB, timeout=timeout
            )
            await nursery.start(cache.run)
            yield World(sim, icloud, cache, database, doors)
            nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The door is plain http; loading the certificates for every client takes 25 ms.
    monkeypatch.setattr(transport, "_trust", lambda: _TRUST)


@pytest.fixture
async def world(directory: Path, database: Database) -> AsyncIterator[World]:
    async with _world(directory, database) as world:
        yield world


async def test_ten_readers_one_look_up_one_download(world: World) -> None:
    file = await world.take("large")
    assert file.size > MIB
    right: list[bool] = []

    async def read() -> None:
        right.append(await world.reads_right(file))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(read)
    assert right == [True] * 10
    assert (world.look_ups, world.gets(file), world.sent(file)) == (1, 1, file.size)


async def test_a_head_costs_a_head(world: World) -> None:
    file = await world.take("large")
    handle = world.cache.open(file)
    assert len(await handle.read(0, 16 * KIB)) == 16 * KIB
    handle.close()
    assert world.sent(file) == 128 * KIB
    assert await world.reads_right(file)
    assert world.sent(file) == file.size


async def test_a_film_streams_and_its_end_does_not_wait(world: World) -> None:
    file = await world.take("huge-video")
    assert file.size > 32 * MIB
    handle = world.cache.open(file)
    world.sim.faults.set("content", "throttle", times=1, bytes_per_second=2 * MIB)
    await handle.read(0, 128 * KIB)
    with trio.fail_after(1):
        await handle.read(file.size - 64 * KIB, 64 * KIB)
    assert world.sent(file) < 4 * MIB
    handle.close()
    assert await world.reads_right(file)
    await world.cache.fetch(file)
    # What a server has written when a range is given up half-way is lost: a socket's buffers.
    assert world.sent(file) < file.size + 8 * MIB


@pytest.mark.parametrize("fault", ["flip", "truncate", "short", "html", "json", "tiny", "no-range"])
async def test_what_is_not_the_photo_is_never_shown(world: World, fault: str) -> None:
    file = await world.take("large")
    world.sim.faults.set("content", fault)
    if fault == "no-range":  # the only one of them that does no harm
        handle = world.cache.open(file)
        await handle.read(0, KIB)
        handle.close()
        assert await world.reads_right(file)
        return
    with pytest.raises(ContentMismatch) as raised:
        await read_all(world.cache, file)
    row = contents.get(world.database.reader, file.checksum)
    assert row is not None and row.status == "failed" and row.last_error == str(raised.value)
    assert "Expected" in row.last_error and "found" in row.last_error
    assert file.checksum in row.last_error
    assert world.cache.usage == 0
    world.sim.faults.clear()
    assert await world.reads_right(file)


async def test_a_url_that_expires_half_way(world: World) -> None:
    file = await world.take("large")
    world.sim.faults.set("content", "truncate", times=1)
    world.sim.faults.set("content", "gone", times=1, skip=1)
    assert await world.reads_right(file)
    assert world.look_ups == 2 and world.gets(file) == 3
    statuses = [call.status for call in world.sim.traffic.log if call.kind == "content"]
    assert statuses == [206, 410, 206]


async def test_urls_of_yesterday(world: World) -> None:
    file = await world.take("large")
    handle = world.cache.open(file)
    await handle.read(0, KIB)
    world.sim.advance(901)
    assert len(await handle.read(MIB, KIB)) == KIB
    handle.close()
    assert world.look_ups == 2


@pytest.mark.parametrize("fault", ["drop", "status"])
async def test_a_moment_of_weakness(world: World, fault: str) -> None:
    file = await world.take("large")
    details: dict[str, Any] = {"retry_after": 0.05} if fault == "status" else {}
    world.sim.faults.set("content", fault, times=1, **details)
    world.sim.faults.set("lookup", fault, times=1, **details)
    assert await world.reads_right(file)


async def test_a_record_without_a_url(world: World) -> None:
    file = await world.take("large")
    world.sim.faults.set("lookup", "missing-url")
    with pytest.raises(ContentUnavailable, match="no download URL"):
        await read_all(world.cache, file)
    world.sim.faults.clear()
    assert await world.reads_right(file)


async def test_a_record_that_is_refused(world: World) -> None:
    file = await world.take("large")
    world.sim.faults.set("lookup", "record-error", code="NOT_FOUND")
    with pytest.raises(ContentUnavailable, match=r"NOT_FOUND|no record"):
        await read_all(world.cache, file)
    world.sim.faults.clear()
    assert await world.reads_right(file)


async def test_a_body_that_stalls_ends_in_an_error(directory: Path, database: Database) -> None:
    async with _world(directory, database, timeout=0.5) as world:
        file = await world.take("large")
        world.sim.faults.set("content", "stall", after=MIB)
        with trio.fail_after(2), pytest.raises((Offline, ContentMismatch)):
            await read_all(world.cache, file)
        world.sim.faults.clear()
        await trio.sleep(0.3)
        assert await world.reads_right(file)


async def test_the_simulator_stopped(directory: Path, database: Database) -> None:
    async with _world(directory, database, timeout=30) as world:
        cached, uncached = await world.take("large"), await world.take("jpeg")
        assert await world.reads_right(cached)
        world.doors.cancel()
        await trio.sleep(0.05)
        for _ in range(3):
            with trio.fail_after(2), pytest.raises(Offline):
                await read_all(world.cache, uncached)
            assert await world.reads_right(cached)


@pytest.mark.parametrize(
    "url",
    [
        "https://xn--a.icloud-content.com/B/x",
        "https://xn--zzzzzzzzz99999999.icloud-content.com/B/x",
        "https://[bad",
        "https://elsewhere.example/B/x",
        "",
    ],
)
async def test_an_address_that_leads_nowhere_is_forgotten(
    tmp_path: Path, database: Database, url: str
) -> None:
    async with _world(tmp_path, database) as world:
        file = await world.take("jpeg")
        world.sim.faults.set("lookup", "wrong-url", url=url, times=1)
        with pytest.raises(IcloudfsError) as caught:
            await read_all(world.cache, file)
        assert str(caught.value)
        assert await world.reads_right(file), "the next one is looked up"
