"""What is seeded, in which order, and what ends it."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import trio

from icloudfs.aside import keep_going
from icloudfs.desktop import seeder as module
from icloudfs.desktop.seeder import Seeder
from icloudfs.desktop.seeds import Drawn, Seed, Seeds
from icloudfs.errors import ContentUnavailable, Offline
from icloudfs.tree.changes import EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.directory import ROOT, Directory, File
from icloudfs.tree.numbers import FIRST_DIRECTORY
from tests.desktop.drawing import jpeg
from tests.mount.library import Library


class Stage:
    """A library of two folders with files, and what is asked for."""

    def __init__(self, tmp_path: Path) -> None:
        self.library = Library(tmp_path / "me.db")
        self.library._inos = iter(range(1 << 32, 1 << 33))  # type: ignore[assignment]
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.held: set[str] = set()
        """Checksums whose picture does not come before ``released``."""
        self.released = trio.Event()
        self.seeds = Seeds(tmp_path / "seeds.db", tmp_path / "thumbnails", Path("/mnt"))
        self.seeder = Seeder(self.seeds, Directory(self.library.connection), self._picture)

    def folder(self, name: str, parent: int = ROOT, number: int = 0) -> int:
        ino = FIRST_DIRECTORY + number
        self.library._inode(ino, 0o040555, 4096, 0)
        self.library._entry(parent, name, ino)
        return ino

    def execute(self, sql: str, *values: apsw.SQLiteValue) -> None:
        self.library.connection.execute(sql, values)

    async def _picture(self, file: File) -> bytes:
        self.asked.append(file.checksum)
        if self.failure is not None:
            raise self.failure
        if file.checksum in self.held:
            await self.released.wait()
        return jpeg()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Seeder]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_going, self.seeder.run, 0.05)
            yield self.seeder
            nursery.cancel_scope.cancel()

    async def until_asked(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.asked) < count:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await self.until_idle()

    async def until_idle(self) -> None:
        with trio.fail_after(10):
            while True:
                await trio.sleep(0.1)
                if not self.seeder.figures["folders_waiting"]:
                    return

    def seeded(self) -> set[bytes]:
        """The paths that have a seed."""
        other = Seeds(self.seeds._path, self.seeds._thumbnails, Path("/mnt"))
        other.open()
        try:
            return {seed.path for seed in other.page(b"", 1000)}
        finally:
            other.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.library.close()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_A_SECOND", 10_000)


async def test_a_folder_that_is_opened_by_the_order_of_its_names(stage: Stage) -> None:
    folder = stage.folder("A")
    for name in ("3.JPG", "1.JPG", "2.JPG"):
        stage.library.file(folder, name, checksum=name)
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(3)
        assert sorted(stage.asked) == ["1.JPG", "2.JPG", "3.JPG"]
        assert seeder.figures["seeds"] == 3
        seeder.opened(folder)
        await stage.until_idle()
    assert len(stage.asked) == 3
    assert stage.seeded() == {b"A/1.JPG", b"A/2.JPG", b"A/3.JPG"}


async def test_the_folder_opened_last_comes_first(stage: Stage) -> None:
    """Also when another one is half done."""
    first, last = stage.folder("A", number=1), stage.folder("B", number=2)
    for number in range(60):
        stage.library.file(first, f"{number}.JPG", checksum=f"a{number}")
    stage.library.file(last, "b.JPG", checksum="b")
    async with stage.at_work() as seeder:
        seeder.opened(first)
        with trio.fail_after(10):
            while not stage.asked:  # noqa: ASYNC110
                await trio.sleep(0.001)
        seeder.opened(last)
        await stage.until_asked(61)
    assert stage.asked.index("b") <= 2 * module._AT_ONCE


async def test_of_all_folders_only_the_last_ones(stage: Stage) -> None:
    """What ``find`` does."""
    folders = [stage.folder(f"F{number}", number=number) for number in range(20)]
    for number, folder in enumerate(folders):
        stage.library.file(folder, "1.JPG", checksum=f"{number}")
    async with stage.at_work() as seeder:
        for folder in folders:
            seeder.opened(folder)
        await stage.until_asked(module.MOST_FOLDERS)
    assert set(stage.asked) == {str(n) for n in range(20 - module.MOST_FOLDERS, 20)}


async def test_the_icons_of_folders(stage: Stage) -> None:
    above = stage.folder("Albums", number=1)
    album = stage.folder("One", above, number=2)
    for number in range(9):
        stage.library.file(album, f"{number}.JPG", checksum=f"{number}")
    async with stage.at_work() as seeder:
        seeder.opened(above)
        await stage.until_asked(4)
    assert stage.asked and len(stage.asked) == 4
    assert stage.seeded() == {b"Albums/One/%d.JPG" % n for n in range(4)}


async def test_after_a_sync_the_newest_and_the_first_of_each_album(stage: Stage) -> None:
    above = stage.folder("Albums", number=1)
    album = stage.folder("One", above, number=2)
    for number in range(9):
        stage.library.file(album, f"{number}.JPG", checksum=f"{number}")
    stage.execute("UPDATE asset SET hidden = 1")
    new = stage.library.file(ROOT, "new.JPG", checksum="new")
    stage.library.link(new, album, "new.JPG")
    async with stage.at_work() as seeder:
        seeder.synced()
        await stage.until_asked(6)
        seeder.synced()
        await stage.until_idle()
    assert stage.seeded() == {b"new.JPG", b"Albums/One/new.JPG"} | {
        b"Albums/One/%d.JPG" % n for n in range(4)
    }


async def test_what_comes_with_a_sync_is_covered_by_that_sync(stage: Stage) -> None:
    """The changes of a sync may be told after its end."""
    above = stage.folder("Albums", number=1)
    album = stage.folder("One", above, number=2)
    async with stage.at_work() as seeder:
        seeder.synced()
        await stage.until_idle()
        new = stage.library.file(album, "new.JPG", checksum="new")
        seeder.changed([EntryAdded(album, b"new.JPG", new)])
        await stage.until_asked(1)
    assert stage.seeded() == {b"Albums/One/new.JPG"}


async def test_without_a_network_the_rest_waits_for_the_next_opening(stage: Stage) -> None:
    folder = stage.folder("A")
    for number in range(100):
        stage.library.file(folder, f"{number}.JPG", checksum=f"{number}")
    stage.failure = Offline("away")
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(1)
        assert len(stage.asked) <= module._AT_ONCE
        stage.failure = None
        stage.asked.clear()
        seeder.opened(folder)
        await stage.until_asked(100)
    assert len(stage.seeded()) == 100


async def test_a_photo_without_a_picture_holds_up_no_other(stage: Stage) -> None:
    folder = stage.folder("A")
    for number in range(60):
        stage.library.file(folder, f"{number}.JPG", checksum=f"{number}")
    stage.failure = ContentUnavailable("none")
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(60)
    assert stage.seeded() == set()


async def test_a_full_disk_gives_a_rest(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stage.folder("A")
    stage.library.file(folder, "1.JPG", checksum="1")

    def full(seeds: Seeds, seed: Seed, picture: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with stage.at_work() as seeder:
        with monkeypatch.context() as patched:
            patched.setattr(Seeds, "lay", full)
            seeder.opened(folder)
            await stage.until_asked(1)
        seeder.opened(folder)
        await stage.until_idle()
        assert len(stage.asked) == 1
        seeder._no_seeds_before = 0.0
        seeder.opened(folder)
        await stage.until_asked(2)
    assert stage.seeded() == {b"A/1.JPG"}


async def test_what_comes_goes_and_changes(stage: Stage) -> None:
    folder = stage.folder("A", number=1)
    gone, edited = (stage.library.file(folder, name, checksum=name) for name in ("gone", "edited"))
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(2)

        stage.execute("DELETE FROM dirent WHERE ino = ?", gone)
        stage.execute("UPDATE inode SET checksum = 'other' WHERE ino = ?", edited)
        new = stage.library.file(folder, "new", checksum="new")
        seeder.changed(
            [
                EntryRemoved(folder, b"gone", gone),
                InodeChanged(edited, content=True),
                EntryAdded(folder, b"new", new),
                InodeChanged(folder),
            ]
        )
        await stage.until_asked(4)
        assert set(stage.asked[2:]) == {"other", "new"}

        stage.execute("UPDATE dirent SET name = CAST('B' AS BLOB) WHERE ino = ?", folder)
        seeder.changed([EntryRemoved(ROOT, b"A", folder), EntryAdded(ROOT, b"B", folder)])
        await trio.sleep(0.5)
    assert stage.seeded() == set()


async def test_what_changed_meanwhile_is_found_at_the_start(stage: Stage) -> None:
    folder = stage.folder("A", number=1)
    names = ("same", "gone", "edited", "touched")
    inos = {name: stage.library.file(folder, name, checksum=name) for name in names}
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(4)
    stage.execute("DELETE FROM dirent WHERE ino = ?", inos["gone"])
    stage.execute("UPDATE inode SET checksum = 'other' WHERE ino = ?", inos["edited"])
    stage.execute("UPDATE inode SET mtime = 1 WHERE ino = ?", inos["touched"])
    async with stage.at_work():
        await trio.sleep(0.5)
    assert stage.seeded() == {b"A/same"}


async def test_one_that_cannot_begin_takes_nothing_away_and_begins_when_it_can(
    stage: Stage,
) -> None:
    stage.library.file(ROOT, "photo", checksum="photo")
    stage.seeds._path.mkdir()
    async with stage.at_work() as seeder:
        seeder.opened(ROOT)
        await trio.sleep(0.2)
        assert stage.asked == []
        stage.seeds._path.rmdir()
        with trio.fail_after(10):
            while not seeder.lays:  # noqa: ASYNC110
                await trio.sleep(0.01)
        seeder.opened(ROOT)
        await stage.until_asked(1)
    assert stage.asked == ["photo"]


# -- who waits -------------------------------------------------------------------------------------------


async def test_one_that_is_waited_for_comes_before_all_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_A_SECOND", 1)
    folder = stage.folder("A")
    inos = [stage.library.file(folder, f"{n:03}", checksum=f"{n:03}") for n in range(100)]
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        with trio.fail_after(5):
            await seeder.laid(inos[-1])
        assert b"A/099" in stage.seeded()
        assert len(stage.asked) <= module._AT_ONCE + 1


async def test_while_somebody_waits_the_others_come_as_fast_as_can_be(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_A_SECOND", 1)
    folder = stage.folder("A")
    inos = [stage.library.file(folder, f"{n:03}", checksum=f"{n:03}") for n in range(50)]
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        with trio.fail_after(10):
            for ino in inos:
                await seeder.laid(ino)
    assert len(stage.seeded()) == 50 and len(stage.asked) == 50


async def test_a_wait_is_for_the_folders_that_were_opened(stage: Stage) -> None:
    one, other = stage.folder("A", number=1), stage.folder("B", number=2)
    ino = stage.library.file(one, "1.JPG", checksum="1")
    stage.library.link(ino, other, "1.JPG")
    async with stage.at_work() as seeder:
        await seeder.laid(ino)
        assert stage.asked == []
        seeder.opened(other)
        await seeder.laid(ino)
        assert stage.seeded() == {b"B/1.JPG"}


async def test_what_comes_and_what_is_edited_is_seeded_before_it_is_told(stage: Stage) -> None:
    folder, other = stage.folder("A", number=1), stage.folder("B", number=2)
    edited = stage.library.file(folder, "edited", checksum="1")
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        await stage.until_asked(1)
        stage.execute("UPDATE inode SET checksum = '2' WHERE ino = ?", edited)
        new = stage.library.file(folder, "new", checksum="new")
        unseen = stage.library.file(other, "unseen", checksum="unseen")
        await seeder.laid_before_told(
            [
                InodeChanged(edited, content=True),
                EntryAdded(folder, b"new", new),
                EntryAdded(other, b"unseen", unseen),
            ]
        )
        assert set(stage.asked[1:]) == {"2", "new"}
        assert stage.seeded() == {b"A/edited", b"A/new"}
        seeder.changed([InodeChanged(edited, content=True)])
        await trio.sleep(0.3)
        assert stage.seeded() == {b"A/edited", b"A/new"}


async def test_nobody_hears_later_of_a_crowd(stage: Stage) -> None:
    folder = stage.folder("A")
    inos = [stage.library.file(folder, f"{n}", checksum=f"{n}") for n in range(100)]
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        stage.held = {f"{n}" for n in range(100)}
        with trio.fail_after(1):
            await seeder.laid_before_told([EntryAdded(folder, b"%d" % n, n) for n in inos])


async def test_a_wait_for_the_icon_of_a_folder(stage: Stage) -> None:
    folder = stage.folder("A")
    for number in range(9):
        stage.library.file(folder, f"{number}.JPG", checksum=f"{number}")
    async with stage.at_work() as seeder:
        await seeder.laid_on_icon(folder)
        assert stage.seeded() == {b"A/%d.JPG" % n for n in range(4)}


async def test_a_wait_for_a_folder_is_for_all_its_files_as_fast_as_can_be(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_A_SECOND", 1)
    folder = stage.folder("A")
    for number in range(100):
        stage.library.file(folder, f"{number:03}", checksum=f"{number:03}")
    async with stage.at_work() as seeder:
        with trio.fail_after(10):
            await seeder.laid_in(folder)
        assert len(stage.seeded()) == 100
        assert set(stage.asked[: module._AT_ONCE]) == {f"{n:03}" for n in range(module._AT_ONCE)}
        await seeder.laid_in(folder)
    assert len(stage.asked) == 100


async def test_only_what_nobody_waits_for_gives_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[bytes, bool]] = []
    draw = stage.seeds.draw

    def drawing(seed: Seed, jpeg: bytes) -> Drawn:
        drawn.append((seed.path, threading.current_thread().name.startswith("niced")))
        return draw(seed, jpeg)

    monkeypatch.setattr(stage.seeds, "draw", drawing)
    one, other = stage.folder("A", number=1), stage.folder("B", number=2)
    stage.library.file(one, "1.JPG", checksum="1")
    stage.library.file(other, "2.JPG", checksum="2")
    async with stage.at_work() as seeder:
        seeder.opened(one)
        await stage.until_asked(1)
        await seeder.laid_in(other)
    assert drawn == [(b"A/1.JPG", True), (b"B/2.JPG", False)]


async def test_nobody_waits_for_the_rest_of_a_folder_when_icloud_is_away(stage: Stage) -> None:
    folder = stage.folder("A")
    for number in range(100):
        stage.library.file(folder, f"{number:03}", checksum=f"{number:03}")
    stage.failure = Offline("away")
    async with stage.at_work() as seeder:
        with trio.fail_after(5):
            await seeder.laid_in(folder)
        assert seeder.is_away
        assert len(stage.asked) <= module._AT_ONCE
        stage.failure = None
        seeder.synced()
        await seeder.laid_in(folder)
        assert len(stage.seeded()) == 100


@pytest.mark.parametrize("failure", [Offline("away"), ContentUnavailable("none")])
async def test_nobody_waits_for_what_cannot_come(stage: Stage, failure: Exception) -> None:
    folder = stage.folder("A")
    ino = stage.library.file(folder, "1.JPG", checksum="1")
    stage.failure = failure
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        with trio.fail_after(5):
            await seeder.laid(ino)
        assert seeder.lays


async def test_who_does_not_wait_any_longer_leaves_it_to_be_finished(stage: Stage) -> None:
    folder = stage.folder("A")
    ino = stage.library.file(folder, "1.JPG", checksum="1")
    stage.held = {"1"}
    async with stage.at_work() as seeder:
        seeder.opened(folder)
        with trio.move_on_after(0.3):
            await seeder.laid(ino)
        assert stage.seeded() == set()
        stage.released.set()
        with trio.fail_after(5):
            await seeder.laid(ino)
        assert stage.seeded() == {b"A/1.JPG"}
    assert stage.asked == ["1"]


async def test_nobody_waits_for_one_that_cannot_begin(stage: Stage) -> None:
    stage.seeds._path.mkdir()
    ino = stage.library.file(ROOT, "1.JPG", checksum="1")
    async with stage.at_work() as seeder:
        seeder.opened(ROOT)
        with trio.fail_after(5):
            await seeder.laid(ino)
        assert not seeder.lays
