"""What iCloud knows of a photo, as extended attributes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from icloudfs.tree.directory import ROOT as ROOT_INO
from tests.mount.library import TAKEN, Library
from tests.mount.mounted import Mount

ASSET = """
UPDATE asset SET favorite = 1, caption = 'Am See', description = 'lang', keywords = '["Urlaub","a,b"]',
  latitude = 52.5, longitude = 13.25, duration = 2.5 WHERE id = 1
"""


ALBUMS = (
    ("one", "Am See", "", 0),
    ("two", "Früher", "inner", 0),
    ("twin", "Früher", "outer", 0),
    ("gone", "Weg", "", 1),
    ("below", "Mit dem Ordner weg", "in-deleted", 0),
    ("lost", "Ordner noch unbekannt", "unknown", 0),
    ("ring", "Im Kreis", "snake", 0),
)
FOLDERS = (
    ("----Root-Folder----", "", 0),
    ("outer", "----Root-Folder----", 0),
    ("inner", "outer", 0),
    ("deleted", "", 1),
    ("in-deleted", "deleted", 0),
    ("snake", "snake", 0),
)
OF_THIS_MACHINE = {
    "user.icloudfs.status": "downloaded",
    "user.icloudfs.state": "cached",
    "user.icloudfs.sha256": "ab",
}
"""Answered, but not listed."""


@pytest.fixture
def mount(library: Library, place: Path) -> Iterator[Mount]:
    library.file(ROOT_INO, "photo", checksum="sum")
    library.file(ROOT_INO, "plain")
    execute = library.connection.execute
    execute(ASSET)
    for name, title, parent, deleted in ALBUMS:
        library.insert("album", zone=1, name=name, title=title, parent=parent, deleted=deleted)
        library.insert("relation", zone=1, asset="A1", album=name)
    # One of the shared library, in an own album.
    library.file(ROOT_INO, "theirs")
    library.insert("zone", id=2, area="shared", name="SharedSync-1")
    execute("UPDATE asset SET zone = 2, name = 'S1' WHERE id = (SELECT max(id) FROM asset)")
    library.insert("relation", zone=1, asset="S1", album="two")
    for name, parent, deleted in FOLDERS:
        library.insert("album", zone=1, name=name, kind=3, parent=parent, deleted=deleted)
    library.insert("content", checksum="sum", size=1000, status="downloaded", path="x", sha256="ab")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        yield mount


def test_every_name(mount: Mount) -> None:
    photo = mount.path / "photo"
    found = {name: os.getxattr(photo, name).decode() for name in os.listxattr(photo)}
    assert found == {
        "user.xdg.comment": "Am See\nlang",
        "user.xdg.tags": "Urlaub,a b,Am See,Früher,Favorite",
        "user.baloo.rating": "10",
        "user.icloudfs.asset": "A1",
        "user.icloudfs.master": "M1",
        "user.icloudfs.library": "PrimarySync",
        "user.icloudfs.added": "2023-11-14T22:13:20+00:00",
        "user.icloudfs.taken": "2023-11-15T00:13:20+02:00",
        "user.icloudfs.time_zone": "Europe/Berlin",
        "user.icloudfs.original_name": "original of photo",
        "user.icloudfs.caption": "Am See",
        "user.icloudfs.description": "lang",
        "user.icloudfs.keywords": "Urlaub\na,b",
        "user.icloudfs.latitude": "52.500000",
        "user.icloudfs.longitude": "13.250000",
        "user.icloudfs.location": "52.500000,13.250000",
        "user.icloudfs.dimensions": "4032x3024",
        "user.icloudfs.duration": "2.500",
        "user.icloudfs.favorite": "1",
        "user.icloudfs.hidden": "0",
        "user.icloudfs.albums": "Am See\nFrüher\nFrüher",
        "user.icloudfs.checksum": "sum",
    }
    for name, value in OF_THIS_MACHINE.items():
        assert os.getxattr(photo, name).decode() == value
    assert TAKEN == 1_700_000_000


def test_own_albums_of_a_photo_of_the_shared_library(mount: Mount) -> None:
    theirs = mount.path / "theirs"
    assert os.getxattr(theirs, "user.icloudfs.library") == b"SharedSync-1"
    assert os.getxattr(theirs, "user.icloudfs.albums").decode() == "Früher"


def test_what_has_no_value_is_not_there(mount: Mount) -> None:
    listed = os.listxattr(mount.path / "plain")
    assert "user.baloo.rating" not in listed and "user.icloudfs.caption" not in listed
    assert os.getxattr(mount.path / "plain", "user.icloudfs.state") == b"remote"
    assert os.getxattr(mount.path / "plain", "user.icloudfs.status") == b"pending"
    for path, name in (
        ("plain", "user.baloo.rating"),
        ("plain", "user.icloudfs.sha256"),
        ("plain", "user.icloudfs.latitude"),
        ("plain", "user.unknown"),
        ("", "user.icloudfs.asset"),
    ):
        with pytest.raises(OSError) as caught:
            os.getxattr(mount.path / path, name)
        assert caught.value.errno == errno.ENODATA
    assert os.listxattr(mount.path) == []


def test_ls_asks_once_for_what_no_file_has(library: Library, place: Path) -> None:
    for number in range(20):
        library.file(ROOT_INO, f"photo {number}")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        with pytest.raises(OSError) as caught:
            os.getxattr(mount.path / "photo 0", "security.selinux")
        assert caught.value.errno == errno.EOPNOTSUPP
        before = mount.asked("getxattr")
        listed = subprocess.run(
            ["ls", "-l", mount.path], capture_output=True, text=True, check=True
        ).stdout
        assert "photo 19" in listed
        assert mount.asked("getxattr") - before <= 2


def test_programs_can_copy_them(mount: Mount, place: Path) -> None:
    shown = subprocess.run(
        ["getfattr", "-d", mount.path / "photo"], capture_output=True, text=True, check=True
    ).stdout
    assert 'user.icloudfs.asset="A1"' in shown
    subprocess.run(["cp", "-a", mount.path / "photo", place / "copy"], check=True)


THUMBNAIL = "user.icloudfs.thumbnail"


def test_the_thumbnail_is_there_and_not_listed(mount: Mount, place: Path) -> None:
    photo = mount.path / "photo"
    assert os.getxattr(photo, THUMBNAIL) == b"small sum"
    assert THUMBNAIL not in os.listxattr(photo)
    subprocess.run(["cp", "-a", photo, place / "copy"], check=True)
    assert "user.icloudfs.asset" in os.listxattr(place / "copy")
    assert THUMBNAIL not in os.listxattr(place / "copy")


def test_a_directory_and_what_has_none_have_no_thumbnail(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo", checksum="fail:Offline")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        for path in (mount.path, mount.path / "photo"):
            with pytest.raises(OSError) as caught:
                os.getxattr(path, THUMBNAIL)
            assert caught.value.errno == errno.ENODATA


def test_a_slow_thumbnail_makes_nobody_else_wait(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo", checksum="slow")
    library.file(ROOT_INO, "other", checksum="sum")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        waiting = subprocess.Popen(
            ["getfattr", "-n", THUMBNAIL, mount.path / "photo"], stdout=subprocess.PIPE
        )
        assert os.getxattr(mount.path / "other", THUMBNAIL) == b"small sum"
        assert os.getxattr(mount.path / "photo", "user.icloudfs.asset") == b"A1"
        assert (mount.path / "other").stat().st_size == 1000
        assert waiting.poll() is None
        mount.tell("open_gate")
        shown, _ = waiting.communicate(timeout=10)
        assert b"small slow" in shown


def test_noxattr(library: Library, place: Path) -> None:
    library.file(ROOT_INO, "photo")
    library.close()
    with Mount(library.path, place / "mnt", xattrs=False) as mount:
        for _ in range(3):
            with pytest.raises(OSError) as caught:
                os.getxattr(mount.path / "photo", "user.icloudfs.asset")
            assert caught.value.errno == errno.EOPNOTSUPP
        assert mount.asked("getxattr") == 1


CAPTIONS = {
    "short": "Am See",
    "a page": "ä" * 1000,
    "two, that fit alone": "x" * 2500,
    "longer than an attribute can be": "Straße " * 20_000,
}


@pytest.fixture
def captioned(library: Library, place: Path) -> Iterator[Mount]:
    """A photo for each caption, in many albums and with many keywords."""
    for number, (name, caption) in enumerate(CAPTIONS.items(), 1):
        library.file(ROOT_INO, name)
        library.connection.execute(
            "UPDATE asset SET favorite = 1, caption = ?, keywords = ? WHERE id = ?",
            (caption, json.dumps([f"keyword {n}" for n in range(80)]), number),
        )
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        yield mount


@pytest.fixture
def ext4(place: Path) -> Iterator[Path]:
    """A folder on an ext4 of its own, whose inodes have no room beside them."""
    image, folder = place / "image", place / "ext4"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    make = ["mkfs.ext4", "-q", "-b4096", "-I128", "-O^has_journal", str(image)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_what_is_listed_fits_where_copies_are_put(captioned: Mount, ext4: Path) -> None:
    for name in CAPTIONS:
        photo, copy = captioned.path / name, ext4 / "copy"
        subprocess.run(["cp", "-a", photo, copy], check=True)
        assert sorted(os.listxattr(copy)) == sorted(os.listxattr(photo))
        assert {"user.icloudfs.asset", "user.baloo.rating"} <= {*os.listxattr(copy)}
        copy.unlink()


def test_the_longest_are_left_out_of_the_list_and_answered(captioned: Mount) -> None:
    caption = "user.icloudfs.caption"
    assert caption in os.listxattr(captioned.path / "short")
    for name, text in CAPTIONS.items():
        told = os.getxattr(captioned.path / name, caption)
        assert len(told) <= 1 << 16
        if len(text.encode()) <= 1 << 16:
            assert told.decode() == text
    long = captioned.path / "longer than an attribute can be"
    assert caption not in os.listxattr(long)
    assert text.startswith(told.decode().removesuffix("…")) and len(told) > (1 << 16) - 8


def test_what_is_gone_has_none(library: Library, place: Path) -> None:
    photo = library.file(ROOT_INO, "photo")
    library.close()
    with Mount(library.path, place / "mnt") as mount:
        held = os.open(mount.path / "photo", os.O_PATH)
        gone = [f"DELETE FROM {table} WHERE ino = {photo}" for table in ("dirent", "inode")]
        mount.tell("change", sql=gone, changes=[["removed", ROOT_INO, "photo", photo]])
        for call in (os.listxattr, lambda path: os.getxattr(path, "user.icloudfs.asset")):
            with pytest.raises(OSError) as caught:
                call(f"/proc/self/fd/{held}")
            assert caught.value.errno == errno.ESTALE
        os.close(held)
