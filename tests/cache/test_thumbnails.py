from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.apple import checksum
from icloudfs.apple.records import Rendition
from icloudfs.cache import thumbnails
from icloudfs.cache.cache import Cache
from icloudfs.cache.shelf import Shelf
from icloudfs.cache.source import NAMES_A_LOOKUP, ExpiredURL
from icloudfs.cache.thumbnails import CONNECTIONS
from icloudfs.errors import (
    ContentMismatch,
    ContentUnavailable,
    LoginNeeded,
    Offline,
    Throttled,
)
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import Server, read_all, running

JPEG = b"\xff\xd8 a small picture"


def photo(server: Server, number: int = 0, small: bytes = JPEG) -> File:
    file = server.add(b"original %d" % number)
    server.add_small(file, small + b" %d" % number)
    return file


def pictures(directory: Path) -> list[Path]:
    return [path for path in (directory / "thumbnails").rglob("*") if path.is_file()]


async def test_the_small_picture_and_nothing_of_the_original(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG + b" 0"
        assert await cache.thumbnail(file) == JPEG + b" 0"
        assert cache.thumbnails_kept.count == 1
        assert cache.usage == 0
    assert [get.checksum for get in server.gets] != [file.checksum]
    assert (len(server.lookups), len(server.gets)) == (1, 1)


async def test_it_survives_a_restart_and_needs_no_network(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    async with running(directory, database, server) as cache:
        await cache.thumbnail(file)
    server.away = True
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG + b" 0"


async def test_the_edits_own_for_the_edit(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    edited = server.add(b"edited", rendition=Rendition.EDITED)
    server.add_small(edited, JPEG + b" edited")
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(edited) == JPEG + b" edited"
        assert await cache.thumbnail(file) == JPEG + b" 0"


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after the other"])
async def test_a_live_photo_and_its_video_share_one_download(
    directory: Path, database: Database, server: Server, at_once: bool
) -> None:
    photo = server.add(b"photo", name="master")
    video = server.add(b"video", name="master", rendition=Rendition.LIVE_VIDEO)
    server.add_small(photo, JPEG)
    async with running(directory, database, server) as cache:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.thumbnail, photo)
            if at_once:
                nursery.start_soon(cache.thumbnail, video)
        assert await cache.thumbnail(video) == JPEG
        assert cache.thumbnails_kept.count == 2
    assert len(server.gets) == 1


async def test_what_is_shared_and_damaged_is_shown_to_nobody(
    directory: Path, database: Database, server: Server
) -> None:
    photo = server.add(b"photo", name="master")
    video = server.add(b"video", name="master", rendition=Rendition.LIVE_VIDEO)
    server.add_small(photo, b"not what was announced", checksum=checksum.of(JPEG))
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        for file in (photo, video):
            nursery.start_soon(refused, cache, file)
    assert pictures(directory) == []


async def refused(cache: Cache, file: File) -> None:
    with pytest.raises(ContentMismatch):
        await cache.thumbnail(file)


async def test_the_next_larger_one_if_there_is_no_smaller(
    directory: Path, database: Database, server: Server
) -> None:
    file = server.add(b"original")
    server.add_small(file, JPEG + b" medium", prefix="resJPEGMed")
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG + b" medium"


async def test_a_folder_is_one_lookup_and_few_connections(
    directory: Path, database: Database, server: Server
) -> None:
    files = [photo(server, number) for number in range(NAMES_A_LOOKUP)]
    most = 0

    server.pace = 0.001
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        for file in [*files, *files]:
            nursery.start_soon(cache.thumbnail, file)
        while len(server.gets) < len(files):
            await trio.sleep(0.001)
            most = max(most, sum(get.sent == 0 for get in server.gets))
    assert len(server.lookups) == 1 and len(server.gets) == len(files)
    assert 1 < most <= CONNECTIONS


async def test_an_original_does_not_wait_for_small_pictures(
    directory: Path, database: Database, server: Server
) -> None:
    files = [photo(server, number) for number in range(40)]
    server.pace = 0.05
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        for file in files:
            nursery.start_soon(cache.thumbnail, file)
        await trio.sleep(0.1)
        assert await read_all(cache, files[0]) == b"original 0"
        small = [get for get in server.gets if get.checksum != files[0].checksum]
        assert 0 < len(small) < 40
        assert len(server.lookups) == 1


async def test_what_has_none_is_not_asked_for_again(
    directory: Path, database: Database, server: Server
) -> None:
    file = server.add(b"original")
    async with running(directory, database, server) as cache:
        for _ in range(3):
            with pytest.raises(ContentUnavailable):
                await cache.thumbnail(file)
        server.add_small(file, JPEG)
        cache._thumbnails._missing.clear()  # type: ignore[union-attr]
        cache._means.urls.forget(file)  # type: ignore[union-attr]
        assert await cache.thumbnail(file) == JPEG
    assert len(server.lookups) == 2


async def test_wrong_bytes_are_neither_shown_nor_kept(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    server.flipped = 5
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch):
            await cache.thumbnail(file)
    assert pictures(directory) == []


async def test_what_is_no_jpeg_is_no_picture(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server, small=b"<html>")
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch):
            await cache.thumbnail(file)
    assert pictures(directory) == []


async def test_an_unknown_kind_of_checksum_cannot_be_wrong(
    directory: Path, database: Database, server: Server
) -> None:
    file = server.add(b"original")
    server.add_small(file, JPEG, checksum="BAECAwQFBgcICQoLDA0ODxAREhMU")
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG


async def test_an_expired_url_is_looked_up_again(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    server.errors = [ExpiredURL("HTTP 410")]
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG + b" 0"
    assert len(server.lookups) == 2


async def test_without_a_network_it_fails_at_once(
    directory: Path, database: Database, server: Server
) -> None:
    files = [photo(server, number) for number in range(50)]
    server.away = True
    async with running(directory, database, server) as cache:
        with pytest.raises(Offline):
            await cache.thumbnail(files[0])
        began = time.monotonic()
        for file in files:
            with pytest.raises(Offline):
                await cache.thumbnail(file)
        assert time.monotonic() - began < 1
        server.away = False
        while True:
            try:
                assert await cache.thumbnail(files[0]) == JPEG + b" 0"
                break
            except Offline:
                await trio.sleep(0.05)


async def test_nobody_waits_longer_than_the_deadline(
    directory: Path, database: Database, server: Server
) -> None:
    file = photo(server)
    async with running(directory, database, server, timeout=0.2) as cache:
        await cache._means.urls.url(file)  # type: ignore[union-attr]
        server.silent = True
        began = time.monotonic()
        with pytest.raises(Offline):
            await cache.thumbnail(file)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("error", [Throttled("slowly", retry_after=30), LoginNeeded("who?")])
async def test_what_apple_asks_for_is_told(
    directory: Path, database: Database, server: Server, error: Exception
) -> None:
    file, other = photo(server), photo(server, 1)
    server.errors = [error]
    async with running(directory, database, server) as cache:
        with pytest.raises(type(error)):
            await cache.thumbnail(file)
        if isinstance(error, Throttled):
            with pytest.raises(Throttled):
                await cache.thumbnail(other)
            assert len(server.gets) == 1
        else:
            assert await cache.thumbnail(file) == JPEG + b" 0"


async def test_a_full_disk_costs_nothing_but_another_download(
    directory: Path, database: Database, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = photo(server)
    monkeypatch.setattr(thumbnails, "_LAST_UP_TO", 0)

    def full(shelf: Shelf, name: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running(directory, database, server) as cache:
        with monkeypatch.context() as patched:
            patched.setattr(Shelf, "put", full)
            assert await cache.thumbnail(file) == JPEG + b" 0"
            assert await cache.thumbnail(file) == JPEG + b" 0"
        assert await cache.thumbnail(file) == JPEG + b" 0"
        assert await cache.thumbnail(file) == JPEG + b" 0"
    assert len(server.gets) == 3


@pytest.mark.parametrize("left", [bytes(len(JPEG)), JPEG + b" 1"])
async def test_what_is_not_what_was_kept_is_fetched_again(
    directory: Path, database: Database, server: Server, left: bytes
) -> None:
    """Zeros after a power cut, or another small picture."""
    file = photo(server)
    async with running(directory, database, server) as cache:
        await cache.thumbnail(file)
    (kept,) = pictures(directory)
    before = kept.read_bytes()
    kept.write_bytes(left)
    async with running(directory, database, server) as cache:
        assert await cache.thumbnail(file) == JPEG + b" 0"
    assert kept.read_bytes() == before and before.startswith(JPEG + b" 0")
