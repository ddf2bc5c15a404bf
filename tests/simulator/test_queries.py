"""records/query, counts and look-ups: facts/cloudkit.md §1.7."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from icloudfs.simulator import Account, LibraryPlan, Simulator
from icloudfs.simulator.manifest import entry
from icloudfs.simulator.rows import Gone
from tests.simulator.browser import Browser, Json

ALL = "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted"
SMART = "CPLAssetAndMasterInSmartAlbumByAssetDate"
MEMBERS = "CPLContainerRelationLiveByAssetDate"


def of_type(page: Json, kind: str) -> list[Json]:
    return [record for record in page["records"] if record["recordType"] == kind]


def dates(page: Json) -> list[int]:
    return [
        asset["fields"].get("assetDate", {"value": 0})["value"]
        for asset in of_type(page, "CPLAsset")
    ]


async def count(browser: Browser, *names: str, zone: str = "PrimarySync") -> list[int]:
    batch = [
        {
            "resultsLimit": 1,
            "query": {
                "filterBy": {
                    "fieldName": "indexCountID",
                    "fieldValue": {"type": "STRING_LIST", "value": [name]},
                    "comparator": "IN",
                },
                "recordType": "HyperionIndexCountLookup",
            },
            "zoneWide": True,
            "zoneID": {"zoneName": zone},
        }
        for name in names
    ]
    answer = await browser.ask("internal/records/query/batch", {"batch": batch})
    return [one["records"][0]["fields"]["itemCount"]["value"] for one in answer["batch"]]


async def everything(browser: Browser, kind: str = ALL, **more: Any) -> list[Json]:
    assets: list[Json] = []
    while True:
        page = await browser.query(kind, start=len(assets), **more)
        found = of_type(page, "CPLAsset")
        if not found:
            return assets
        assets += found


async def test_rank_pages(browser: Browser) -> None:
    (total,) = await count(browser, "CPLAssetByAssetDateWithoutHiddenOrDeleted")
    first = await browser.query(ALL)
    kinds = [record["recordType"] for record in first["records"]]
    assert kinds == ["CPLMaster"] * (len(kinds) - 100) + ["CPLAsset"] * 100
    assert len(kinds) <= 200
    assert dates(first) == sorted(dates(first), reverse=True)
    assert first["continuationMarker"]
    names = [asset["recordName"] for asset in await everything(browser)]
    assert len(names) == len(set(names)) == total

    marked = await browser.query(ALL, continuationMarker=first["continuationMarker"])
    ranked = await browser.query(ALL, start=100)
    assert [r["recordName"] for r in marked["records"]] == [
        r["recordName"] for r in ranked["records"]
    ]
    assert "continuationMarker" not in ranked


async def test_descending_goes_down_from_the_rank(browser: Browser) -> None:
    (total,) = await count(browser, "CPLAssetByAssetDateWithoutHiddenOrDeleted")
    page = await browser.query(ALL, start=total - 1, direction="DESCENDING")
    assert dates(page) == sorted(dates(page))
    newest = await browser.query(ALL, start=0, direction="DESCENDING")
    assert len(of_type(newest, "CPLAsset")) == 1


async def test_masters_come_in_the_order_of_their_assets(sim: Simulator, browser: Browser) -> None:
    page = await browser.query(ALL)
    masters = [m["recordName"] for m in of_type(page, "CPLMaster")]
    wanted = [a["fields"]["masterRef"]["value"]["recordName"] for a in of_type(page, "CPLAsset")]
    assert masters == list(dict.fromkeys(wanted))
    sim.faults.switch(masters_repeated=True)
    again = await browser.query(ALL)
    assert [m["recordName"] for m in of_type(again, "CPLMaster")] == wanted


async def test_indexes_agree_with_the_truth(sim: Simulator, browser: Browser) -> None:
    zone = sim.cloud.zone("PrimarySync")
    truth = [entry(zone, asset, []) for asset in zone.assets()]
    for tag, label in [
        ("VIDEO", "video"),
        ("LIVE", "live"),
        ("SCREENSHOT", "screenshot"),
        ("PANORAMA", "panorama"),
        ("SLOMO", "slo-mo"),
        ("TIMELAPSE", "time-lapse"),
    ]:
        listed = await everything(browser, SMART, filters={"smartAlbum": tag})
        expected = {one["asset"] for one in truth if label in one["classes"]}
        assert {asset["recordName"] for asset in listed} == expected != set()
        (counted,) = await count(browser, f"CPLAssetInSmartAlbumByAssetDate:{tag.capitalize()}")
        assert counted == len(expected)
    hidden = await everything(browser, "CPLAssetAndMasterHiddenByAssetDate")
    assert {a["recordName"] for a in hidden} == {
        t["asset"] for t in truth if t["hidden"] and not t["deleted"]
    }
    deleted = await everything(browser, "CPLAssetAndMasterDeletedByExpungedDate")
    assert len(deleted) == 4
    assert all(asset["fields"]["isDeleted"]["value"] == 1 for asset in deleted)
    bursts = await everything(browser, "CPLBurstStackAssetAndMasterByAssetDate")
    assert len(bursts) == 6
    assert sum(one["visible"] for one in truth if one["burst"]) == 1


async def test_desired_keys(browser: Browser) -> None:
    page = await browser.query(ALL, desiredKeys=["masterRef", "filenameEnc"])
    assert set(of_type(page, "CPLAsset")[0]["fields"]) == {"masterRef"}
    assert set(of_type(page, "CPLMaster")[0]["fields"]) <= {"filenameEnc"}


async def test_one_photo_by_name(browser: Browser) -> None:
    page = await browser.query(ALL)
    asset = of_type(page, "CPLAsset")[7]["recordName"]
    found = await browser.query(ALL, filters={"recordName": asset})
    assert [r["recordName"] for r in of_type(found, "CPLAsset")] == [asset]


async def test_albums_and_folders(sim: Simulator, browser: Browser) -> None:
    top = await browser.query("CPLAlbumByPositionLive")
    titles = {
        base64.b64decode(album["fields"]["albumNameEnc"]["value"]).decode(): album
        for album in top["records"]
        if "albumNameEnc" in album["fields"]
    }
    names = [album["recordName"] for album in top["records"]]
    assert "----Root-Folder----" in names
    assert {"Holidays", "Everything", "Family", "A/B: naïve 🎈"} <= set(titles)
    assert "Europe" not in titles
    assert "Gone album" not in titles
    folder = titles["Holidays"]
    assert folder["fields"]["albumType"]["value"] == 3
    inside = await browser.query(
        "CPLAlbumByPositionLive", filters={"parentId": folder["recordName"]}
    )
    assert len(inside["records"]) == 2

    album = titles["Everything"]["recordName"]
    page = await browser.query(MEMBERS, filters={"parentId": album})
    relations, assets = of_type(page, "CPLContainerRelation"), of_type(page, "CPLAsset")
    assert len(relations) == len(assets) == 66
    assert relations[0]["recordName"] == f"{assets[0]['recordName']}-IN-{album}"
    (counted,) = await count(browser, f"CPLContainerRelationNotDeletedByAssetDate:{album}")
    members = await everything(browser, MEMBERS, filters={"parentId": album})
    assert len(members) == counted > 100
    sim.faults.switch(relations_count=False)
    wide = await browser.query(MEMBERS, filters={"parentId": album})
    assert len(of_type(wide, "CPLAsset")) == 100


async def test_more_than_a_page_of_albums() -> None:
    sim = Simulator(LibraryPlan(assets=3, oddities=False, extra_albums=450))
    async with sim.running() as address, httpx.AsyncClient(trust_env=False, verify=False) as http:
        browser = Browser(http, address.endpoints)
        await browser.sign_in(sim.account)
        names: list[str] = []
        marker: dict[str, Any] = {}
        while True:
            page = await browser.query("CPLAlbumByPositionLive", **marker)
            assert len(page["records"]) <= 200
            names += [record["recordName"] for record in page["records"]]
            if "continuationMarker" not in page:
                break
            marker = {"continuationMarker": page["continuationMarker"]}
        assert len(names) == len(set(names)) > 450


async def test_refusals(sim: Simulator, browser: Browser) -> None:
    zone = {"zoneName": "PrimarySync"}

    async def refused(body: Json, area: str = "private") -> tuple[int, str, str]:
        answer = await browser.call("records/query", body, area)
        return answer.status_code, answer.json()["serverErrorCode"], answer.json()["reason"]

    assert await refused({"query": {"recordType": "CPLMaster"}, "zoneID": zone}) == (
        400,
        "BAD_REQUEST",
        "Type is not marked indexable: CPLMaster",
    )
    nowhere = {"zoneName": "SharedSync"}
    assert await refused({"query": {"recordType": ALL}, "zoneID": nowhere}) == (
        404,
        "ZONE_NOT_FOUND",
        "Zone does not exist",
    )
    shared = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync-"))
    albums = {"query": {"recordType": "CPLAlbumByPositionLive"}, "zoneID": shared.wire_id}
    assert await refused(albums) == (400, "BAD_REQUEST", "Index has invalid data")


async def test_indexing_state(sim: Simulator, browser: Browser) -> None:
    page = await browser.query("CheckIndexingState")
    assert page["records"][0]["fields"]["state"]["value"] == "FINISHED"
    assert page["syncToken"]
    sim.faults.switch(indexing=True)
    page = await browser.query("CheckIndexingState")
    assert page["records"][0]["fields"]["state"]["value"] != "FINISHED"


async def test_look_ups(sim: Simulator, browser: Browser) -> None:
    page = await browser.query(ALL)
    asset, master = page["records"][-1]["recordName"], page["records"][0]["recordName"]
    sim.phone.purge(asset)
    body = {
        "zoneID": {"zoneName": "PrimarySync"},
        "records": [{"recordName": master}, {"recordName": "nothing"}, {"recordName": asset}],
    }
    found = (await browser.ask("records/lookup", body))["records"]
    assert found[0]["fields"]["resOriginalRes"]["value"]["downloadURL"]
    assert found[1]["serverErrorCode"] == "NOT_FOUND"
    assert "fields" not in found[1]
    assert found[2] == {
        "recordName": asset,
        "recordType": None,
        "deleted": True,
        "recordChangeTag": found[2]["recordChangeTag"],
    }


async def test_oddities_are_there(browser: Browser) -> None:
    records, _ = await browser.history()
    masters = [r for r in records if r["recordType"] == "CPLMaster"]
    assets = [r for r in records if r["recordType"] == "CPLAsset"]
    assert any("filenameEnc" not in m["fields"] for m in masters)
    assert any("itemType" not in m["fields"] for m in masters)
    assert any("assetDate" not in a["fields"] for a in assets)
    assert any(a["fields"].get("assetDate", {"value": 0})["value"] < 0 for a in assets)
    assert {m["fields"].get("filenameEnc", {}).get("type") for m in masters} >= {
        "ENCRYPTED_BYTES",
        "STRING",
    }
    prefixes = {key for r in masters + assets for key in r["fields"] if key.endswith("Res")}
    assert {
        "resOriginalRes",
        "resOriginalAltRes",
        "resOriginalVidComplRes",
        "resJPEGFullRes",
        "resVidFullRes",
        "resJPEGMedRes",
        "resJPEGThumbRes",
    } <= prefixes
    refs = [a["fields"]["masterRef"]["value"]["recordName"] for a in assets]
    assert len(set(refs)) == len(refs) - 1


async def test_an_account_without_photos_has_no_personal_library() -> None:
    sim = Simulator(LibraryPlan(assets=0, shared="none"), Account(photos=False))
    async with sim.running() as address, httpx.AsyncClient(trust_env=False, verify=False) as http:
        browser = Browser(http, address.endpoints)
        await browser.sign_in(sim.account)
        zones = (await browser.ask("zones/list", {}))["zones"]
        assert zones and all(z["zoneID"]["zoneName"] != "PrimarySync" for z in zones)
        answer = await browser.call(
            "records/query",
            {"query": {"recordType": "CheckIndexingState"}, "zoneID": {"zoneName": "PrimarySync"}},
        )
        assert answer.json()["serverErrorCode"] == "ZONE_NOT_FOUND"


async def test_photos_of_the_shared_library_in_own_albums(sim: Simulator, browser: Browser) -> None:
    """The relation is in the changes of the album's zone alone; counts include it (facts §1.12)."""
    primary = sim.cloud.zone("PrimarySync")
    shared = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync"))
    theirs = {asset.name for asset in shared.assets()}
    history, _ = await browser.history()
    told = {r["fields"]["itemId"]["value"] for r in history if "itemId" in (r.get("fields") or {})}
    for title, foreign in (("Best of", 3), ("Together", 5), ("Norway", 0)):
        album = next(a.name for a in primary.albums() if a.title == title)
        named = {relation.asset for relation in primary.relations(album)}
        assert len(named & theirs) == foreign and named <= told
        page = await browser.query(
            "CPLContainerRelationLiveByAssetDate", filters={"parentId": album}
        )
        listed = {asset["recordName"] for asset in of_type(page, "CPLAsset")}
        assert listed.isdisjoint(theirs)
        assert await count(browser, f"CPLContainerRelationNotDeletedByAssetDate:{album}") == [
            len(listed) + foreign
        ]
    everywhere = theirs | {asset.name for asset in primary.assets()}
    named = {r.asset for album in primary.albums() for r in primary.relations(album.name)}
    assert len(named - everywhere) == 1, "one relation names a photo that is nowhere"


@pytest.mark.parametrize("traceless", [False, True])
async def test_a_photo_moved_between_libraries_keeps_its_name_and_its_albums(
    sim: Simulator, browser: Browser, traceless: bool
) -> None:
    primary = sim.cloud.zone("PrimarySync")
    shared = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync"))
    album = next(a.name for a in primary.albums() if a.title == "Norway")
    members = f"CPLContainerRelationNotDeletedByAssetDate:{album}"
    before = await count(browser, members)
    moved = primary.ranked_members(album)[0].name
    for there, here in ((shared, primary), (primary, shared)):
        assert sim.phone.move(moved, there.name, traceless=traceless).asset == moved
        assert not there.asset(moved).deleted
        left = here.rows[moved]
        assert isinstance(left, Gone) if traceless else getattr(left, "deleted", False)
        assert [
            zone for zone, asset in sim.cloud.members(primary, album) if asset.name == moved
        ] == [there]
        assert await count(browser, members) == before
    with pytest.raises(KeyError):
        sim.phone.move(moved, primary.name)


async def test_records_with_some_of_their_fields(sim: Simulator, browser: Browser) -> None:
    sim.faults.set("changes", "partial", times=1, keep=["isFavorite", "assetDate"])
    for record in (await browser.changes())["records"]:
        assert set(record.get("fields", {})) <= {"isFavorite", "assetDate"}
    sim.faults.set("changes", "partial", times=1, type="CPLMaster")
    records = (await browser.changes())["records"]
    without = {r["recordType"] for r in records if "fields" not in r}
    assert without - {None} == {"CPLMaster"}
    name = next(r["recordName"] for r in records if r["recordType"] == "CPLAsset")
    sim.faults.set("lookup", "partial", record=name, keep=[])
    body = {"records": [{"recordName": name}], "zoneID": {"zoneName": "PrimarySync"}}
    assert (await browser.ask("records/lookup", body))["records"][0]["fields"] == {}
