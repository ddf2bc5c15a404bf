"""Placing: where photos and albums appear. Every page is followed by a check of the whole tree."""

from __future__ import annotations

from typing import Any

from icloudfs.tree.changes import EntryAdded, EntryRemoved, InodeChanged
from tests.tree.library import DAY, NOW, Library, album, asset, master, member, photo, tombstone

MONTH = "Library/2024/2024-06/"


def test_a_photo_appears_in_its_month_and_views(library: Library) -> None:
    library.page(photo("A", favorite=True, subtype_v2=2, live=True))
    assert library.paths() == [
        "Favorites/IMG_0001.HEIC",
        "Favorites/IMG_0001.MOV",
        MONTH + "IMG_0001.HEIC",
        MONTH + "IMG_0001.MOV",
        "Live Photos/IMG_0001.HEIC",
        "Live Photos/IMG_0001.MOV",
        "Recent/IMG_0001.HEIC",
        "Recent/IMG_0001.MOV",
    ]


def test_an_asset_before_its_master(library: Library) -> None:
    library.page(asset("A"))
    assert library.paths() == []
    library.page(master("MA"))
    assert library.paths("Library") == [MONTH + "IMG_0001.HEIC"]


def test_a_relation_before_its_asset_before_its_master_before_its_album(library: Library) -> None:
    library.page(member("X", "A"))
    library.page(asset("A"))
    library.page(master("MA"))
    library.page(album("X", "Trip"))
    assert library.paths("Albums") == ["Albums/Trip/IMG_0001.HEIC"]


def test_two_assets_on_one_master(library: Library) -> None:
    library.page(photo("A"))
    library.page(asset("B", "MA", added=NOW + 1))
    assert library.named("A") == ["IMG_0001.HEIC"]
    assert len(library.named("B")) == 1
    library.page(tombstone("A"))
    assert library.named("B") != ["IMG_0001.HEIC"], "a name does not change by itself"
    library.page(tombstone("B"), tombstone("MA"))
    assert library.paths() == []


def test_a_page_twice_changes_nothing(library: Library) -> None:
    page = [*photo("A", favorite=True), album("X", "Trip"), member("X", "A")]
    library.page(page)
    assert library.changes
    library.page(page)
    assert library.changes == []


def test_a_later_namesake_never_renames_the_first(library: Library) -> None:
    library.page(photo("A"))
    library.page(photo("B", added=NOW - 10 * DAY))
    assert library.named("A") == ["IMG_0001.HEIC"]
    (junior,) = library.named("B")
    library.page(tombstone("A"), tombstone("MA"))
    assert library.named("B") == [junior]
    library.page(photo("C"))
    assert library.named("C") == ["IMG_0001.HEIC"]
    assert library.named("B") == [junior]


def test_names_that_differ_in_case_or_composition_clash(library: Library) -> None:
    library.page(photo("A", "Cafe\u0301.HEIC"))
    library.page(photo("B", "CAFÉ.heic"))
    assert library.named("A") == ["Café.HEIC"]
    assert library.named("B")[0].startswith("CAFÉ_")


def test_hidden_and_deleted_photos_keep_their_names(library: Library) -> None:
    library.page([*photo("A"), album("X", "Trip"), member("X", "A")])
    for hidden in (True, False):
        library.page(asset("A", modified=NOW + 1, hidden=hidden, deleted=not hidden))
        assert not library.named("A") and not library.named("A", "Albums")
        library.page([*photo("B", added=NOW + 5), member("X", "B")])
        library.page(asset("A", modified=NOW + 2))
        assert library.named("A") == library.named("A", "Albums") == ["IMG_0001.HEIC"]
        assert library.named("B") != ["IMG_0001.HEIC"]
        library.page(tombstone("B"))


def test_hidden_photos_are_private(library: Library) -> None:
    library.page(photo("A", hidden=True))
    library.page(photo("B", deleted=True, filename="B.HEIC"))
    modes = dict(
        library.connection.execute(
            "SELECT a.name, i.mode FROM inode i JOIN asset a ON a.id = asset"
        )
    )
    assert {oct(mode) for mode in modes.values()} == {"0o100600"}
    assert library.paths() == ["Hidden/IMG_0001.HEIC", "Recently Deleted/B.HEIC"]


def test_live_photo_and_a_movie_of_the_same_name(library: Library) -> None:
    library.page(photo("A", "IMG_0700.HEIC", live=True))
    library.page(photo("B", "IMG_0700.MOV", uti="com.apple.quicktime-movie"))
    assert library.named("A") == ["IMG_0700.HEIC", "IMG_0700.MOV"]
    (movie,) = library.named("B")
    assert movie.startswith("IMG_0700_") and movie.endswith(".MOV")


def test_pairs_keep_one_stem(library: Library) -> None:
    library.page(photo("A", "IMG_0700.MOV", uti="com.apple.quicktime-movie"))
    library.page(photo("B", "IMG_0700.HEIC", live=True, edited="e"))
    stems = {name.split(".")[0].removesuffix("-edited") for name in library.named("B")}
    assert len(stems) == 1 and stems != {"IMG_0700"}


def test_a_late_rendition_that_clashes_gets_another_name_and_keeps_it(library: Library) -> None:
    library.page(photo("A", "IMG_1-edited.JPG", uti="public.jpeg"))
    library.page(photo("B", "IMG_1.HEIC"))
    library.page(asset("B", edited="e", modified=NOW + 1))
    named = library.named("B")
    assert "IMG_1.HEIC" in named and "IMG_1-edited.JPG" not in named
    library.page(tombstone("A"))
    library.page(asset("B", edited="again", modified=NOW + 2))
    assert library.named("B") == named


def test_an_edit_changes_bytes_and_says_so(library: Library) -> None:
    library.page(photo("A", edited="one"))
    library.page(asset("A", edited="two", modified=NOW + 1000))
    assert [
        c.content for c in library.changes if isinstance(c, InodeChanged) and c.ino < 1 << 62
    ] == [
        False,
        True,
    ]
    library.page(asset("A", modified=NOW + 2000))
    assert library.named("A") == ["IMG_0001.HEIC"]


def test_favourite_and_back(library: Library) -> None:
    library.page(photo("A"))
    library.page(asset("A", favorite=True))
    assert {type(c) for c in library.changes} == {EntryAdded, InodeChanged}
    library.page(asset("A"))
    assert not library.paths("Favorites")
    assert EntryRemoved in {type(c) for c in library.changes}


def test_a_new_date_moves_the_photo(library: Library) -> None:
    library.page(photo("A", taken=0))
    assert library.paths("Library") == ["Library/1970/1970-01/IMG_0001.HEIC"]
    library.page(asset("A"))
    assert library.paths("Library") == [MONTH + "IMG_0001.HEIC"]
    library.page(asset("A", taken=None))
    assert library.paths("Library") == ["Library/Unknown date/IMG_0001.HEIC"]


def test_photos_of_one_page_that_swap_months(library: Library) -> None:
    library.page(photo("A", taken=0), photo("B"))
    library.page(asset("A"), asset("B", taken=0))
    assert len(library.paths("Library")) == 2


def test_a_new_file_name(library: Library) -> None:
    library.page(photo("A", "one.HEIC"))
    library.page(master("MA", "two.HEIC"))
    assert library.named("A") == ["two.HEIC"]
    library.page(photo("B", "one.HEIC"))
    assert library.named("B") == ["one.HEIC"]


def test_a_file_may_be_called_like_a_suffixed_one(library: Library) -> None:
    library.page(photo("A", "X.HEIC"))
    library.page(photo("B", "X.HEIC"))
    (suffixed,) = library.named("B")
    library.page(tombstone("B"), tombstone("MB"))
    library.page(photo("C", suffixed))
    library.page(photo("B", "X.HEIC"))
    assert library.named("C") == [suffixed]
    assert len({*library.named("A"), *library.named("B"), suffixed}) == 3


def test_one_record_name_in_three_libraries(library: Library) -> None:
    for zone in ("SharedSync-1", "SharedSync-2"):
        library.add_zone(zone)
    for zone in library.zones:
        library.page(photo("A", favorite=True), zone=zone)
    assert len(library.paths("Favorites")) == 3


def test_a_live_photo_whose_original_is_a_movie_loses_nothing(library: Library) -> None:
    library.page(photo("A", "X.MOV", uti="com.apple.quicktime-movie", live=True))
    assert len(library.named("A")) == 2


def test_burst_frames_stay_in_their_burst(library: Library) -> None:
    library.page(
        [*photo("A", burst="b", burst_flags=2, filename="A.HEIC"), album("X"), member("X", "A")]
    )
    library.page(photo("B", burst="b", burst_flags=20, filename="B.HEIC"))
    assert [p.split("/")[0] for p in library.paths()] == ["Bursts", "Bursts", "Library", "Recent"]


def test_hidden_and_deleted_frames_of_a_burst_have_a_place(library: Library) -> None:
    """No other folder has them: what is in none would be missing from every backup."""
    frame: dict[str, Any] = {"burst": "b", "burst_flags": 2}
    library.page(photo("A", "A.HEIC", hidden=True, **frame))
    library.page(photo("B", "B.HEIC", hidden=True, **frame))
    library.page(photo("C", "C.HEIC", deleted=True, **frame))
    library.page(photo("D", "D.HEIC", **frame))
    assert library.paths("Hidden") == ["Hidden/A.HEIC", "Hidden/B.HEIC"]
    assert library.paths("Recently Deleted") == ["Recently Deleted/C.HEIC"]
    assert [p.split("/")[0] for p in library.paths()].count("Bursts") == 1


def test_long_names_of_many_bytes_that_clash(library: Library) -> None:
    for name in "ABC":
        library.page(photo(name, "日本語" * 40 + ".HEIC", live=True, edited=name))
    assert len(library.paths("Library")) == 9
    assert max(len(p.rpartition("/")[2].encode()) for p in library.paths()) <= 255


# -- albums --------------------------------------------------------------------------------------


def test_nested_albums(library: Library) -> None:
    library.page(
        album("F", "Holidays", kind=3), album("G", "Europe", "F", 3), album("X", "Rome", "G")
    )
    assert library.paths() == []
    library.page(photo("A"), member("X", "A"))
    assert library.paths("Albums") == ["Albums/Holidays/Europe/Rome/IMG_0001.HEIC"]
    library.page(tombstone("A-IN-X"))
    assert library.paths("Albums") == []


def test_albums_are_renamed_and_moved(library: Library) -> None:
    library.page([*photo("A"), album("F", "Folder", kind=3), album("X", "Trip"), member("X", "A")])
    library.page(album("X", "Journey"))
    assert library.paths("Albums") == ["Albums/Journey/IMG_0001.HEIC"]
    library.page(album("X", "Journey", "F"))
    assert library.paths("Albums") == ["Albums/Folder/Journey/IMG_0001.HEIC"]
    library.page(album("F", "Box", kind=3))
    assert library.paths("Albums") == ["Albums/Box/Journey/IMG_0001.HEIC"]
    library.page(album("X", "Journey", "----Root-Folder----"))
    assert library.paths("Albums") == ["Albums/Journey/IMG_0001.HEIC"]


def test_two_albums_that_swap_their_names_on_one_page(library: Library) -> None:
    library.page(
        [*photo("A"), album("X", "One"), album("Y", "Two"), member("X", "A"), member("Y", "A")]
    )
    library.page(album("X", "Two"), album("Y", "One"))
    assert len(library.paths("Albums")) == 2


def test_an_ancestor_is_deleted_and_restored(library: Library) -> None:
    library.page(
        [*photo("A"), album("F", "Folder", kind=3), album("X", "Trip", "F"), member("X", "A")]
    )
    library.page(album("F", "Folder", kind=3, deleted=True))
    assert library.paths("Albums") == []
    library.page(
        photo("B"), album("G", "Folder", kind=3), album("Y", "Trip", "G"), member("Y", "B")
    )
    library.page(album("F", "Folder", kind=3))
    assert library.named("A", "Albums/Folder (2)/Trip") == ["IMG_0001.HEIC"]


def test_albums_of_one_name_in_directories_that_are_one(library: Library) -> None:
    library.add_zone("SharedSync-1")
    roots = ("", "----Root-Folder----", "----Project-Root-Folder----", "----New-Root----")
    library.page(photo("A"))
    for root in roots:
        library.page(album(f"X{root}", "Trip", root), member(f"X{root}", "A"))
    library.page([*photo("A"), album("X", "trip"), member("X", "A")], zone="SharedSync-1")
    tops = {path.split("/")[1] for path in library.paths("Albums")}
    assert tops == {"Trip", "Trip (2)", "Trip (3)", "Trip (4)", "trip (5)"}


def test_an_album_whose_folder_is_not_known_waits_for_it(library: Library) -> None:
    library.page([*photo("A"), album("X", "Trip", "F"), member("X", "A")])
    assert library.paths("Albums") == []
    library.page(album("F", "Folder", kind=3))
    assert library.paths("Albums") == ["Albums/Folder/Trip/IMG_0001.HEIC"]


def test_folders_that_contain_each_other(library: Library) -> None:
    library.page([*photo("A"), album("F", "F", "G", 3), album("X", "X", "F"), member("X", "A")])
    library.page(album("G", "G", "F", 3))
    assert library.paths("Albums") == []
    library.page(album("G", "G", "", 3))
    assert library.paths("Albums") == ["Albums/G/F/X/IMG_0001.HEIC"]


def test_an_album_with_albums_and_photos_that_would_clash(library: Library) -> None:
    library.page([*photo("A", "Same.JPG", uti="public.jpeg"), *photo("B")])
    library.page(album("X", "Trip"), album("Y", "Same.JPG", "X"), member("Y", "B"))
    library.page(member("X", "A"))
    assert len(library.paths("Albums/Trip")) == 2


def test_a_buried_album_takes_its_memberships_along(library: Library) -> None:
    library.page([*photo("A"), album("X", "Trip"), member("X", "A")])
    library.page(tombstone("X"))
    assert library.paths("Albums") == []
    library.page(album("Y", "Trip"), member("Y", "A"))
    assert library.paths("Albums") == ["Albums/Trip/IMG_0001.HEIC"]


def test_the_second_of_two_albums_keeps_its_number(library: Library) -> None:
    library.page([*photo("A"), album("X", "Trip"), member("X", "A")])
    library.page(album("Y", "TRIP"), member("Y", "A"))
    library.page(album("X", "Trip", deleted=True), tombstone("A-IN-X"))
    assert library.paths("Albums") == ["Albums/TRIP (2)/IMG_0001.HEIC"]


def test_directory_times_move_with_their_entries(library: Library) -> None:
    library.page(photo("A"))
    times = _directory_times(library)
    library.page(photo("B", "other.HEIC"))
    later = _directory_times(library)
    assert later["2024-06"] > times["2024-06"]
    assert later["Library"] == times["Library"], "nothing came or went in it"


def _directory_times(library: Library) -> dict[str, int]:
    return {
        bytes(name).decode(): int(mtime)
        for name, mtime in library.connection.execute(
            "SELECT d.name, i.mtime FROM dirent d JOIN inode i ON i.ino = d.ino WHERE i.asset IS NULL"
        )
    }
