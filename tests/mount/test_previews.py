"""KDE's workers wait for thumbnails and read no originals for them, and other browsers get a folder when its
thumbnails lie; nobody else waits, and nobody else is refused."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from icloudfs.mount.desktop import NoDesktop
from icloudfs.mount.previews import Previews
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests import kio
from tests.kio import Worker
from tests.mount.library import Library
from tests.mount.mounted import Mount, names, wait_until

FOLDER = "Álbum"
NAMES = ("1.JPG", "2.JPG", "not here.JPG")
BY_FOLDER = ("pcmanfm", "pcmanfm-qt", "gthumb")
REFUSED = os.strerror(errno.ENODATA)


@pytest.fixture
def folder(library: Library) -> int:
    folder = library.directory(ROOT_INO, FOLDER)
    for name in NAMES:
        library.file(folder, name, checksum="slow" if name.startswith("not") else None)
    library.close()
    return folder


@pytest.fixture
def mount(library: Library, folder: int, place: Path) -> Iterator[Mount]:
    with Mount(library.path, place / "mnt") as mount:
        yield mount


def laid(mount: Mount) -> list[int]:
    """What thumbnails were waited for, as inode numbers."""
    return list(mount.tell("laid"))


@pytest.mark.parametrize("kind", [kio.LISTS, kio.LISTS_AS_A_PROCESS])
def test_a_stat_waits_for_the_thumbnail(mount: Mount, place: Path, kind: tuple[str, str]) -> None:
    path = mount.path / FOLDER / "1.JPG"
    with Worker(kind, place) as worker:
        assert worker.do("list", path.parent) == str(len(NAMES))  # which stats every file
        assert laid(mount) == []
        worker.order("stat", path)
        wait_until(lambda: laid(mount) == [path.stat().st_ino])  # our own stat does not wait
        mount.tell("open_gate")
        assert worker.answer() == "done"

        mount.asked("getattr")
        path.stat()
        assert worker.do("stat", path) == "done"
        assert mount.asked("getattr") <= 1
        assert len(laid(mount)) == 1


def test_the_root_is_itself_while_kio_has_a_folder_open(mount: Mount, place: Path) -> None:
    with Worker(kio.LISTS, place) as worker:
        assert worker.do("hold", mount.path / FOLDER) == "done"
        assert names(mount.path) == [FOLDER]


def test_each_waits_no_longer_than_it_has_patience(
    library: Library, folder: int, place: Path
) -> None:
    with (
        Mount(library.path, place / "mnt", patience=0.5) as mount,
        Worker(kio.LISTS, place) as worker,
    ):
        path = mount.path / FOLDER / "1.JPG"
        worker.do("list", path.parent)
        began = time.monotonic()
        assert worker.do("stat", path) == "done"
        assert 0.4 < time.monotonic() - began < 2
        assert worker.do("stat", path) == "done"
        assert len(laid(mount)) == 1


def test_who_is_not_kio_never_waits(mount: Mount) -> None:
    for entry in os.scandir(mount.path / FOLDER):
        os.lstat(entry.path)
    assert laid(mount) == []
    mount.asked("getattr")
    for entry in os.scandir(mount.path / FOLDER):
        os.lstat(entry.path)
    assert mount.asked("getattr") <= 1  # the folder's own


def test_who_copies_does_not_wait_for_a_thumbnail(mount: Mount, place: Path) -> None:
    path = mount.path / FOLDER / "1.JPG"
    with Worker(kio.COPIES, place) as worker, path.open("rb"):
        worker.do("list", path.parent)
        assert worker.do("read", path) == "1000"
        assert laid(mount) == []


@pytest.mark.parametrize("kind", [kio.DRAWS, kio.DRAWS_FOR_KDE_6])
def test_who_draws_is_refused_what_is_not_here(
    mount: Mount, place: Path, kind: tuple[str, str]
) -> None:
    here, elsewhere = mount.path / FOLDER / "1.JPG", mount.path / FOLDER / "not here.JPG"
    with Worker(kind, place) as drawing, Worker(kio.COPIES, place) as copying:
        assert drawing.do("read", here) == "1000"
        assert drawing.do("read", elsewhere) == REFUSED
        assert mount.tell("waiting") == 0
        copying.order("read", elsewhere)
        wait_until(lambda: mount.tell("waiting") > 0)
        mount.tell("open_gate")
        assert copying.answer() == "1000"


def test_who_draws_the_icon_of_a_folder_waits_for_those_on_it(
    mount: Mount, place: Path, folder: int
) -> None:
    with Worker(kio.DRAWS, place) as worker:
        worker.order("list", mount.path / FOLDER)
        wait_until(lambda: laid(mount) == [folder])
        assert len(names(mount.path / FOLDER)) == len(NAMES)
        mount.tell("open_gate")
        assert worker.answer() == str(len(NAMES))


@pytest.mark.parametrize("name", BY_FOLDER)
def test_a_folder_opens_for_a_browser_when_its_thumbnails_lie(
    mount: Mount, place: Path, folder: int, name: str
) -> None:
    with Worker(kio.browser(name), place) as browser:
        browser.order("browse", mount.path / FOLDER)
        wait_until(lambda: laid(mount) == [folder])
        assert len(names(mount.path / FOLDER)) == len(NAMES)  # nobody else waits
        assert laid(mount) == [folder]
        mount.tell("open_gate")
        assert browser.answer() == str(len(NAMES))


def test_a_folder_takes_more_patience_than_a_file(
    library: Library, folder: int, place: Path
) -> None:
    with (
        Mount(library.path, place / "mnt", patience=0.1) as mount,
        Worker(kio.browser("pcmanfm"), place) as browser,
    ):
        began = time.monotonic()
        browser.order("browse", mount.path / FOLDER)
        wait_until(lambda: laid(mount) == [folder])
        time.sleep(0.5)
        mount.tell("open_gate")
        assert browser.answer() == str(len(NAMES))
        assert time.monotonic() - began > 0.5


def test_gwenview_waits_file_by_file_and_reads_by_itself(mount: Mount, place: Path) -> None:
    path = mount.path / FOLDER / "not here.JPG"
    with Worker(kio.LISTS, place) as worker, Worker(kio.browser("gwenview"), place) as gwenview:
        assert gwenview.do("browse", path.parent) == str(len(NAMES))
        worker.do("list", path.parent)
        gwenview.order("stat", path)
        wait_until(lambda: laid(mount) == [path.stat().st_ino])
        mount.tell("open_gate")
        assert gwenview.answer() == "done"
        assert gwenview.do("read", path) == "1000"


def test_nobody_waits_while_icloud_is_away(library: Library, folder: int, place: Path) -> None:
    with (
        Mount(library.path, place / "mnt", is_away=True) as mount,
        Worker(kio.LISTS, place) as worker,
        Worker(kio.browser("pcmanfm"), place) as pcmanfm,
        Worker(kio.browser("gwenview"), place) as gwenview,
    ):
        assert pcmanfm.do("browse", mount.path / FOLDER) == str(len(NAMES))
        worker.do("list", mount.path / FOLDER)
        assert gwenview.do("stat", mount.path / FOLDER / "1.JPG") == "done"
        assert laid(mount) == []


def test_a_browser_reads_whatever_it_likes(mount: Mount, place: Path) -> None:
    with Worker(kio.browser("pcmanfm"), place) as browser:
        browser.order("read", mount.path / FOLDER / "not here.JPG")
        wait_until(lambda: mount.tell("waiting") > 0)
        mount.tell("open_gate")
        assert browser.answer() == "1000"
        assert laid(mount) == []


def test_who_goes_from_folder_to_folder_is_soon_kept_no_longer(
    library: Library, folder: int, place: Path
) -> None:
    with (
        Mount(library.path, place / "mnt", patience_for_a_folder=0.4, patience_saved=0.8) as mount,
        Worker(kio.browser("gthumb"), place) as browser,
    ):
        began = time.monotonic()
        assert browser.do("browse", mount.path / FOLDER) == str(len(NAMES))
        assert 0.3 < time.monotonic() - began < 2
        for _ in range(20):
            browser.do("browse", mount.path / FOLDER)
        assert time.monotonic() - began < 4  # and not 8


def test_without_thumbnails_nobody_waits_or_is_refused(
    library: Library, folder: int, place: Path
) -> None:
    with Mount(library.path, place / "mnt", lays=False) as mount:
        here, elsewhere = mount.path / FOLDER / "1.JPG", mount.path / FOLDER / "not here.JPG"
        with (
            Worker(kio.LISTS, place) as listing,
            Worker(kio.DRAWS, place) as drawing,
            Worker(kio.browser("pcmanfm"), place) as browser,
        ):
            assert browser.do("browse", here.parent) == str(len(NAMES))
            listing.do("list", here.parent)
            assert listing.do("stat", here) == "done"
            drawing.do("list", here.parent)
            drawing.order("read", elsewhere)
            wait_until(lambda: mount.tell("waiting") > 0)
            assert laid(mount) == []
            mount.tell("open_gate")
            assert drawing.answer() == "1000"


async def test_what_nobody_looks_at_becomes_a_file_like_any_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    previews = Previews(NoDesktop())
    previews.expect(7)
    await trio.sleep(299)
    assert 7 in previews.expected
    await trio.sleep(2)
    assert 7 not in previews.expected
