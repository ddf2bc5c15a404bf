"""What iCloud says, as rows: every kind of record, twice, in any order, and gone again."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from icloudfs.apple.records import Album, Asset, Master, Record, Relation, Resource, Zone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import Touched
from icloudfs.tree.layout import View
from icloudfs.tree.placing import Placing

MASTER = Master(
    "M", "IMG.HEIC", "public.heic", {"resOriginal": Resource("sum", 5, url="https://x")}
)
ASSET = Asset("A", "M", taken=1, added=2, keywords=("sea", "süß"), latitude=1.5)
ALBUM = Album("X", "Trip")
RELATION = Relation("A-IN-X", "X", "A", created=3)


@pytest.fixture
def zone(connection: apsw.Connection) -> int:
    return catalogue.add_zone(connection, Zone("private", "PrimarySync"))


def store(connection: apsw.Connection, zone: int, record: Record, listing: int = 1) -> Touched:
    touched = Touched()
    match record:
        case Master():
            catalogue.store_masters(connection, zone, listing, [record], touched)
        case Asset():
            catalogue.store_assets(connection, zone, listing, [record], touched)
        case Album():
            catalogue.store_album(connection, zone, listing, record, touched)
        case Relation():
            catalogue.store_relations(connection, zone, listing, [record], touched)
    return touched


def rows(connection: apsw.Connection) -> dict[str, list[Any]]:
    return {
        table: connection.execute(f"SELECT * FROM {table}").fetchall()
        for table in ("master", "asset", "album", "relation", "owed")
    }


def test_storing_twice_is_storing_once(connection: apsw.Connection, zone: int) -> None:
    records: list[Record] = [MASTER, ASSET, ALBUM, RELATION]
    for record in records:
        store(connection, zone, record)
    before = rows(connection)
    for record in records:
        touched = store(connection, zone, record)
        assert not touched.assets and not touched.albums, record
    assert rows(connection) == before


def test_a_url_is_never_stored(connection: apsw.Connection, zone: int) -> None:
    store(connection, zone, MASTER)
    assert "https" not in str(rows(connection))


def test_seen_again_by_a_later_listing(connection: apsw.Connection, zone: int) -> None:
    records: list[Record] = [MASTER, ASSET, ALBUM, RELATION]
    for record in records:
        store(connection, zone, record)
    catalogue.begin_relisting(connection, zone)
    assert {name for _, name in catalogue.unseen(connection, zone, 10)} == {"M", "A", "X", "A-IN-X"}
    assert len(catalogue.unseen(connection, zone, 3)) == 3
    store(connection, zone, MASTER, 2)
    catalogue.note_seen(connection, "relation", zone, "A-IN-X")
    catalogue.owe(connection, zone, "X", "refused")
    assert catalogue.unseen(connection, zone, 10) == [("asset", "A")]
    store(connection, zone, ASSET, 2)
    assert catalogue.unseen(connection, zone, 10) == []


def test_assets_are_touched_through_their_master(connection: apsw.Connection, zone: int) -> None:
    store(connection, zone, ASSET)
    store(connection, zone, Asset("B", "M"))
    store(connection, zone, Asset("C", "other"))
    assert len(store(connection, zone, MASTER).assets) == 2
    touched = Touched()
    catalogue.remove(connection, "master", zone, "M", touched)
    assert len(touched.assets) == 2


@pytest.mark.parametrize("name", ["M", "A", "X", "A-IN-X"])
def test_tombstones_of_every_kind(connection: apsw.Connection, zone: int, name: str) -> None:
    records: list[Record] = [MASTER, ASSET, ALBUM, RELATION]
    for record in records:
        store(connection, zone, record)
    touched = Touched()
    catalogue.bury(connection, zone, name, touched)
    assert touched.assets or touched.albums
    assert name not in {str(v) for some in rows(connection).values() for v in some}
    assert (len(rows(connection)["relation"]) == 1) == (name in ("A", "M"))
    again = Touched()
    catalogue.bury(connection, zone, name, again)
    catalogue.bury(connection, zone, "never seen", again)
    assert not again.assets and not again.albums


def test_a_deleted_relation(connection: apsw.Connection, zone: int) -> None:
    store(connection, zone, ASSET)
    store(connection, zone, RELATION)
    gone = Relation("A-IN-X", "X", "A", deleted=True)
    assert store(connection, zone, gone).assets
    assert rows(connection)["relation"] == []


def test_an_album_keeps_its_name_until_it_is_called_or_lies_otherwise(
    connection: apsw.Connection, zone: int
) -> None:
    def dirname() -> object:
        return connection.execute("SELECT dirname FROM album").fetchall()[0][0]

    store(connection, zone, ALBUM)
    connection.execute("UPDATE album SET dirname = 'Trip (2)'")
    assert not store(connection, zone, Album("X", "Trip", position=9)).albums
    assert dirname() == "Trip (2)"
    assert store(connection, zone, Album("X", "Trip", parent="F")).albums
    assert dirname() == ""


def test_one_name_in_two_zones(connection: apsw.Connection, zone: int) -> None:
    other = catalogue.add_zone(connection, Zone("shared", "SharedSync-1", "_owner"))
    for here in (zone, other):
        store(connection, here, ASSET)
    catalogue.bury(connection, other, "A", Touched())
    assert catalogue.asset_names(connection, zone, 10) == ["A"]
    assert catalogue.asset_names(connection, other, 10) == []
    catalogue.remove_zone(connection, zone)
    assert rows(connection)["asset"] == []
    assert [z.zone.name for z in catalogue.zones(connection)] == ["SharedSync-1"]


def test_counts_are_those_of_the_newest_listing(connection: apsw.Connection, zone: int) -> None:
    stored = [
        ASSET,
        Asset("B", hidden=True),
        Asset("C", deleted=True, hidden=True),
        Asset("D", burst="b", burst_flags=2),
        Asset("E", burst="b", burst_flags=20),
        Asset("F", expunged=True),
    ]
    for asset in stored:
        store(connection, zone, asset)
    assert catalogue.counts(connection, zone) == catalogue.Counts(2, 1, 1, 2)
    catalogue.begin_relisting(connection, zone)
    assert catalogue.counts(connection, zone) == catalogue.Counts(0, 0, 0, 0)


def test_members_are_due_when_a_photo_comes_back(connection: apsw.Connection, zone: int) -> None:
    store(connection, zone, Asset("A", hidden=True))
    store(connection, zone, Asset("B"))
    store(connection, zone, Asset("B", hidden=True))
    assert not catalogue.members_are_due(connection, zone)
    store(connection, zone, Asset("A"))
    assert catalogue.members_are_due(connection, zone)
    store(connection, zone, ALBUM)
    store(connection, zone, RELATION)
    store(connection, zone, Relation("B-IN-X", "X", "B"))
    assert catalogue.albums_with_members(connection, zone) == {"X": 1}


def test_pages_of_a_listing(connection: apsw.Connection, zone: int) -> None:
    catalogue.note_listed(connection, zone, "all", 0)
    catalogue.note_listed(connection, zone, "all", 100)
    catalogue.note_listed(connection, zone, "all", 100)
    assert catalogue.listed_ranks(connection, zone, "all") == {0, 100}
    assert not catalogue.zone_by_id(connection, zone).listed
    catalogue.set_listed(connection, zone)
    assert catalogue.zone_by_id(connection, zone).listed
    assert catalogue.listed_ranks(connection, zone, "all") == set()


def test_debts(connection: apsw.Connection, zone: int) -> None:
    catalogue.owe(connection, zone, "A", "refused")
    catalogue.owe(connection, zone, "B", "refused")
    catalogue.settle_debts(connection, zone, ["A", "C"])
    assert catalogue.owed(connection, zone, 10, before=1) == ["B"]


def test_who_was_asked_for_longest_ago_comes_first(connection: apsw.Connection, zone: int) -> None:
    for name in "ABCD":
        catalogue.owe(connection, zone, name, "refused")
    assert catalogue.owed_count(connection) == 0, "nobody was asked for them"
    catalogue.note_asked(connection, zone, ["A", "B"], 20)
    catalogue.note_asked(connection, zone, ["C"], 10)
    catalogue.owe(connection, zone, "C", "refused again")
    assert catalogue.owed(connection, zone, 10, before=100) == ["D", "C", "A", "B"]
    assert catalogue.owed(connection, zone, 2, before=20) == ["D", "C"]
    assert catalogue.owed_count(connection) == 3


def test_an_album_counts_photos_of_any_library(connection: apsw.Connection, zone: int) -> None:
    other = catalogue.add_zone(connection, Zone("shared", "SharedSync-1", "_owner"))
    store(connection, zone, ALBUM)
    for asset in ("own", "shared", "hidden", "moved", "nowhere"):
        store(connection, zone, Relation(f"{asset}-IN-X", "X", asset))
    store(connection, zone, Asset("own"))
    store(connection, zone, Asset("moved", deleted=True))
    for record in (Asset("shared"), Asset("hidden", hidden=True), Asset("moved")):
        store(connection, other, record)
    assert catalogue.albums_with_members(connection, zone) == {"X": 3}
    assert catalogue.has_foreign_members(connection, zone)
    assert not catalogue.has_foreign_members(connection, other)


def test_a_relation_touches_the_photo_wherever_it_is(
    connection: apsw.Connection, zone: int
) -> None:
    other = catalogue.add_zone(connection, Zone("shared", "SharedSync-1", "_owner"))
    store(connection, other, ASSET)
    (ident,) = (row[0] for row in connection.execute("SELECT id FROM asset"))
    assert store(connection, zone, RELATION).assets == {ident: None}
    touched = Touched()
    catalogue.remove_relation(connection, zone, "A", "X", touched)
    assert touched.assets == {ident: None}


def test_photos_of_one_name_are_touched_together(connection: apsw.Connection, zone: int) -> None:
    other = catalogue.add_zone(connection, Zone("shared", "SharedSync-1", "_owner"))
    for here, asset in ((zone, "A"), (zone, "B"), (other, "B")):
        store(connection, here, Asset(asset))
    touched = Touched(assets={1: None, 3: None})
    catalogue.touch_namesakes(connection, touched)
    assert sorted(list(touched.assets)[:2]) == [2, 3] and list(touched.assets)[2:] == [1]


def test_no_question_about_memberships_walks_along_a_table(
    connection: apsw.Connection, zone: int
) -> None:
    """A million photos must be ordinary: asset and relation are asked by their indexes alone."""
    catalogue.add_zone(connection, Zone("shared", "SharedSync-1", "_owner"))
    store(connection, zone, ASSET)
    asked: list[str] = []

    def trace(cursor: apsw.Cursor, statement: str, _: object) -> bool:
        asked.append(statement)
        return True

    connection.exec_trace = trace
    store(connection, zone, RELATION)
    catalogue.albums_with_members(connection, zone)
    touched = Touched(assets={1: None})
    catalogue.touch_namesakes(connection, touched)
    placing = Placing(connection, views=frozenset(View), now=0)
    placing.place_albums(zone, ["X"])
    placing.place_photos([1])
    connection.exec_trace = None
    plans = [
        str(detail)
        for statement in set(asked)
        if "relation" in statement or "asset a" in statement
        for *_, detail in connection.execute(
            f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?")
        )
    ]
    assert any("relation" in plan or " r " in plan for plan in plans)
    walked = [plan for plan in plans if plan.startswith("SCAN")]
    assert {plan.split()[1] for plan in walked} <= {"j", "az", "json_each", "CONSTANT"}, walked
