"""Whether a photo is in sight is said once in SQL and once in Python: both, the folders and ``list albums``
must agree, in every combination of what a photo may be."""

from __future__ import annotations

from itertools import product

from icloudfs.apple.records import Asset, Master, Record
from icloudfs.state import catalogue
from icloudfs.state.sight import is_in_sight, is_visible
from icloudfs.state.summary import summarise, visible_photos
from icloudfs.tree import layout
from icloudfs.tree.directory import Directory
from icloudfs.tree.layout import View
from icloudfs.tree.placing import read_photos
from tests.tree.library import NOW, Library, album, master, member

SHARED = "SharedSync-1"

COMBINATIONS = list(
    product(
        [False, True],  # hidden
        [False, True],  # deleted
        [False, True],  # expunged
        ["", "burst"],
        [0, 1, 2, 2 | 8, 2 | 16, 4, 8, 16, 20, 2 | 4, 31],  # burstFlags
        ["whole", "no original", "no master"],
    )
)


def _records(album_name: str) -> list[Record]:
    records: list[Record] = [album(album_name, album_name)]
    for number, (hidden, deleted, expunged, burst, flags, file) in enumerate(COMBINATIONS):
        name = f"{album_name}{number}"
        if file == "whole":
            records.append(master(f"M{name}", f"{name}.HEIC"))
        elif file == "no original":
            records.append(Master(f"M{name}", f"{name}.HEIC", "public.heic"))
        photo = Asset(name, f"M{name}", taken=NOW, added=NOW, hidden=hidden, deleted=deleted)
        records.append(_with(photo, expunged=expunged, burst=burst, burst_flags=flags))
        records.append(member(album_name, name))
    return records


def _with(photo: Asset, **fields: object) -> Asset:
    values = {name: getattr(photo, name) for name in photo.__struct_fields__}
    return Asset(**(values | fields))


def test_sql_python_folders_and_list_albums_agree(library: Library) -> None:
    library.add_zone(SHARED)
    records = _records("Own")
    library.page(records)
    # Photos of the shared library in an own album: the relations are here, the photos there.
    shared = _records("Theirs")
    library.page([r for r in shared if isinstance(r, Asset | Master)], zone=SHARED)
    library.page([r for r in shared if not isinstance(r, Asset | Master)])
    connection = library.connection
    in_sql = {
        int(str(ident)): value
        for ident, value in connection.execute(
            f"SELECT id, ({is_visible('a')}) + 2 * {is_in_sight('a')} FROM asset a"
        )
    }
    assert len(in_sql) == 2 * len(COMBINATIONS)
    directory = Directory(connection)
    seen: dict[str, set[str]] = {"Own": set(), "Theirs": set()}
    for photo, _ in read_photos(connection, in_sql):
        python = layout.is_visible(photo) + 2 * layout.is_in_sight(photo)
        assert in_sql[photo.id] == python, photo
        places = directory.places_of_asset(photo.id)
        tops = {path.split("/")[0] for path in places}
        has_files = bool(list(layout.files(photo, layout.stem(photo))))
        in_sight = layout.is_in_sight(photo) and has_files
        home = layout.library(photo)
        assert ({home, View.ALBUMS} <= tops) == in_sight, (photo, places)
        assert (home in tops) == (View.ALBUMS in tops), (photo, places)
        for path in places:
            if path.startswith("Albums/"):
                seen[path.split("/")[1]].add(photo.name)
    assert dict(directory.albums()) == {title: len(names) for title, names in seen.items()}
    visible = sum(not (h or d or e) for h, d, e, *_ in COMBINATIONS)
    assert summarise(connection).assets.visible == visible_photos(connection) == 2 * visible
    # As iCloud counts them, which has no idea of what lacks a file here.
    expected = sum(
        not (hidden or deleted or expunged or (burst and flags & 2 and not flags & 24))
        for hidden, deleted, expunged, burst, flags, _ in COMBINATIONS
    )
    zone = library.zones["PrimarySync"]
    assert catalogue.albums_with_members(connection, zone) == dict.fromkeys(seen, expected)
    assert catalogue.counts(connection, zone).visible == expected
