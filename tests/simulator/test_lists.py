"""What lists and counts leave out, as facts/cloudkit.md §1.12 has it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from icloudfs.simulator import KINDS, LibraryPlan, Simulator
from tests.simulator.browser import Browser, Json
from tests.simulator.test_queries import ALL, MEMBERS, count, everything, of_type

COUNT = "CPLAssetByAssetDateWithoutHiddenOrDeleted"
BURSTS = "CPLBurstStackAssetAndMasterByAssetDate"
HIDDEN = "CPLAssetAndMasterHiddenByAssetDate"
DELETED = "CPLAssetAndMasterDeletedByExpungedDate"
SMART = "CPLAssetAndMasterInSmartAlbumByAssetDate"


def largest(sim: Simulator) -> str:
    return next(a.name for a in sim.cloud.zone("PrimarySync").albums() if a.title == "Everything")


def names(records: list[Json]) -> list[str]:
    return [record["recordName"] for record in records]


async def history(browser: Browser) -> list[Json]:
    records: list[Json] = []
    asked: dict[str, Any] = {"zoneID": {"zoneName": "PrimarySync"}}
    while True:
        zone = (await browser.ask("changes/zone", {"zones": [asked]}))["zones"][0]
        records += zone["records"]
        asked["syncToken"] = zone["syncToken"]
        if not zone["moreComing"]:
            return records


async def test_an_album_page_holds_66_photos_and_a_marker(sim: Simulator, browser: Browser) -> None:
    page = await browser.query(MEMBERS, filters={"parentId": largest(sim)})
    kinds = ("CPLContainerRelation", "CPLMaster", "CPLAsset")
    assert [len(of_type(page, kind)) for kind in kinds] == [66, 66, 66]
    assert page["continuationMarker"]


async def test_a_look_up_has_a_maximum_of_names(sim: Simulator, browser: Browser) -> None:
    body = {"zoneID": {"zoneName": "PrimarySync"}, "records": [{"recordName": "x"}] * 200}
    assert len((await browser.ask("records/lookup", body))["records"]) == 200
    sim.faults.switch(lookup_maximum=199)
    answer = await browser.call("records/lookup", body)
    assert answer.status_code == 400 and answer.json()["serverErrorCode"] == "BAD_REQUEST"
    assert "array 'records' length is greater than max size" in answer.json()["reason"]


async def test_a_library_that_is_indexed_is_listed_by_a_third_and_whole_in_its_history(
    sim: Simulator, browser: Browser
) -> None:
    whole = names(await everything(browser, ALL))
    (counted,) = await count(browser, COUNT)
    told = len(await history(browser))
    sim.cloud.index_for(600, "IN_PROGRESS")
    state = (await browser.query("CheckIndexingState"))["records"][0]["fields"]
    assert state["state"]["value"] == "IN_PROGRESS" and 0 < state["progress"]["value"] < 100
    part = names(await everything(browser, ALL))
    assert part == whole[: len(part)] and len(part) == -(-len(whole) // 3)
    assert await count(browser, COUNT) == [-(-counted // 3)]
    assert len(await history(browser)) == told
    sim.cloud.clock.advance(601)
    assert await count(browser, COUNT) == [counted]
    state = (await browser.query("CheckIndexingState"))["records"][0]["fields"]
    assert state["state"]["value"] == "FINISHED"


async def test_indexing_by_the_control_door(sim: Simulator, browser: Browser) -> None:
    async def say(seconds: float) -> int:
        url = f"{browser.endpoints['home']}/simulator/indexing"
        assert (await browser.http.post(url, json={"seconds": seconds})).status_code == 200
        return (await count(browser, COUNT))[0]

    assert await say(600) < await say(0)


async def test_a_gap_takes_positions_and_gives_nothing(sim: Simulator, browser: Browser) -> None:
    whole = await everything(browser, ALL)
    sim.faults.set("query", "gap")
    assert (await browser.query(ALL, start=100))["records"] == []
    after = await browser.query(ALL, start=200)
    assert of_type(after, "CPLAsset")[0]["recordName"] == whole[100]["recordName"]


async def test_a_short_page_and_what_leads_on(sim: Simulator, browser: Browser) -> None:
    sim.faults.set("query", "short-page", positions=7)
    first = await browser.query(ALL)
    second = await browser.query(ALL, continuationMarker=first["continuationMarker"])
    sim.faults.clear()
    found = [name for page in (first, second) for name in names(of_type(page, "CPLAsset"))]
    assert found == names(await everything(browser, ALL))[:14]


async def test_counts_by_percent(sim: Simulator, browser: Browser) -> None:
    (true,) = await count(browser, COUNT)
    sim.faults.set("query", "count", percent=30)
    assert await count(browser, COUNT) == [true + int(true * 0.3)]


@pytest.mark.parametrize("kind", [BURSTS, HIDDEN, DELETED, SMART])
async def test_what_a_shared_library_does_not_list(
    sim: Simulator, browser: Browser, kind: str
) -> None:
    zone = next(z for z in sim.cloud.zones() if z.name.startswith("SharedSync-"))
    filters = {"smartAlbum": "VIDEO"} if kind == SMART else {}

    async def status(kind: str, filters: dict[str, str]) -> int:
        by = [
            {"fieldName": n, "fieldValue": {"type": "STRING", "value": v}, "comparator": "EQUALS"}
            for n, v in filters.items()
        ]
        body = {"query": {"recordType": kind, "filterBy": by}, "zoneID": zone.wire_id}
        return (await browser.call("records/query", body, zone.area)).status_code

    assert await status(kind, filters) == 400
    assert await status(ALL, {}) == 200
    assert await status(SMART, {"smartAlbum": "FAVORITE"}) == 200
    sim.faults.switch(shared_lists=True)
    assert await status(kind, filters) == 200


async def test_an_account_whose_library_is_being_indexed_can_be_chosen() -> None:
    kind = KINDS["indexing"]
    sim = Simulator(LibraryPlan(assets=12, indexing=kind.indexing), kind.account)
    async with sim.running() as address, httpx.AsyncClient(trust_env=False, verify=False) as http:
        browser = Browser(http, address.endpoints)
        await browser.sign_in(sim.account)
        assert await count(browser, COUNT) == [4]
        sim.cloud.clock.advance(kind.indexing)
        assert await count(browser, COUNT) == [12]
