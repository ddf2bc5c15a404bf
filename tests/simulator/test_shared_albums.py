"""Shared albums of both kinds: facts/cloudkit.md §1.13."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from icloudfs.apple import checksum
from icloudfs.apple.cloudkit import is_library
from icloudfs.simulator import Address, ControlClient, LibraryPlan, Simulator
from icloudfs.simulator.manifest import lines, shared_albums
from tests.simulator.browser import Browser, Json

BY_ADDED_DATE = "CPLAssetAndMasterByAddedDate"
SHARE = "cloudkit.zoneshare"


def truth(sim: Simulator, kind: str, *, mine: bool = True) -> Json:
    """The one album of the plan of this kind that is mine, or that is not."""
    (found,) = (a for a in shared_albums(sim.cloud) if a["kind"] == kind and a["mine"] is mine)
    return found


def zone_id(sim: Simulator, album: Json) -> Json:
    return sim.cloud.zone(album["album"]).wire_id


async def share_of(browser: Browser, zone: Json, area: str = "private") -> Json:
    body = {"records": [{"recordName": SHARE}], "zoneID": zone}
    (record,) = (await browser.ask("records/lookup", body, area))["records"]
    return dict(record)


def named(records: list[Json], kind: str) -> set[str]:
    return {r["recordName"] for r in records if r.get("recordType") == kind}


def expected(album: Json) -> set[str]:
    return {photo["asset"] for photo in album["photos"]}


# -- modern --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mine", "area"), [(True, "private"), (False, "shared")])
async def test_an_album_is_a_zone_in_the_database_of_its_owner_or_participant(
    sim: Simulator, browser: Browser, mine: bool, area: str
) -> None:
    zone = zone_id(sim, truth(sim, "modern", mine=mine))
    assert zone["zoneName"].startswith("SharedCollection-")
    assert (zone["ownerRecordName"] == sim.cloud.owner) is mine
    for endpoint in ("zones/list", "changes/database"):
        for at in ("private", "shared"):
            zones = (await browser.ask(endpoint, {}, at))["zones"]
            assert (zone in [z["zoneID"] for z in zones]) is (at == area)


async def test_its_share_names_it_and_its_people(sim: Simulator, browser: Browser) -> None:
    album = truth(sim, "modern", mine=False)
    share = await share_of(browser, zone_id(sim, album), "shared")
    assert share["recordType"] == "cloudkit.share"
    assert share["fields"]["cloudkit.title"] == {"value": album["title"], "type": "STRING"}
    assert share["fields"]["cloudkit.type"]["value"] == "photos_sharedcollections"
    people = {one["userIdentity"]["userRecordName"]: one["type"] for one in share["participants"]}
    assert people == {album["owner"]: "OWNER", sim.cloud.owner: "USER"}
    me = share["currentUserParticipant"]
    assert (me["userIdentity"]["userRecordName"], me["type"]) == (sim.cloud.owner, "USER")
    assert share["shortGUID"]

    own = await share_of(browser, zone_id(sim, truth(sim, "modern")))
    assert own["currentUserParticipant"]["type"] == "OWNER"


async def test_changes_tell_its_photos_and_what_people_said(
    sim: Simulator, browser: Browser
) -> None:
    album = truth(sim, "modern", mine=False)
    records, _ = await browser.history(zone=zone_id(sim, album), area="shared")
    kept = [r for r in records if "isDeleted" not in r["fields"]]
    removed = [r for r in records if "isDeleted" in r["fields"]]
    assert named(kept, "CPLAsset") == expected(album) != set()
    assert named(kept, "CPLMaster") == {photo["master"] for photo in album["photos"]}
    assert [r["recordType"] for r in removed] == ["CPLMaster", "CPLAsset"]
    assert all(r["fields"]["isDeleted"]["value"] == 1 for r in removed)
    for kind in ("cloudkit.share", "CPLPost", "CPLTextComment", "CPLReact"):
        assert named(records, kind)


async def test_its_content_is_what_its_checksum_says(
    sim: Simulator, browser: Browser, http: httpx.AsyncClient
) -> None:
    album = truth(sim, "modern", mine=False)
    records, _ = await browser.history(zone=zone_id(sim, album), area="shared")
    master = next(r for r in records if r["recordType"] == "CPLMaster")
    original = master["fields"]["resOriginalRes"]["value"]
    body = (await http.get(original["downloadURL"])).content
    assert (len(body), checksum.of(body)) == (original["size"], original["fileChecksum"])


async def test_one_list_is_there_or_none(sim: Simulator, browser: Browser) -> None:
    album = truth(sim, "modern")
    zone = zone_id(sim, album)
    page = await browser.query(BY_ADDED_DATE, zone=zone)
    assert named(page["records"], "CPLAsset") == expected(album)

    async def refusal(kind: str) -> tuple[int, str]:
        body = {"query": {"recordType": kind}, "zoneID": zone}
        answer = await browser.call("records/query", body)
        return answer.status_code, answer.json()["reason"]

    nothing = (400, "Index has invalid data")
    assert await refusal("CPLAlbumByPositionLive") == nothing
    assert await refusal("CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted") == nothing
    sim.faults.switch(albums_unlisted=True)
    assert await refusal(BY_ADDED_DATE) == nothing


async def test_what_people_do_comes_as_changes(sim: Simulator, browser: Browser) -> None:
    album = sim.phone.sharing.create_shared_album("Garden", theirs=True)
    zone = sim.cloud.zone(album).wire_id
    _, token = await browser.history(zone=zone, area="shared")
    known = (await browser.ask("changes/database", {}, "shared"))["syncToken"]

    async def delta() -> list[Json]:
        nonlocal token
        records, token = await browser.history(token, zone=zone, area="shared")
        return records

    added = sim.phone.sharing.add_to_shared_album(album, "live", by_another=True)
    records = await delta()
    assert [r["recordType"] for r in records] == ["CPLMaster", "CPLAsset", "CPLPost"]
    contributor = records[1]["fields"]["contributors"]["value"][0]["recordName"]
    assert contributor == zone["ownerRecordName"]
    changed = await browser.ask("changes/database", {"syncToken": known}, "shared")
    assert [z["zoneID"] for z in changed["zones"]] == [zone]

    sim.phone.sharing.remove_from_shared_album(album, added)
    assert [r["fields"]["isDeleted"]["value"] for r in await delta()] == [1, 1]
    sim.phone.sharing.rename_shared_album(album, "Balcony")
    (share,) = await delta()
    assert share["fields"]["cloudkit.title"]["value"] == "Balcony"
    sim.phone.sharing.comment_in_shared_album(album, "Lovely")
    assert [r["recordType"] for r in await delta()] == ["CPLTextComment", "CPLReact"]

    token_before = changed["syncToken"]
    sim.phone.sharing.leave_shared_album(album)
    gone = await browser.ask("changes/database", {"syncToken": token_before}, "shared")
    assert (zone, True) in [(z["zoneID"], z.get("deleted")) for z in gone["zones"]]


async def test_an_album_is_withdrawn_in_three_ways(sim: Simulator, browser: Browser) -> None:
    phone = sim.phone.sharing
    albums = {
        code: phone.create_shared_album(code, theirs=True)
        for code in ("ZONE_NOT_FOUND", "ACCESS_DENIED", "NOT_FOUND")
    }
    zones = {code: sim.cloud.zone(album).wire_id for code, album in albums.items()}
    for code, album in albums.items():
        phone.add_to_shared_album(album)
        phone.withdraw_shared_album(album, code)

    body = {"records": [{"recordName": SHARE}], "zoneID": zones["ZONE_NOT_FOUND"]}
    answer = await browser.call("records/lookup", body, "shared")
    assert (answer.status_code, answer.json()["serverErrorCode"]) == (404, "ZONE_NOT_FOUND")
    for code in ("ACCESS_DENIED", "NOT_FOUND"):
        record = await share_of(browser, zones[code], "shared")
        assert (record["serverErrorCode"], "fields" in record) == (code, False)
    closed = await browser.changes(zone=zones["ACCESS_DENIED"], area="shared")
    assert closed["serverErrorCode"] == "ACCESS_DENIED"
    body = {"query": {"recordType": BY_ADDED_DATE}, "zoneID": zones["ACCESS_DENIED"]}
    refused = await browser.call("records/query", body, "shared")
    assert (refused.status_code, refused.json()["serverErrorCode"]) == (403, "ACCESS_DENIED")
    records, _ = await browser.history(zone=zones["NOT_FOUND"], area="shared")
    assert named(records, "CPLAsset")
    assert not named(records, "cloudkit.share")
    assert set(albums.values()).isdisjoint(a["album"] for a in shared_albums(sim.cloud))
    with pytest.raises(ValueError, match="withdrawn by one of"):
        phone.withdraw_shared_album(truth(sim, "modern")["album"], "SOMETHING")


async def test_no_shared_album_is_taken_for_a_library(sim: Simulator) -> None:
    zones = [zone for zone in sim.cloud.zones() if zone.holding == "album"]
    assert len(zones) == 2
    assert not any(is_library(zone.name) for zone in zones)


# -- legacy --------------------------------------------------------------------------------------


class Service:
    """``sharedstreams``, as a browser calls it."""

    def __init__(self, browser: Browser, dsid: str) -> None:
        self._browser = browser
        self._dsid = dsid

    async def albums(self) -> dict[str, Json]:
        """By ``albumguid``."""
        url = f"{self._browser.streams}/{self._dsid}/sharedstreams/webgetalbumslist"
        listed = (await self._post(url, {}))["albums"]
        return {album["albumguid"]: album for album in listed}

    async def count(self, album: Json) -> int:
        url = album["albumlocation"] + "webgetassetcount"
        return int((await self._post(url, {"albumguid": album["albumguid"]}))["albumassetcount"])

    async def records(self, album: Json, offset: int = 0, limit: int = 100) -> list[Json]:
        body = {
            "albumguid": album["albumguid"],
            "albumctag": album["albumctag"],
            "offset": str(offset),
            "limit": str(limit),
        }
        found = await self._post(album["albumlocation"] + "webgetassets", body)
        return list(found["records"])

    async def _post(self, url: str, body: Json) -> Json:
        answer = await self._browser.http.post(
            url, json=body, headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


@pytest.fixture
def service(sim: Simulator, browser: Browser) -> Service:
    return Service(browser, sim.account.dsid)


async def test_legacy_albums_are_listed_and_in_no_database(
    sim: Simulator, browser: Browser, service: Service
) -> None:
    albums = await service.albums()
    for mine, kind in ((True, "owned"), (False, "subscribed")):
        known = truth(sim, "legacy", mine=mine)
        album = albums.pop(known["album"])
        assert album["sharingtype"] == kind
        assert (album["ownerdsid"] == sim.account.dsid) is mine
        assert album["albumlocation"].endswith(f"/{album['ownerdsid']}/sharedstreams/")
        attributes = album["attributes"]
        assert attributes["name"] == known["title"]
        assert int(attributes["creationDate"]) < sim.cloud.clock.record()
        assert {"allowcontributions", "ispublic"} <= attributes.keys()
        assert {"iswebuploadsupported", "publicurl"} <= album.keys()
        assert await service.count(album) == len(known["photos"])
        for area in ("private", "shared"):
            zones = (await browser.ask("zones/list", {}, area))["zones"]
            assert known["album"] not in str(zones)
    assert not albums


async def test_legacy_records_and_their_habits(
    sim: Simulator, service: Service, http: httpx.AsyncClient
) -> None:
    checksums, beside = [], []
    for known in (truth(sim, "legacy"), truth(sim, "legacy", mine=False)):
        album = (await service.albums())[known["album"]]
        records = await service.records(album)
        assert named(records, "CPLAsset") == expected(known)
        by_name = {photo["master"]: photo for photo in known["photos"]}
        for record in records:
            fields = record["fields"]
            if record["recordType"] == "CPLAsset":
                assert "assetDate" not in fields
                assert fields["contributedBy"]["value"] in (sim.account.dsid, "1000000077")
                continue
            assert fields["originalCreationDate"]["type"] == "TIMESTAMP"
            original = fields["resOriginalRes"]["value"]
            assert original["size"] == 0
            photo = by_name[record["recordName"]]
            size = photo["renditions"][0]["size"]
            head = await http.head(original["downloadURL"])
            assert int(head.headers["Content-Length"]) == size
            checksums.append("fileChecksum" in original)
            beside.append(fields.get("resOriginalFileSize", {}).get("value"))
            assert beside[-1] in (None, size)
    assert set(checksums) == {True, False}
    assert None in beside
    assert any(beside)


async def test_legacy_pages_by_end_or_by_number(sim: Simulator, service: Service) -> None:
    known = truth(sim, "legacy")
    album = (await service.albums())[known["album"]]
    in_order = [photo["asset"] for photo in known["photos"]]

    async def page(offset: int, limit: int) -> list[str]:
        records = await service.records(album, offset, limit)
        return [r["recordName"] for r in records if r["recordType"] == "CPLAsset"]

    assert await page(1, 3) == in_order[1:3]
    assert await page(3, 3) == []
    assert await page(len(in_order), 100) == []
    sim.faults.switch(stream_limit_counts=True)
    assert await page(1, 3) == in_order[1:4]


async def test_a_legacy_page_ends_after_a_hundred(sim: Simulator, service: Service) -> None:
    guid = sim.phone.sharing.create_shared_album("Many", legacy=True)
    for _ in range(103):
        sim.phone.sharing.add_to_shared_album(guid, "screenshot")
    album = (await service.albums())[guid]
    assert len(named(await service.records(album, 0, 500), "CPLAsset")) == 100
    assert len(named(await service.records(album, 100, 500), "CPLAsset")) == 3


async def test_the_ctag_of_a_legacy_album_changes_with_it(sim: Simulator, service: Service) -> None:
    phone = sim.phone.sharing
    guid = phone.create_shared_album("Garden", legacy=True, theirs=True)
    tags = [(await service.albums())[guid]["albumctag"]]

    async def seen() -> tuple[str, int]:
        album = (await service.albums())[guid]
        tags.append(album["albumctag"])
        return album["attributes"]["name"], await service.count(album)

    asset = phone.add_to_shared_album(guid, "jpeg")
    assert await seen() == ("Garden", 1)
    phone.rename_shared_album(guid, "Balcony")
    assert await seen() == ("Balcony", 1)
    phone.remove_from_shared_album(guid, asset)
    assert await seen() == ("Balcony", 0)
    assert len(set(tags)) == len(tags)
    assert (await service.albums())[guid]["albumctag"] == tags[-1]
    phone.leave_shared_album(guid)
    assert guid not in await service.albums()
    other = phone.create_shared_album("Yard", legacy=True, theirs=True)
    assert other in await service.albums()
    phone.withdraw_shared_album(other)
    assert other not in await service.albums()


async def test_the_legacy_service_wants_a_session(
    sim: Simulator, stranger: Browser, address: Address
) -> None:
    url = f"{address.url}/{sim.account.dsid}/sharedstreams/webgetalbumslist"
    assert (await stranger.http.post(url, json={})).status_code == 421


async def test_the_legacy_service_fails_on_demand(
    sim: Simulator, browser: Browser, service: Service
) -> None:
    url = f"{browser.streams}/{sim.account.dsid}/sharedstreams/webgetalbumslist"
    sim.faults.set("streams", "status", status=503, times=1)
    assert (await browser.http.post(url, json={})).status_code == 503
    sim.faults.set("*", "answer", way="no-list", call="webgetalbumslist", times=1)
    assert (await browser.http.post(url, json={})).json() == {}
    assert len(await service.albums()) == 2


# -- the control door, and plans -----------------------------------------------------------------


async def test_the_control_door_knows_them_all(sim: Simulator, address: Address) -> None:
    def act() -> tuple[list[dict[str, Any]], str]:
        control = ControlClient(address.url)
        album = control.phone("create_shared_album", title="Garden", legacy=True)
        control.phone("add_to_shared_album", album=album, kind="video")
        return control.shared_albums(), album

    albums, made = await trio.to_thread.run_sync(act)
    assert {(a["kind"], a["mine"]) for a in albums} == {
        ("modern", True),
        ("modern", False),
        ("legacy", True),
        ("legacy", False),
    }
    (garden,) = (a for a in albums if a["album"] == made)
    assert (garden["title"], len(garden["photos"])) == ("Garden", 1)
    assert garden["photos"][0]["renditions"][0]["checksum"]


@pytest.mark.parametrize(("albums", "of_each"), [(0, 0), (1, 1), (3, 3)])
def test_the_plan_says_how_many(albums: int, of_each: int) -> None:
    sim = Simulator(LibraryPlan(assets=3, shared_albums=albums))
    kinds = [album["kind"] for album in shared_albums(sim.cloud)]
    assert (kinds.count("modern"), kinds.count("legacy")) == (of_each, of_each)


def test_the_library_is_the_same_with_and_without_them() -> None:
    one, other = (Simulator(LibraryPlan(assets=20, shared_albums=n)) for n in (0, 2))
    assert [*lines(one.cloud)] == [*lines(other.cloud)]
    assert one.cloud.clock.record() == other.cloud.clock.record()


async def test_the_legacy_service_has_a_host_of_its_own(
    sim: Simulator, browser: Browser, address: Address
) -> None:
    there = {"X-Original-Host": "p61-sharedstreams.icloud.com"}
    path = f"/{sim.account.dsid}/sharedstreams/webgetalbumslist"
    answer = await browser.http.post(address.url + path, json={}, headers=there)
    for album in answer.json()["albums"]:
        assert album["albumlocation"].startswith("https://p61-sharedstreams.icloud.com:443/")
    elsewhere = {"X-Original-Host": "p61-ckdatabasews.icloud.com"}
    answer = await browser.http.post(address.url + path, json={}, headers=elsewhere)
    assert answer.status_code == 421
