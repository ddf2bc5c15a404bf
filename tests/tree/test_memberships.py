"""Photos of another library in albums: every order in which their records may come gives the same tree."""

from __future__ import annotations

from itertools import permutations

import pytest

from icloudfs.apple.records import Record
from tests.tree.library import DAY, NOW, Library, album, asset, master, member, photo, tombstone

SHARED = "SharedSync-1"


@pytest.fixture
def both(library: Library) -> Library:
    library.add_zone(SHARED)
    return library


def trip(library: Library) -> list[str]:
    return library.paths("Albums")


def test_every_order(both: Library) -> None:
    pages: list[tuple[str, Record]] = [
        ("PrimarySync", album("X", "Trip")),
        ("PrimarySync", member("X", "A")),
        (SHARED, master("MA")),
        (SHARED, asset("A")),
    ]
    for order in permutations(pages):
        for zone, record in order:
            both.page(record, zone=zone)
        assert trip(both) == ["Albums/Trip/IMG_0001.HEIC"]
        both.page(tombstone("A"), tombstone("MA"), zone=SHARED)
        assert trip(both) == []
        both.page(tombstone("A-IN-X"), tombstone("X"))


def test_it_is_the_file_of_its_library(both: Library) -> None:
    both.page(photo("A"), zone=SHARED)
    both.page(album("X", "Trip"), member("X", "A"))
    inodes = both.connection.execute("SELECT nlink FROM inode WHERE asset IS NOT NULL").fetchall()
    assert inodes == [(3,)], "in its month, in the album, and in Recent"


@pytest.mark.parametrize("traceless", [False, True])
@pytest.mark.parametrize("arrives_first", [False, True])
@pytest.mark.parametrize("home, there", [("PrimarySync", SHARED), (SHARED, "PrimarySync")])
def test_a_photo_that_is_moved(
    both: Library, home: str, there: str, arrives_first: bool, traceless: bool
) -> None:
    """It keeps its plain name in the album, whichever library tells first."""
    both.page(photo("A"), zone=home)
    both.page(album("X", "Trip"), member("X", "A"))
    leaves = (
        [tombstone("A"), tombstone("MA")]
        if traceless
        else [asset("A", deleted=True, modified=NOW + 1)]
    )
    moves: list[tuple[str, list[Record]]] = [(home, [*leaves]), (there, photo("A"))]
    for zone, records in reversed(moves) if arrives_first else moves:
        both.page(records, zone=zone)
    assert trip(both) == ["Albums/Trip/IMG_0001.HEIC"]
    library = both.connection.execute(
        "SELECT z.name FROM dirent d JOIN inode i USING (ino) JOIN asset a ON a.id = i.asset"
        " JOIN zone z ON z.id = a.zone JOIN dirent up ON up.ino = d.parent WHERE up.name = ?",
        (b"Trip",),
    ).fetchall()
    assert library == [(there,)]


def test_a_photo_in_two_libraries_is_once_in_the_album(both: Library) -> None:
    """That of the album's own library, for as long as it is in sight."""
    both.page(album("X", "Trip"), member("X", "A"))
    both.page(photo("A", "Theirs.HEIC"), zone=SHARED)
    assert trip(both) == ["Albums/Trip/Theirs.HEIC"]
    both.page(photo("A", "Mine.HEIC"))
    assert trip(both) == ["Albums/Trip/Mine.HEIC"]
    both.page(asset("A", hidden=True, modified=NOW + 1))
    assert trip(both) == ["Albums/Trip/Theirs.HEIC"]
    both.page(asset("A", modified=NOW + 2))
    assert trip(both) == ["Albums/Trip/Mine.HEIC"]
    both.page(asset("A", hidden=True, modified=NOW + 3))
    both.page(asset("A", deleted=True, modified=NOW + 4), zone=SHARED)
    assert trip(both) == []


def test_names_in_the_album_follow_the_same_rules(both: Library) -> None:
    both.page(photo("A"))
    both.page(photo("B", added=NOW - DAY), zone=SHARED)
    both.page(album("X", "Trip"), member("X", "A"), member("X", "B"))
    first, second = sorted(trip(both), key=len)
    assert first == "Albums/Trip/IMG_0001.HEIC" and second.startswith("Albums/Trip/IMG_0001_")
    both.page(tombstone("B-IN-X"))
    assert trip(both) == [second], "a name does not change by itself"


def test_an_album_that_goes_takes_them_along(both: Library) -> None:
    both.page(photo("A"), zone=SHARED)
    both.page(album("F", kind=3), album("X", "Trip", parent="F"), member("X", "A"))
    assert trip(both) == ["Albums/F/Trip/IMG_0001.HEIC"]
    both.page(album("F", kind=3, deleted=True))
    assert trip(both) == []
    both.page(album("F", "Box", kind=3))
    assert trip(both) == ["Albums/Box/Trip/IMG_0001.HEIC"]
    both.page(tombstone("X"))
    assert trip(both) == []
