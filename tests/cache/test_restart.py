"""What is on disk outlives the process, however that ends."""

# ruff: noqa: ASYNC240 (what a test looks at on disk may block it)

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from icloudfs.cache.holding import Holding
from icloudfs.cache.places import Places
from icloudfs.errors import CacheUnusable
from icloudfs.state import contents
from icloudfs.state.database import Database
from tests.cache.server import KIB, MIB, Server, is_verified, read_all, running, some_bytes

_DOWNLOADING = """
import sys, trio
from pathlib import Path
from icloudfs.state.database import Database
from tests.cache.server import MIB, Server, running, some_bytes

async def main():
    directory = Path(sys.argv[1])
    server = Server(pace=0.01)
    file = server.add(some_bytes(int(sys.argv[3])))
    database = Database(Path(sys.argv[2]))
    async with running(directory, database, server, whole_below=2 * MIB) as cache:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.fetch, file)
            while True:
                print(server.sent, flush=True)
                await trio.sleep(0.02)

trio.run(main)
"""


def _download_until_killed(directory: Path, state: Path, size: int, seconds: float) -> int:
    """Bytes that a process had been sent when it was killed without a warning."""
    process = subprocess.Popen(
        [sys.executable, "-c", _DOWNLOADING, str(directory), str(state), str(size)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    sent = process.stdout.read().split()
    process.wait()
    return int(sent[-2])


@pytest.mark.parametrize("size", [24 * MIB, 2 * MIB])
def test_a_download_goes_on_after_kill_9(
    directory: Path, tmp_path: Path, server: Server, size: int
) -> None:
    content = some_bytes(size)
    seconds = 1.6 if size > 2 * MIB else 0.2
    sent = _download_until_killed(directory, tmp_path / "state.db", size, seconds)
    assert 0 < sent < size
    file = server.add(content)
    database = Database(tmp_path / "state.db")

    async def read() -> bytes:
        async with running(directory, database, server, whole_below=2 * MIB) as cache:
            return await read_all(cache, file)

    assert trio.run(read) == content
    if size > 2 * MIB:
        # Lost is what had not been recorded: the last second at most, here some 6 MiB.
        assert server.sent < size - sent + 9 * MIB
        assert server.sent < size
    database.close()


async def test_a_clean_end_loses_nothing(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(20 * MIB)
    file = server.add(content)
    server.pace = 0.005
    async with running(directory, database, server, whole_below=MIB) as cache:
        with trio.move_on_after(0.3):
            await cache.fetch(file)
    first = server.sent
    assert 0 < first < len(content)
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "partial" and row.ranges == [(0, first)]
    server.pace = 0
    async with running(directory, database, server, whole_below=MIB) as cache:
        assert cache.usage == first
        assert await read_all(cache, file) == content
    assert server.sent == len(content)


async def test_killed_between_the_rename_and_the_commit(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(3 * MIB)
    file = server.add(content)
    places = Places(directory)
    places.prepare()
    path = places.absolute(places.content_path(file.checksum))
    path.parent.mkdir()
    path.write_bytes(content)
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == content
        await cache.fetch(file)
        assert cache.usage == len(content)
    assert server.gets == []
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded" and row.verified


async def test_ended_between_the_check_and_its_keeping(
    server: Server, directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader has it by then; the next life checks it again, and asks iCloud for nothing."""
    content = some_bytes(3 * MIB)
    file = server.add(content)

    async def refused(holding: Holding) -> None:
        raise CacheUnusable("The cache directory cannot be written.")

    with monkeypatch.context() as patched:
        patched.setattr(Holding, "keep", refused)
        async with running(directory, database, server) as cache:
            assert await read_all(cache, file) == content
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "partial"
    server.forget_traffic()
    async with running(directory, database, server) as cache:
        assert await read_all(cache, file) == content
        await cache.fetch(file)
    assert server.gets == [] and server.lookups == []
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded" and row.verified


async def test_a_file_without_a_row_is_verified_before_it_is_believed(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(3 * MIB)
    file = server.add(content)
    places = Places(directory)
    places.prepare()
    path = places.absolute(places.content_path(file.checksum))
    path.parent.mkdir()
    path.write_bytes(content[:-1] + b"!")
    async with running(directory, database, server) as cache:
        await trio.sleep(0.2)  # the sweep took it back
        row = contents.get(database.reader, file.checksum)
        assert row is not None and row.status == "partial" and cache.usage == len(content)
        handle = cache.open(file)
        assert not handle.verified
        handle.close()
        # Neither a byte of it nor an error: it is a matter of this disk, and iCloud has the content.
        handle = cache.open(file)
        assert await handle.read(0, 4 * KIB) == content[: 4 * KIB]
        handle.close()
        assert server.sent > 0
        assert await read_all(cache, file) == content
        await cache.fetch(file)
        assert cache.usage == len(content)
    assert [path.read_bytes() == content for path in places.content.glob("*/*")] == [True]
    assert list(places.partial.iterdir()) == []


async def test_a_rebuilt_database_finds_its_contents_again(
    server: Server, directory: Path, database: Database, tmp_path: Path
) -> None:
    files = [server.add(some_bytes(MIB, seed)) for seed in range(5)]
    async with running(directory, database, server) as cache:
        for file in files:
            await cache.fetch(file)
    server.forget_traffic()
    rebuilt = Database(tmp_path / "rebuilt.db")
    async with running(directory, rebuilt, server) as cache:
        await trio.sleep(0.2)
        assert cache.usage == 5 * MIB
        for seed, file in enumerate(files):
            assert await read_all(cache, file) == some_bytes(MIB, seed)
    assert server.gets == []
    rebuilt.close()


@pytest.mark.parametrize("harm", ["missing", "truncated"])
async def test_a_damaged_cached_file_is_fetched_again_without_asking(
    server: Server, directory: Path, database: Database, harm: str
) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        await cache.fetch(file)
        row = contents.get(database.reader, file.checksum)
        assert row is not None
        path = directory / row.path
        if harm == "missing":
            path.unlink()
        else:
            os.truncate(path, 1000)
        handle = cache.open(file)
        assert not is_verified(handle)
        assert await handle.read(0, MIB) == content
        assert is_verified(handle)
        handle.close()
        assert cache.usage == MIB
    assert path.read_bytes() == content


async def test_a_file_truncated_while_it_is_open(
    server: Server, directory: Path, database: Database
) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    async with running(directory, database, server) as cache:
        await cache.fetch(file)
        handle = cache.open(file)
        row = contents.get(database.reader, file.checksum)
        assert row is not None
        os.truncate(directory / row.path, 1000)
        assert await handle.read(500 * KIB, KIB) == content[500 * KIB :][:KIB]
        handle.close()
        assert await read_all(cache, file) == content
        assert cache.usage == MIB


async def test_a_missing_file_does_not_stay_in_the_state(
    server: Server, directory: Path, database: Database
) -> None:
    file = server.add(some_bytes(MIB))
    async with running(directory, database, server) as cache:
        await cache.fetch(file)
        row = contents.get(database.reader, file.checksum)
        assert row is not None
        (directory / row.path).unlink()
        server.away = True
        cache.open(file).close()
        await trio.sleep(0.1)
        assert contents.get(database.reader, file.checksum) is None
        assert cache.usage == 0


@pytest.mark.parametrize("harm", ["missing", "shorter"])
async def test_a_damaged_part_is_fetched_again(
    server: Server, directory: Path, database: Database, harm: str
) -> None:
    content = some_bytes(8 * MIB)
    file = server.add(content)
    server.goes_away_after = 4 * MIB
    async with running(directory, database, server, whole_below=MIB) as cache:
        with pytest.raises(Exception, match=r"connection|broke"):
            await cache.fetch(file)
    [partial] = (directory / "partial").iterdir()
    if harm == "missing":
        partial.unlink()
    else:
        os.truncate(partial, MIB)
    server.goes_away_after, server.away = None, False
    async with running(directory, database, server, whole_below=MIB) as cache:
        assert await read_all(cache, file) == content
        await cache.fetch(file)
        assert cache.usage == len(content)


async def test_leftovers_are_swept(server: Server, directory: Path, database: Database) -> None:
    places = Places(directory)
    places.prepare()
    lost = places.absolute(places.new_part(server.add(some_bytes(MIB)).checksum))
    lost.write_bytes(b"never recorded")
    places.next_leaving().write_bytes(b"evicted, not yet unlinked")
    foreign = directory / "content" / "README"
    foreign.write_text("not ours")
    async with running(directory, database, server) as cache:
        await trio.sleep(0.2)
        assert cache.usage == 0
    assert not lost.exists() and list(places.leaving.iterdir()) == []
    assert foreign.exists()


async def test_the_directory_is_private_and_tagged(
    server: Server, directory: Path, database: Database
) -> None:
    async with running(directory, database, server):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789")


async def test_a_directory_that_cannot_be_used(
    server: Server, tmp_path: Path, database: Database
) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    for directory in (occupied, occupied / "below"):
        with pytest.RaisesGroup(CacheUnusable, allow_unwrapped=True, flatten_subgroups=True):
            async with running(directory, database, server):
                pytest.fail("It began.")
