"""What is wrong with the cache is found, nothing else is, and it is mended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from icloudfs.cache import Cache, audit, judging
from icloudfs.cache.audit import VerifyResult, verify
from icloudfs.cache.importing import import_existing
from icloudfs.cache.verify import Digests, digest
from icloudfs.errors import Offline
from icloudfs.progress import Note, Progress, to_nobody
from icloudfs.state import contents, metadata
from icloudfs.state.database import Database
from icloudfs.tree.directory import File
from tests.cache.library import announce, hide
from tests.cache.server import KIB, MIB, Server, read_all, running, some_bytes

KEYED = "BAAAAAAAAAAAAAAAAAAAAAAAAAAA"


async def _verify(cache: Cache, *, checksums: bool = False, repair: bool = False) -> VerifyResult:
    with trio.fail_after(30):
        return await verify(cache, checksums=checksums, repair=repair, report=to_nobody)


@pytest.fixture
def photos(server: Server, database: Database) -> list[File]:
    files = [server.add(some_bytes(200 * KIB, seed)) for seed in range(8)]
    announce(database, [(file, f"IMG_{file.ino}.JPG") for file in files])
    return files


def _path(directory: Path, database: Database, file: File) -> Path:
    row = contents.get(database.reader, file.checksum)
    assert row is not None and row.status == "downloaded"
    return directory / row.path


def _flip(path: Path) -> None:
    """As a disk does: nothing tells of it."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def _have(cache: Cache, files: list[File]) -> None:
    for file in files:
        await cache.fetch(file)


async def test_all_is_well(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    odd = server.add(b"keyed", checksum=KEYED)
    announce(database, [(odd, "ODD.JPG")])
    async with running(directory, database, server) as cache:
        await _have(cache, [*photos, odd])
        quick = await _verify(cache)
        assert quick.ok and (quick.checked, quick.verified, quick.unverifiable) == (9, 0, 1)
        assert list(quick.unverifiable_reasons) == [judging.ODD_TYPE]
        thorough = await _verify(cache, checksums=True)
        assert thorough.ok and (thorough.checked, thorough.verified) == (9, 8)
        assert thorough.unverifiable_reasons == {judging.ONLY_AS_BEFORE: 1}
        assert not thorough.problems and thorough.bytes == 8 * 200 * KIB + 5
        assert metadata.get(database.reader, audit.PROGRESS) is None


async def test_everything_that_can_be_wrong(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    """A flipped bit, a missing file, one of the right size with other content, one cut short, and
    orphans: of a content that is not here, of nothing at all, and an odd one."""
    lacking, short = photos[6], photos[7]
    async with running(directory, database, server) as cache:
        await _have(cache, photos[:6])
        paths = [_path(directory, database, file) for file in photos[:6]]
        _flip(paths[0])
        paths[1].unlink()
        paths[2].write_bytes(some_bytes(200 * KIB, 99))
        os.truncate(paths[3], 1000)
        orphan = cache.places.absolute(cache.places.content_path(lacking.checksum))
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(some_bytes(200 * KIB, 6))
        useless = cache.places.absolute(cache.places.content_path(short.checksum))
        useless.parent.mkdir(exist_ok=True)
        useless.write_bytes(b"not it")
        (useless.parent / ("~" + "0" * 64)).write_bytes(b"odd")
        (cache.places.partial / "AVeryOldPart").write_bytes(b"lost")
        foreign = cache.places.content / "README"
        foreign.write_text("not ours")
        kinds = Counter(p.kind for p in (await _verify(cache)).problems)
        assert kinds == {"missing": 1, "wrong-size": 1, "corrupt": 1, "orphan": 4}
        found = await _verify(cache, checksums=True)
        assert not found.ok and found.verified == 2 and found.repaired == 0
        assert (found.corrupt, found.missing, found.wrong_size, found.orphans) == (2, 1, 1, 4)
        by_sum = {problem.checksum: problem for problem in found.problems}
        assert by_sum[photos[0].checksum].filename == f"IMG_{photos[0].ino}.JPG"
        assert by_sum[photos[0].checksum].paths == [f"IMG_{photos[0].ino}.JPG"]
        assert by_sum[photos[0].checksum].local_path == str(paths[0])
        assert "Expected checksum" in by_sum[photos[0].checksum].reason
        server.forget_traffic()
        mended = await _verify(cache, checksums=True, repair=True)
        assert mended.ok and mended.repaired == 8 and all(p.repaired for p in mended.problems)
        assert {get.checksum for get in server.gets} == {f.checksum for f in photos[:4]}
        after = await _verify(cache, checksums=True)
        assert after.ok and not after.problems and after.verified == 7
        assert cache.usage == 7 * 200 * KIB
        assert not useless.exists() and foreign.exists()
        for seed, file in enumerate(photos):
            assert await read_all(cache, file) == some_bytes(200 * KIB, seed)
        assert not list(cache.places.leaving.iterdir())


async def test_an_orphan_may_belong_to_what_is_not_listed_yet(
    server: Server, directory: Path, database: Database
) -> None:
    """After reset-state without --cache nothing is known, and all that is here is still good."""
    early, late = (server.add(some_bytes(200 * KIB, seed)) for seed in range(2))
    announce(database, [(early, "EARLY.JPG")], listed=False)
    async with running(directory, database, server):
        pass  # a first start looks for such files by itself
    async with running(directory, database, server) as cache:
        orphan = cache.places.absolute(cache.places.content_path(late.checksum))
        orphan.parent.mkdir(parents=True, exist_ok=True)
        orphan.write_bytes(some_bytes(200 * KIB, 1))
        found = await _verify(cache, repair=True)
        assert found.ok and found.orphans == 0 and orphan.exists()
        database.write_now(lambda c: c.execute("UPDATE zone SET listed = 1") and None)
        found = await _verify(cache, repair=True)
        assert (found.orphans, found.repaired) == (1, 1) and not orphan.exists()


async def test_no_network_to_mend_with(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    wrong: list[str] = []
    async with running(directory, database, server, wrong=wrong) as cache:
        await _have(cache, photos)
        path = _path(directory, database, photos[0])
        _flip(path)
        server.away = True
        found = await _verify(cache, checksums=True, repair=True)
        assert not found.ok and (found.corrupt, found.repaired) == (1, 0)
        assert "not fetched again" in found.problems[0].reason
        assert not path.exists() and wrong == [photos[0].checksum]
        with pytest.raises(Offline):
            await read_all(cache, photos[0])
        server.away = False
        await trio.sleep(0.3)
        assert await read_all(cache, photos[0]) == some_bytes(200 * KIB, 0)
        assert (await _verify(cache, checksums=True)).ok


async def test_a_reader_of_bad_bytes_gets_good_ones(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        await _have(cache, photos)
        _flip(_path(directory, database, photos[0]))
        handle = cache.open(photos[0])
        assert await handle.read(0, 200 * KIB) != some_bytes(200 * KIB, 0)
        assert (await _verify(cache, checksums=True, repair=True)).repaired == 1
        assert await handle.read(0, 200 * KIB) == some_bytes(200 * KIB, 0)
        handle.close()


async def test_imported_files(
    server: Server, directory: Path, database: Database, photos: list[File], tmp_path: Path
) -> None:
    """One stays, one is gone, one was written to, and one was never what its name said."""
    own = tmp_path / "own"
    own.mkdir()
    for seed, file in enumerate(photos[:4]):
        (own / f"IMG_{file.ino}.JPG").write_bytes(some_bytes(200 * KIB, 50 if seed == 3 else seed))
    async with running(directory, database, server) as cache:
        await import_existing(
            cache, own, match="name-size", how="use", dry_run=False, report=to_nobody
        )
        quick = await _verify(cache)
        assert quick.ok and quick.unverifiable_reasons == {judging.BY_NAME: 4}
        (own / f"IMG_{photos[1].ino}.JPG").unlink()
        edited = own / f"IMG_{photos[2].ino}.JPG"
        _flip(edited)
        before = {path: path.read_bytes() for path in own.iterdir()}
        found = await _verify(cache, checksums=True, repair=True)
        assert (found.verified, found.missing, found.corrupt, found.repaired) == (1, 1, 2, 3)
        assert {path: path.read_bytes() for path in own.iterdir()} == before
        row = contents.get(database.reader, photos[0].checksum)
        assert row is not None and row.verified and row.sha256 and row.imported
        for seed, file in enumerate(photos[:4]):
            assert await read_all(cache, file) == some_bytes(200 * KIB, seed)
        assert (await _verify(cache, checksums=True)).verified == 4


async def test_what_nothing_shows_is_not_fetched(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    async with running(directory, database, server) as cache:
        await _have(cache, photos)
        _flip(_path(directory, database, photos[0]))
        hide(database, photos[0])
        server.forget_traffic()
        found = await _verify(cache, checksums=True, repair=True)
        assert found.ok and found.repaired == 1 and not server.gets
        assert contents.get(database.reader, photos[0].checksum) is None


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()

    def counting(fd: int, count: Callable[[int], None]) -> Digests:
        counted[Path(f"/proc/self/fd/{fd}").readlink().name] += 1
        return digest(fd, count)

    monkeypatch.setattr(judging, "digest", counting)
    return counted


async def test_a_run_that_was_cut_off_goes_on(
    server: Server,
    directory: Path,
    database: Database,
    photos: list[File],
    reads: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "_PORTION", 300 * KIB)
    async with running(directory, database, server) as cache:
        await _have(cache, photos)
        ordered = sorted(photos, key=lambda file: file.checksum)
        _flip(_path(directory, database, ordered[1]))
        with trio.CancelScope() as scope:

            def cut(told: Progress | Note) -> None:
                assert isinstance(told, Progress)
                if told.done >= 4 * 200 * KIB:
                    scope.cancel()

            await verify(cache, checksums=True, repair=False, report=cut)
        assert scope.cancelled_caught and 3 <= reads.total() <= 6
        first = set(reads)
        found = await _verify(cache, checksums=True)
        assert found.resumed and (found.checked, found.verified, found.corrupt) == (8, 7, 1)
        assert found.bytes == 8 * 200 * KIB and len(found.problems) == 1
        assert reads.total() <= 8 + 2 and len(reads) == 8 and len(first) < 8
        assert metadata.get(database.reader, audit.PROGRESS) is None
        reads.clear()
        assert not (await _verify(cache, checksums=True)).resumed and reads.total() == 8


async def test_but_not_after_a_day(
    server: Server, directory: Path, database: Database, photos: list[File], reads: Counter[str]
) -> None:
    stale = b'{"after":"zzz","when":%d,"result":{"checked":7}}'
    async with running(directory, database, server) as cache:
        await _have(cache, photos)
        for kept in (stale.decode() % 1000, "{", '{"after": 1}'):
            database.write_now(partial(metadata.put, key=audit.PROGRESS, value=kept))
            found = await _verify(cache, checksums=True)
            assert not found.resumed and found.verified == 8


async def test_while_everything_is_in_use(
    server: Server, directory: Path, database: Database, photos: list[File]
) -> None:
    """Readers, fetches and evictions all the while: nothing is called bad that is not."""
    server.pace = 0.001
    async with running(directory, database, server, limit=5 * 200 * KIB) as cache:

        async def read(file: File, seed: int) -> None:
            for _ in range(30):
                assert await read_all(cache, file) == some_bytes(200 * KIB, seed)

        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                for seed, file in enumerate(photos):
                    nursery.start_soon(read, file, seed)
                for turn in range(20):
                    found = await _verify(cache, checksums=turn % 2 == 0, repair=True)
                    assert found.ok and not found.problems
                    await cache.evict(300 * KIB)
        await trio.sleep(0.1)
        assert cache.usage <= 5 * 200 * KIB
        assert cache.usage == sum(
            path.stat().st_size for path in cache.places.content.rglob("*") if path.is_file()
        )
    assert cache.usage == database.write_now(contents.cached_bytes)


async def test_large_contents_under_way(
    server: Server, directory: Path, database: Database
) -> None:
    film = server.add(some_bytes(16 * MIB))
    announce(database, [(film, "FILM.MOV")])
    async with running(directory, database, server, whole_below=MIB) as cache:
        handle = cache.open(film)
        await handle.read(0, KIB)
        found = await _verify(cache, checksums=True, repair=True)
        assert found.ok and found.checked == 0 and not found.problems
        assert await handle.read(15 * MIB, KIB) == some_bytes(16 * MIB)[15 * MIB :][:KIB]
        handle.close()
