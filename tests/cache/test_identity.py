"""A cached file is believed for as long as it is the one that was written; another is found for nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from icloudfs.cache.audit import verify
from icloudfs.cache.holding import Holding, identity
from icloudfs.progress import to_nobody
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.library import announce
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes

KEYED = "BAAAAAAAAAAAAAAAAAAAAAAAAAAA"
CONTENT = some_bytes(MIB)


def _row(database: Database, file: File) -> Content:
    row = contents.get(database.reader, file.checksum)
    assert row is not None
    return row


async def _have(directory: Path, database: Database, server: Server, file: File) -> Path:
    async with running(directory, database, server) as cache:
        await cache.fetch(file)
    server.forget_traffic()
    return directory / _row(database, file).path


def _zeros(path: Path) -> None:
    os.truncate(path, 0)
    os.truncate(path, MIB)


def _written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(MIB))


def _replaced(path: Path) -> None:
    before = path.stat()
    path.with_suffix(".new").write_bytes(some_bytes(MIB, 1))
    os.utime(path.with_suffix(".new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_suffix(".new").rename(path)


def _symbolic_link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere.jpg"
    elsewhere.write_bytes(some_bytes(MIB, 2))
    path.unlink()
    path.symlink_to(elsewhere)


def _hard_link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere.jpg"
    elsewhere.write_bytes(some_bytes(MIB, 2))
    path.unlink()
    path.hardlink_to(elsewhere)


@pytest.mark.parametrize("harm", [_zeros, _written_over, _replaced, _symbolic_link, _hard_link])
async def test_another_file_in_its_place_is_found(
    server: Server, directory: Path, database: Database, harm: Callable[[Path], None]
) -> None:
    """Not a byte of it is shown, no error is seen, and no other's file is touched."""
    file = server.add(CONTENT)
    path = await _have(directory, database, server, file)
    harm(path)
    async with running(directory, database, server) as cache:
        handle = cache.open(file)
        assert not handle.verified and handle.read_now(0, KIB) is None
        assert await handle.read(0, KIB) == CONTENT[:KIB]
        handle.close()
        assert await read_all(cache, file) == CONTENT
        await cache.fetch(file)
        assert cache.usage == MIB
    row = _row(database, file)
    found = path.lstat()
    assert row.status == "downloaded" and row.last_error is None
    assert row.identity == identity(found) and found.st_nlink == 1
    elsewhere = path.parents[3] / "elsewhere.jpg"
    assert not elsewhere.exists() or elsewhere.read_bytes() == some_bytes(MIB, 2)


async def test_one_that_was_touched_or_copied_back_is_read_once_and_not_fetched(
    server: Server, directory: Path, database: Database
) -> None:
    """A cache that was restored from a backup has other inodes, and is good."""
    file = server.add(CONTENT)
    path = await _have(directory, database, server, file)
    path.rename(path.with_suffix(".old"))
    path.write_bytes(path.with_suffix(".old").read_bytes())
    server.away = True
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == CONTENT
        await cache.fetch(file)
        assert _row(database, file).identity == identity(path.stat())
        handle = cache.open(file)
        assert handle.verified
        handle.close()
        assert cache.usage == MIB
    assert _row(database, file).downloaded_at is not None


async def test_what_an_older_version_kept_is_read_once(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(CONTENT)
    await _have(directory, database, server, file)
    database.write_now(lambda c: c.execute("UPDATE content SET identity = ''") and None)
    server.away = True
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == CONTENT
        await cache.fetch(file)
    assert _row(database, file).identity


@pytest.mark.parametrize("is_right", [True, False])
async def test_one_whose_checksum_cannot_be_checked_is_what_its_sha256_says(
    server: Server, directory: Path, database: Database, is_right: bool
) -> None:
    file = server.add(CONTENT, checksum=KEYED)
    path = await _have(directory, database, server, file)
    path.unlink()
    path.write_bytes(CONTENT if is_right else some_bytes(MIB, 1))
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == CONTENT
    assert bool(server.gets) is not is_right


async def test_a_flipped_bit_is_found_by_strict_alone_and_once_a_start(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.add(CONTENT)
    path = await _have(directory, database, server, file)
    before = path.stat()
    path.write_bytes(CONTENT[:-1] + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) != CONTENT
    async with running(directory, database, server, strict=True) as cache:
        assert await read_all(cache, file) == CONTENT
        assert server.sent == MIB
        await cache.fetch(file)
        checks: list[str] = []
        check = Holding.verify

        async def noted(self: Holding) -> None:
            checks.append(self.checksum)
            await check(self)

        monkeypatch.setattr(Holding, "verify", noted)
        assert await read_all(cache, file) == CONTENT
        assert checks == []
    async with running(directory, database, server, strict=True) as cache:
        for _ in range(2):
            assert await read_all(cache, file) == CONTENT
            await cache.fetch(file)
    assert checks == [file.checksum] and server.sent == MIB


async def test_verify_reads_what_is_not_the_file_that_was_written(
    server: Server, directory: Path, database: Database
) -> None:
    """Without --checksums, too; what is right counts again."""
    good, bad = server.add(CONTENT), server.add(some_bytes(MIB, 1))
    announce(database, [(good, "GOOD.JPG"), (bad, "BAD.JPG")])
    paths = [await _have(directory, database, server, file) for file in (good, bad)]
    os.utime(paths[0], (1, 1))
    paths[1].write_bytes(bytes(MIB))
    async with running(directory, database, server) as cache:
        found = await verify(cache, checksums=False, repair=False, report=to_nobody)
        assert [(p.kind, p.filename) for p in found.problems] == [("corrupt", "BAD.JPG")]
        assert _row(database, good).identity == identity(paths[0].stat())
        mended = await verify(cache, checksums=False, repair=True, report=to_nobody)
        assert mended.ok and mended.repaired == 1
        assert await read_all(cache, bad) == some_bytes(MIB, 1)


async def test_holes_in_a_part_are_not_taken_for_bytes(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(8 * MIB)
    file = server.add(content)
    server.goes_away_after = 4 * MIB
    async with running(directory, database, server, whole_below=MIB) as cache:
        with pytest.raises(Exception, match=r"connection|broke"):
            await cache.fetch(file)
    [part] = (directory / "partial").iterdir()
    os.truncate(part, MIB)
    os.truncate(part, 8 * MIB)
    server.goes_away_after, server.away = None, False
    server.forget_traffic()
    async with running(directory, database, server, whole_below=MIB) as cache:
        handle = cache.open(file)
        assert await handle.read(2 * MIB, 4 * KIB) == content[2 * MIB :][: 4 * KIB]
        handle.close()
        assert await read_all(cache, file) == content
        await cache.fetch(file)
    assert server.sent == 7 * MIB


async def test_one_that_is_written_to_while_somebody_has_it_open(
    server: Server, directory: Path, database: Database
) -> None:
    """Who opens it next looks, too."""
    file = server.add(CONTENT)
    path = await _have(directory, database, server, file)
    async with running(directory, database, server) as cache:
        first = cache.open(file)
        assert await first.read(0, KIB) == CONTENT[:KIB]
        _written_over(path)
        os.utime(path, (1, 1))
        second = cache.open(file)
        assert await second.read(0, MIB) == await first.read(0, MIB) == CONTENT
        first.close()
        second.close()
        await cache.fetch(file)
        assert cache.usage == MIB and server.sent == MIB
    assert path.read_bytes() == CONTENT


async def test_strict_reads_imported_files_too(
    server: Server, directory: Path, database: Database, tmp_path: Path
) -> None:
    """What lies there is no photo of iCloud's any more, and stays where it lies."""
    own = tmp_path / "IMG_0001.JPG"
    own.write_bytes(CONTENT[:-1] + b"!")
    file = server.add(CONTENT)
    database.write_now(
        lambda connection: contents.set_downloaded(
            connection,
            file.checksum,
            MIB,
            str(own),
            sha256="",
            verified=True,
            now=0,
            identity=identity(own.stat()),
        )
    )
    async with running(directory, database, server, strict=True) as cache:
        assert await read_all(cache, file) == CONTENT
        assert cache.usage == MIB
    assert own.read_bytes() == CONTENT[:-1] + b"!"


async def test_readers_of_a_wrong_file_wait_for_one_download(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(CONTENT)
    path = await _have(directory, database, server, file)
    _zeros(path)
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:

        async def read() -> None:
            assert await read_all(cache, file) == CONTENT

        for _ in range(8):
            nursery.start_soon(read)
    assert server.sent == MIB
