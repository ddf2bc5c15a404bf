"""The disk of state or cache fails in every way: readers get an error or their bytes, and the cache lives."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from icloudfs import aside
from icloudfs.cache import Cache
from icloudfs.errors import CacheUnusable, IcloudfsError
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.library import announce
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes
from tests.failing_disk import FailingDisk, failing_disk, until, watched_statements

SIZE = 300 * KIB
LIMIT = 700 * KIB
"""Two photos and a half."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    aside._said.clear()
    monkeypatch.setattr("icloudfs.cache.fetch._VERIFY_AGAIN", 0.0)
    monkeypatch.setattr("icloudfs.cache.ledger.RECORD_EVERY", 0.01)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path, monkeypatch) as disk:
        yield disk
        disk.heals()


@pytest.fixture
def photos(server: Server, database: Database) -> list[File]:
    photos = [server.add(some_bytes(SIZE, seed)) for seed in range(4)]
    announce(database, [(photo, f"{n}.jpg") for n, photo in enumerate(photos)])
    return photos


async def use(cache: Cache, server: Server, photos: list[File]) -> list[IcloudfsError]:
    """What a mount asks of a cache: read more than there is room for, keep, drop, tidy up."""
    errors: list[IcloudfsError] = []
    for photo in photos:
        try:
            assert await read_all(cache, photo) == server.contents[photo.checksum]
            await cache.fetch(photo)
        except IcloudfsError as error:
            errors.append(error)
    for step in (
        lambda: cache.drop([photos[0].checksum]),
        lambda: cache.pin([photos[1].checksum], True),
        lambda: cache.pin([photos[1].checksum], False),
        cache.drop_unreferenced,
        lambda: cache.evict(1),
    ):
        try:
            await step()
        except IcloudfsError as error:
            errors.append(error)
    await cache._ledger.write_access_times()
    return errors


async def is_all_right(
    cache: Cache, server: Server, photos: list[File], database: Database, directory: Path
) -> None:
    """Once the disk is well: everything can be had, and the books are in order when all is quiet."""
    assert await use(cache, server, photos) == []
    await until(lambda: not (cache._fetches or cache._ledger._changed))
    assert cache.usage == await database.write(contents.cached_bytes) <= LIMIT
    rows = [contents.get(database.reader, photo.checksum) for photo in photos]
    told = {row.path for row in rows if row is not None}

    def untold() -> list[Path]:
        files = [*(directory / "content").rglob("*"), *(directory / "partial").rglob("*")]
        there = [file for file in files if file.is_file()]
        return [file for file in there if str(file.relative_to(directory)) not in told]

    await until(lambda: not untold())


WAYS = [
    (("pwrite64",), errno.ENOSPC),
    (("pwrite64",), errno.EIO),
    (("pread64",), errno.EIO),
    (("fdatasync",), errno.EIO),
    (("pwrite",), errno.ENOSPC),
    (("pwrite",), errno.EIO),
    (("ftruncate",), errno.EIO),
    (("rename",), errno.EIO),
    (("rename",), errno.ENOSPC),
    (("preadv", "pread"), errno.EIO),
    (("pwrite64", "pwrite", "fdatasync", "rename"), errno.ENOSPC),
    (("pwrite64", "pread64", "pwrite", "preadv", "pread", "fdatasync", "rename"), errno.EIO),
]
"""``…64`` are SQLite's, the others the cache's own."""


@pytest.mark.parametrize(("calls", "number"), WAYS)
async def test_a_disk_that_fails_and_is_mended(
    server: Server,
    directory: Path,
    database: Database,
    photos: list[File],
    disk: FailingDisk,
    calls: tuple[str, ...],
    number: int,
) -> None:
    async with running(directory, database, server, limit=LIMIT) as cache:
        await use(cache, server, photos[:2])
        disk.breaks(*calls, number=number)
        for _ in range(2):
            await use(cache, server, photos)
            await trio.sleep(0.03)
        assert disk.failed
        disk.heals()
        await is_all_right(cache, server, photos, database, directory)


CALLS = ("pwrite64", "pread64", "fdatasync", "pwrite", "ftruncate", "rename")


@pytest.mark.parametrize("call", CALLS)
async def test_each_call_that_fails_once(
    server: Server,
    directory: Path,
    database: Database,
    photos: list[File],
    disk: FailingDisk,
    call: str,
) -> None:
    """One after the other; nothing but that one use may hear of it."""
    async with running(directory, database, server, limit=LIMIT) as cache:
        for turn in range(40):
            disk.breaks(call, turn=turn)
            await use(cache, server, photos)
            if not disk.failed:
                break
        disk.heals()
        assert turn > 2
        await is_all_right(cache, server, photos, database, directory)


async def test_each_statement_that_fails(
    server: Server, directory: Path, tmp_path: Path, photos: list[File]
) -> None:
    """Of the whole cache, writing and reading."""
    with watched_statements() as statements:
        database = Database(tmp_path / "state.db")
        async with running(directory, database, server, limit=LIMIT) as cache:
            await use(cache, server, photos)
            known = list(statements.seen)
            assert len(known) > 25
            for statement in known:
                statements.broken = statement
                await use(cache, server, photos)
                await trio.sleep(0.015)
            statements.broken = ""
            await is_all_right(cache, server, photos, database, directory)
        database.close()


async def test_a_disk_that_failed_once_to_sync_is_not_believed(
    server: Server, directory: Path, database: Database, photos: list[File], disk: FailingDisk
) -> None:
    """The kernel says so once, and forgets what it could not write: it must come again."""
    photo = photos[0]
    async with running(directory, database, server) as cache:
        disk.breaks("fdatasync", turn=0)
        with pytest.raises(CacheUnusable):
            await cache.fetch(photo)
        assert cache.usage == 0 and not disk.seen > 1
        await cache.fetch(photo)
        assert [get.start for get in server.gets] == [0, 0]
        row = contents.get(database.reader, photo.checksum)
        assert row is not None and row.status == "downloaded" and cache.usage == SIZE


async def test_what_could_not_be_recorded_is_recorded_when_the_disk_is_well(
    server: Server, directory: Path, database: Database, disk: FailingDisk
) -> None:
    """A video that somebody has open, for as long as that takes."""
    film = server.add(some_bytes(8 * MIB))
    announce(database, [(film, "film.mov")])
    async with running(directory, database, server, whole_below=MIB) as cache:
        disk.breaks("pwrite64", number=errno.ENOSPC)
        handle = cache.open(film)
        assert await handle.read(0, MIB) == some_bytes(8 * MIB)[:MIB]
        await until(lambda: disk.failed >= 3)
        assert contents.get(database.reader, film.checksum) is None
        disk.heals()
        await until(lambda: contents.get(database.reader, film.checksum) is not None)
        row = contents.get(database.reader, film.checksum)
        assert row is not None
        assert row.ranges[0][0] == 0 and row.ranges[0][1] >= MIB
        handle.close()


async def test_one_trouble_is_one_line(
    server: Server,
    directory: Path,
    database: Database,
    photos: list[File],
    disk: FailingDisk,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many notice it, and however often; and a line when it is over."""
    caplog.set_level(logging.INFO)
    async with running(directory, database, server, limit=LIMIT) as cache:
        disk.breaks("pwrite64", number=errno.ENOSPC)
        for _ in range(5):
            await use(cache, server, photos)
        disk.heals()
        await use(cache, server, photos)
    lines = [record.getMessage() for record in caplog.records if "state.db" in record.getMessage()]
    assert len(lines) == 2, lines
    assert "full" in lines[0] and "can be used again" in lines[1]


async def test_a_cache_that_is_ended_while_the_disk_fails(
    server: Server, directory: Path, database: Database, photos: list[File], disk: FailingDisk
) -> None:
    async with running(directory, database, server, limit=LIMIT) as cache:
        handle = cache.open(photos[0])
        await handle.read(0, KIB)
        disk.breaks(*CALLS)
    disk.heals()
    async with running(directory, database, server, limit=LIMIT) as cache:
        await is_all_right(cache, server, photos, database, directory)


async def test_what_cannot_be_forgotten_stays(
    server: Server, directory: Path, database: Database, photos: list[File], disk: FailingDisk
) -> None:
    """A row without its file would else be found by nothing but the next who opens it."""
    photo = photos[0]
    async with running(directory, database, server) as cache:
        await cache.fetch(photo)
        disk.breaks("pwrite64")
        with pytest.raises(IcloudfsError):
            await cache.evict(1)
        disk.heals()
        row = contents.get(database.reader, photo.checksum)
        assert row is not None and row.status == "downloaded"
        assert (directory / row.path).is_file()
        assert not [*(directory / "leaving").iterdir()]
        assert cache.usage == SIZE
        server.forget_traffic()
        assert await read_all(cache, photo) == server.contents[photo.checksum]
        assert server.sent == 0
        assert await cache.evict(1) == SIZE


async def test_a_full_disk_that_state_and_cache_share_is_made_room_on(
    server: Server, directory: Path, database: Database, photos: list[File], disk: FailingDisk
) -> None:
    """What is to go is unlinked before the row is, where the row does not fit."""
    async with running(directory, database, server) as cache:
        await cache.fetch(photos[0])
        disk.breaks("pwrite64", number=errno.ENOSPC)

        def heal_when_unlinked() -> bool:
            if not any(path.is_file() for path in (directory / "leaving").iterdir()):
                disk.heals()
            return not disk._broken

        async def heal() -> None:
            while not heal_when_unlinked():
                await trio.lowlevel.checkpoint()

        path = next(path for path in (directory / "content").rglob("*") if path.is_file())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.evict, 1)
            while path.exists():
                await trio.lowlevel.checkpoint()
            nursery.start_soon(heal)
        assert contents.get(database.reader, photos[0].checksum) is None
        assert cache.usage == 0
