"""After a power cut the database may be some commits behind the files, or ahead of a rename.

Here the commits since a moment are lost and the files are as they were at the end. scripts/power-test cuts
real filesystems off.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.cache.holding import Holding
from icloudfs.cache.places import Places
from icloudfs.errors import ContentMismatch, StateDamaged
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes

SMALL = MIB
FILM = 8 * MIB


def _row(database: Database, file: File) -> Content | None:
    return contents.get(database.reader, file.checksum)


@contextmanager
def _cut(database: Database, directory: Path) -> Iterator[Database]:
    """The database as the disk has it now, with a cache that was not left well."""
    after = database.path.with_name("after.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{database.path}{suffix}", f"{after}{suffix}")
    Places(directory).prepare()
    reborn = Database(after)
    try:
        yield reborn
    finally:
        reborn.close()


async def _until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.01)


def _is_claimed(database: Database, file: File) -> bool:
    row = _row(database, file)
    return row is not None and bool(row.ranges)


@pytest.mark.parametrize("way", ["evicted", "discarded", "fetched"])
async def test_what_was_said_of_a_part_is_not_believed_of_another(
    server: Server, directory: Path, database: Database, way: str
) -> None:
    """The beginning of a film was recorded; afterwards it went, and its end came. The commits are lost."""
    content = some_bytes(FILM)
    film = server.add(content)
    async with running(directory, database, server, whole_below=SMALL) as cache:
        handle = cache.open(film)
        await handle.read(0, 64 * KIB)
        await _until(lambda: _is_claimed(database, film))
        handle.close()
        await trio.testing.wait_all_tasks_blocked()
        with _cut(database, directory) as reborn:
            if way == "evicted":
                assert await cache.evict(1) > 0
            elif way == "discarded":
                server.flipped = FILM - 1
                with pytest.raises(ContentMismatch):
                    await cache.fetch(film)
                server.flipped = None
            else:
                await cache.fetch(film)
                await cache.drop([film.checksum])
            handle = cache.open(film)
            await handle.read(FILM - 64 * KIB, 64 * KIB)
            await cache._record_everything()
            claimed = _row(reborn, film)
            assert claimed is not None and claimed.ranges[0][0] == 0
            # Cut off here: another process finds the files as they are, and the older rows.
            copy = directory.with_name("copy")
            shutil.copytree(directory, copy)
            handle.close()
            async with running(copy, reborn, server, whole_below=SMALL) as next_life:
                handle = next_life.open(film)
                assert await handle.read(0, 4 * KIB) == content[: 4 * KIB]
                handle.close()
                assert await read_all(next_life, film) == content


async def test_a_content_whose_rename_was_lost_is_put_in_its_place(
    server: Server, directory: Path, database: Database
) -> None:
    """btrfs keeps a database that was synced and not the rename before it."""
    content = some_bytes(MIB)
    photo = server.add(content)
    async with running(directory, database, server) as cache:
        await cache.fetch(photo)
    row = _row(database, photo)
    assert row is not None
    places = Places(directory)
    places.prepare()
    places.absolute(row.path).rename(places.absolute(places.new_part(photo.checksum)))
    server.away = True
    async with running(directory, database, server) as cache:
        await _until(lambda: not any(places.partial.iterdir()))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert _row(database, photo) == row and cache.usage == MIB
        assert await read_all(cache, photo) == content
    assert list(places.partial.iterdir()) == []


@pytest.mark.parametrize("is_film", [True, False])
async def test_nothing_is_claimed_that_is_not_there(
    server: Server, directory: Path, database: Database, is_film: bool
) -> None:
    """Its eviction was not committed: the row goes with the next start, before anybody asks for it."""
    file = server.add(some_bytes(FILM if is_film else MIB))
    kept = server.add(some_bytes(MIB, 1))
    async with running(directory, database, server, whole_below=SMALL) as cache:
        await cache.fetch(kept)
        if is_film:
            handle = cache.open(file)
            await handle.read(0, 64 * KIB)
            handle.close()
        else:
            await cache.fetch(file)
    row = _row(database, file)
    assert row is not None and row.path
    (directory / row.path).unlink()
    with _cut(database, directory) as reborn:
        async with running(directory, reborn, server, whole_below=SMALL) as cache:
            await _until(lambda: _row(reborn, file) is None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert cache.usage == MIB and _row(reborn, kept) is not None


async def test_a_photo_whose_row_was_lost_is_not_fetched_again(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(MIB)
    photo = server.add(content)
    async with running(directory, database, server) as cache:
        with _cut(database, directory) as reborn:
            await cache.fetch(photo)
            server.forget_traffic()
            copy = directory.with_name("copy")
            shutil.copytree(directory, copy)
            async with running(copy, reborn, server) as next_life:
                assert await read_all(next_life, photo) == content
                await next_life.fetch(photo)
    assert server.gets == []


async def test_the_directory_counts_as_left_when_the_state_is_on_the_disk(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that goes before the last commits are safe would hide what a power cut did."""
    order: list[str] = []
    settle, leave = Database.settle, Places.leave

    async def settled(self: Database) -> None:
        await settle(self)
        order.append("settled")

    def left(self: Places) -> None:
        order.append("left")
        leave(self)

    monkeypatch.setattr(Database, "settle", settled)
    monkeypatch.setattr(Places, "leave", left)
    async with running(directory, database, server):
        pass
    assert order == ["settled", "left"] and not (directory / "in-use").exists()

    async def failing(self: Database) -> None:
        raise StateDamaged("The disk is gone.")

    monkeypatch.setattr(Database, "settle", failing)
    async with running(directory, database, server):
        pass
    assert (directory / "in-use").exists()


async def test_a_content_whose_commit_failed_is_kept_by_the_next_try(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was renamed by then."""
    photo = server.add(some_bytes(MIB))
    places = Places(directory)
    places.prepare()
    holding = Holding(places, database, photo)
    await holding.write(0, [some_bytes(MIB)])
    await holding.verify()
    write = database.write

    async def failing(transaction: object, then: object = None) -> None:
        def undone(connection: object) -> None:
            transaction(connection)  # type: ignore[operator]
            raise OSError(5, os.strerror(5))

        await write(undone)

    with monkeypatch.context() as patched, pytest.raises(Exception, match="Input/output"):
        patched.setattr(database, "write", failing)
        await holding.keep()
    assert not holding.whole
    await holding.keep()
    holding.close()
    row = _row(database, photo)
    assert row is not None and row.status == "downloaded"
    assert (directory / row.path).read_bytes() == some_bytes(MIB)
