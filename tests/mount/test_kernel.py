"""The kernel answers by itself for days, and still shows every change at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import Library, bytes_of
from tests.mount.mounted import Mount, names

PHOTO = 1 << 32


@pytest.fixture
def mount(library: Library, place: Path) -> Iterator[Mount]:
    assert library.file(ROOT_INO, "photo", 300_000, checksum="before") == PHOTO
    library.file(ROOT_INO, "other")
    library.file(library.directory(ROOT_INO, "album"), "in album")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        yield mount


def test_a_missing_name_is_asked_for_once(mount: Mount) -> None:
    mount.tell("asked")
    for _ in range(1000):
        assert not (mount.path / ".Trash").exists()
    assert mount.asked("lookup") == 1


def test_what_is_warm_never_reaches_python(mount: Mount) -> None:
    for entry in mount.path.iterdir():
        entry.stat()
    (mount.path / "album/in album").stat()
    mount.tell("asked")
    for _ in range(1000):
        (mount.path / "photo").stat()
        (mount.path / "album/in album").stat()
    asked = mount.tell("asked")
    assert not asked.keys() & {"lookup", "getattr"}, asked


def test_pages_stay_from_one_open_to_the_next(mount: Mount) -> None:
    (mount.path / "photo").read_bytes()
    mount.tell("asked")
    for _ in range(10):
        assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
    assert mount.asked("read") == 0


def test_an_entry_that_comes_is_seen_at_once(mount: Mount) -> None:
    assert not (mount.path / "album/again").exists()
    assert (mount.path / "photo").stat().st_nlink == 1
    album = (mount.path / "album").stat().st_ino
    mount.tell(
        "change",
        sql=[
            f"INSERT INTO dirent VALUES ({album}, CAST('again' AS BLOB), {PHOTO})",
            f"UPDATE inode SET nlink = 2 WHERE ino = {PHOTO}",
        ],
        changes=[["added", album, "again", PHOTO]],
    )
    assert (mount.path / "album/again").stat().st_ino == PHOTO
    assert (mount.path / "photo").stat().st_nlink == 2


def test_changes_are_seen_also_if_the_database_is_not_asked(mount: Mount) -> None:
    """One comes, one goes, one becomes another, after all were looked at."""
    album = (mount.path / "album").stat().st_ino
    assert not (mount.path / "album/again").exists()
    other = (mount.path / "other").stat().st_ino
    assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
    mount.tell(
        "change_unasked",
        sql=[
            f"INSERT INTO dirent VALUES ({album}, CAST('again' AS BLOB), {PHOTO})",
            f"UPDATE inode SET nlink = 2, checksum = 'after' WHERE ino = {PHOTO}",
            f"DELETE FROM dirent WHERE ino = {other}",
            f"DELETE FROM inode WHERE ino = {other}",
        ],
        changes=[
            ["removed", ROOT_INO, "other", other],
            ["added", album, "again", PHOTO],
            ["changed", PHOTO, True],
        ],
    )
    assert (mount.path / "album/again").stat().st_nlink == 2
    assert not (mount.path / "other").exists() and "other" not in names(mount.path)
    assert (mount.path / "photo").read_bytes() == bytes_of("after", 300_000)


def test_an_entry_that_goes_is_gone_at_once(mount: Mount) -> None:
    (mount.path / "photo").stat()
    mount.tell(
        "change",
        sql=[f"DELETE FROM dirent WHERE ino = {PHOTO}", f"DELETE FROM inode WHERE ino = {PHOTO}"],
        changes=[["removed", ROOT_INO, "photo", PHOTO]],
    )
    assert not (mount.path / "photo").exists()
    assert "photo" not in names(mount.path)


def test_one_place_of_two_goes(mount: Mount) -> None:
    album = (mount.path / "album").stat().st_ino
    insert = f"INSERT INTO dirent VALUES ({album}, CAST('again' AS BLOB), {PHOTO})"
    mount.tell("change", sql=[insert], changes=[["added", album, "again", PHOTO]])
    (mount.path / "album/again").read_bytes()
    mount.tell(
        "change",
        sql=[f"DELETE FROM dirent WHERE parent = {album} AND ino = {PHOTO}"],
        changes=[["removed", album, "again", PHOTO]],
    )
    assert not (mount.path / "album/again").exists()
    assert (mount.path / "photo").stat().st_nlink == 1


def test_a_directory_in_use_goes(mount: Mount) -> None:
    album = (mount.path / "album").stat().st_ino
    inside = (mount.path / "album/in album").open("rb")
    mount.tell(
        "change",
        sql=[f"DELETE FROM dirent WHERE parent = {album} OR ino = {album}"],
        changes=[["removed", ROOT_INO, "album", album]],
    )
    assert not (mount.path / "album").exists()
    assert inside.read()
    inside.close()


def test_new_bytes_are_read_at_once(mount: Mount) -> None:
    assert (mount.path / "photo").read_bytes() == bytes_of("before", 300_000)
    mount.tell(
        "change",
        sql=[f"UPDATE inode SET size = 200000, checksum = 'after' WHERE ino = {PHOTO}"],
        changes=[["changed", PHOTO, True]],
    )
    assert (mount.path / "photo").stat().st_size == 200_000
    assert (mount.path / "photo").read_bytes() == bytes_of("after", 200_000)


def test_unknown_names_and_numbers_are_nothing_to_complain_about(mount: Mount) -> None:
    changes = [["added", 77, "x", 78], ["removed", 77, "x", 78], ["changed", 79, True]]
    mount.tell("change", sql=[], changes=changes)
    assert "WARNING" not in mount.log.read_text()


@pytest.mark.parametrize("epoch", [True, False], ids=["all entries at once", "one by one"])
def test_a_full_refresh_shows_everything_anew(mount: Mount, epoch: bool) -> None:
    (mount.path / "photo").stat()
    assert not (mount.path / "renamed").exists()
    mount.tell(
        "refresh",
        epoch=epoch,
        sql=[f"UPDATE dirent SET name = CAST('renamed' AS BLOB) WHERE ino = {PHOTO}"],
    )
    assert (mount.path / "renamed").stat().st_ino == PHOTO


def test_a_number_that_vanished_unannounced_is_looked_up_again(mount: Mount) -> None:
    (mount.path / "photo").stat()
    mount.tell(
        "change",
        sql=[
            f"UPDATE inode SET ino = {PHOTO + 500} WHERE ino = {PHOTO}",
            f"UPDATE dirent SET ino = {PHOTO + 500} WHERE ino = {PHOTO}",
        ],
        changes=[["changed", PHOTO, False]],
    )
    assert (mount.path / "photo").stat().st_ino == PHOTO + 500
    assert len((mount.path / "photo").read_bytes()) == 300_000
