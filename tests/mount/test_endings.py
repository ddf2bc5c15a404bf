"""A directory that may still grow tells what is there, and ends with EAGAIN instead of an end."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.tree import numbers
from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library
from tests.mount.mounted import OTHER, ROOT, Mount, names

LISTING = """
import os, sys
open("/proc/self/comm", "w").write(sys.argv[2])
entries = []
try:
    for entry in os.scandir(sys.argv[1]):
        entries.append(entry.name)
    print(len(entries), 0)
except OSError as error:
    print(len(entries), error.errno)
"""


def listing(mount: Mount, path: Path, program: str = "backup") -> tuple[int, int]:
    """How many entries a program gets, and which error takes the place of the end; 0: none."""
    entries, error = ROOT.python(LISTING, str(path), program).split()
    return int(entries), int(error)


@pytest.fixture
def month(library: Library) -> int:
    """A directory of 600 photos, which take several replies, in a library that is not complete."""
    above = library.directory(ROOT_INO, "Library")
    month = library.directory(above, "2024-05")
    library.many(month, 600)
    library.complete(False)
    return month


@pytest.fixture
def growing(library: Library, month: int, place: Path) -> Iterator[Mount]:
    with Mount(library.path, place / "photos") as mount:
        yield mount


def test_what_is_there_is_told_first(growing: Mount) -> None:
    folder = growing.path / "Library/2024-05"
    assert listing(growing, folder) == (600, errno.EAGAIN)
    assert listing(growing, growing.path) == (1, errno.EAGAIN)
    with pytest.raises(BlockingIOError):
        names(folder)


def test_look_ups_and_reads_work(growing: Mount) -> None:
    photo = growing.path / "Library/2024-05/IMG_000599.HEIC"
    assert photo.stat().st_size == 65536
    assert not (growing.path / "Library/2024-05/IMG_000600.HEIC").exists()
    assert (growing.path / ".icloudfs").read_bytes()


@pytest.mark.parametrize("program", ["nautilus", "Thunar", "dolphin", "kioworker"])
def test_file_managers_see_an_end(growing: Mount, program: str) -> None:
    assert listing(growing, growing.path / "Library/2024-05", program) == (600, 0)


def test_file_managers_of_other_users_do_too(library: Library, month: int, place: Path) -> None:
    with Mount(library.path, place / "photos", allow_other=True) as mount:
        for program, error in ("nautilus", 0), ("backup", errno.EAGAIN):
            told = OTHER.python(LISTING, str(mount.path / "Library/2024-05"), program)
            assert told == f"600 {error}"


def test_a_complete_library_ends_as_any_folder(library: Library, growing: Mount) -> None:
    library.complete(True)
    assert listing(growing, growing.path / "Library/2024-05") == (600, 0)
    assert len(names(growing.path / "Library/2024-05")) == 600


def test_what_becomes_complete_meanwhile_is_not_believed(library: Library, growing: Mount) -> None:
    """What came may have come before the place where the listing was."""
    folder = growing.path / "Library/2024-05"
    with os.scandir(folder) as entries:
        next(entries)
        library.complete(True)
        with pytest.raises(BlockingIOError):
            list(entries)
    assert len(names(folder)) == 600


def test_a_listing_that_begins_again_may_be_whole(library: Library, growing: Mount) -> None:
    descriptor = os.open(growing.path / "Library/2024-05", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        os.listdir(descriptor)  # noqa: PTH208 - a descriptor
    library.complete(True)
    os.lseek(descriptor, 0, os.SEEK_SET)
    assert len(os.listdir(descriptor)) == 600  # noqa: PTH208 - a descriptor
    os.close(descriptor)


def test_the_library_that_is_complete_has_an_end(library: Library, place: Path) -> None:
    """The personal library is listed first; what collects photos of all of them waits for the others."""
    for ino, name in (
        (numbers.of_path("Library"), "Library"),
        (numbers.of_path("Shared Library"), "Shared Library"),
        (numbers.of_path("Favorites"), "Favorites"),
    ):
        library.directory_numbered(ino, ROOT_INO, name)
        library.file(ino, "IMG_1.HEIC")
    library.insert("zone", id=2, area="shared", name="SharedSync-1", listed=0)
    with Mount(library.path, place / "photos") as mount:
        assert listing(mount, mount.path / "Library") == (1, 0)
        for folder in "", "Shared Library", "Favorites":
            assert listing(mount, mount.path / folder)[1] == errno.EAGAIN


def test_albums_that_are_refused_are_not_whole(library: Library, place: Path) -> None:
    albums, norway, rome = (
        numbers.of_path("Albums"),
        numbers.of_album("PrimarySync", "N"),
        numbers.of_album("PrimarySync", "R"),
    )
    library.directory_numbered(albums, ROOT_INO, "Albums")
    library.directory_numbered(norway, albums, "Norway")
    library.directory_numbered(rome, albums, "Rome")
    for ino in norway, rome:
        library.file(ino, "IMG_1.HEIC")
    with Mount(library.path, place / "photos") as mount:

        def incomplete() -> set[str]:
            folders = "", "Albums", "Albums/Norway", "Albums/Rome"
            return {folder for folder in folders if listing(mount, mount.path / folder)[1]}

        assert incomplete() == set()
        library.refuse("members:N")
        assert incomplete() == {"Albums/Norway"}
        library.refuse("members:another")  # it has no directory yet
        assert incomplete() == {"", "Albums", "Albums/Norway", "Albums/Rome"}
        library.connection.execute("UPDATE refused_part SET harmless = 1")
        assert incomplete() == set()
