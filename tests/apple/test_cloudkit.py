"""The photo database's calls, against the simulator (facts/cloudkit.md §1.7 and §1.10)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from icloudfs.apple import (
    DOWNLOAD_KEYS,
    Asset,
    ICloud,
    Index,
    Master,
    Refused,
    Relation,
    Tombstone,
    Zone,
    ZoneProblem,
    checksum,
    cloudkit,
    is_library,
    member_count_id,
)
from icloudfs.apple.cloudkit import CloudKitError, Photos
from icloudfs.apple.content import ExpiredURL, Interrupted
from icloudfs.apple.records import Album, Area, Record
from icloudfs.errors import ContentMismatch, ContentUnavailable, Throttled
from icloudfs.simulator import LibraryPlan, Simulator
from tests.apple.conftest import ACCOUNT, World

PLAN = LibraryPlan(assets=130, large_files=False, shared="shared", extra_albums=210)
BUILT = Simulator(PLAN, ACCOUNT)  # a second's work, and most tests only look
BUILT.phone.compact(2)


@pytest.fixture
async def icloud(tmp_path: Path) -> AsyncIterator[ICloud]:
    async with BUILT.running() as address:
        world = World(BUILT, address.url, tmp_path)
        await world.sign_in()
        async with world.client() as client:
            yield client
        BUILT.faults.clear()


@pytest.fixture
async def primary(icloud: ICloud) -> Zone:
    (zone,) = await icloud.photos.zones("private")
    return zone


async def history(icloud: ICloud, zone: Zone) -> tuple[list[Record], str, int]:
    """All changes from the beginning, the last token, and how many pages they took."""
    records: list[Record] = []
    token, pages, more = "", 0, True
    while more:
        (page,) = await icloud.photos.zone_changes(zone.area, [(zone, token)])
        assert page.error is None
        records += page.records
        token, more, pages = page.token, page.more_coming, pages + 1
    return records, token, pages


async def everything(icloud: ICloud, zone: Zone) -> tuple[dict[str, Master], list[Asset]]:
    masters: dict[str, Master] = {}
    assets: list[Asset] = []
    while True:
        page = await icloud.photos.list_page(zone, Index.ALL, len(assets))
        if not page.records:
            return masters, assets
        masters |= {r.name: r for r in page.records if isinstance(r, Master)}
        assets += [r for r in page.records if isinstance(r, Asset)]


async def test_zones_of_both_areas(icloud: ICloud) -> None:
    (primary,) = await icloud.photos.zones("private")
    assert (primary.area, primary.name) == ("private", "PrimarySync")
    assert primary.owner
    (shared,) = await icloud.photos.zones("shared")
    assert shared.area == "shared"
    assert is_library(shared.name) and not is_library("CMM-1")


async def test_the_whole_listing(icloud: ICloud, primary: Zone) -> None:
    masters, assets = await everything(icloud, primary)
    counts = await icloud.photos.counts(primary, [Index.ALL.count])
    assert len(assets) == len({asset.name for asset in assets}) == counts[Index.ALL.count]
    taken = [asset.taken for asset in assets if asset.taken is not None]
    assert taken == sorted(taken, reverse=True)
    assert all(asset.master in masters for asset in assets)
    assert all(master.resources["resOriginal"].checksum for master in masters.values())
    assert not any("resJPEGMed" in master.resources for master in masters.values())
    assert any(asset.resources.get("resJPEGFull") for asset in assets)
    assert any(asset.latitude is not None for asset in assets)
    assert any(asset.keywords for asset in assets)
    assert any(master.width for master in masters.values())


async def test_every_index_has_a_list_and_a_count_that_agree(icloud: ICloud, primary: Zone) -> None:
    counts = await icloud.photos.counts(primary, [index.count for index in Index])
    assert set(counts) == {index.count for index in Index}
    for index in Index:
        page = await icloud.photos.list_page(primary, index, 0)
        found = [record for record in page.records if isinstance(record, Asset)]
        assert len(found) == min(counts[index.count], 100), index
        assert page.token


async def test_a_listings_order_and_limit(icloud: ICloud, primary: Zone) -> None:
    newest = await icloud.photos.list_page(primary, Index.ALL, 0, limit=2)
    assert len(newest.records) == 2
    _, assets = await everything(icloud, primary)
    oldest = await icloud.photos.list_page(
        primary, Index.ALL, len(assets) - 1, limit=2, direction="DESCENDING"
    )
    assert oldest.records[1].name == assets[-1].name


async def albums_of(icloud: ICloud, zone: Zone, parent: str | None = None) -> list[Album]:
    found = await icloud.photos.albums(zone, parent)
    albums = [album for album in found if isinstance(album, Album)]
    assert len(albums) == len(found)
    return albums


async def test_albums_over_several_pages(icloud: ICloud, primary: Zone) -> None:
    albums = await albums_of(icloud, primary)
    assert len(albums) > 210
    assert len({album.name for album in albums}) == len(albums)
    (folder,) = [album for album in albums if album.title == "Holidays"]
    inside = await albums_of(icloud, primary, folder.name)
    assert inside
    assert {album.parent for album in inside} == {folder.name}


async def test_members(icloud: ICloud, primary: Zone) -> None:
    album = max(await albums_of(icloud, primary), key=lambda album: album.title == "Everything")
    found: set[str] = set()
    while True:
        page = await icloud.photos.members(primary, album.name, len(found))
        if not page.records:
            break
        for record in page.records:
            assert isinstance(record, Relation)
            assert record.album == album.name
            found.add(record.asset)
    counts = await icloud.photos.counts(primary, [member_count_id(album.name)])
    assert len(found) == counts[member_count_id(album.name)] > 100


async def test_a_shared_library_has_no_albums(icloud: ICloud) -> None:
    (shared,) = await icloud.photos.zones("shared")
    assert await icloud.photos.albums(shared) == ()
    masters, assets = await everything(icloud, shared)
    assert masters and assets


async def test_database_changes(icloud: ICloud, primary: Zone) -> None:
    first = await icloud.photos.database_changes("private")
    assert primary in [changed.zone for changed in first.zones]
    assert not first.more_coming
    again = await icloud.photos.database_changes("private", first.token)
    assert again.zones == ()
    photo = BUILT.phone.add_photo()
    (changed,) = (await icloud.photos.database_changes("private", again.token)).zones
    assert (changed.zone, changed.deleted) == (primary, False)
    BUILT.phone.purge(photo.asset)


async def test_the_history_from_the_beginning(icloud: ICloud, primary: Zone) -> None:
    records, token, pages = await history(icloud, primary)
    assert pages > 3
    assert any(isinstance(record, Tombstone) for record in records)
    _, assets = await everything(icloud, primary)
    assert {asset.name for asset in assets} <= {record.name for record in records}
    (caught_up,) = await icloud.photos.zone_changes("private", [(primary, token)])
    assert (caught_up.records, caught_up.more_coming) == ((), False)


async def test_what_a_phone_does_arrives(icloud: ICloud, primary: Zone) -> None:
    _, token, _ = await history(icloud, primary)
    photo = BUILT.phone.add_photo()
    BUILT.phone.favorite(photo.asset)
    (page,) = await icloud.photos.zone_changes("private", [(primary, token)])
    (seen,) = [r for r in page.records if isinstance(r, Asset) and r.name == photo.asset]
    assert seen.favorite
    BUILT.phone.purge(photo.asset)
    (page,) = await icloud.photos.zone_changes("private", [(primary, page.token)])
    assert Tombstone(photo.asset) in page.records


async def test_several_zones_and_their_troubles_in_one_call(icloud: ICloud, primary: Zone) -> None:
    nowhere = Zone("private", "SharedSync-00000000")
    (database, gone) = await icloud.photos.zone_changes(
        "private", [(primary, "AgAAAAAAAA"), (nowhere, "")]
    )
    assert database.error is not None
    assert database.error.problem is ZoneProblem.BAD_TOKEN
    assert database.zone == primary
    assert gone.error is not None
    assert gone.error.problem is ZoneProblem.ZONE_GONE
    BUILT.faults.set("changes", "zone-error", code="INTERNAL_ERROR", times=1)
    (other,) = await icloud.photos.zone_changes("private", [(primary, "")])
    assert other.error is not None
    assert other.error.problem is ZoneProblem.TRANSIENT


REFUSED_TOKENS: list[dict[str, Any]] = [
    {"name": "answer", "way": "410", "call": "changes/zone"},
    {"name": "answer", "way": "410", "code": "SYNC_TOKEN_EXPIRED", "call": "changes/zone"},
    {"name": "answer", "way": "400", "code": "INVALID_SYNC_TOKEN", "call": "changes/zone"},
    *(
        {"name": "reject-token", "code": code, "reason": reason, **whole}
        for code in (
            *("BAD_REQUEST", "SYNC_TOKEN_EXPIRED", "INVALID_SYNC_TOKEN"),
            *("CHANGE_TOKEN_EXPIRED", "NOT_FOUND"),
        )
        for reason in ("Unknown sync continuation type", "")
        for whole in ({}, {"status": 400}, {"status": 404}, {"status": 200})
    ),
    {"name": "reject-token", "code": "", "reason": "", "status": 400},
    {"name": "reject-token", "code": "", "reason": "", "status": 410},
]


async def test_a_token_that_is_refused_in_any_way_is_a_bad_one(
    icloud: ICloud, primary: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icloudfs.apple.icloud._UNEXPLAINED_PAUSE", 0.0)
    token = (await icloud.photos.list_page(primary, Index.ALL, 0)).token
    for refused in REFUSED_TOKENS:
        BUILT.faults.set("changes", **refused)
        (page,) = await icloud.photos.zone_changes("private", [(primary, token)])
        assert page.error is not None, refused
        assert page.error.problem is ZoneProblem.BAD_TOKEN, refused
        assert page.error.code and not page.token and not page.records
        BUILT.faults.clear()


@pytest.mark.parametrize("way", ["400", "404"])
@pytest.mark.parametrize("code", ["", "BAD_REQUEST", "NOT_FOUND"])
async def test_a_call_that_is_refused_without_a_token_too_says_nothing_of_the_token(
    icloud: ICloud, primary: Zone, monkeypatch: pytest.MonkeyPatch, way: str, code: str
) -> None:
    monkeypatch.setattr("icloudfs.apple.icloud._UNEXPLAINED_PAUSE", 0.0)
    BUILT.faults.set("changes", "answer", way=way, code=code, reason="no such field")
    with pytest.raises(CloudKitError):
        await icloud.photos.zone_changes("private", [(primary, "AQ")])
    BUILT.faults.clear()
    BUILT.faults.set("changes", "zone-error", code=code or "BUSY")
    (page,) = await icloud.photos.zone_changes("private", [(primary, "AQ")])
    assert page.error is not None
    # Of a zone, BAD_REQUEST says it outright (facts/cloudkit.md §1.7).
    assert (page.error.problem is ZoneProblem.BAD_TOKEN) == (code == "BAD_REQUEST")


async def test_a_call_refused_for_one_zone_s_token_is_repeated_for_each(
    icloud: ICloud, primary: Zone
) -> None:
    token = (await icloud.photos.list_page(primary, Index.ALL, 0)).token
    nowhere = Zone("private", "SharedSync-00000000")
    BUILT.faults.set("changes", "answer", way="410", call="changes/zone", times=1)
    good, gone = await icloud.photos.zone_changes("private", [(primary, token), (nowhere, token)])
    assert good.error is None and good.token == token
    assert gone.error is not None and gone.error.problem is ZoneProblem.ZONE_GONE


async def test_blank_tokens_are_none() -> None:
    class Blank:
        async def database_call(self, area: Area, path: str, body: Mapping[str, Any]) -> bytes:
            zone = {"zoneID": {"zoneName": "PrimarySync"}, "syncToken": "  ", "records": []}
            return json.dumps({"zones": [zone], "records": [], "syncToken": " "}).encode()

    photos, zone = Photos(Blank()), Zone("private", "PrimarySync")
    assert (await photos.list_page(zone, Index.ALL, 0)).token == ""
    assert (await photos.zone_changes("private", [(zone, "t")]))[0].token == ""
    changed = await photos.database_changes("private")
    assert (changed.token, changed.zones[0].token) == ("", "")


async def test_pages_go_on_at_their_markers(icloud: ICloud, primary: Zone) -> None:
    albums = await albums_of(icloud, primary)
    album = next(album.name for album in albums if album.title == "Everything")
    first = await icloud.photos.members(primary, album, 0)
    assert len(first.records) == 66
    second = await icloud.photos.members(primary, album, 0, first.marker)
    assert second.records == (await icloud.photos.members(primary, album, 66)).records
    page = await icloud.photos.list_page(primary, Index.ALL, 0)
    after = await icloud.photos.list_page(primary, Index.ALL, 0, page.marker)
    straight = await icloud.photos.list_page(primary, Index.ALL, 100)
    assert [r.name for r in after.records] == [r.name for r in straight.records] != []


async def test_the_state_of_the_indexes(icloud: ICloud, primary: Zone) -> None:
    state = await icloud.photos.indexing_state(primary)
    assert state is not None and state.finished and state.progress == 100
    BUILT.faults.switch(indexing=True)
    state = await icloud.photos.indexing_state(primary)
    assert state is not None and (state.state, state.finished) == ("RUNNING", False)
    BUILT.faults.set("query", "answer", way="empty-list", call="indexing")
    assert await icloud.photos.indexing_state(primary) is None


@pytest.mark.parametrize("maximum, refusals", [(50, 0), (49, 1), (13, 2), (1, 5)])
async def test_a_look_up_of_too_many_names_is_halved_for_good(
    icloud: ICloud, primary: Zone, maximum: int, refusals: int
) -> None:
    masters, _ = await everything(icloud, primary)
    names = list(masters)[:50]
    BUILT.faults.switch(lookup_maximum=maximum)

    async def look_up() -> int:
        before = icloud.meter.by_call.get("records/lookup", 0)
        found = await icloud.photos.lookup(primary, names, DOWNLOAD_KEYS)
        assert [record.name for record in found] == names
        return icloud.meter.by_call["records/lookup"] - before

    first, again = await look_up(), await look_up()
    assert first - again == refusals


async def test_a_look_up_of_a_single_name_is_not_halved(icloud: ICloud, primary: Zone) -> None:
    BUILT.faults.switch(lookup_maximum=0)
    with pytest.raises(CloudKitError, match="max size"):
        await icloud.photos.lookup(primary, ["a", "b", "c"])


async def test_look_ups_in_parts(icloud: ICloud, primary: Zone) -> None:
    assert cloudkit.MOST_NAMES == 50
    masters, _ = await everything(icloud, primary)
    before = icloud.meter.by_call.get("records/lookup", 0)
    found = await icloud.photos.lookup(primary, list(masters), DOWNLOAD_KEYS)
    assert [record.name for record in found] == list(masters)
    assert icloud.meter.by_call["records/lookup"] - before == -(-len(masters) // 50)
    assert await icloud.photos.lookup(primary, []) == ()


async def test_a_look_up_of_what_is_not_there(icloud: ICloud, primary: Zone) -> None:
    (nothing,) = await icloud.photos.lookup(primary, ["nothing"])
    assert isinstance(nothing, Refused | Tombstone)


@pytest.mark.parametrize("fault", ["record-error", "missing-url", "missing-filename", "orphans"])
async def test_odd_pages(icloud: ICloud, primary: Zone, fault: str) -> None:
    BUILT.faults.set("query", fault, times=1)
    page = await icloud.photos.list_page(primary, Index.ALL, 0)
    assert page.records
    if fault == "record-error":
        assert isinstance(page.records[0], Refused)


# -- contents --------------------------------------------------------------------------------------


async def fresh(icloud: ICloud, primary: Zone) -> tuple[str, int, str]:
    page = await icloud.photos.list_page(primary, Index.ALL, 0, limit=2)
    names = [record.name for record in page.records if isinstance(record, Master)]
    (record,) = await icloud.photos.lookup(primary, names, DOWNLOAD_KEYS)
    assert isinstance(record, Master)
    original = record.resources["resOriginal"]
    return original.url, original.size, original.checksum


async def read(
    icloud: ICloud, url: str, start: int = 0, stop: int | None = None, size: int | None = None
) -> bytes:
    async with icloud.download(url, start, stop, size=size, idle_timeout=0.5) as content:
        return b"".join([chunk async for chunk in content.chunks()])


async def test_a_content_is_what_its_checksum_says(icloud: ICloud, primary: Zone) -> None:
    url, size, announced = await fresh(icloud, primary)
    whole = await read(icloud, url, size=size)
    assert checksum.of(whole) == announced
    assert await read(icloud, url, 100, 300) == whole[100:300]
    assert await read(icloud, url, size - 10) == whole[-10:]
    BUILT.faults.set("content", "no-range")
    assert await read(icloud, url, 100, 300, size) == whole[100:300]


async def test_expired_addresses(icloud: ICloud, primary: Zone) -> None:
    url, size, _ = await fresh(icloud, primary)
    BUILT.faults.set("content", "gone", times=1)
    with pytest.raises(ExpiredURL):
        await read(icloud, url, size=size)
    with pytest.raises(ContentUnavailable):  # a wrong signature
        await read(icloud, url + "x", size=size)


@pytest.mark.parametrize("fault", ["html", "json", "tiny", "short"])
async def test_contents_that_are_none(icloud: ICloud, primary: Zone, fault: str) -> None:
    url, size, _ = await fresh(icloud, primary)
    BUILT.faults.set("content", fault)
    with pytest.raises(ContentMismatch):
        await read(icloud, url, size=size)


@pytest.mark.parametrize("fault", ["truncate", "stall"])
async def test_contents_that_break_off(icloud: ICloud, primary: Zone, fault: str) -> None:
    url, size, _ = await fresh(icloud, primary)
    BUILT.faults.set("content", fault, after=1000)
    with pytest.raises(Interrupted) as caught:
        await read(icloud, url, size=size)
    assert caught.value.received == 1000


async def test_a_busy_content_is_waited_for(icloud: ICloud, primary: Zone) -> None:
    url, size, _ = await fresh(icloud, primary)
    BUILT.faults.set("content", "status", status=503, retry_after=0.01, times=2)
    assert len(await read(icloud, url, size=size)) == size
    BUILT.faults.set("content", "status", status=503, retry_after=60)
    with pytest.raises(Throttled):
        await read(icloud, url, size=size)


async def test_many_at_once(icloud: ICloud, primary: Zone) -> None:
    masters, _ = await everything(icloud, primary)
    found = await icloud.photos.lookup(primary, list(masters)[:30], DOWNLOAD_KEYS)

    async def one(master: Master) -> None:
        original = master.resources["resOriginal"]
        content = await read(icloud, original.url, size=original.size)
        assert checksum.of(content) == original.checksum

    async with trio.open_nursery() as nursery:
        for record in found:
            if isinstance(record, Master):
                nursery.start_soon(one, record)


# -- the forms of requests -------------------------------------------------------------------------


class Recorder:
    """Takes calls down, and answers each with an empty page or with what it was given."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.calls: list[tuple[Area, str, Any]] = []
        self._answers = list(answers)

    async def database_call(self, area: Area, path: str, body: Mapping[str, Any]) -> bytes:
        self.calls.append((area, path, json.loads(json.dumps(body))))
        answer = self._answers.pop(0) if self._answers else b'{"zones":[],"records":[]}'
        if isinstance(answer, Exception):
            raise answer
        return answer


ZONE = Zone("shared", "SharedSync-1", "_owner")
ZONE_ID = {"zoneName": "SharedSync-1", "ownerRecordName": "_owner"}


async def test_an_empty_token_is_never_sent() -> None:
    recorder = Recorder()
    (found,) = await Photos(recorder).zone_changes("shared", [(ZONE, "")], ["a"])
    await Photos(recorder).database_changes("shared", "")
    assert recorder.calls == [
        (
            "shared",
            "changes/zone",
            {"zones": [{"zoneID": ZONE_ID, "resultsLimit": 200, "desiredKeys": ["a"]}]},
        ),
        ("shared", "changes/database", {}),
        ("shared", "changes/database", {}),
    ]
    assert found.error is not None and found.error.code == "NO_ANSWER"


async def test_the_recorded_form_of_a_listing() -> None:
    recorder = Recorder()
    await Photos(recorder).list_page(ZONE, Index.FAVORITES, 100, keys=["k"])
    assert recorder.calls[0][2] == {
        "query": {
            "filterBy": [
                {
                    "fieldName": "startRank",
                    "fieldValue": {"type": "INT64", "value": 100},
                    "comparator": "EQUALS",
                },
                {
                    "fieldName": "direction",
                    "fieldValue": {"type": "STRING", "value": "ASCENDING"},
                    "comparator": "EQUALS",
                },
                {
                    "fieldName": "smartAlbum",
                    "fieldValue": {"type": "STRING", "value": "FAVORITE"},
                    "comparator": "EQUALS",
                },
            ],
            "recordType": "CPLAssetAndMasterInSmartAlbumByAssetDate",
        },
        "resultsLimit": 200,
        "desiredKeys": ["k"],
        "zoneID": ZONE_ID,
    }


async def test_zones_over_several_pages_without_those_that_are_gone() -> None:
    def page(*names: str, more: bool) -> bytes:
        zones = [{"zoneID": {"zoneName": name}, "deleted": name.endswith("gone")} for name in names]
        return json.dumps({"zones": zones, "moreComing": more, "syncToken": "t"}).encode()

    recorder = Recorder(
        page("PrimarySync", "CMM-1", more=True), page("SharedSync-gone", "SharedSync-2", more=False)
    )
    found = await Photos(recorder).zones("private")
    assert [zone.name for zone in found] == ["PrimarySync", "SharedSync-2"]
    assert recorder.calls[1][2] == {"syncToken": "t"}


async def test_albums_that_cannot_be_listed() -> None:
    refusal = CloudKitError("BAD_REQUEST", "Index has invalid data", status=400)
    assert await Photos(Recorder(refusal)).albums(ZONE) == ()
    with pytest.raises(CloudKitError):
        await Photos(Recorder(refusal)).albums(Zone("private", "PrimarySync"))
    with pytest.raises(CloudKitError):
        await Photos(Recorder(CloudKitError("INTERNAL"))).albums(ZONE)


async def test_a_marker_that_does_not_move_ends_the_albums() -> None:
    album = {"recordName": "a", "recordType": "CPLAlbum", "fields": {"albumType": {"value": 0}}}
    stuck = json.dumps({"records": [album]})
    stuck = stuck[:-1] + ',"continuationMarker":"m"}'
    recorder = Recorder(*[stuck.encode()] * 5)
    assert len(await Photos(recorder).albums(ZONE)) == 2


@pytest.mark.parametrize("left", [{"keep": ["position"]}, {}])
async def test_a_folder_that_does_not_say_that_it_is_one_is_asked(
    icloud: ICloud, world: World, left: dict[str, Any]
) -> None:
    """What is in it would be asked for never."""
    primary = (await icloud.photos.zones("private"))[0]
    expected = await icloud.photos.albums(primary)
    world.sim.faults.set("query", "partial", type="CPLAlbum", **left)
    found = await icloud.photos.albums(primary)
    assert told(found) == told(expected)


def told(albums: Sequence[Album | Refused]) -> dict[str, tuple[str, int]]:
    """Title and kind of each; none may be refused."""
    known = [album for album in albums if isinstance(album, Album)]
    assert len(known) == len(albums)
    return {album.name: (album.title, album.kind) for album in known}
