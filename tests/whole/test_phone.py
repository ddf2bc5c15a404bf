"""What is done on the phone is in the folder one interval later, in listings that the kernel had cached."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.whole.library import INTERVAL, MAY_2020, Library, asset_of, checksum_of

AT_MOST = INTERVAL + 2.0
"""Seconds: an interval, the calls, and a slow machine. The kernel keeps names for minutes."""


@pytest.fixture
def home(following: Library) -> Library:
    """A mount that looks at iCloud every second, with everything in it listed once."""
    names(following)
    return following


def names(library: Library) -> set[str]:
    """Every file and its inode: what a change must leave alone."""
    return {
        f"{path.relative_to(library.mount_point)} {path.stat().st_ino}" for path in library.files()
    }


def until(library: Library, condition: Callable[[], object]) -> None:
    """Look at the folder, and nothing else, until it is so."""
    deadline = time.monotonic() + AT_MOST
    while not condition():
        assert time.monotonic() < deadline, f"not so within {AT_MOST} s"
        time.sleep(0.02)


def places(library: Library, asset: str) -> set[str]:
    """The directories in which a photo is, below the mount."""
    return {str(path.parent.relative_to(library.mount_point)) for path in library.files_of(asset)}


def a_photo(phone: Callable[..., Any], home: Library, **details: Any) -> str:
    """A new one, once it is in the folder."""
    added: dict[str, str] = phone("add_photo", **({"kind": "jpeg", "taken": MAY_2020} | details))
    until(home, lambda: home.files_of(added["asset"]))
    return added["asset"]


def test_added(home: Library, phone: Callable[..., Any]) -> None:
    before = names(home)

    asset = a_photo(phone, home)

    assert places(home, asset) == {"Library/2020/2020-05", "Recent"}
    (photo,) = home.files_of(asset, "Library")
    assert photo.read_bytes() == home.truth(photo)
    assert before <= names(home)
    assert len(names(home) - before) == 2


def test_added_with_a_name_that_is_taken(home: Library, phone: Callable[..., Any]) -> None:
    first = a_photo(phone, home, filename="TWIN.JPG")
    second = a_photo(phone, home, filename="TWIN.JPG")

    assert [path.name for path in home.files_of(first, "Library")] == ["TWIN.JPG"]
    (other,) = home.files_of(second, "Library")
    assert other.name.startswith("TWIN_") and other.suffix == ".JPG"


def test_edited_and_reverted(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home, filename="EDITME.JPG")
    before = names(home)

    phone("edit", asset=asset)
    until(home, lambda: len(home.files_of(asset, "Library")) == 2)
    edited = next(p for p in home.files_of(asset, "Library") if "-edited" in p.name)
    first, checksum = edited.read_bytes(), checksum_of(edited)
    assert first == home.truth(edited)
    assert before <= names(home)

    phone("edit", asset=asset)
    until(home, lambda: checksum_of(edited) != checksum)
    assert edited.read_bytes() == home.truth(edited) != first

    phone("revert", asset=asset)
    until(home, lambda: names(home) == before)


def test_favorite_and_not(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)
    before = names(home)

    phone("favorite", asset=asset)
    until(home, lambda: "Favorites" in places(home, asset))
    photo = home.files_of(asset)[0]
    assert photo.stat().st_nlink == 3
    assert len({path.stat().st_ino for path in home.files_of(asset)}) == 1

    phone("unfavorite", asset=asset)
    until(home, lambda: names(home) == before)
    assert home.files_of(asset)[0].stat().st_nlink == 2


def test_hidden_and_shown(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)
    before = names(home)

    phone("hide", asset=asset)
    until(home, lambda: places(home, asset) == {"Hidden"})
    phone("unhide", asset=asset)

    until(home, lambda: names(home) == before)


def test_deleted_restored_and_gone(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)
    before = names(home)
    inodes = {str(path.stat().st_ino) for path in home.files_of(asset)}
    others = {name for name in before if name.split()[-1] not in inodes}
    content = home.files_of(asset)[0].read_bytes()

    phone("delete", asset=asset)
    until(home, lambda: places(home, asset) == {"Recently Deleted"})
    assert home.files_of(asset)[0].read_bytes() == content

    phone("restore", asset=asset)
    until(home, lambda: names(home) == before)
    assert home.files_of(asset)[0].read_bytes() == content

    phone("delete", asset=asset)
    phone("purge", asset=asset)
    until(home, lambda: not home.files_of(asset))
    assert names(home) == others


def test_albums(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)
    before = names(home)
    album = phone("create_album", title="Alps")

    phone("add_to_album", asset=asset, album=album)
    until(home, lambda: "Albums/Alps" in places(home, asset))

    phone("rename_album", album=album, title="Dolomites")
    until(home, lambda: "Albums/Dolomites" in places(home, asset))
    assert not (home.mount_point / "Albums/Alps").exists()

    folder = phone("create_folder", title="Mountains")
    phone("move_album", album=album, parent=folder)
    until(home, lambda: "Albums/Mountains/Dolomites" in places(home, asset))

    phone("remove_from_album", asset=asset, album=album)
    until(home, lambda: names(home) == before)

    phone("add_to_album", asset=asset, album=album)
    until(home, lambda: "Albums/Mountains/Dolomites" in places(home, asset))
    phone("delete_album", album=album)
    until(home, lambda: names(home) == before)


def test_redated(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)

    phone("redate", asset=asset, taken=MAY_2020 + 40 * 86_400_000)

    until(home, lambda: "Library/2020/2020-06" in places(home, asset))
    (photo,) = home.files_of(asset, "Library")
    assert photo.stat().st_mtime == MAY_2020 // 1000 + 40 * 86_400


def test_a_missing_name_is_looked_for_again(home: Library, phone: Callable[..., Any]) -> None:
    """The kernel remembers for long that there was no such file."""
    expected = home.mount_point / "Library/2020/2020-05/SOON.JPG"
    assert not expected.exists()

    phone("add_photo", kind="jpeg", taken=MAY_2020, filename="SOON.JPG")

    until(home, expected.exists)
    assert checksum_of(expected)


def test_an_open_file_survives_its_deletion(home: Library, phone: Callable[..., Any]) -> None:
    asset = a_photo(phone, home)
    path: Path = home.files_of(asset, "Library")[0]
    content = path.read_bytes()
    with path.open("rb") as opened:
        assert opened.read(16) == content[:16]

        phone("delete", asset=asset)
        phone("purge", asset=asset)
        until(home, lambda: not home.files_of(asset))

        assert opened.read() == content[16:]


def test_edited_while_somebody_has_it_open(home: Library, phone: Callable[..., Any]) -> None:
    """The kernel keeps one set of pages a file: what an old handle reads must not get into the new one."""
    asset = a_photo(phone, home, filename="OPEN.JPG", kind="large")
    phone("edit", asset=asset)
    until(home, lambda: len(home.files_of(asset, "Library")) == 2)
    path = next(p for p in home.files_of(asset, "Library") if "-edited" in p.name)
    before = checksum_of(path)
    with path.open("rb", buffering=0) as opened:
        assert opened.read(4096)
        phone("edit", asset=asset)
        until(home, lambda: checksum_of(path) != before)
        with pytest.raises(OSError) as stale:
            opened.seek(0)
            opened.read()
        assert stale.value.errno == errno.ESTALE
        assert path.read_bytes() == home.truth(path)
    assert path.read_bytes() == home.truth(path)


def test_a_folder_that_comes_back_while_somebody_is_in_it(
    home: Library, phone: Callable[..., Any]
) -> None:
    one = a_photo(phone, home, kind="gif")
    folder = home.files_of(one, "Animated")[0].parent
    others = {asset_of(path) for path in folder.iterdir()} - {one}
    for asset in others:
        phone("delete", asset=asset)
    until(home, lambda: {asset_of(path) for path in folder.iterdir()} == {one})
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        phone("delete", asset=one)
        until(home, lambda: not folder.exists())
        other = a_photo(phone, home, kind="gif")
        until(home, lambda: home.files_of(other, "Animated"))
        assert [asset_of(path) for path in folder.iterdir()] == [other]
    finally:
        os.close(descriptor)
