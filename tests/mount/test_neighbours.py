"""Photos fetched ahead of a viewer: the next few, and only for one who goes from photo to photo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from icloudfs.cache import Cache
from icloudfs.cache.cache import HEAD
from icloudfs.errors import Throttled
from icloudfs.mount import neighbours
from icloudfs.mount.neighbours import AHEAD, Neighbours, order
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.library import announce
from tests.cache.server import KIB, MIB, Server, running, some_bytes

SIZE = 600 * KIB


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db")


@pytest.fixture
def photos(server: Server, database: Database) -> list[File]:
    """IMG_1 to IMG_12, in the order that file managers show, with a video beside each."""
    files = [server.add(some_bytes(SIZE, seed)) for seed in range(12)]
    announce(database, [(file, f"IMG_{number}.JPG") for number, file in enumerate(files, 1)])
    videos = [server.add(some_bytes(SIZE, 100 + seed)) for seed in range(12)]
    announce(database, [(file, f"IMG_{number}.MOV") for number, file in enumerate(videos, 1)])
    return files


@asynccontextmanager
async def watching(
    tmp_path: Path, database: Database, server: Server, *, limit: int = 0
) -> AsyncIterator[tuple[Cache, Neighbours]]:
    async with running(tmp_path / "cache", database, server, limit=limit) as cache:
        watched = Neighbours(cache, database.path, up_to=32 * MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.run)
            yield cache, watched
            nursery.cancel_scope.cancel()


async def view(neighbours: Neighbours, *files: File) -> None:
    """What a viewer does: each to its end."""
    for file in files:
        await look(neighbours, file, file.size)


async def look(neighbours: Neighbours, file: File, size: int) -> None:
    """Read the beginning of a file, as programs do."""
    opened = neighbours.open(file)
    for at in range(0, size, 32 * KIB):
        if opened.read_now(at, 32 * KIB) is None:
            await opened.read(at, 32 * KIB)
    opened.close()


async def asked_for(server: Server, photos: Sequence[File]) -> list[int]:
    """Which of the photos the server was asked for, when all is quiet again."""
    await trio.sleep(0.3)
    numbers = {file.checksum: number for number, file in enumerate(photos, 1)}
    return sorted({numbers.get(get.checksum, 0) for get in server.gets})


async def test_the_next_few_come_by_themselves(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    async with watching(tmp_path, database, server) as (cache, watched):
        await view(watched, *photos[7:9])
        assert await asked_for(server, photos) == [8, 9, 10, 11, 12]  # by number, and no video
        assert cache.usage == 5 * SIZE
        server.forget_traffic()
        await view(watched, *photos[9:12])
        assert server.gets == []


async def test_backward_too_and_no_more_than_a_few(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    async with watching(tmp_path, database, server) as (_, watched):
        await view(watched, photos[9], photos[8])
        assert await asked_for(server, photos) == [*range(9 - AHEAD, 9), 9, 10]


async def test_no_more_than_a_few_bytes(
    server: Server,
    tmp_path: Path,
    database: Database,
    photos: list[File],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "MOST_BYTES", 2 * SIZE)
    async with watching(tmp_path, database, server) as (_, watched):
        await view(watched, *photos[:2])
        assert await asked_for(server, photos) == [1, 2, 3, 4]


async def test_one_photo_and_photos_far_apart_tell_nothing(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    async with watching(tmp_path, database, server) as (_, watched):
        await view(watched, photos[0], photos[5], photos[5], photos[2], photos[9])
        assert await asked_for(server, photos) == [1, 3, 6, 10]


async def test_who_only_looks_at_heads_causes_none(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    async with watching(tmp_path, database, server) as (_, watched):
        for photo in photos[:6]:
            await look(watched, photo, 64 * KIB)
        await asked_for(server, photos)
        assert server.sent <= 6 * HEAD and len({get.checksum for get in server.gets}) == 6


async def test_small_files_tell_nothing(server: Server, tmp_path: Path, database: Database) -> None:
    """A look at their beginning may be the whole, with what the kernel reads ahead."""
    small = [server.add(some_bytes(500 * KIB, seed)) for seed in range(6)]
    announce(database, [(file, f"IMG_{file.ino}.HEIC") for file in small])
    async with watching(tmp_path, database, server) as (_, watched):
        await view(watched, *small[:3])
        assert await asked_for(server, small) == [1, 2, 3]


async def test_it_ends_when_somebody_waits_for_something_else(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    async with watching(tmp_path, database, server) as (_, watched):
        await view(watched, *photos[:2])
        server.pace = 0.05
        await _until_asked_for(server, photos[2])
        await view(watched, photos[8])
        server.pace = 0
        assert await asked_for(server, photos) == [1, 2, 3, 9]  # what was under way is finished


async def test_it_ends_when_the_viewer_leaves(
    server: Server,
    tmp_path: Path,
    database: Database,
    photos: list[File],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "LEAVES", 0.1)
    async with watching(tmp_path, database, server) as (_, watched):
        server.pace = 0.05
        await view(watched, *photos[:2])
        await trio.sleep(0.6)
        assert await asked_for(server, photos) == [1, 2, 3]


async def test_never_while_a_reader_waits(
    server: Server, tmp_path: Path, database: Database, photos: list[File]
) -> None:
    film = server.add(some_bytes(MIB, 1000))
    async with watching(tmp_path, database, server) as (cache, watched):
        await view(watched, photos[0])
        async with trio.open_nursery() as nursery:
            server.pace = 0.05
            nursery.start_soon(cache.fetch, film)
            await _until_asked_for(server, film)
            server.pace = 0
            await view(watched, photos[1])
            assert photos[2].checksum not in {get.checksum for get in server.gets}
        assert await asked_for(server, photos) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("trouble", ["offline", "throttled", "no room", "disk"])
async def test_never_when_it_could_hurt(
    server: Server,
    tmp_path: Path,
    database: Database,
    photos: list[File],
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 2 * SIZE + SIZE // 2 if trouble == "no room" else 0
    async with watching(tmp_path, database, server, limit=limit) as (cache, watched):
        await cache.fetch(photos[1])
        await view(watched, photos[0])
        if trouble == "offline":
            server.away = True
            await _fails(cache, photos[11])
        elif trouble == "throttled":
            server.errors = [Throttled("slowly", retry_after=60.0)] * 3
            await _fails(cache, photos[11])
        elif trouble == "disk":
            monkeypatch.setattr("icloudfs.cache.cache._DISK_TO_SPARE", 1 << 60)
        server.away = False
        server.forget_traffic()
        await view(watched, photos[1])
        assert await asked_for(server, photos) == []
        assert cache.usage == 2 * SIZE


async def _fails(cache: Cache, file: File) -> None:
    with pytest.raises(Exception, match=r"connection|slow"):
        await cache.fetch(file)


async def _until_asked_for(server: Server, file: File) -> None:
    with trio.fail_after(5):
        while file.checksum not in {get.checksum for get in server.gets}:  # noqa: ASYNC110
            await trio.sleep(0.005)


def test_names_are_in_the_order_of_file_managers() -> None:
    shown = [b"a.jpg", b"B.jpg", b"img_2.jpg", b"IMG_10.jpg", b"IMG_10_x.jpg", "ü.jpg".encode()]

    assert sorted(set(shown), key=order) == shown
    assert order(b"2024.jpg") < order(b"a.jpg") and order(b"1") != order(b"01")
