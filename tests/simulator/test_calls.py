"""Every kind of call has a name, and can be answered in every wrong way: once, some times, or for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from icloudfs.simulator import LibraryPlan, Simulator
from icloudfs.simulator.calls import DATABASE_CALLS
from icloudfs.simulator.faults import WAYS, UnknownFaultError
from tests.simulator.browser import Browser, Json

PRIMARY = {"zoneName": "PrimarySync"}
STATUSES = ("400", "403", "404", "421", "450", "500", "503")

Send = Callable[[Browser], Awaitable[httpx.Response]]


def _list(kind: str, **filters: str) -> Send:
    given = [
        {
            "fieldName": name,
            "comparator": "EQUALS",
            "fieldValue": {"type": "STRING", "value": value},
        }
        for name, value in filters.items()
    ]
    body = {"query": {"recordType": kind, "filterBy": given}, "zoneID": PRIMARY}
    return lambda browser: browser.call("records/query", body)


def _count(index: str) -> Send:
    lookup = {
        "filterBy": {
            "fieldName": "indexCountID",
            "fieldValue": {"type": "STRING_LIST", "value": [index]},
            "comparator": "IN",
        },
        "recordType": "HyperionIndexCountLookup",
    }
    body = {"batch": [{"query": lookup, "zoneID": PRIMARY}]}
    return lambda browser: browser.call("internal/records/query/batch", body)


def _call(path: str, body: Json) -> Send:
    return lambda browser: browser.call(path, body)


CALLS: dict[str, Send] = {
    "changes/database": _call("changes/database", {}),
    "changes/zone": _call("changes/zone", {"zones": [{"zoneID": PRIMARY}]}),
    "zones/list": _call("zones/list", {}),
    "counts": _count("CPLAssetByAssetDateWithoutHiddenOrDeleted"),
    "indexing": _list("CheckIndexingState"),
    "list:all": _list("CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted"),
    "list:bursts": _list("CPLBurstStackAssetAndMasterByAssetDate"),
    "list:hidden": _list("CPLAssetAndMasterHiddenByAssetDate"),
    "list:deleted": _list("CPLAssetAndMasterDeletedByExpungedDate"),
    "albums": _list("CPLAlbumByPositionLive"),
    "folder": _list("CPLAlbumByPositionLive", parentId="a-folder"),
    "members": _list("CPLContainerRelationLiveByAssetDate", parentId="an-album"),
    "lookup": _call("records/lookup", {"records": [{"recordName": "x"}], "zoneID": PRIMARY}),
}


def test_every_call_of_the_database_is_tried() -> None:
    assert tuple(CALLS) == DATABASE_CALLS


@pytest.mark.parametrize("name", DATABASE_CALLS)
async def test_a_call_is_known_by_its_name(browser: Browser, sim: Simulator, name: str) -> None:
    sim.traffic.reset()
    assert (await CALLS[name](browser)).status_code == 200
    assert [call.name for call in sim.traffic.log] == [name]


@pytest.mark.parametrize("name", DATABASE_CALLS)
async def test_only_that_call_is_answered_wrongly(
    browser: Browser, sim: Simulator, name: str
) -> None:
    sim.faults.set("*", "answer", call=name, way="404")
    for other, send in CALLS.items():
        assert (await send(browser)).status_code == (404 if other == name else 200)


@pytest.mark.filterwarnings("ignore:http.cookiejar bug")
@pytest.mark.parametrize("way", [*STATUSES, *WAYS])
async def test_every_way(browser: Browser, sim: Simulator, way: str) -> None:
    send = CALLS["counts"]
    truth = (await send(browser)).json()
    sim.faults.set("query", "answer", times=2, way=way)
    for _ in range(2):
        if way == "silence":
            with pytest.raises(httpx.RemoteProtocolError):
                await send(browser)
            continue
        answer = await send(browser)
        others = {"nested-error": 400, "much-later": 503}
        assert answer.status_code == (others.get(way, 200) if way in WAYS else int(way))
        match way:
            case "no-list":
                assert "batch" not in answer.json()
            case "null-list":
                assert answer.json()["batch"] is None
            case "empty-list":
                assert answer.json()["batch"] == []
            case "no-inner-list":
                assert ["records" in one for one in answer.json()["batch"]] == [False]
            case "error":
                assert list(answer.json()) == ["error"]
            case "html":
                assert b"<html>" in answer.content
            case "bad-value" | "bad-name" | "bad-token":
                assert answer.content.count(b":NaN") == 1
            case "bad-cookie" | "bad-headers":
                assert any(not value.isascii() for value in answer.headers.values())
                assert "batch" in answer.json()
            case "nested-error" | "much-later":
                assert len(answer.content) > 400
            case _:
                assert answer.content == b""
    assert (await send(browser)).json() == truth  # the third time it is right again


async def test_a_refusal_can_carry_a_code(browser: Browser, sim: Simulator) -> None:
    reason = "Index has invalid data"
    sim.faults.set("*", "answer", call="albums", way="400", code="BAD_REQUEST", reason=reason)
    answer = await CALLS["albums"](browser)
    assert answer.status_code == 400
    assert answer.json() == {"serverErrorCode": "BAD_REQUEST", "reason": reason}


async def test_one_zone_or_one_folder(browser: Browser, sim: Simulator) -> None:
    sim.faults.set("*", "answer", zone="SharedSync-1", way="500")
    sim.faults.set("*", "answer", parent="a-folder", way="403")
    assert (await CALLS["list:all"](browser)).status_code == 200
    assert (await CALLS["folder"](browser)).status_code == 403
    assert (await CALLS["members"](browser)).status_code == 200
    both = {"zones": [{"zoneID": PRIMARY}, {"zoneID": {"zoneName": "SharedSync-1"}}]}
    assert (await browser.call("changes/zone", both)).status_code == 500


async def test_there_must_be_such_a_way() -> None:
    sim = Simulator(LibraryPlan(assets=0))
    with pytest.raises(UnknownFaultError):
        sim.faults.set("*", "answer", way="sideways")
