"""Files that are on this machine become the photos that they are: all and only the right ones."""

# ruff: noqa: ASYNC240 (what a test looks at on disk may block it)

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from icloudfs.apple import checksum as apple
from icloudfs.cache import Cache, importing, walking
from icloudfs.cache.bringing import CannotShare, How
from icloudfs.cache.holding import identity
from icloudfs.cache.importing import ImportResult, Match, import_existing
from icloudfs.cache.places import Places
from icloudfs.cache.verify import Digests, digest
from icloudfs.errors import DiskFull, IcloudfsError
from icloudfs.mountinfo import mounts
from icloudfs.progress import to_nobody
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database, connect
from icloudfs.tree.directory import File
from tests.cache.library import announce
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes
from tests.scratch import wait_until


async def _import(
    cache: Cache,
    photos: Path,
    *,
    match: Match = "content",
    how: How = "use",
    dry_run: bool = False,
) -> ImportResult:
    return await import_existing(
        cache, photos, match=match, how=how, dry_run=dry_run, report=to_nobody
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    directory = tmp_path / "photos"
    directory.mkdir()
    return directory


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read, by its path."""
    counted: Counter[str] = Counter()

    def counting(fd: int, *more: object) -> Digests:
        counted[str(Path(f"/proc/self/fd/{fd}").readlink())] += 1
        return digest(fd)

    monkeypatch.setattr(importing, "digest", counting)
    return counted


def _row(database: Database, file: File) -> Content | None:
    return contents.get(database.reader, file.checksum)


async def test_20000_files(
    server: Server, directory: Path, database: Database, photos: Path, reads: Counter[str]
) -> None:
    """Half renamed and moved, some changed by a byte, some truncated, some of no known size."""
    chance = random.Random(1)
    announced, right = [], {}
    for number in range(20_000):
        content = chance.randbytes(40 + number % 400)
        file = server.add(content)
        announced.append((file, f"IMG_{number:05}.JPG"))
        place = photos / f"{number % 50}" / f"IMG_{number:05}.JPG"
        if number % 2:
            place = photos / "moved" / f"{number % 7}" / f"{chance.randbytes(5).hex()}.dat"
        if number % 10 == 3:
            flipped = chance.randrange(len(content))
            content = content[:flipped] + bytes([content[flipped] ^ 1]) + content[flipped + 1 :]
        elif number % 10 == 4:
            content = content[: chance.randrange(len(content))]
        elif number % 10 == 5:
            content += b"\0" * 1000
        else:
            right[file.checksum] = place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    announce(database, announced)
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos)
        assert (result.scanned, result.matched, result.already) == (20_000, 14_000, 0)
        assert result.unmatched_count == len(result.unmatched) == 6_000
        assert not result.errors and result.uncheckable == 0
        assert set(reads.values()) == {1} and len(reads) == result.candidates == result.hashed
        assert not any(path.stat().st_size > 439 for path in map(Path, reads))
        for file, _ in announced:
            row = _row(database, file)
            if file.checksum in right:
                assert row is not None and row.status == "downloaded" and row.verified
                assert row.path == str(right[file.checksum])
                assert row.identity == identity(right[file.checksum].stat())
            else:
                assert row is None
        again = await _import(cache, photos)
        assert set(reads.values()) == {1} and again.hashed == 0
        assert (again.matched, again.already) == (0, 14_000)
        assert sorted(again.unmatched) == sorted(result.unmatched)
        assert cache.usage == 0 and not list(cache.places.content.iterdir())
        for file, _ in announced[::1000]:
            assert await read_all(cache, file) == server.contents[file.checksum]
    assert server.gets == []


@pytest.mark.parametrize("how", ["use", "link", "copy"])
async def test_ways_to_have_it(
    server: Server, directory: Path, database: Database, photos: Path, how: How
) -> None:
    content = some_bytes(3 * MIB)
    file = server.add(content)
    announce(database, [(file, "A.JPG")])
    original = photos / "b.jpg"
    original.write_bytes(content)
    before = original.stat()
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos, how=how)
        assert (result.matched, result.adopted_bytes) == (1, 3 * MIB)
        assert await read_all(cache, file) == content
        assert cache.usage == (0 if how == "use" else 3 * MIB)
        row = _row(database, file)
        assert row is not None and row.imported == (how == "use") and row.sha256
        same = (directory / row.path).stat().st_ino == before.st_ino
        assert same == (how != "copy")
        if how != "use":
            assert await cache.evict(MIB) == 3 * MIB
            assert not (directory / row.path).exists()
    assert original.read_bytes() == content and original.stat().st_mtime_ns == before.st_mtime_ns
    assert not list((directory / "partial").iterdir())


async def test_blocks_are_shared_or_that_is_refused_beforehand(
    server: Server,
    directory: Path,
    database: Database,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: Counter[str],
) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    announce(database, [(file, "A.JPG")])
    (photos / "b.jpg").write_bytes(content)

    def refuse(target: int, request: int, source: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def clone(target: int, request: int, source: int) -> None:
        assert request == 0x40049409
        os.sendfile(target, source, 0, 1 << 30)

    async with running(directory, database, server) as cache:
        monkeypatch.setattr("icloudfs.cache.bringing.fcntl.ioctl", refuse)
        with pytest.raises(CannotShare, match="cannot share blocks") as raised:
            await _import(cache, photos, how="reflink")
        assert "--copy" in raised.value.hint and not reads
        monkeypatch.setattr("icloudfs.cache.bringing.fcntl.ioctl", clone)
        assert (await _import(cache, photos, how="reflink")).matched == 1
        assert await read_all(cache, file) == content
        assert not list(cache.places.leaving.iterdir())


async def test_a_link_is_never_written_to(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    """Whatever becomes of rows and copies, the person's file is only read."""
    content = some_bytes(MIB)
    file = server.add(content)
    announce(database, [(file, "A.JPG")])
    original = photos / "b.jpg"
    original.write_bytes(content)
    async with running(directory, database, server) as cache:
        await _import(cache, photos, how="link")
        row = _row(database, file)
        assert row is not None
        original.write_bytes(content[:-1] + b"!")  # in place: the cache's name shows it too
        os.utime(original, (1, 1))
        assert await read_all(cache, file) == content
    edited = original.read_bytes()
    assert edited[-1:] == b"!"
    places = Places(directory)
    path = places.absolute(row.path)
    for lies_at in (path, places.absolute(places.new_part(file.checksum))):
        database.write_now(lambda connection: contents.forget(connection, file.checksum))
        path.unlink(missing_ok=True)
        os.link(original, lies_at)
        async with running(directory, database, server) as cache:
            assert await read_all(cache, file) == content
        assert original.read_bytes() == edited


async def test_one_that_changes_later_no_longer_counts(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    announce(database, [(file, "A.JPG")])
    (photos / "b.jpg").write_bytes(content)
    async with running(directory, database, server) as cache:
        await _import(cache, photos)
        (photos / "b.jpg").write_bytes(some_bytes(MIB, 9))
        assert await read_all(cache, file) == content and cache.usage == MIB
        result = await _import(cache, photos)
        assert (result.hashed, result.unmatched_count) == (1, 1)


async def test_a_dry_run_changes_nothing(
    server: Server, directory: Path, database: Database, photos: Path, reads: Counter[str]
) -> None:
    file = server.add(b"content")
    announce(database, [(file, "A.JPG")])
    for name in ("a", "b"):
        (photos / name).write_bytes(b"content")
    (photos / "c").write_bytes(b"CONTENT")
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos, dry_run=True)
        assert (result.matched, result.already, result.adopted_bytes) == (1, 1, 7)
        assert result.unmatched == [str(photos / "c")]
        assert _row(database, file) is None
        result = await _import(cache, photos)
        assert (result.matched, result.already, result.hashed) == (1, 1, 0)
    assert len(reads) == 3


async def test_by_name_and_size(
    server: Server, directory: Path, database: Database, photos: Path, reads: Counter[str]
) -> None:
    files = [server.add(some_bytes(100, seed)) for seed in range(4)]
    names = ["IMG_1.JPG", "Fu\u0308\u00dfe.jpg", "TWIN.JPG", "TWIN_abcdefg.JPG"]
    announce(database, list(zip(files, names, strict=True)))
    database.write_now(  # iCloud calls both twins the same
        lambda connection: (
            connection.execute(
                "UPDATE asset SET filename = 'TWIN.JPG' WHERE name = ?", (files[3].asset,)
            )
            and None
        )
    )
    for name in ("img_1.jpg", "f\u00fc\u00dfe.JPG", "TWIN.JPG", "OTHER.JPG"):
        (photos / name).write_bytes(some_bytes(100, 77))
    (photos / "sub").mkdir()
    (photos / "sub" / "IMG_1.JPG").write_bytes(some_bytes(101, 0))
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos, match="name-size")
        assert (result.matched, result.unmatched_count, result.proven) == (2, 3, False)
        for file in files[:2]:
            row = _row(database, file)
            assert row is not None and not row.verified and row.sha256 == ""
    assert not reads


async def test_what_cannot_be_checked_is_counted(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    odd = server.add(b"content", checksum="BAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    other_type = server.add(b"CONTENT", checksum=apple.from_digest(_digest(b"CONTENT"), 0x82))
    announce(database, [(odd, "A.JPG"), (other_type, "B.JPG")])
    (photos / "a").write_bytes(b"content")
    (photos / "b").write_bytes(b"CONTENT")
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos)
    assert (result.matched, result.uncheckable, result.unmatched) == (1, 1, [str(photos / "a")])


async def test_a_checksum_in_the_other_alphabet_of_base64(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    content = next(c for seed in range(999) if "+" in apple.of(c := some_bytes(100, seed)))
    spelling = apple.of(content).replace("+", "-").replace("/", "_")
    file = server.add(content, checksum=spelling)
    announce(database, [(file, "A.JPG")])
    (photos / "a").write_bytes(content)
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos)
    assert (result.matched, result.unmatched) == (1, [])


def _digest(content: bytes) -> bytes:
    running_digest = apple.new_digest()
    running_digest.update(content)
    return running_digest.digest()


async def test_what_is_passed_over(
    server: Server,
    directory: Path,
    database: Database,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = server.add(b"content")
    announce(database, [(file, "A.JPG")])
    cache_directory = photos / "cache"
    (photos / "mounted here").mkdir()
    (photos / "mounted here" / "A.JPG").write_bytes(b"content")
    (photos / "loop").symlink_to(photos)
    (photos / "link.jpg").symlink_to(photos / "mounted here" / "A.JPG")
    os.mkfifo(photos / "pipe")
    (photos / "empty").write_bytes(b"")
    (photos / "closed").mkdir(mode=0)
    table = photos.parent / "mountinfo"
    escaped = str(photos / "mounted here").replace(" ", "\\040")
    table.write_text(f"50 1 0:60 / {escaped} rw - fuse.icloudfs icloudfs rw\n")
    monkeypatch.setattr(walking, "mounts", lambda: mounts(table))
    async with running(cache_directory, database, server) as cache:
        await cache.fetch(file)
        result = await _import(cache, photos)
        assert (result.scanned, result.candidates) == (1, 0)  # the empty one
        if os.getuid():
            assert result.errors == [f"{photos / 'closed'}: Permission denied"]
        with pytest.raises(IcloudfsError, match="mounted library itself"):
            await _import(cache, photos / "mounted here")
        for bad in (photos / "absent", photos / "empty"):
            with pytest.raises(IcloudfsError, match=r"cannot be read|not a directory"):
                await _import(cache, bad)


async def test_names_that_are_not_utf_8(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    file = server.add(b"content")
    announce(database, [(file, "A.JPG")])
    Path(os.fsdecode(os.fsencode(photos) + b"/\xff.jpg")).write_bytes(b"content")
    async with running(directory, database, server) as cache:
        result = await _import(cache, photos)
        assert result.matched == 0 and "not UTF-8" in result.errors[0]
        result.errors[0].encode()
        assert (await _import(cache, photos, how="copy")).matched == 1
        assert await read_all(cache, file) == b"content"


async def test_readers_and_partial_contents_in_the_way(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    """One is open with a part of it here, one is being fetched, one lies in parts on the disk."""
    data = [some_bytes(8 * MIB, seed) for seed in range(3)]
    files = [server.add(content) for content in data]
    announce(database, [(file, f"{file.ino}.MOV") for file in files])
    for number, content in enumerate(data):
        (photos / str(number)).write_bytes(content)
    async with running(directory, database, server, whole_below=MIB) as cache:
        opened = cache.open(files[0])
        assert await opened.read(0, KIB) == data[0][:KIB]
        parts = cache.open(files[2])
        assert await parts.read(4 * MIB, KIB) == data[2][4 * MIB :][:KIB]
        parts.close()
        await trio.sleep(2.5)  # nobody reads ahead any more
        server.pace = 0.02
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.fetch, files[1])
            await trio.sleep(0.05)
            result = await _import(cache, photos)
            assert (result.matched, result.already) == (2, 1)
        assert await opened.read(7 * MIB, KIB) == data[0][7 * MIB :][:KIB]
        assert opened.verified
        opened.close()
        assert cache.usage == 8 * MIB
        assert not list(cache.places.partial.iterdir())
        for file, content in zip(files, data, strict=True):
            assert await read_all(cache, file) == content
    async with running(directory, database, server) as cache:
        assert cache.usage == 8 * MIB


async def test_no_room(server: Server, directory: Path, database: Database, photos: Path) -> None:
    data = [some_bytes(MIB, seed) for seed in range(4)]
    files = [server.add(content) for content in data]
    announce(database, [(file, f"{file.ino}.JPG") for file in files])
    for number, content in enumerate(data):
        (photos / str(number)).write_bytes(content)
    async with running(directory, database, server, limit=2 * MIB + 5) as cache:
        with pytest.raises(DiskFull, match="no room") as raised:
            await _import(cache, photos, how="copy")
        assert "limit" in raised.value.hint
        assert cache.usage == 2 * MIB
        here = [row for file in files if (row := _row(database, file)) is not None]
        assert [row.status for row in here] == ["downloaded"] * 2
        result = await _import(cache, photos)
        assert (result.matched, result.already, result.hashed) == (2, 2, 0)


async def test_a_full_disk(
    server: Server,
    directory: Path,
    database: Database,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = some_bytes(MIB)
    file = server.add(content)
    announce(database, [(file, "A.JPG")])
    (photos / "a").write_bytes(content)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with running(directory, database, server) as cache:
        with monkeypatch.context() as patch:
            patch.setattr("icloudfs.cache.bringing.os.sendfile", full)
            with pytest.raises(DiskFull, match="no room"):
                await _import(cache, photos, how="copy")
        assert not list(cache.places.partial.iterdir()) and cache.usage == 0
        assert await read_all(cache, file) == content


async def test_cancelled_in_the_middle(
    server: Server, directory: Path, database: Database, photos: Path
) -> None:
    data = [some_bytes(4 * MIB, seed) for seed in range(30)]
    announce(database, [(server.add(content), f"{seed}.JPG") for seed, content in enumerate(data)])
    for number, content in enumerate(data):
        (photos / str(number)).write_bytes(content)
    matched = 0
    async with running(directory, database, server) as cache:
        for patience in (0.02, 0.1, 0.2, 0.3, 60):
            with trio.move_on_after(patience):
                result = await _import(cache, photos, how="copy")
            rows = contents.downloaded_page(database.reader, "", 100)
            assert len(rows) >= matched and cache.usage == len(rows) * 4 * MIB
            matched = len(rows)
            for row in rows:
                assert apple.of((directory / row.path).read_bytes()) == row.checksum
        assert matched == 30 == result.matched + result.already
        assert not list(cache.places.partial.iterdir())


_IMPORTING = """
import sys, trio
from pathlib import Path
from icloudfs.cache import importing
from icloudfs.cache.importing import import_existing
from icloudfs.progress import to_nobody
from icloudfs.state.database import Database
from tests.cache.server import Server, running

async def main():
    importing._PORTION = 1 << 20
    async with running(Path(sys.argv[1]), Database(Path(sys.argv[2])), Server()) as cache:
        print("begun", flush=True)
        await import_existing(cache, Path(sys.argv[3]), match="content", how=sys.argv[4],
                              dry_run=False, report=to_nobody)

trio.run(main)
"""


@pytest.mark.parametrize("how", ["use", "copy"])
def test_killed_in_the_middle_it_goes_on(
    server: Server, directory: Path, tmp_path: Path, photos: Path, how: How
) -> None:
    data = [some_bytes(512 * KIB, seed) for seed in range(200)]
    files = [server.add(content) for content in data]
    database = Database(tmp_path / "state.db")
    announce(database, [(file, f"{file.ino}.JPG") for file in files])
    database.close()
    for number, content in enumerate(data):
        (photos / str(number)).write_bytes(content)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _IMPORTING,
            str(directory),
            str(tmp_path / "state.db"),
            str(photos),
            how,
        ],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    process.stdout.readline()
    watching = connect(tmp_path / "state.db", write=False)
    wait_until(lambda: contents.downloaded_page(watching, "", 1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    watching.close()
    database = Database(tmp_path / "state.db")
    before = len(contents.downloaded_page(database.reader, "", 1000))

    async def go_on() -> ImportResult:
        async with running(directory, database, server) as cache:
            result = await _import(cache, photos, how=how)
            for file, content in list(zip(files, data, strict=True))[::20]:
                assert await read_all(cache, file) == content
            assert not list(cache.places.partial.iterdir())
            return result

    result = trio.run(go_on)
    assert 0 < before < 200, "killed too early or too late to tell"
    assert (result.matched, result.already) == (200 - before, before)
    assert result.hashed <= 200 - before
    assert server.gets == []
    database.close()
