"""Sync tokens and the change log: facts/cloudkit.md §1.7."""

from __future__ import annotations

import base64

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icloudfs.simulator import LibraryPlan, Simulator
from icloudfs.simulator.rows import Asset, Gone, Relation, Row
from icloudfs.simulator.zone import Zone
from tests.simulator.browser import Browser, Json

UNKNOWN = "Unknown sync continuation type"


def kinds(records: list[Json]) -> list[str | None]:
    return [record.get("recordType") for record in records]


async def test_the_shape_of_a_token(browser: Browser) -> None:
    _, token = await browser.history()
    raw = base64.b64decode(token)
    assert (len(token), len(raw), raw[0]) == (44, 33, 1)
    assert raw[9:17].hex() == "7fffffffffffffff"


async def test_history_holds_everything_once(sim: Simulator, browser: Browser) -> None:
    records, token = await browser.history()
    names = [record["recordName"] for record in records]
    assert len(names) == len(set(names)) == len(sim.cloud.zone("PrimarySync").rows)
    assert {"CPLAsset", "CPLMaster", "CPLAlbum", "CPLContainerRelation", None} <= set(
        kinds(records)
    )
    assert await browser.history(token) == ([], token)


async def test_token_cases(browser: Browser) -> None:
    first = await browser.changes()
    assert len(first["records"]) == 200
    assert first["moreComing"] is True
    again = await browser.changes(first["syncToken"])
    assert (await browser.changes(first["syncToken"]))["syncToken"] == again["syncToken"]

    empty = await browser.changes("")
    assert (empty["records"], empty["moreComing"]) == ([], False)

    database = (await browser.ask("changes/database", {}))["syncToken"]
    for wrong in ("garbage", "!!!", database):
        answer = await browser.changes(wrong)
        assert answer["serverErrorCode"] == "BAD_REQUEST"
        assert answer["reason"] == UNKNOWN
        assert "syncToken" not in answer
    cut = await browser.changes(first["syncToken"][:30])
    assert cut["reason"] == "Invalid continuation format"

    for missing in ("SharedSync", "NoSuchZone"):
        answer = await browser.changes(zone={"zoneName": missing})
        assert answer["serverErrorCode"] == "ZONE_NOT_FOUND"


async def test_limits(browser: Browser) -> None:
    assert len((await browser.changes(resultsLimit=500))["records"]) == 200
    few = await browser.changes(resultsLimit=3)
    assert len(few["records"]) == 3
    slim = await browser.changes(resultsLimit=200, desiredKeys=["masterRef"])
    assert {key for r in slim["records"] for key in r.get("fields", {})} <= {"masterRef"}


async def test_query_tokens_are_change_tokens(sim: Simulator, browser: Browser) -> None:
    page = await browser.query("CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted")
    assert (await browser.history(page["syncToken"]))[0] == []
    added = sim.phone.add_photo()
    records, _ = await browser.history(page["syncToken"])
    assert records[0]["recordName"] == added.master


async def test_several_zones_in_one_request(sim: Simulator, browser: Browser) -> None:
    zones = [{"zoneID": zone.wire_id} for zone in sim.cloud.private.zones.values()]
    answer = await browser.ask("changes/zone", {"zones": zones})
    assert [z["zoneID"]["zoneName"] for z in answer["zones"]] == list(sim.cloud.private.zones)


async def test_the_database_knows_which_zone_changed(sim: Simulator, browser: Browser) -> None:
    first = await browser.ask("changes/database", {})
    assert len(first["zones"]) == len(sim.cloud.private.zones)
    token = first["syncToken"]
    second = await browser.ask("changes/database", {"syncToken": token})
    assert second["zones"] == []
    assert second["syncToken"] != token
    sim.phone.add_photo()
    third = await browser.ask("changes/database", {"syncToken": second["syncToken"]})
    assert [z["zoneID"]["zoneName"] for z in third["zones"]] == ["PrimarySync"]
    created = sim.phone.create_shared_zone()
    fourth = await browser.ask("changes/database", {"syncToken": third["syncToken"]})
    assert [z["zoneID"]["zoneName"] for z in fourth["zones"]] == [created]
    sim.phone.remove_shared_zone(created)
    fifth = await browser.ask("changes/database", {"syncToken": fourth["syncToken"]})
    assert [(z["zoneID"]["zoneName"], z["deleted"]) for z in fifth["zones"]] == [(created, True)]


async def test_delta_shapes(sim: Simulator, browser: Browser) -> None:
    phone = sim.phone
    _, token = await browser.history()

    async def delta() -> list[Json]:
        nonlocal token
        records, token = await browser.history(token)
        return records

    one = phone.add_photo("live", "IMG_9999.HEIC")
    records = await delta()
    assert kinds(records) == ["CPLMaster", "CPLAsset", "CPLLibraryInfo"]
    assert "resOriginalVidComplRes" in records[0]["fields"]
    tag = records[1]["recordChangeTag"]

    phone.favorite(one.asset)
    (asset,) = await delta()
    assert asset["fields"]["isFavorite"]["value"] == 1
    assert asset["recordChangeTag"] > tag
    phone.unfavorite(one.asset)
    assert (await delta())[0]["fields"]["isFavorite"]["value"] == 0
    phone.hide(one.asset)
    assert (await delta())[0]["fields"]["isHidden"]["value"] == 1
    phone.unhide(one.asset)
    assert (await delta())[0]["fields"]["isHidden"]["value"] == 0

    phone.edit(one.asset)
    (asset,) = await delta()
    assert asset["fields"]["adjustmentType"]["value"] == "com.apple.photo"
    assert "resJPEGFullRes" in asset["fields"]
    phone.revert(one.asset)
    (asset,) = await delta()
    assert "resJPEGFullRes" not in asset["fields"]

    phone.delete(one.asset)
    master, asset, _ = await delta()
    assert master["fields"]["isDeleted"]["value"] == asset["fields"]["isDeleted"]["value"] == 1
    assert master["deleted"] is False
    assert "trashReason" in asset["fields"]
    phone.restore(one.asset)
    (asset,) = await delta()
    assert "isDeleted" not in asset["fields"]
    phone.delete(one.asset)
    await delta()
    phone.restore(one.asset, as_null=True)
    (asset,) = await delta()
    assert asset["fields"]["isDeleted"] == {"value": None, "type": "INT64"}
    assert asset["fields"]["isExpunged"] == {"value": None, "type": "INT64"}

    twin = phone.duplicate(one.asset)
    assert kinds(await delta())[:2] == ["CPLMaster", "CPLAsset"]
    assert twin.master == one.master

    album = phone.create_album("New")
    assert kinds(await delta()) == ["CPLAlbum"]
    relation = phone.add_to_album(one.asset, album)
    records = await delta()
    assert kinds(records) == ["CPLAlbum", "CPLContainerRelation"]
    assert records[1]["recordName"] == relation == f"{one.asset}-IN-{album}"
    phone.remove_from_album(one.asset, album)
    records = await delta()
    assert records[0] == {"recordName": relation, "deleted": True}
    assert kinds(records) == [None, "CPLAlbum"]

    phone.purge(one.asset)
    records = await delta()
    assert kinds(records) == [None, "CPLLibraryInfo"]
    phone.purge(twin.asset)
    assert kinds(await delta()) == [None, None, "CPLLibraryInfo"]


async def test_what_is_deleted_says_until_when(sim: Simulator, browser: Browser) -> None:
    """``dateExpunged`` in ms, beside it a record-level ``expirationTime`` in s: facts §1.12."""
    phone = sim.phone
    one, album = phone.add_photo(), phone.create_album("Soon gone")
    _, token = await browser.history()
    phone.delete(one.asset)
    phone.delete_album(album)
    records, token = await browser.history(token)
    gone = [record for record in records if record["recordType"] != "CPLLibraryInfo"]
    assert kinds(gone) == ["CPLMaster", "CPLAsset", "CPLAlbum"]
    for record in gone:
        fields = record["fields"]
        assert fields["isDeleted"]["value"] == 1
        assert fields["dateExpunged"]["type"] == "TIMESTAMP"
        assert record["expirationTime"] == fields["dateExpunged"]["value"] // 1000
        assert fields["dateExpunged"]["value"] - record["modified"]["timestamp"] == 30 * 86_400_000
    phone.restore(one.asset)
    (asset,), _ = await browser.history(token)
    assert "expirationTime" not in asset
    assert "dateExpunged" not in asset["fields"]


async def test_what_was_in_the_bin_from_the_start_says_so_too(browser: Browser) -> None:
    records, _ = await browser.history()
    gone = [r for r in records if r.get("fields", {}).get("isDeleted", {}).get("value") == 1]
    assert set(kinds(gone)) == {"CPLMaster", "CPLAsset", "CPLAlbum"}
    assert all("expirationTime" in record for record in gone)
    assert all("dateExpunged" in record["fields"] for record in gone)


async def test_records_say_when_they_were_modified(browser: Browser) -> None:
    records, _ = await browser.history()
    told = {"CPLMaster", "CPLAsset", "CPLAlbum", "CPLContainerRelation"}
    for record in records:
        if record.get("recordType") in told:
            moment = record["fields"]["recordModificationDate"]
            assert moment == {"value": record["modified"]["timestamp"], "type": "TIMESTAMP"}


async def test_photos_of_a_shared_library_name_their_contributors(
    sim: Simulator, browser: Browser
) -> None:
    zone = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync-"))
    records, _ = await browser.history(zone=zone.wire_id)
    photos = [r for r in records if r["recordType"] in ("CPLMaster", "CPLAsset")]
    named = [r["fields"]["contributors"] for r in photos]
    assert {one["type"] for one in named} == {"REFERENCE_LIST"}
    assert len({one["value"][0]["recordName"] for one in named}) == 2


async def test_the_shared_library(sim: Simulator, browser: Browser) -> None:
    zone = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync-"))
    _, token = await browser.history(zone=zone.wire_id)
    one = sim.phone.add_photo()
    moved = sim.phone.share(one.asset)
    records, token = await browser.history(token, zone=zone.wire_id)
    assert kinds(records) == ["CPLMaster", "CPLAsset", "CPLLibraryInfo", "CPLSharedLibraryQuota"]
    assert records[0]["fields"]["contributors"]["type"] == "REFERENCE_LIST"
    assert moved.master == one.master
    sim.phone.unshare(moved.asset)
    records, _ = await browser.history(token, zone=zone.wire_id)
    assert records[1]["fields"]["trashReason"]["value"] == 0
    assert "deletedBy" in records[1]["fields"]


async def test_a_library_shared_by_someone_else() -> None:
    sim = Simulator(LibraryPlan(assets=10, shared="shared"))
    async with sim.running() as address, httpx.AsyncClient(trust_env=False, verify=False) as http:
        browser = Browser(http, address.endpoints)
        await browser.sign_in(sim.account)
        (zone,) = (await browser.ask("zones/list", {}, "shared"))["zones"]
        zone_id = zone["zoneID"]
        found = await browser.changes(zone=zone_id, area="shared")
        assert len(found["records"]) > 20
        nameless = await browser.changes(zone={"zoneName": zone_id["zoneName"]}, area="shared")
        assert nameless["serverErrorCode"] == "ZONE_NOT_FOUND"


async def test_runs_of_empty_pages(sim: Simulator, browser: Browser) -> None:
    _, token = await browser.history()
    sim.phone.compact(4)
    added = sim.phone.add_photo()
    empty = 0
    while True:
        page = await browser.changes(token)
        token = page["syncToken"]
        if page["records"]:
            break
        assert page["moreComing"] is True
        empty += 1
    assert empty == 4
    assert page["records"][0]["recordName"] == added.master


@pytest.mark.parametrize("pages", [1, 3])
async def test_history_may_begin_with_nothing(pages: int) -> None:
    sim = Simulator(LibraryPlan(assets=2, empty_pages=pages))
    page = sim.cloud.zone("PrimarySync").changes(0, 200)
    assert (page.rows, page.more) == ([], True)


# -- any interleaving of actions and reads gives what a fresh listing gives ------------------------

ACTIONS = (
    "add",
    "favorite",
    "hide",
    "delete",
    "restore",
    "purge",
    "duplicate",
    "album",
    "out",
    "read",
)


def read(zone: Zone, known: dict[str, Row], position: int, limit: int) -> int:
    page = zone.changes(position, limit)
    for row in page.rows:
        if isinstance(row, Gone):
            known.pop(row.name, None)
        else:
            known[row.name] = row
    return page.position


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 50)), max_size=40))
def test_replay_equals_listing(steps: list[tuple[str, int]]) -> None:
    sim = Simulator(LibraryPlan(assets=6, oddities=False, shared="none"))
    phone, zone = sim.phone, sim.cloud.zone("PrimarySync")
    album = phone.create_album("Album")
    known: dict[str, Row] = {}
    position = 0
    for action, pick in steps:
        assets = [asset.name for asset in zone.assets()]
        if action == "read":
            position = read(zone, known, position, 1 + pick)
        elif action == "add":
            phone.add_photo("heic")
        elif assets:
            act(sim, action, assets[pick % len(assets)], album)
    while position < zone.position:
        position = read(zone, known, position, 7)
    alive = {name: row for name, row in zone.rows.items() if not isinstance(row, Gone)}
    assert known.keys() == alive.keys()
    assert {n: r for n, r in known.items() if isinstance(r, Asset | Relation)} == {
        n: r for n, r in alive.items() if isinstance(r, Asset | Relation)
    }
    ranked = [name for _, name in zone.ranked("all")]
    fresh = sorted(
        (a for a in zone.assets() if not a.deleted and not a.hidden and a.stands_alone),
        key=lambda a: (-(a.taken or 0), a.name),
    )
    assert ranked == [asset.name for asset in fresh]


def act(sim: Simulator, action: str, asset: str, album: str) -> None:
    phone, zone = sim.phone, sim.cloud.zone("PrimarySync")
    inside = any(relation.asset == asset for relation in zone.relations(album))
    match action:
        case "album":
            phone.add_to_album(asset, album)
        case "out" if inside:
            phone.remove_from_album(asset, album)
        case "favorite" | "hide" | "delete" | "restore" | "purge" | "duplicate":
            getattr(phone, action)(asset)
