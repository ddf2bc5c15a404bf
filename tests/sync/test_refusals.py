"""One refused part never holds back the rest (DESIGN §1, P11 and P12).

Every kind of call is answered in every wrong way, once and for ever, in a first listing and in changes.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from icloudfs.apple import cloudkit, icloud
from icloudfs.errors import IcloudfsError, LoginNeeded, Offline, Throttled
from icloudfs.simulator import LibraryPlan, database
from icloudfs.state import catalogue, metadata, refusals
from icloudfs.state.refusals import NOT_ASKED
from icloudfs.state.summary import RefusedPart, Summary, summarise
from icloudfs.sync import changes
from icloudfs.sync.refusals import FIRST_PAUSE, LONGEST_PAUSE
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
)

PLAN = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="private")
OTHERS = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="shared")

CALLS = (
    "changes/database",
    "changes/zone",
    "counts",
    "indexing",
    *(f"list:{index}" for index in ("all", "bursts", "hidden", "deleted")),
    "albums",
    "folder",
    "members",
    "lookup",
)
WAYS = ("no-list", "403", "404", "421", "500", "silence")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.0)
    monkeypatch.setattr(changes, "_PAUSE", 0.0)


def status(client: Client) -> Summary:
    return summarise(client.reader)


def failing(client: Client) -> list[RefusedPart]:
    """What is refused but for what a shared library does not offer."""
    return [part for part in status(client).refused if not part.harmless]


def refused(client: Client) -> set[str]:
    """The kinds of these parts."""
    return {
        part.part if part.part.startswith("list:") else part.part.partition(":")[0]
        for part in failing(client)
    }


def shared_zone(account: Lab) -> str:
    zones = account.simulator.cloud.zones()
    return next(zone.name for zone in zones if zone.name.startswith("SharedSync"))


def shown(client: Client) -> Counter[object]:
    """Every file in every place."""
    return Counter(client.reader.execute("SELECT parent, name, ino FROM dirent").fetchall())


async def later(account: Lab, client: Client, minutes: float = 61) -> None:
    """A sync when every pause is over."""
    account.days_later += minutes / 1440
    await client.sync()


def of_the_library(account: Lab, held: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Without the photos of other libraries."""
    own = {asset.name for asset in account.simulator.cloud.zone("PrimarySync").assets()}
    return Counter({place: count for place, count in held.items() if place[1] in own})


def assert_right(account: Lab, client: Client) -> None:
    assert_is_what_the_simulator_holds(client, account.simulator)
    assert albums_shown(client) == albums_held(account.simulator)
    assert failing(client) == [] and status(client).refused_records == 0
    assert all(zone.listed and zone.has_token for zone in status(client).zones)


def act(account: Lab) -> None:
    """On the phone: one of everything."""
    phone = account.phone
    photos = [name for _, name in account.simulator.cloud.zone("PrimarySync").ranked("all")]
    phone.add_photo("jpeg")
    phone.favorite(photos[3])
    phone.hide(photos[4])
    phone.delete(photos[5])
    phone.purge(photos[6])
    album = phone.create_album("New", phone.create_folder("Box"))
    phone.add_to_album(photos[0], album)


# -- once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["no-list", "403", "silence"])
@pytest.mark.parametrize("call", CALLS)
async def test_once_in_a_first_listing(tmp_path: Path, call: str, way: str) -> None:
    async with lab(tmp_path, PLAN) as account:
        account.faults.set("*", "answer", call=call, way=way, times=1)
        client = account.client()
        await client.sync()
        if failing(client):
            await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize(
    "call", ["changes/database", *(f"list:{i}" for i in ("all", "bursts", "hidden", "deleted"))]
)
async def test_an_empty_first_page_once(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN) as account:
        account.faults.set("*", "answer", call=call, way="empty-list", times=1)
        client = account.client()
        await client.sync()
        assert_right(account, client)


@pytest.mark.parametrize(
    "call", ["albums", "folder", "members", "lookup", "counts", "changes/zone"]
)
async def test_an_empty_list_once(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN) as account:
        account.faults.set("*", "answer", call=call, way="empty-list", times=1)
        client = account.client()
        await client.sync()
        assert_right(account, client)


async def test_a_library_that_the_first_look_leaves_out_is_found_by_the_second(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path, PLAN) as account:
        shared = account.simulator.cloud.zone(shared_zone(account))
        private = account.simulator.cloud.private
        looks = 0
        truth = private.changed_since

        def short(token: str | None) -> object:
            nonlocal looks
            looks += 1
            changed, removed = truth(token)
            return ([z for z in changed if looks > 1 or z is not shared], removed)

        private.changed_since = short  # type: ignore[method-assign, assignment]
        client = account.client()
        await client.sync()
        assert looks > 1
        assert_right(account, client)


@pytest.mark.parametrize("way", ["no-list", "400", "403", "500", "silence"])
@pytest.mark.parametrize(
    "call", ["changes/database", "changes/zone", "lookup", "counts", "members"]
)
async def test_once_in_changes(tmp_path: Path, call: str, way: str) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        act(account)
        account.faults.set("*", "answer", call=call, way=way, times=1)
        await client.sync()
        if failing(client):
            await later(account, client)
        assert_right(account, client)


# -- for ever --------------------------------------------------------------------------------------

NAMED = {
    "changes/database": "libraries",
    "changes/zone": "changes",
    "list:all": "list:ALL",
    "list:bursts": "list:BURSTS",
    "list:hidden": "list:HIDDEN",
    "list:deleted": "list:RECENTLY_DELETED",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", [call for call in CALLS if call != "lookup"])
async def test_for_ever_in_a_first_listing(tmp_path: Path, call: str, way: str) -> None:
    """Everything else is there, what is refused is named; and when it is given, it comes."""
    async with lab(tmp_path, PLAN, patience=0.2) as account:
        account.faults.switch(shared_lists=True)
        account.faults.set("*", "answer", call=call, way=way)
        client = account.client()
        figures = await client.sync()
        assert refused(client) == {NAMED.get(call, call)}
        assert figures.refused == [f"{part.told} ({part.code})" for part in failing(client)]
        assert status(client).runs[0].refused == figures.refused
        assert all(zone.listed for zone in status(client).zones)
        assert_is_what_the_simulator_holds(client, account.simulator)
        shown_there, held = albums_shown(client), albums_held(account.simulator)
        if call in ("albums", "folder"):
            assert shown_there < held
        elif call == "changes/zone":
            # Photos of the shared library in own albums are in no list (facts/cloudkit.md §1.12).
            assert shown_there == of_the_library(account, held) < held
        else:
            # A list that is refused is in the history, which is refused alone here.
            assert shown_there == held
        assert account.icloud.person_needed is None

        act(account)
        await client.sync()
        if call not in ("changes/zone", "albums", "folder", "members"):
            assert_is_what_the_simulator_holds(client, account.simulator)

        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize("way", WAYS)
async def test_look_ups_that_are_refused_for_ever(tmp_path: Path, way: str) -> None:
    async with lab(tmp_path, PLAN, patience=0.2) as account:
        account.faults.set("query", "record-error", times=1)
        account.faults.set("*", "answer", call="lookup", way=way)
        client = account.client()
        await client.sync()
        assert refused(client) == {"lookup"}
        assert all(zone.listed for zone in status(client).zones)
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize("way", ["403", "500"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_refused_zone_does_not_hold_back_the_other(
    tmp_path: Path, call: str, way: str
) -> None:
    async with lab(tmp_path, OTHERS, patience=0.2) as account:
        zone = shared_zone(account)
        if call == "changes/database":
            zone = ""
        account.faults.set("*", "answer", call=call, way=way, zone=zone)
        client = account.client()
        await client.sync()
        act(account)
        await client.sync()
        personal = status(client).zones[0]
        assert personal.name == "PrimarySync" and personal.listed and personal.has_token
        if call != "changes/database":
            assert all(part.zone == zone for part in failing(client))
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize("way", ["403", "404", "500"])
async def test_a_zone_that_is_refused_altogether(tmp_path: Path, way: str) -> None:
    """Whatever is asked of it; then everything else is there, and it is listed when it is given."""
    async with lab(tmp_path, OTHERS, patience=0.2) as account:
        zone = shared_zone(account)
        account.faults.set("*", "answer", way=way, zone=zone)
        client = account.client()
        await client.sync()
        personal, shared = status(client).zones
        assert personal.listed and not shared.listed and shared.photos == 0
        named = {part.part for part in failing(client) if part.zone == zone}
        assert {"library", "changes", "list:ALL"} <= named
        account.calls()
        await client.sync()
        assert account.calls() <= 2, "nothing is asked of it until its time has come"
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


async def test_one_refused_folder_and_one_refused_album(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        phone = account.phone
        photos = [name for _, name in account.simulator.cloud.zone("PrimarySync").ranked("all")]
        folder = phone.create_folder("Box")
        inside = phone.create_album("Inside", folder)
        beside = phone.create_album("Beside")
        for album in (inside, beside):
            phone.add_to_album(photos[0], album)
        account.faults.set("*", "answer", call="folder", parent=folder, way="404")
        account.faults.set("*", "answer", call="members", parent=beside, way="400", code="X")
        client = account.client()
        await client.sync()
        told = {part.told for part in failing(client)}
        assert told == {
            "the folder 'Box' of PrimarySync",
            "the photos in the album 'Beside' of PrimarySync",
        }
        missing = albums_held(account.simulator) - albums_shown(client)
        # The members of an album are in the history, too, which an album that counts more has read.
        assert {path for path, _ in missing} == {"Box/Inside"}
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


async def test_nothing_that_is_known_goes_while_it_is_refused(tmp_path: Path) -> None:
    """The library is listed anew, and lists, folders and members are refused."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        before = shown(client)
        for call in ("list:hidden", "folder", "members", "list:deleted", "counts"):
            account.faults.set("*", "answer", call=call, way="403")
        await client.syncing.run(relist=True)
        client.check()
        assert shown(client) == before
        account.faults.clear()
        account.faults.set("*", "answer", call="lookup", way="400")
        account.phone.purge(account.simulator.cloud.zone("PrimarySync").ranked("all")[3][1])
        await client.syncing.run(relist=True)
        client.check()
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


# -- pauses ----------------------------------------------------------------------------------------


async def test_the_pauses_grow_and_are_kept(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        account.faults.set(
            "*", "answer", call="list:hidden", zone="PrimarySync", way="400", code="X"
        )
        client = account.client()
        await client.sync()
        pauses = []
        for _ in range(9):
            (refusal,) = (r for r in refusals.refusals(client.reader) if not r.harmless)
            pauses.append(refusal.next_at - account.now())
            account.simulator.traffic.reset()
            await client.sync()
            client.restart()
            await client.sync()
            assert not [c for c in account.simulator.traffic.log if c.name == "list:hidden"]
            await later(account, client, (refusal.next_at - account.now()) / 60_000 + 0.01)
        assert refusal.tries == 9 and refusal.code == "X"
        assert FIRST_PAUSE * 0.9 < pauses[0] <= FIRST_PAUSE
        assert all(one <= other * 1.05 for one, other in pairwise(pauses))
        assert pauses[-1] <= LONGEST_PAUSE and pauses[-1] > LONGEST_PAUSE * 0.9
        assert refusal.since < account.now() - LONGEST_PAUSE
        account.faults.clear()
        await client.syncing.run(relist=True)
        assert_right(account, client)


async def test_sixty_refused_albums_are_no_storm(tmp_path: Path) -> None:
    plan = LibraryPlan(assets=30, seed=2, drawn=False, oddities=False, shared="none")
    async with lab(tmp_path, plan, patience=0.2) as account:
        photo = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
        for number in range(60):
            account.phone.add_to_album(photo, account.phone.create_album(f"Album {number}"))
        account.faults.set("*", "answer", call="members", way="503")
        client = account.client(connections=2)
        await client.sync()
        asked = [c for c in account.simulator.traffic.log if c.name == "members"]
        assert len(asked) <= 20
        codes = Counter(part.code for part in failing(client))
        assert codes[NOT_ASKED] > codes["BUSY"] > 0
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


# -- what is no matter of a part -------------------------------------------------------------------


@pytest.mark.parametrize(
    "way, error",
    [
        ("401", LoginNeeded),
        ("421", LoginNeeded),
        ("450", LoginNeeded),
        ("503", Throttled),
        ("silence", Offline),
        ("html", IcloudfsError),
        ("error", IcloudfsError),
        ("400", IcloudfsError),
    ],
)
@pytest.mark.parametrize("skip", [0, 9])
async def test_where_everything_is_refused_the_run_ends(
    tmp_path: Path, way: str, error: type[IcloudfsError], skip: int
) -> None:
    async with lab(tmp_path, PLAN, patience=0.2) as account:
        for kind in ("query", "changes", "lookup"):
            account.faults.set(kind, "answer", way=way, skip=0 if kind != "query" else skip)
        client = account.client()
        with pytest.raises(error):
            await client.sync()
        assert status(client).refused == []
        account.faults.clear()
        if error is LoginNeeded:
            account.icloud._person_needed = None
        await client.sync()
        assert_right(account, client)


@pytest.mark.parametrize("way", ["400", "403", "404", "500"])
async def test_a_shared_area_that_was_never_given_is_no_failure(tmp_path: Path, way: str) -> None:
    plan = LibraryPlan(assets=10, seed=3, drawn=False, oddities=False, shared="none")
    async with lab(tmp_path, plan, patience=0.2) as account:
        path = "shared/changes/database"
        account.faults.set("changes", "status", status=int(way), path=path)
        client = account.client()
        figures = await client.sync()
        (part,) = status(client).refused
        assert part.harmless and (part.area, part.zone, part.part) == ("shared", "", "libraries")
        assert figures.refused == []
        account.faults.clear()
        await later(account, client)
        assert status(client).refused == []


async def test_a_shared_area_that_was_given_is_followed_without_its_list(tmp_path: Path) -> None:
    async with lab(tmp_path, OTHERS) as account:
        client = account.client()
        await client.sync()
        zone = shared_zone(account)
        account.faults.set("changes", "status", status=403, path="shared/changes/database")
        account.phone.add_photo("jpeg", zone=zone)
        figures = await client.sync()
        assert len(figures.refused) == 1
        assert_is_what_the_simulator_holds(client, account.simulator)
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


async def test_a_list_that_a_shared_library_does_not_offer_is_no_failure(tmp_path: Path) -> None:
    async with lab(tmp_path, OTHERS) as account:
        zone = shared_zone(account)
        for call in ("list:hidden", "list:deleted", "list:bursts"):
            account.faults.set("*", "answer", call=call, zone=zone, way="400", code="BAD_REQUEST")
        client = account.client()
        figures = await client.sync()
        assert figures.refused == []
        assert {p.part for p in status(client).refused if p.harmless} == {
            "list:HIDDEN",
            "list:RECENTLY_DELETED",
            "list:BURSTS",
        }
        assert_is_what_the_simulator_holds(client, account.simulator)


async def test_a_history_that_is_refused_is_read_when_it_is_given(tmp_path: Path) -> None:
    """A shared library does not offer its list of hidden photos, and its changes are refused, too."""
    async with lab(tmp_path, OTHERS) as account:
        zone = shared_zone(account)
        account.phone.hide(account.simulator.cloud.zone(zone).ranked("all")[0][1])
        account.faults.set("*", "answer", call="changes/zone", zone=zone, way="403")
        client = account.client()
        await client.sync()
        assert refused(client) >= {"changes", "list:HIDDEN"}
        account.calls()
        await client.sync()
        assert account.calls() <= 2
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize("call", ["list:all", "members"])
async def test_a_library_is_not_gone_because_one_call_says_so(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN) as account:
        account.faults.set("*", "answer", call=call, way="404", code="ZONE_NOT_FOUND")
        client = account.client()
        await client.sync()
        assert {zone.listed for zone in client.zones} == {True}
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


async def test_a_library_is_not_gone_because_its_change_log_says_so(tmp_path: Path) -> None:
    """The list of libraries has it: nothing that is known of it goes, and what is refused is named."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        before = shown(client)
        act(account)
        account.faults.set("changes", "zone-error", code="ZONE_NOT_FOUND")
        await client.sync()
        assert before <= shown(client)
        assert "changes" in refused(client)
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


@pytest.mark.parametrize("way", ["bad-name", "403", "error"])
@pytest.mark.parametrize("call", ["zones/list", "changes/zone"])
async def test_a_library_that_is_gone_is_asked_for_until_two_calls_say_so(
    tmp_path: Path, call: str, way: str
) -> None:
    """That it is gone is announced once, and one of the two is refused just then."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        shared = next(zone.zone.name for zone in client.zones if zone.zone.name != "PrimarySync")
        account.phone.remove_shared_zone(shared)
        account.faults.set("*", "answer", call=call, way=way)
        await client.sync()
        assert len(client.zones) == 2
        assert "changes" in refused(client)
        account.faults.clear()
        await later(account, client)
        assert [zone.zone.name for zone in client.zones] == ["PrimarySync"]
        assert_right(account, client)


async def test_an_album_that_is_refused_in_its_list_is_listed_when_it_is_given(
    tmp_path: Path,
) -> None:
    """It may be a folder, with albums in it that no change will tell of."""
    async with lab(tmp_path, PLAN) as account:
        folder = account.phone.create_folder("Box")
        inner = account.phone.create_folder("Inner", folder)
        photo = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
        for number in range(3):
            album = account.phone.create_album(f"Day {number}", inner)
            account.phone.add_to_album(photo, album)
        account.faults.set("query", "record-error", path="records/query")
        account.faults.set("lookup", "record-error")
        client = account.client()
        await client.sync()
        assert {"albums", "folder"} <= refused(client)
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


async def test_what_one_answer_kept_back_is_found_within_a_day(tmp_path: Path) -> None:
    """A new photo, and a library that is gone: the answer that would have told said that nothing changed."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        shared = next(zone.zone.name for zone in client.zones if zone.zone.name != "PrimarySync")
        added = account.phone.add_photo()
        account.phone.remove_shared_zone(shared)
        account.faults.set("*", "answer", call="changes/database", way="empty-list", times=2)
        await client.sync()
        await client.sync()
        assert len(client.zones) == 2
        account.days_later += 1
        await client.sync()
        assert [zone.zone.name for zone in client.zones] == ["PrimarySync"]
        assert client.reader.execute(
            "SELECT 1 FROM asset WHERE name = ?", (added.asset,)
        ).fetchall()
        assert_right(account, client)


async def test_a_token_is_kept_only_with_the_changes_it_stands_for(tmp_path: Path) -> None:
    """The changes that changes/database announced were refused: they are asked for though nothing new is."""
    async with lab(tmp_path, PLAN, patience=0.2) as account:
        client = account.client()
        await client.sync()
        act(account)
        account.faults.set("*", "answer", call="changes/zone", way="500")
        await client.sync()
        assert refused(client) == {"changes"}
        assert metadata.get(client.reader, "sync_token:PrimarySync")
        account.faults.clear()
        await later(account, client)
        assert_right(account, client)


# -- records ---------------------------------------------------------------------------------------


async def test_records_that_are_refused_for_ever_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three thousand that are refused do not starve one that is given."""
    truth = database._refused
    refusal = {"serverErrorCode": "ACCESS_DENIED", "reason": "no"}
    monkeypatch.setattr(database, "_refused", lambda name, code: truth(name, code) | refusal)
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        zone = client.zones[0].id
        asset = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]

        def owe(connection: apsw.Connection) -> None:
            for name in (*(f"{n:04}-refused" for n in range(3000)), f"~{asset}", asset):
                catalogue.owe(connection, zone, name, "refused")

        client.database.write_now(owe)
        runs = 0
        while asset in {name for (name,) in client.reader.execute("SELECT name FROM owed")}:
            runs += 1
            assert runs < 20, "it is starved"
            account.simulator.traffic.reset()
            await client.sync()
            assert account.asked("records/lookup") <= 8, "two hundred more only if one came"
        assert status(client).refused_records >= 200
        assert failing(client) == []
        figures = await client.sync()
        assert figures.owed == status(client).refused_records
