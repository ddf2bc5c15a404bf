"""What nobody shows any more leaves the disk, and what is pinned stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from icloudfs.cache import Cache
from icloudfs.state import contents, metadata
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.library import announce, hide
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes


@pytest.fixture
def photos(server: Server, database: Database) -> list[File]:
    files = [server.add(some_bytes(MIB, seed)) for seed in range(4)]
    announce(database, [(file, f"IMG_{file.ino}.JPG") for file in files])
    return files


def _on_disk(cache: Cache) -> int:
    """Bytes of photos, and nothing of what else the directory has."""
    folders = cache.places.content, cache.places.partial, cache.places.leaving
    return sum(p.stat().st_size for each in folders for p in each.rglob("*") if p.is_file())


async def test_dropped_and_fetched_again(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        for photo in photos:
            await cache.fetch(photo)
        dropped = [photos[0].checksum, photos[1].checksum, "unknown"]
        assert await cache.drop(iter(dropped)) == 2 * MIB
        assert cache.usage == 2 * MIB == _on_disk(cache)
        assert contents.get(database.reader, photos[0].checksum) is None
        assert await read_all(cache, photos[0]) == some_bytes(MIB, 0)


async def test_what_is_named_twice_is_dropped_once(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    """A photo of two albums: each place of it is named."""
    async with running(directory, database, server) as cache:
        await cache.fetch(photos[0])
        assert await cache.drop([photos[0].checksum] * 2) == MIB
        assert cache.usage == 0 == _on_disk(cache)


async def test_what_is_open_goes_when_it_is_closed(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        await cache.fetch(photos[0])
        handle = cache.open(photos[0])
        assert await cache.drop([photos[0].checksum]) == 0
        assert await handle.read(0, KIB) == some_bytes(MIB, 0)[:KIB]
        handle.close()
        await trio.sleep(0.1)
        assert cache.usage == 0 == _on_disk(cache)
        await cache.fetch(photos[0])
        await trio.sleep(0.1)
        assert cache.usage == MIB


async def test_an_imported_file_stays_where_it_is(
    server: Server, directory: Path, database: Database, photos: list[File], tmp_path: Path
) -> None:
    own = tmp_path / "own.jpg"
    own.write_bytes(some_bytes(MIB, 0))
    database.write_now(
        lambda connection: contents.set_downloaded(
            connection, photos[0].checksum, MIB, str(own), sha256="", verified=True, now=0
        )
    )
    database.write_now(lambda c: contents.set_failed(c, photos[1].checksum, MIB, "broken"))
    async with running(directory, database, server) as cache:
        assert await cache.drop([photos[0].checksum, photos[1].checksum]) == 0
        assert own.exists() and cache.places.content.exists()
        assert contents.get(database.reader, photos[0].checksum) is None
        assert contents.get(database.reader, photos[1].checksum) is None
        assert contents.failed(database.reader) == []


async def test_what_nothing_shows(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        for photo in photos:
            await cache.fetch(photo)
        await cache.pin([photos[1].checksum], True)
        assert await cache.drop_unreferenced() == 0
        hide(database, photos[0])
        hide(database, photos[1])
        handle = cache.open(photos[1])
        assert await cache.drop_unreferenced() == MIB
        handle.close()
        await trio.sleep(0.1)
        assert cache.usage == 2 * MIB == _on_disk(cache)
        assert contents.get(database.reader, photos[1].checksum) is None
        assert await cache.drop_unreferenced() == 0
        assert contents.left_behind(database.reader, "", 9) == []
        other = photos[3].checksum
        database.write_now(  # an edit: the file shows another content
            lambda connection: (
                connection.execute(
                    "UPDATE inode SET checksum = ? WHERE ino = ?", (other, photos[2].ino)
                )
                and None
            )
        )
        assert await cache.drop_unreferenced() == MIB and cache.usage == MIB


async def test_purged_while_it_was_being_fetched(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        await cache.drop_unreferenced()
        hide(database, photos[0])
        await cache.fetch(photos[0])
        assert await cache.drop_unreferenced() == 0  # nothing told of it
        database.write_now(lambda c: metadata.put(c, "contents_looked_through", "1000"))
        assert await cache.drop_unreferenced() == MIB


async def test_nothing_goes_before_everything_is_known(
    server: Server, directory: Path, database: Database
) -> None:
    photo = server.add(some_bytes(MIB))
    announce(database, [(photo, "A.JPG")], listed=False)
    async with running(directory, database, server) as cache:
        await cache.fetch(photo)
        hide(database, photo)
        assert await cache.drop_unreferenced() == 0 and cache.usage == MIB
        database.write_now(lambda c: c.execute("UPDATE zone SET listed = 1") and None)
        assert await cache.drop_unreferenced() == MIB and cache.usage == 0


async def test_pins(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server, limit=2 * MIB) as cache:
        await cache.pin([photo.checksum for photo in photos[:2]], True)
        row = contents.get(database.reader, photos[0].checksum)
        assert row is not None and row.pinned and row.status == "partial" and not server.gets
        await cache.fetch(photos[0])
        await cache.fetch(photos[2])
        await cache.fetch(photos[3])
        row = contents.get(database.reader, photos[0].checksum)
        assert row is not None and row.pinned and row.status == "downloaded"
        await cache.pin([photo.checksum for photo in photos], False)
        assert contents.get(database.reader, photos[1].checksum) is None
        assert await cache.evict(9 * MIB) == 2 * MIB
        assert contents.get(database.reader, photos[0].checksum) is None
