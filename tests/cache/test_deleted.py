"""Somebody deletes the cache directory while it is used, or there are no descriptors left."""

# ruff: noqa: ASYNC240 (what a test makes on disk may block it)

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from icloudfs.cache.audit import verify
from icloudfs.cache.places import Places
from icloudfs.errors import CacheUnusable, TooManyOpenFiles
from icloudfs.progress import to_nobody
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.server import MIB, Server, read_all, running, some_bytes
from tests.failing_disk import until


async def test_a_directory_that_is_deleted_is_made_anew(
    server: Server, directory: Path, database: Database
) -> None:
    """What was here is fetched again, what is on its way stays, and all of it is kept."""
    before, after = server.add(some_bytes(MIB, 1)), server.add(some_bytes(MIB, 2))
    film = server.add(some_bytes(40 * MIB, 3))
    small = server.add(some_bytes(1000, 4))
    server.add_small(small, _JPEG)
    async with running(directory, database, server) as cache:
        await cache.fetch(before)  # until it is kept, and nobody has it open
        handle = cache.open(film)
        assert await handle.read(0, MIB) == some_bytes(40 * MIB, 3)[:MIB]

        shutil.rmtree(directory)

        assert await cache.can_spare(1)
        assert (await cache.disk_usage()).total == shutil.disk_usage(directory.parent).total
        assert await cache.thumbnail(small)
        assert await read_all(cache, before) == some_bytes(MIB, 1)
        assert await read_all(cache, after) == some_bytes(MIB, 2)
        rest = [await handle.read(at, MIB) for at in range(0, film.size, MIB)]
        assert b"".join(rest) == some_bytes(40 * MIB, 3)
        handle.close()
        await cache.fetch(film)
    assert sum(get.sent for get in server.gets if get.checksum == film.checksum) == film.size
    below = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in below} == {0o700}

    server.forget_traffic()
    async with running(directory, database, server) as cache:
        for file, content in ((before, some_bytes(MIB, 1)), (film, some_bytes(40 * MIB, 3))):
            assert await read_all(cache, file) == content
    assert server.sent == 0


async def test_a_directory_whose_file_system_has_ended_has_a_sentence(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is when the daemon of a FUSE file system below it dies."""

    def dead(path: Path) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(path))

    async with running(directory, database, server) as cache:
        monkeypatch.setattr(shutil, "disk_usage", dead)
        with pytest.raises(CacheUnusable, match="cannot be read: Transport endpoint is not"):
            await cache.disk_usage()
        assert not await cache.can_spare(1)


async def test_a_disk_that_stands_still_when_the_cache_begins_has_a_sentence(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed = threading.Event()
    monkeypatch.setattr(Places, "prepare", lambda _: thawed.wait())
    try:
        with (
            pytest.RaisesGroup(pytest.RaisesExc(CacheUnusable, match="has not answered for 0.1 s")),
            trio.fail_after(5),
        ):
            async with running(directory, database, server, timeout=0.1):
                pass
    finally:
        thawed.set()


def test_a_disk_that_has_ended_keeps_nobody_from_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark stays, and the next start looks through what lies there."""
    places = Places(tmp_path / "cache")
    assert not places.prepare()

    def dead(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dead)
        places.leave()
    assert Places(tmp_path / "cache").prepare()


_JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


async def test_a_part_is_gone_with_the_directory(
    server: Server, directory: Path, database: Database
) -> None:
    """A restart finds what its row says nowhere, and begins anew."""
    film = server.add(some_bytes(40 * MIB, 3))
    async with running(directory, database, server) as cache:
        handle = cache.open(film)
        await handle.read(0, MIB)
        shutil.rmtree(directory)
        handle.close()
    async with running(directory, database, server) as cache:
        assert await read_all(cache, film) == some_bytes(40 * MIB, 3)


async def test_what_is_deleted_is_missed_by_verify_and_fetched_by_its_repair(
    server: Server, directory: Path, database: Database
) -> None:
    files = [server.add(some_bytes(MIB, seed)) for seed in range(3)]
    async with running(directory, database, server) as cache:
        for file in files:
            await cache.fetch(file)
        shutil.rmtree(directory)

        looked = await verify(cache, checksums=True, repair=False, report=to_nobody)
        mended = await verify(cache, checksums=True, repair=True, report=to_nobody)

        assert (looked.ok, looked.missing) == (False, 3)
        assert (mended.ok, mended.repaired) == (True, 3)
        assert await read_all(cache, files[0]) == some_bytes(MIB, 0)


@pytest.mark.parametrize("meanwhile", [True, False], ids=["in use", "between two starts"])
async def test_what_was_deleted_counts_no_more_after_the_next_start(
    server: Server, directory: Path, database: Database, meanwhile: bool
) -> None:
    """A mirror would else never bring it again, and 'status' would tell that it is here."""
    lost, kept = server.add(some_bytes(MIB, 1)), server.add(some_bytes(MIB, 2))
    async with running(directory, database, server) as cache:
        await cache.fetch(lost)
        if meanwhile:
            shutil.rmtree(directory)
            await cache.fetch(kept)
    if not meanwhile:
        shutil.rmtree(directory)

    async with running(directory, database, server) as cache:
        await until(lambda: contents.get(database.reader, lost.checksum) is None)
        assert cache.usage == (kept.size if meanwhile else 0)


async def test_a_disk_that_is_away_for_one_start_loses_nothing(
    server: Server, directory: Path, database: Database
) -> None:
    """Its mount point is a directory of the same path, and empty."""
    photo = server.add(some_bytes(MIB, 1))
    async with running(directory, database, server) as cache:
        await cache.fetch(photo)
    away = directory.with_name("away")
    directory.rename(away)
    async with running(directory, database, server):
        await until(lambda: contents.get(database.reader, photo.checksum) is None)
    shutil.rmtree(directory)
    away.rename(directory)

    server.forget_traffic()
    async with running(directory, database, server) as cache:
        await until(lambda: contents.get(database.reader, photo.checksum) is not None)
        assert await read_all(cache, photo) == some_bytes(MIB, 1)
    assert server.sent == 0


# -- descriptors -------------------------------------------------------------------------------------


async def test_a_directory_that_is_moved_away_is_made_anew(
    server: Server, directory: Path, database: Database
) -> None:
    film = server.add(some_bytes(40 * MIB, 3))
    async with running(directory, database, server) as cache:
        handle = cache.open(film)
        await handle.read(0, MIB)
        directory.rename(directory.with_name("away"))
        await cache.fetch(film)
        handle.close()
    assert server.sent == film.size
    async with running(directory, database, server) as cache:
        assert await read_all(cache, film) == some_bytes(40 * MIB, 3)
    assert server.sent == film.size


@pytest.fixture
def exhausted() -> Iterator[list[int]]:
    """No descriptor is left from the time on that a test puts some into the list, which are then closed."""
    held: list[int] = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield held
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _exhaust(held: list[int]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    while True:
        try:
            held.append(os.open("/", os.O_PATH))
        except OSError as error:
            assert error.errno == errno.EMFILE
            return


async def test_no_descriptor_left_says_nothing_of_the_content(
    server: Server,
    directory: Path,
    database: Database,
    exhausted: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not taken for gone, and not fetched again; the log has a sentence for it."""
    here, lacking = server.add(some_bytes(MIB, 1)), server.add(some_bytes(MIB, 2))
    async with running(directory, database, server) as cache:
        await cache.fetch(here)
    server.forget_traffic()
    async with running(directory, database, server) as cache:
        waiting = cache.open(lacking)

        _exhaust(exhausted)
        for handle in (cache.open(here), waiting):
            with pytest.raises(TooManyOpenFiles):
                await handle.read(0, MIB)
            handle.close()
        with pytest.raises(TooManyOpenFiles):
            Database(database.path)
        for fd in exhausted:
            os.close(fd)
        exhausted.clear()

        assert await read_all(cache, here) == some_bytes(MIB, 1)
        assert here.checksum not in {get.checksum for get in server.gets}
        row = contents.get(database.reader, lacking.checksum)
        assert row is None or row.status != "failed"
        assert await read_all(cache, lacking) == some_bytes(MIB, 2)
    assert [record for record in caplog.records if record.exc_info] == []
