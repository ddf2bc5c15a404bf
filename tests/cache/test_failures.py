"""What iCloud or the way to it may do wrong: never a wrong byte, never a state that stays wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from icloudfs.apple.content import ExpiredURL, Interrupted
from icloudfs.cache import Cache
from icloudfs.errors import (
    ContentError,
    ContentMismatch,
    ContentUnavailable,
    LoginNeeded,
    Offline,
    Throttled,
)
from icloudfs.state import contents
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes

CONTENT = some_bytes(3 * MIB)


@pytest.fixture
def photo(server: Server) -> File:
    return server.add(CONTENT)


def _stray_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks for path in directory.rglob("*") if path.is_file())


async def _reads(cache: Cache, file: File) -> bool:
    """Whether the network is believed in again."""
    try:
        return await read_all(cache, file) == CONTENT
    except Offline:
        return False


async def test_a_flipped_byte(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.flipped = MIB
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch) as raised:
            await read_all(cache, photo)
        assert photo.checksum in str(raised.value) and "found" in str(raised.value)
        row = contents.get(database.reader, photo.checksum)
        assert row is not None and row.status == "failed" and row.last_error == str(raised.value)
        assert cache.usage == 0
        with trio.fail_after(10):
            while list((directory / "partial").iterdir()):  # noqa: ASYNC110 - a thread takes it away
                await trio.sleep(0.01)
        assert list((directory / "content").rglob("*")) == []
        server.flipped = None
        assert await read_all(cache, photo) == CONTENT
    row = contents.get(database.reader, photo.checksum)
    assert row is not None and row.status == "downloaded" and row.last_error is None
    assert row.attempts == 2


async def test_all_who_wait_are_told(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.flipped = MIB
    server.pace = 0.002
    told: list[str] = []

    async def read() -> None:
        with pytest.raises(ContentMismatch):
            await read_all(cache, photo)
        told.append("mismatch")

    async with running(directory, database, server) as cache, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)
    assert len(told) == 5 and len(server.gets) == 1


async def test_the_kernel_is_told_when_a_head_proves_wrong(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.flipped = 1000
    wrong: list[str] = []
    async with running(directory, database, server, wrong=wrong) as cache:
        handle = cache.open(photo)
        await handle.read(0, 4 * KIB)
        assert wrong == []
        with pytest.raises(ContentMismatch):
            await handle.read(2 * MIB, KIB)
        assert wrong == [photo.checksum]
        server.flipped = None
        with pytest.raises(ContentMismatch):  # what it was shown before stays wrong
            await handle.read(0, 4 * KIB)
        handle.close()
        handle = cache.open(photo)
        assert await handle.read(0, 4 * KIB) == CONTENT[: 4 * KIB]
        handle.close()


@pytest.mark.parametrize("found", ["text/html", "application/json", "the 17 bytes of an error"])
async def test_a_refused_body(
    server: Server, directory: Path, database: Database, photo: File, found: str
) -> None:
    server.refuse = found
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch, match=found):
            await read_all(cache, photo)
        row = contents.get(database.reader, photo.checksum)
        assert row is not None and row.status == "failed" and row.last_error is not None
        assert f"Expected {photo.size} bytes" in row.last_error and found in row.last_error
        server.refuse = ""
        assert await read_all(cache, photo) == CONTENT


async def test_a_photo_that_is_always_cut_short(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.cut_after = 500_000
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch, match=f"Expected {photo.size} bytes .* found 1500000"):
            await read_all(cache, photo)
        assert len(server.gets) == 3
        row = contents.get(database.reader, photo.checksum)
        assert row is not None and row.status == "failed"
        assert cache.usage == 0 and _stray_bytes(directory) <= 16
        server.cut_after = None
        assert await read_all(cache, photo) == CONTENT


async def test_a_connection_that_breaks_once_is_gone_on_with(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.cut_after, server.cuts = 1_000_000, 1
    async with running(directory, database, server) as cache:
        assert await read_all(cache, photo) == CONTENT
    assert [get.start for get in server.gets] == [0, 1_000_000]
    assert server.sent == len(CONTENT)


async def test_content_of_another_size(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.contents[photo.checksum] = CONTENT + b"more"
    async with running(directory, database, server) as cache:
        with pytest.raises(
            ContentMismatch, match=f"Expected {photo.size}.* found {photo.size + 4}"
        ):
            await read_all(cache, photo)


async def test_an_expired_url_is_looked_up_again(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.cut_after, server.cuts = 1_000_000, 1
    server.url_lives = 1  # the second GET of a URL gets 410
    async with running(directory, database, server) as cache:
        assert await read_all(cache, photo) == CONTENT
    assert len(server.lookups) == 2 and server.sent == len(CONTENT)
    assert [get.start for get in server.gets] == [0, 1_000_000, 1_000_000]


async def test_an_address_of_another_content_is_not_asked_again(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.flipped = MIB
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentMismatch):
            await read_all(cache, photo)
        server.flipped = None
        assert await read_all(cache, photo) == CONTENT
    assert server.lookups == [[photo.record], [photo.record]]


async def test_an_address_where_nobody_answers_is_not_asked_again(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    """The record may have another one: what cannot be reached is that server, and perhaps not iCloud."""
    server.errors = [Offline("There is no connection to content.") for _ in range(2)]
    async with running(directory, database, server) as cache:
        with pytest.raises(Offline):
            await read_all(cache, photo)
        assert server.errors == [] and server.lookups == [[photo.record]]
        with trio.fail_after(5):
            while not await _reads(cache, photo):  # noqa: ASYNC110 - as a program does
                await trio.sleep(0.05)
    assert server.lookups == [[photo.record], [photo.record]]


async def test_urls_that_are_always_expired(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.errors = [ExpiredURL("HTTP 410") for _ in range(10)]
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentUnavailable, match="expired"):
            await read_all(cache, photo)
        assert len(server.gets) == 3
        server.errors.clear()
        assert await read_all(cache, photo) == CONTENT


async def test_transient_errors_are_tried_three_times(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.errors = [Throttled("later", retry_after=0.05), Interrupted("broke", received=0)]
    async with running(directory, database, server) as cache:
        assert await read_all(cache, photo) == CONTENT
    assert len(server.gets) == 3


async def test_who_asks_to_wait_for_too_long_is_not_asked_again(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    other = server.add(some_bytes(MIB, 7))
    server.errors = [Throttled("later", retry_after=60)]
    async with running(directory, database, server, timeout=1) as cache:
        with pytest.raises(Throttled):
            await read_all(cache, photo)
        with pytest.raises(Throttled):
            await read_all(cache, other)
    assert len(server.gets) == 1
    assert contents.get(database.reader, photo.checksum) is None


async def test_a_record_that_is_gone(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.remove(photo)
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentUnavailable, match="no record"):
            await read_all(cache, photo)
    row = contents.get(database.reader, photo.checksum)
    assert row is not None and row.status == "failed"


async def test_a_duplicate_whose_record_is_still_there_is_asked_instead(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    duplicate = server.add(CONTENT, name="another-master")
    server.remove(photo)
    async with running(directory, database, server) as cache:
        handle = cache.open(photo)
        with pytest.raises(ContentUnavailable):
            await handle.read(0, MIB)
        assert await read_all(cache, duplicate) == CONTENT
        assert await handle.read(0, MIB) == CONTENT[:MIB]
        handle.close()


async def test_content_that_changed_in_icloud(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.replace(photo, some_bytes(100, 9))
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentUnavailable, match="changed in iCloud"):
            await read_all(cache, photo)


async def test_errors_that_are_not_the_photos_fault_leave_it_pending(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.errors = [LoginNeeded("Sign in again.")]
    async with running(directory, database, server) as cache:
        with pytest.raises(LoginNeeded):
            await read_all(cache, photo)
        assert await read_all(cache, photo) == CONTENT


async def test_an_unforeseen_error_fails_that_read_alone(
    server: Server, directory: Path, database: Database, photo: File
) -> None:
    server.errors = [ZeroDivisionError()]
    async with running(directory, database, server) as cache:
        with pytest.raises(ContentError, match="unforeseen"):
            await read_all(cache, photo)
        assert await read_all(cache, photo) == CONTENT
