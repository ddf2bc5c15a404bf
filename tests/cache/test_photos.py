"""Photos: whole and verified before a byte is shown, but for the head."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.apple.records import Rendition
from icloudfs.cache import Cache
from icloudfs.cache.pull import REST
from icloudfs.errors import ContentMismatch
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import (
    KIB,
    MIB,
    SHARED,
    Server,
    is_verified,
    read_all,
    running,
    some_bytes,
    until_nothing_comes,
)
from tests.failing_disk import until

HEAD = 128 * KIB


async def test_a_photo_is_read_verified_and_kept(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(3 * MIB + 17)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == content
        assert cache.usage == len(content)
        handle = cache.open(file)
        assert handle.verified
        assert handle.read_now(MIB, 100) == content[MIB : MIB + 100]
        handle.close()
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded" and row.verified
    assert row.sha256 == hashlib.sha256(content).hexdigest()
    assert (directory / row.path).read_bytes() == content
    assert row.path.startswith("content/")
    assert list((directory / "partial").iterdir()) == []
    assert server.sent == len(content) and len(server.gets) == len(server.lookups) == 1


async def test_opening_costs_nothing(server: Server, directory: Path, database: Database) -> None:
    file = server.add(some_bytes(MIB))
    async with running(directory, database, server) as cache:
        handle = cache.open(file)
        assert not handle.verified
        assert handle.read_now(0, 4096) is None
        await trio.sleep(0.05)
        handle.close()
    assert server.lookups == [] and server.gets == []
    assert contents.get(database.reader, file.checksum) is None


async def test_ten_readers_cause_one_look_up_and_one_download(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(2 * MIB)
    file = server.add(content)
    server.pace = 0.002
    results: list[bytes] = []

    async def read() -> None:
        results.append(await read_all(cache, file))

    async with running(directory, database, server) as cache:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read)
        assert results == [content] * 10
    assert len(server.lookups) == len(server.gets) == 1 and server.sent == len(content)


async def test_files_with_one_content_share_it(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(MIB)
    mine, shared = server.add(content), server.add(content, zone=SHARED, name="other")
    async with running(directory, database, server) as cache:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_all, cache, mine)
            nursery.start_soon(read_all, cache, shared)
        assert await read_all(cache, shared) == content
    assert server.sent == len(content)


async def test_concurrent_opens_share_one_look_up(
    server: Server, directory: Path, database: Database
) -> None:
    files = [server.add(some_bytes(10 * KIB, seed)) for seed in range(20)]
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        # Until then each has to look on the disk first, and they come one by one.
        await until(lambda: cache._is_swept)
        for file in files:
            nursery.start_soon(cache.fetch, file)
    assert [len(names) for names in server.lookups] == [20]


async def test_one_look_up_serves_the_video_of_a_live_photo(
    server: Server, directory: Path, database: Database
) -> None:
    photo = server.add(some_bytes(MIB, 1), name="m")
    video = server.add(some_bytes(MIB, 2), name="m", rendition=Rendition.LIVE_VIDEO)
    async with running(directory, database, server) as cache:
        await cache.fetch(photo)
        await cache.fetch(video)
    assert server.lookups == [["m"]]


async def test_a_small_first_read_costs_the_head_alone(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(5 * MIB)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        handle = cache.open(file)
        assert await handle.read(0, 16 * KIB) == content[: 16 * KIB]
        assert await handle.read(64 * KIB, 64 * KIB) == content[64 * KIB : HEAD]
        handle.close()
        assert server.sent == HEAD
        # It is kept, also for the next who only looks.
        handle = cache.open(file)
        assert await handle.read(0, 4 * KIB) == content[: 4 * KIB]
        assert not is_verified(handle)
        # The rest comes when it is read, and the head not again.
        assert await handle.read(4 * MIB, KIB) == content[4 * MIB : 4 * MIB + KIB]
        assert is_verified(handle)
        handle.close()
    assert server.sent == len(content)


async def test_who_copies_causes_one_get(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(5 * MIB)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file, 128 * KIB) == content
    assert [(get.start, get.stop) for get in server.gets] == [(0, len(content))]


async def test_strict_shows_no_head(server: Server, directory: Path, database: Database) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    server.flipped = 512 * KIB
    async with running(directory, database, server, strict=True) as cache:
        handle = cache.open(file)
        with pytest.raises(ContentMismatch):
            await handle.read(0, 4 * KIB)
        handle.close()


async def test_a_file_not_larger_than_the_head_is_fetched_whole(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(HEAD)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        handle = cache.open(file)
        assert await handle.read(0, KIB) == content[:KIB]
        assert handle.verified
        handle.close()
    assert len(server.gets) == 1


async def test_the_end_of_the_file_and_beyond(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(1000)
    file = server.add(content)
    empty = server.add(b"")
    async with running(directory, database, server) as cache:
        handle = cache.open(file)
        assert await handle.read(900, 4096) == content[900:]
        assert await handle.read(1000, 4096) == b"" and await handle.read(5000, 1) == b""
        handle.close()
        handle = cache.open(empty)
        assert handle.verified and await handle.read(0, 10) == b""
        handle.close()
        await cache.fetch(empty)


async def test_a_checksum_of_unknown_type_is_believed_when_the_size_agrees(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(MIB)
    file = server.add(content, checksum="BGFiYw==")
    strange = server.add(content, checksum="../../etc/passwd")
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == content
        assert await read_all(cache, strange) == content
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded" and not row.verified
    row = contents.get(database.reader, strange.checksum)
    assert row is not None and (directory / row.path).resolve().is_relative_to(directory)


async def test_a_cancelled_reader_leaves_the_photo_to_the_others(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(2 * MIB)
    file = server.add(content)
    server.pace = 0.01
    async with running(directory, database, server) as cache:
        with trio.move_on_after(0.1):
            await read_all(cache, file)
        assert await read_all(cache, file) == content
    assert server.sent == len(content) and len(server.gets) == 1


async def test_transfers_are_told(server: Server, directory: Path, database: Database) -> None:
    file = server.add(some_bytes(4 * MIB))
    server.pace = 0.01
    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        assert cache.transfers() == []
        nursery.start_soon(cache.fetch, file)
        await trio.sleep(0.4)
        [transfer] = cache.transfers()
        assert transfer.checksum == file.checksum and transfer.size == file.size
        assert 0 < transfer.done < file.size and transfer.rate > 0 and transfer.waiting == 1
    assert cache.transfers() == []


async def view(cache: Cache, file: File) -> bytes:
    """What a viewer does: a look at what it is, and then all of it."""
    handle = cache.open(file)
    try:
        beginning = await handle.read(0, 16 * KIB)
        return beginning + await handle.read(16 * KIB, file.size)
    finally:
        handle.close()


async def sniff(cache: Cache, file: File) -> None:
    """What an indexer does."""
    handle = cache.open(file)
    await handle.read(0, 16 * KIB)
    handle.close()


async def test_a_viewer_that_reads_on_costs_one_request(
    server: Server, directory: Path, database: Database
) -> None:
    photos = [server.add(some_bytes(MIB, seed)) for seed in range(3)]
    async with running(directory, database, server) as cache:
        for seed, photo in enumerate(photos):
            assert await view(cache, photo) == some_bytes(MIB, seed)
    # The first was not known to be going on; it pays with a second request.
    ranges = [(get.start, get.stop) for get in server.gets]
    assert ranges == [(0, HEAD), (HEAD, MIB), (0, MIB), (0, MIB)]
    assert server.sent == 3 * MIB


async def test_who_sniffs_is_given_heads(
    server: Server, directory: Path, database: Database
) -> None:
    photos = [server.add(some_bytes(MIB, seed)) for seed in range(6)]
    async with running(directory, database, server) as cache:
        for photo in photos[:2]:
            await sniff(cache, photo)
        # Who sniffs has seen enough before all of the head is there.
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.sent == 2 * HEAD
        await view(cache, photos[2])
        server.forget_traffic()
        for photo in photos[3:]:
            await sniff(cache, photo)
        # After a viewer the rest is asked for, once, and then no more.
        assert [get.stop for get in server.gets] == [MIB, HEAD, HEAD]
        assert server.sent <= MIB + 2 * HEAD


async def test_the_line_is_held_for_a_moment_only(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icloudfs.cache.pull.HOLD", 0.05)
    size = 4 * MIB
    known, file = server.add(some_bytes(MIB)), server.add(some_bytes(size, 1))
    async with running(directory, database, server) as cache:
        await view(cache, known)
        server.forget_traffic()
        handle = cache.open(file)
        await handle.read(0, 16 * KIB)
        assert len(cache.transfers()) == 1
        await until_nothing_comes(cache)
        # What the network is taken to have brought by then is kept.
        kept = cache.usage - MIB
        assert HEAD <= kept <= HEAD + REST
        assert await handle.read(0, size) == some_bytes(size, 1)
        handle.close()
    assert [(get.start, get.stop) for get in server.gets] == [(0, size), (kept, size)]
    assert server.sent <= size + 64 * KIB


@pytest.mark.parametrize("size", [MIB, 8 * MIB])
async def test_a_photo_that_is_looked_at_closed_and_opened_again_is_one_request(
    server: Server, directory: Path, database: Database, size: int
) -> None:
    known, file = server.add(some_bytes(MIB)), server.add(some_bytes(size, 1))
    async with running(directory, database, server) as cache:
        await view(cache, known)
        server.forget_traffic()
        for _ in range(3):
            await sniff(cache, file)
            await trio.sleep(0.05)
        assert await view(cache, file) == some_bytes(size, 1)
    assert [(get.start, get.stop) for get in server.gets] == [(0, size)]
    assert server.sent == size


async def test_a_short_rest_of_a_photo_is_finished(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for with the beginning, since the last reader had gone on; this one does not."""
    monkeypatch.setattr("icloudfs.cache.pull.HOLD", 0.05)
    known, file = server.add(some_bytes(MIB)), server.add(some_bytes(MIB, 1))
    async with running(directory, database, server) as cache:
        await view(cache, known)
        await sniff(cache, file)
        await until_nothing_comes(cache)
        server.away = True
        assert await view(cache, file) == some_bytes(MIB, 1)
    assert server.sent == 2 * MIB
