"""A record with fewer fields than were asked for: what stays, what goes, and what is looked up."""

from __future__ import annotations

import apsw
import pytest
from msgspec.structs import replace

from icloudfs.apple.records import Album, Asset, Master, Resource, Zone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import Touched

ASSET = Asset(
    "A",
    "M",
    taken=1,
    added=2,
    time_zone_offset=3600,
    time_zone="Europe/Berlin",
    favorite=True,
    deleted=True,
    burst="b",
    burst_flags=20,
    adjustment="com.apple.photo",
    width=800,
    height=600,
    duration=3.0,
    caption="Sea",
    keywords=("sea",),
    latitude=1.5,
    longitude=2.5,
    resources={"resJPEGFull": Resource("edit", 5)},
    created=10,
    modified=11,
)
MASTER = Master(
    "M",
    "IMG.HEIC",
    "public.heic",
    {"resOriginal": Resource("sum", 5), "resOriginalVidCompl": Resource("video", 6)},
    width=4,
    height=3,
    created=10,
    modified=11,
)
ALBUM = Album("X", "Trip", kind=3, parent="F", deleted=True, position=7, created=10, modified=11)

WHOLE = frozenset({"master", "taken", "added", "time_zone_offset", "time_zone", "duration"}) | {
    *("subtype", "subtype_v2", "burst", "burst_flags", "render_type"),
}
"""What a whole asset always tells; the rest is left out when there is none."""


@pytest.fixture
def zone(connection: apsw.Connection) -> int:
    zone = catalogue.add_zone(connection, Zone("private", "PrimarySync"))
    touched = Touched()
    catalogue.store_masters(connection, zone, 1, [MASTER], touched)
    catalogue.store_assets(connection, zone, 1, [ASSET], touched)
    catalogue.store_album(connection, zone, 1, ALBUM, touched)
    return zone


def read(connection: apsw.Connection, table: str) -> dict[str, object]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    names = [name for name, _ in cursor.get_description()]
    return dict(zip(names, cursor.fetchall()[0], strict=True))


def store(
    connection: apsw.Connection, zone: int, record: Asset | Master | Album, *, asked: bool = False
) -> bool:
    """Whether it has to be looked up."""
    touched = Touched()
    match record:
        case Asset():
            found = catalogue.store_assets(connection, zone, 1, [record], touched, asked_for=asked)
        case Master():
            found = catalogue.store_masters(connection, zone, 1, [record], touched, asked_for=asked)
        case Album():
            return catalogue.store_album(connection, zone, 1, record, touched, asked_for=asked)
    return bool(found)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    "record, table",
    [
        (Asset("A", came=frozenset()), "asset"),
        (Master("M", came=frozenset()), "master"),
        (Album("X", came=frozenset()), "album"),
    ],
    ids=["asset", "master", "album"],
)
def test_an_empty_record_changes_nothing_and_is_looked_up(
    connection: apsw.Connection,
    zone: int,
    record: Asset | Master | Album,
    table: str,
    asked: bool,
) -> None:
    before = read(connection, table)
    assert store(connection, zone, record, asked=asked)
    assert read(connection, table) == before


@pytest.mark.parametrize("lost", ["master", "taken", "added"])
@pytest.mark.parametrize("asked", [False, True])
def test_a_part_of_an_asset_changes_what_it_tells_and_nothing_else(
    connection: apsw.Connection, zone: int, lost: str, asked: bool
) -> None:
    before = read(connection, "asset")
    values = {"favorite": False, lost: "" if lost == "master" else None}
    came = (WHOLE - {lost}) | {"favorite"}
    part = replace(ASSET, **values, came=came, deleted=False, modified=12)
    assert store(connection, zone, part, asked=asked)
    assert read(connection, "asset") == before | {"favorite": 0, "modified": 12}


@pytest.mark.parametrize("lost", ["filename", "uti"])
@pytest.mark.parametrize("asked", [False, True])
def test_a_part_of_a_master(connection: apsw.Connection, zone: int, lost: str, asked: bool) -> None:
    before = read(connection, "master")
    came = frozenset({"filename", "uti", "resOriginal", "width"}) - {lost}
    resources = {"resOriginal": MASTER.resources["resOriginal"]}
    part = Master(
        "M",
        filename="" if lost == "filename" else "IMG.HEIC",
        uti="" if lost == "uti" else "public.heic",
        resources=resources,
        width=40,
        came=came,
    )
    assert store(connection, zone, part, asked=asked)
    assert read(connection, "master") == before | {"width": 40}


@pytest.mark.parametrize("lost", ["title", "kind", "parent"])
def test_a_part_of_an_album(connection: apsw.Connection, zone: int, lost: str) -> None:
    before = read(connection, "album")
    came = frozenset({"title", "kind", "parent", "position"}) - {lost}
    empty: object = 0 if lost == "kind" else ""
    part = replace(ALBUM, deleted=False, position=8, came=came, **{lost: empty})
    assert store(connection, zone, part)
    assert read(connection, "album") == before | {"position": 8}


def test_an_album_that_says_nothing_is_not_stored(connection: apsw.Connection, zone: int) -> None:
    assert store(connection, zone, Album("Y", position=3, came=frozenset({"position"})))
    assert connection.execute("SELECT count(*) FROM album").fetchall() == [(1,)]


def test_what_is_left_out_because_it_is_not_so(connection: apsw.Connection, zone: int) -> None:
    """A photo that is restored and is no favourite any more: whole, and believed at once."""
    came = WHOLE | {"adjustment", "width", "height", "caption", "keywords", "location"}
    whole = replace(ASSET, favorite=False, deleted=False, came=frozenset(came | {"resJPEGFull"}))
    assert not store(connection, zone, whole)
    stored = read(connection, "asset")
    assert (stored["favorite"], stored["deleted"], stored["caption"]) == (0, 0, "Sea")


def test_what_is_in_doubt_stays_until_a_look_up_says_the_same(
    connection: apsw.Connection, zone: int
) -> None:
    """An edit that is undone, a title and a place that are taken away."""
    reverted = Asset(
        "A",
        "M",
        taken=1,
        added=2,
        time_zone_offset=3600,
        time_zone="Europe/Berlin",
        burst="b",
        burst_flags=20,
        duration=3.0,
        created=10,
        modified=12,
        came=WHOLE,
    )
    before = read(connection, "asset")
    assert store(connection, zone, reverted)
    flags = {"favorite": 0, "deleted": 0, "modified": 12}
    assert read(connection, "asset") == before | flags
    assert not store(connection, zone, reverted, asked=True)
    stored = read(connection, "asset")
    gone = (stored["adjustment"], stored["caption"], stored["keywords"], stored["latitude"])
    assert gone == ("", "", "[]", None)
    assert (stored["resources"], stored["width"]) == ("{}", 0)


def test_null_says_that_there_is_none(connection: apsw.Connection, zone: int) -> None:
    came = WHOLE | {"adjustment", "resJPEGFull", "width", "height", "caption", "keywords"}
    told = replace(ASSET, adjustment="", resources={}, width=0, height=0, caption="", keywords=())
    assert not store(connection, zone, replace(told, came=frozenset(came | {"location"})))
    assert read(connection, "asset")["resources"] == "{}"


def test_a_video_that_did_not_come_with_a_master(connection: apsw.Connection, zone: int) -> None:
    before = read(connection, "master")
    part = replace(
        MASTER,
        resources={"resOriginal": MASTER.resources["resOriginal"]},
        came=frozenset({"filename", "uti", "resOriginal", "width", "height"}),
    )
    assert store(connection, zone, part)
    assert read(connection, "master") == before
    assert not store(connection, zone, part, asked=True)
    assert "VidCompl" not in str(read(connection, "master")["resources"])


def test_what_nothing_was_known_of(connection: apsw.Connection, zone: int) -> None:
    """A new photo without its master, or a file without its original, is asked for once."""
    for record in (
        Asset("B", came=frozenset({"taken"})),
        Asset("C", "M", came=frozenset({"master", "favorite"})),
        Master("N", came=frozenset({"uti"})),
        Master("O", resources={"resOriginal": Resource("sum", 5)}, came=frozenset({"resOriginal"})),
    ):
        assert store(connection, zone, record)
        assert store(connection, zone, record), "a second part does not make it whole"
        assert not store(connection, zone, record, asked=True)
