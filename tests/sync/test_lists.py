"""What lists and counts are worth (facts/cloudkit.md §1.12): indexes that are not finished, counts that are too
large or too small, pages that are short or empty, lists that a shared library does not offer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from icloudfs.apple import Index, Zone
from icloudfs.apple.cloudkit import Photos
from icloudfs.apple.decode import Page
from icloudfs.errors import IcloudfsError
from icloudfs.progress import Progress
from icloudfs.simulator import LibraryPlan
from icloudfs.state import metadata
from icloudfs.state.summary import ZoneState, summarise
from icloudfs.sync.listing import Listing
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
    assert_same_records,
)

LARGE = LibraryPlan(assets=260, seed=5, drawn=False, large_files=False, shared="none")
SHARED = LibraryPlan(assets=130, seed=5, drawn=False, large_files=False, shared="shared")
KEY = metadata.sync_token_key("PrimarySync")


def assert_whole(account: Lab, client: Client) -> None:
    """The client shows what the simulator holds, all albums included."""
    assert_is_what_the_simulator_holds(client, account.simulator)
    assert albums_shown(client) == albums_held(account.simulator)


def state(client: Client, zone: str = "PrimarySync") -> ZoneState:
    return next(found for found in summarise(client.reader).zones if found.name == zone)


# -- a library that is still being indexed ---------------------------------------------------------


@pytest.mark.parametrize("word", ["RUNNING", "NOT_FINISHED", "IN_PROGRESS", "SOMETHING ELSE"])
async def test_a_library_that_is_indexed_is_shown_whole(tmp_path: Path, word: str) -> None:
    async with lab(tmp_path, SHARED) as account:
        account.simulator.cloud.index_for(3600, word)
        client = account.client()
        await client.sync()
        assert_whole(account, client)
        assert account.asked("changes/zone") > 0
        for zone in client.zones:
            assert zone.listed
            token = metadata.get(client.reader, metadata.sync_token_key(zone.zone.name))
            assert token == account.simulator.cloud.zone(zone.zone.name).token()
        assert (state(client).indexing, state(client).indexed_percent) == (word, 33)
        assert state(client).excess == state(client).album_excess == 0


async def test_it_says_so_while_it_is_listed(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.simulator.cloud.index_for(3600)
        client = account.client()
        await client.sync()
        told = {step.what for step in client.progress}
        assert "reading the whole history, while iCloud is still indexing the library" in told
        assert "listing, while iCloud is still indexing the library" in told
        history = [p for p in client.progress if p.what.startswith("reading")]
        assert [p.done for p in history] == sorted(p.done for p in history)
        assert history[-1].done > 500 and history[-1].total is None


async def test_lists_are_gone_through_once_more_when_it_is_indexed(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.simulator.cloud.index_for(3600)
        client = account.client()
        await client.sync()
        account.calls()
        figures = await client.sync()
        assert figures.kind == "" and account.calls() <= 3, "asked once more, no list"
        added = account.phone.add_photo("jpeg").asset
        account.simulator.cloud.clock.advance(3601)
        figures = await client.sync()
        assert figures.kind == "listing" and figures.seen >= 260
        assert state(client).indexing is None
        assert_whole(account, client)
        assert client.reader.execute("SELECT 1 FROM asset WHERE name = ?", (added,)).fetchall()
        account.calls()
        figures = await client.sync()
        assert figures.kind == "" and account.calls() <= 2, "that was all"
        fresh = account.client()
        await fresh.sync()
        assert_same_records(client.reader, fresh.reader)


async def test_what_is_said_meanwhile_is_noted(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.simulator.cloud.index_for(3600)
        client = account.client()
        await client.sync()
        account.simulator.cloud.index_for(3600, "IN_PROGRESS")
        await client.sync()
        assert state(client).indexing == "IN_PROGRESS"


async def test_the_next_listing_of_a_library_does_not_ask(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        account.simulator.traffic.reset()
        account.simulator.cloud.index_for(3600)
        account.faults.set("changes", "reject-token", times=1)
        account.phone.add_photo("jpeg")
        await client.sync()
        assert state(client).indexing is None


async def test_a_state_that_is_wrong_costs_a_history_and_no_more(tmp_path: Path) -> None:
    """Sessions that are new hear of other states while lists are whole."""
    async with lab(tmp_path, LARGE) as account:
        account.faults.switch(indexing=True)
        client = account.client()
        await client.sync()
        assert_whole(account, client)
        account.faults.clear()
        await client.sync()
        assert_whole(account, client)
        assert state(client).indexing is None


@pytest.mark.parametrize("way", ["no-list", "empty-list", "error", "html", "400", "404", "500"])
async def test_a_state_that_is_not_told_does_not_matter(tmp_path: Path, way: str) -> None:
    async with lab(tmp_path, LARGE, patience=0.1) as account:
        client = account.client()
        account.faults.set("query", "answer", way=way, call="indexing")
        await client.sync()
        assert_whole(account, client)
        assert state(client).indexing is None


@pytest.mark.parametrize("after_commit", [False, True])
async def test_killed_while_it_reads_the_history_it_goes_on(
    tmp_path: Path, after_commit: bool
) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.simulator.cloud.index_for(3600)
        client = account.client(connections=1)
        died, furthest = 0, 0
        while await client.crash_during_sync(2 + died, after_commit=after_commit):
            died += 1
            assert died < 60
            token = metadata.get(client.reader, metadata.history_token_key("PrimarySync")) or ""
            here = account.simulator.cloud.zone("PrimarySync").position_of(token) if token else 0
            assert here >= furthest or client.zones[0].listed, "it began anew"
            furthest = max(furthest, here)
        assert died > 5 and furthest > 0
        assert_whole(account, client)
        assert metadata.get(client.reader, metadata.history_token_key("PrimarySync")) is None


async def test_indexed_while_it_was_listed(tmp_path: Path) -> None:
    """Some pages of the third, some of the whole."""
    async with lab(tmp_path, LARGE) as account:
        account.simulator.cloud.index_for(3600)
        client = account.client(connections=1)
        pages = 0

        def count() -> None:
            nonlocal pages
            pages += 1
            if pages == 3:
                account.simulator.cloud.index_for(0)

        client.after_publish = count
        await client.sync()
        client.after_publish = lambda: None
        assert_whole(account, client)
        await client.sync()
        assert state(client).indexing is None
        assert_whole(account, client)


# -- counts ----------------------------------------------------------------------------------------


async def calls_of_a_listing(account: Lab, client: Client) -> int:
    account.calls()
    await client.sync()
    return account.calls()


async def test_counts_that_are_too_large_do_not_list_the_library_again(tmp_path: Path) -> None:
    plan = LibraryPlan(assets=1500, seed=5, drawn=False, large_files=False, shared="none")
    async with lab(tmp_path, plan) as account:
        honest = await calls_of_a_listing(account, account.client())
        account.faults.set("query", "count", percent=30)
        client = account.client()
        calls = await calls_of_a_listing(account, client)
        zone = account.simulator.cloud.zone("PrimarySync")
        albums = [len(zone.ranked_members(a.name)) for a in zone.albums() if not a.deleted]
        indexes = [len(zone.ranked(name)) for name in ("all", "bursts", "hidden", "deleted")]
        # What is counted behind the end of each list, and one look more.
        looks = sum(1 + n * 3 // 10 // 100 for n in indexes if n)
        looks += sum(1 + n * 3 // 10 // 66 for n in albums if n)
        # Where the photos of a list end, a second answer has to say so, and then the rest is believed.
        assert calls <= honest + looks + 12, (calls, honest, looks)
        visible = len(zone.ranked("all"))
        assert state(client).excess >= int(visible * 0.3) > 0
        assert state(client).album_excess > 0
        assert metadata.get(client.reader, KEY)
        account.calls()
        figures = await client.sync()
        assert figures.kind == "" and account.calls() <= 2, "incremental from then on"
        assert_whole(account, client)


@pytest.mark.parametrize("lie", [-1, -150, -10_000, 1, 150, 1000])
async def test_counts_that_are_wrong(tmp_path: Path, lie: int) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", "count", by=lie)
        client = account.client()
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
        if lie > -100:  # an album that is said to be empty is believed to be
            assert_whole(account, client)
        assert (state(client).excess > 0) == (lie > 0)
        assert metadata.get(client.reader, KEY)


@pytest.mark.parametrize("lie", [0, 40])
@pytest.mark.parametrize("action", ["purge", "delete", "hide"])
async def test_what_a_deletion_makes_slip_through_is_found(
    tmp_path: Path, action: str, lie: int
) -> None:
    """The first photo of a page moves to the end of the page before, which is read already."""
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", "count", by=lie, percent=0)
        client = account.client(connections=1)
        zone = account.simulator.cloud.zone("PrimarySync")
        slipping = zone.ranked("all")[100][1]

        def after_the_first_page() -> None:
            client.after_publish = lambda: None
            getattr(account.phone, action)(zone.ranked("all")[50][1])

        client.after_publish = after_the_first_page
        await client.sync()
        assert client.reader.execute("SELECT 1 FROM asset WHERE name = ?", (slipping,)).fetchall()
        assert_whole(account, client)


async def test_a_photo_that_goes_while_one_looks_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is shorter by it, and has nothing behind as many photos as are here, though one is missing."""
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", "count", by=40, percent=0)
        client = account.client(connections=1)
        zone = account.simulator.cloud.zone("PrimarySync")
        slipping = zone.ranked("all")[100][1]
        looks = Listing._look
        looked = 0

        def after_the_first_page() -> None:
            client.after_publish = lambda: None
            account.phone.purge(zone.ranked("all")[50][1])

        async def look(self: Listing, index: Index, *where: int, **how: int) -> bool:
            nonlocal looked
            if index is Index.ALL and not how:
                looked += 1
                if looked == 1:
                    account.phone.purge(zone.ranked("all")[60][1])
            return bool(await looks(self, index, *where, **how))  # type: ignore[arg-type]

        monkeypatch.setattr(Listing, "_look", look)
        client.after_publish = after_the_first_page
        await client.sync()
        assert client.reader.execute("SELECT 1 FROM asset WHERE name = ?", (slipping,)).fetchall()
        assert_whole(account, client)
        assert looked > 1


@pytest.mark.parametrize("lie", [0, 40])
async def test_what_slips_through_a_list_of_hidden_photos_is_found(
    tmp_path: Path, lie: int
) -> None:
    async with lab(tmp_path, LARGE) as account:
        zone = account.simulator.cloud.zone("PrimarySync")
        for _, name in zone.ranked("all")[:150]:
            account.phone.hide(name)
        account.faults.set("query", "count", by=lie, percent=0)
        client = account.client(connections=1)
        first = zone.ranked("hidden")[0][1]

        def when_the_first_is_here() -> None:
            if client.reader.execute("SELECT 1 FROM asset WHERE name = ?", (first,)).fetchall():
                client.after_publish = lambda: None
                account.phone.unhide(first)

        client.after_publish = when_the_first_is_here
        await client.sync()
        assert_whole(account, client)


@pytest.mark.parametrize("lie", [0, 40])
async def test_a_member_that_slips_through_is_found(tmp_path: Path, lie: int) -> None:
    async with lab(tmp_path, LARGE) as account:
        zone = account.simulator.cloud.zone("PrimarySync")
        album = next(a.name for a in zone.albums() if a.title == "Everything")
        first = zone.ranked_members(album)[0].name
        account.faults.set("query", "count", by=lie, percent=0)
        client = account.client(connections=1)
        query = "SELECT 1 FROM relation WHERE album = ? AND asset = ?"

        def when_the_first_is_here() -> None:
            if client.reader.execute(query, (album, first)).fetchall():
                client.after_publish = lambda: None
                account.phone.remove_from_album(first, album)

        client.after_publish = when_the_first_is_here
        await client.sync()
        assert client.after_publish.__name__ == "<lambda>"
        assert_whole(account, client)


async def test_counts_that_are_too_large_while_the_phone_is_busy(tmp_path: Path) -> None:
    """The library changes, and nothing slips through: it is not listed again for that."""
    async with lab(tmp_path, LARGE) as account:
        honest = await calls_of_a_listing(account, account.client(connections=1))
        account.faults.set("query", "count", percent=30)
        client = account.client(connections=1)

        def once() -> None:
            client.after_publish = lambda: None
            account.phone.add_photo("jpeg")

        client.after_publish = once
        albums = len(client.reader.execute("SELECT 1 FROM album").fetchall())
        calls = await calls_of_a_listing(account, client)
        assert_whole(account, client)
        albums = len(client.reader.execute("SELECT 1 FROM album WHERE kind = 0").fetchall())
        assert calls <= honest + albums + 17


@pytest.mark.parametrize("lie", [100_000, 10**15, 10**18])
async def test_counts_that_promise_anything_are_no_storm(tmp_path: Path, lie: int) -> None:
    async with lab(tmp_path, SHARED) as account:
        client = account.client()
        await client.sync()
        honest = account.calls()
        account.faults.set("query", "count", by=lie)
        client = account.client()
        await client.sync()
        assert account.calls() < honest + 600
        assert_whole(account, client)
        account.faults.clear()
        await client.sync()
        assert_whole(account, client)


LOST = ("null", "absent", "refused", "nothing")
"""Counts that are missing."""


@pytest.mark.parametrize("told", [*LOST, 0, 1, 66, 99, 100, 101, 200, 1000])
async def test_a_count_that_is_lost_loses_no_photo(tmp_path: Path, told: object) -> None:
    """Of the library and of every album, with a marker on a full page and without one. What is missing is said,
    and no more once it is counted."""
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        account.faults.set("query", "count", told=told)
        account.faults.switch(markers=isinstance(told, int) and told % 2 == 0)
        figures = await client.sync()
        assert_whole(account, client)
        assert (len(figures.refused) == 1) == (told in LOST), figures.refused
        assert ("counts" in "".join(figures.refused)) == (told in LOST)
        account.faults.clear()
        account.days_later += 1
        figures = await client.sync()
        assert figures.refused == []
        assert_whole(account, client)


async def test_an_album_is_empty_if_its_count_and_its_list_say_so(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        album = account.phone.create_album("Nothing yet")
        account.faults.set("*", "answer", call="members", parent=album, way="403")
        figures = await account.client().sync()
        assert len(figures.refused) == 1 and "Nothing yet" in figures.refused[0]


# -- pages -----------------------------------------------------------------------------------------

GAPS: list[dict[str, Any]] = [{"at": 100}, {"at": 60, "length": 10}, {"at": 120, "length": 250}]


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("lie", [0, 500])
@pytest.mark.parametrize("gap", GAPS, ids=str)
async def test_a_gap_is_no_end(
    tmp_path: Path, gap: dict[str, Any], lie: int, markers: bool
) -> None:
    if not markers and not lie and gap.get("length", 100) > 100:
        lie = 300  # whose end is not to be seen by count nor marker: the count holds it, as gaps do
    async with lab(tmp_path, LARGE) as account:
        account.faults.switch(markers=markers)
        account.faults.set("query", "gap", **gap)
        account.faults.set("query", "count", by=lie, percent=0)
        client = account.client()
        await client.sync()
        assert_whole(account, client)


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_pages_that_come_empty_once_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """The last pages, though nothing that came tells that photos are there."""
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", "count", by=300, percent=0)
        truth, emptied = Photos.list_page, set()

        async def once_empty(self: Photos, zone: Zone, index: Index, rank: int, *more: Any) -> Page:
            page = await truth(self, zone, index, rank, *more)
            if index is Index.ALL and rank >= 300 - 100 * lost and rank and rank not in emptied:
                emptied.add(rank)
                return msgspec.structs.replace(page, records=(), marker="")
            return page

        monkeypatch.setattr(Photos, "list_page", once_empty)
        client = account.client()
        await client.sync()
        assert emptied
        assert_whole(account, client)


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("first", [0, 4])
async def test_pages_that_are_shorter_than_asked_for(
    tmp_path: Path, first: int, markers: bool
) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.faults.switch(markers=markers)
        account.faults.set("query", "short-page", skip=first, positions=37)
        client = account.client()
        await client.sync()
        assert_whole(account, client)
        account.faults.clear()
        fresh = account.client()
        await fresh.sync()
        known = Names(account.simulator)
        known.note()
        assert_same(client, fresh, known)


async def test_album_pages_hold_66_photos(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        assert_whole(account, client)
        assert max(albums_shown(client).values()) == 1
        assert len(albums_shown(client)) > 132, "an album of three pages"


# -- a shared library ------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["private", "shared"])
async def test_what_a_shared_library_does_not_list_comes_from_its_history(
    tmp_path: Path, shared: str
) -> None:
    plan = LibraryPlan(assets=130, seed=5, drawn=False, large_files=False, shared=shared)
    async with lab(tmp_path, plan) as account:
        zone = next(z for z in account.simulator.cloud.zones() if z.name.startswith("SharedSync-"))
        hidden, deleted, *_ = [name for _, name in zone.ranked("all")]
        account.phone.hide(hidden)
        account.phone.delete(deleted)
        client = account.client()
        await client.sync()
        assert_whole(account, client)
        rows = client.reader.execute(
            "SELECT a.name FROM asset a JOIN zone z ON z.id = a.zone WHERE z.name = ?"
            " AND (a.hidden OR a.deleted)",
            (zone.name,),
        ).fetchall()
        assert {hidden, deleted} <= {name for (name,) in rows}
        account.calls()
        await client.sync()
        assert account.calls() <= 2


async def test_a_shared_library_that_lists_all_costs_no_history(tmp_path: Path) -> None:
    async with lab(tmp_path, SHARED) as account:
        for generous in (True, False):
            account.faults.switch(shared_lists=generous)
            client = account.client()
            await client.sync()
            told = {step.what for step in client.progress}
            assert ("reading the whole history" in told) == (not generous)


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        {"name": "answer", "way": "410", "call": "changes/zone"},
        {"name": "answer", "way": "400", "code": "SYNC_TOKEN_EXPIRED", "call": "changes/zone"},
        {"name": "reject-token", "code": "SYNC_TOKEN_EXPIRED"},
        {"name": "reject-token", "code": "INVALID_SYNC_TOKEN"},
    ],
    ids=str,
)
async def test_a_token_that_is_refused_leads_to_a_new_listing(
    tmp_path: Path, refusal: dict[str, Any]
) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        account.phone.add_photo("jpeg")
        account.faults.set("changes", times=1, **refusal)
        figures = await client.sync()
        assert "listing" in figures.kind
        assert_whole(account, client)
        account.calls()
        await client.sync()
        assert account.calls() <= 2


async def test_a_first_page_without_a_token_costs_a_history(tmp_path: Path) -> None:
    """Nothing tells where the changes since then begin."""
    async with lab(tmp_path, LARGE) as account:
        client = account.client(connections=1)
        account.faults.set("query", "blank-token")

        def once() -> None:
            client.after_publish = lambda: None
            account.phone.favorite(account.simulator.cloud.zone("PrimarySync").ranked("all")[3][1])

        client.after_publish = once
        await client.sync()
        assert "reading the whole history" in {step.what for step in client.progress}
        assert_whole(account, client)
        assert metadata.get(client.reader, KEY)
        assert (await client.sync()).kind in ("", "changes")


async def test_changes_without_a_token_do_not_go_round_in_circles(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        for _ in range(210):
            account.phone.add_photo("jpeg")
        token = metadata.get(client.reader, KEY)
        account.faults.set("changes", "blank-token")
        account.calls()
        await client.sync()
        assert account.calls() < 120
        assert metadata.get(client.reader, KEY) == token
        account.faults.clear()
        account.days_later = 1  # its changes were refused, and it is asked for them again
        await client.sync()
        assert_whole(account, client)


async def test_progress_of_an_ordinary_listing_says_nothing_of_indexes(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        assert {step.what for step in client.progress if isinstance(step, Progress)} <= {
            "listing",
            "names",
        }


async def test_an_interrupted_listing_looks_behind_a_page_that_was_not_the_last(
    tmp_path: Path,
) -> None:
    """The count was right when a full page was stored, and is too small when the listing goes on."""
    async with lab(tmp_path, LARGE, patience=0) as account:
        client = account.client(connections=1)
        account.faults.set("*", "status", status=500, skip=7)
        with pytest.raises(IcloudfsError):
            await client.sync()
        account.faults.clear()
        assert client.reader.execute("SELECT 1 FROM listed_page").fetchall()
        account.faults.set("query", "count", by=-10_000)
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
