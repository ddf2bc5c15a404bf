"""The first listing: complete, resumable at any page, right whatever happens meanwhile."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from icloudfs.apple.wire import PRIMARY_ZONE
from icloudfs.errors import IcloudfsError, NoPhotos, Throttled
from icloudfs.simulator import LibraryPlan
from icloudfs.state import catalogue, metadata
from icloudfs.state.database import Database
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
)

LARGE = LibraryPlan(assets=260, seed=5, drawn=False, large_files=False)


async def assert_right(lab: Lab, client: Client) -> None:
    """The client shows what the simulator holds, and what a new client shows."""
    assert_is_what_the_simulator_holds(client, lab.simulator)
    assert albums_shown(client) == albums_held(lab.simulator)
    known = Names(lab.simulator)
    known.note()
    fresh = lab.client()
    await fresh.sync()
    assert_same(client, fresh, known)


@pytest.mark.parametrize("shared", ["none", "private", "shared"])
async def test_a_first_listing_shows_what_the_simulator_holds(tmp_path: Path, shared: str) -> None:
    plan = LibraryPlan(assets=260, seed=5, drawn=False, large_files=False, shared=shared)
    async with lab(tmp_path, plan) as account:
        client = account.client()
        figures = await client.sync()
        assert figures.kind == "listing" and figures.seen >= 260
        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)
        assert len(client.zones) == (1 if shared == "none" else 2)
        for zone in client.zones:
            assert zone.listed and not zone.relisting
            token = metadata.get(client.reader, metadata.sync_token_key(zone.zone.name))
            assert token == account.simulator.cloud.zone(zone.zone.name).token()
        account.calls()
        await client.sync()
        assert account.calls() <= 2


@pytest.mark.parametrize("after_commit", [False, True])
async def test_killed_at_any_transaction_it_goes_on(tmp_path: Path, after_commit: bool) -> None:
    plan = LibraryPlan(assets=230, seed=5, drawn=False, oddities=False, shared="private")
    async with lab(tmp_path, plan) as account:
        client = account.client(connections=1)
        died = 0
        pages = account.asked("records/query")
        while await client.crash_during_sync(1 + died, after_commit=after_commit):
            died += 1
            assert died < 60
        assert died > 5
        pages = account.asked("records/query") - pages
        account.simulator.traffic.reset()
        await assert_right(account, client)
        # The albums' own list is read in every run; no page of photos is stored twice.
        assert pages <= account.asked("records/query") + died * 6


async def test_what_was_listed_is_in_the_database_and_not_in_its_wal_alone(tmp_path: Path) -> None:
    """Minutes of work, which no power cut may undo (tests/state/test_power_cuts.py)."""
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        folded = tmp_path / "folded.db"
        shutil.copy(client.database.path, folded)  # without its WAL
        with closing(Database(folded)) as kept:
            assert all(zone.listed for zone in catalogue.zones(kept.reader))
            count = "SELECT count(*) FROM asset"
            assert kept.reader.execute(count).fetchall() == client.reader.execute(count).fetchall()


async def test_pages_that_are_stored_are_not_asked_for_again(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client(connections=1)
        account.faults.set("*", "status", status=500, skip=9, times=10_000)
        account.icloud.patience = 0
        with pytest.raises(IcloudfsError):
            await client.sync()
        stored = client.reader.execute("SELECT count(*) FROM listed_page").fetchall()[0][0]
        account.faults.clear()
        account.simulator.traffic.reset()
        await client.sync()
        resumed = account.asked("records/query")
        account.simulator.traffic.reset()
        await account.client(connections=1).sync()
        assert isinstance(stored, int) and stored >= 1
        assert resumed <= account.asked("records/query") - stored
        await assert_right(account, client)


async def test_cancelled_it_goes_on(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        for pages in range(1, 12, 2):
            seen = 0
            with trio.CancelScope() as scope:

                def stop(limit: int = pages, scope: trio.CancelScope = scope) -> None:
                    nonlocal seen
                    seen += 1
                    if seen >= limit:
                        scope.cancel()

                client.after_publish = stop
                await client.syncing.run()
            client.check()
        client.after_publish = lambda: None
        await client.sync()
        await assert_right(account, client)
        runs = client.reader.execute(
            "SELECT interrupted, completed_at IS NULL FROM sync_runs"
        ).fetchall()
        assert runs[-1] == (0, 0) and (1, 1) in runs


async def test_the_phone_is_busy_while_we_list(tmp_path: Path) -> None:
    """Photos come and go between pages, so that ranks shift both ways."""
    async with lab(tmp_path, LARGE) as account:
        client = account.client(connections=2)
        zone = account.simulator.cloud.zone("PrimarySync")
        album = next(a.name for a in zone.albums() if a.title == "Best of")

        def act() -> None:
            visible = [name for _, name in zone.ranked("all")]
            account.phone.purge(visible[3])
            account.phone.delete(visible[150])
            account.phone.hide(visible[-2])
            account.phone.favorite(visible[40])
            added = account.phone.add_photo("jpeg", filename="IMG_0500.JPG")
            account.phone.add_to_album(added.asset, album)

        left = 6

        def sometimes() -> None:
            nonlocal left
            if left:
                left -= 1
                act()

        client.after_publish = sometimes
        await client.sync()
        await assert_right(account, client)


@pytest.mark.parametrize("lie", [-1, 1, 150])
async def test_counts_that_lie(tmp_path: Path, lie: int) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", "count", by=lie)
        client = account.client()
        await client.sync()
        account.faults.clear()
        await assert_right(account, client)
        assert all(zone.listed for zone in client.zones)


async def test_records_that_are_refused_are_asked_for_until_they_come(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        account.faults.set("query", "record-error", times=1)
        account.faults.set("lookup", "record-error")
        await client.sync()
        owed = client.reader.execute("SELECT count(*) FROM owed").fetchall()
        assert owed == [(1,)]
        account.faults.clear()
        await client.sync()
        assert client.reader.execute("SELECT count(*) FROM owed").fetchall() == [(0,)]
        await assert_right(account, client)


@pytest.mark.parametrize(
    "fault",
    [("try-again", {"retry_after": 0.01}), ("status", {"status": 503, "retry_after": 0.01})],
)
async def test_a_busy_icloud_is_waited_for(
    tmp_path: Path, fault: tuple[str, dict[str, Any]]
) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.faults.set("query", fault[0], times=5, skip=3, **fault[1])
        client = account.client()
        await client.sync()
        await assert_right(account, client)


async def test_one_error_reaches_the_caller(tmp_path: Path) -> None:
    """Eight connections fail at once, and there is one exception, of the family, not in a group."""
    async with lab(tmp_path, LARGE, patience=0.1) as account:
        account.faults.set("*", "status", status=503, skip=9)
        client = account.client(connections=8)
        with pytest.raises(Throttled):
            await client.sync()
        run = client.reader.execute("SELECT interrupted, error FROM sync_runs").fetchall()
        assert len(run) == 1 and run[0][0] == 1 and run[0][1]


async def test_album_pages_that_are_cut_otherwise(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        account.faults.switch(relations_count=True)
        client = account.client()
        await client.sync()
        await assert_right(account, client)


async def test_every_album_however_deep(tmp_path: Path) -> None:
    """A folder comes before what is in it."""
    async with lab(tmp_path) as account:
        folder: str | None = None
        for depth in range(5):
            folder = account.phone.create_folder(f"Depth {depth}", folder)
        album = account.phone.create_album("Deep", folder)
        photo = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
        account.phone.add_to_album(photo, album)
        client = account.client()
        await client.sync()
        held = {a.name for a in account.simulator.cloud.zone("PrimarySync").albums()}
        assert {name for (name,) in client.reader.execute("SELECT name FROM album")} == held
        await assert_right(account, client)


async def test_more_albums_than_fit_a_page(tmp_path: Path) -> None:
    plan = LibraryPlan(assets=30, seed=2, drawn=False, oddities=False, extra_albums=230)
    async with lab(tmp_path, plan) as account:
        client = account.client()
        await client.sync()
        known = client.reader.execute("SELECT count(*) FROM album WHERE kind = 0").fetchall()
        assert known[0][0] >= 230  # type: ignore[operator]
        await assert_right(account, client)


async def test_progress_is_told(tmp_path: Path) -> None:
    async with lab(tmp_path, LARGE) as account:
        client = account.client()
        await client.sync()
        listing = [p for p in client.progress if p.what == "listing"]
        assert listing and all(p.total and p.done <= p.total for p in listing)


@pytest.mark.parametrize("out, back", [("delete", "restore"), ("hide", "unhide")])
async def test_a_photo_that_comes_back_between_two_lists(
    tmp_path: Path, out: str, back: str
) -> None:
    """It is in neither list any more, and the changes bring it without its master."""
    async with lab(tmp_path) as account:
        asset = account.phone.add_photo("jpeg").asset
        getattr(account.phone, out)(asset)
        client = account.client(connections=1)

        def after_the_first_page() -> None:
            client.after_publish = lambda: None
            getattr(account.phone, back)(asset)

        client.after_publish = after_the_first_page
        await client.sync()
        await client.sync()
        await assert_right(account, client)


async def test_an_account_without_photos_is_no_empty_library(tmp_path: Path) -> None:
    """Said at every run, until photos are switched on; then they come."""
    async with lab(tmp_path, LibraryPlan(assets=12, shared="none", drawn=False)) as account:
        private = account.simulator.cloud.private
        switched_off = private.zones.pop(PRIMARY_ZONE)
        client = account.client()
        for _ in range(2):
            with pytest.raises(NoPhotos, match="no iCloud Photos"):
                await client.sync()
        assert not client.zones
        private.add(switched_off)
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)


async def test_photos_that_are_switched_off_are_no_empty_library(tmp_path: Path) -> None:
    async with lab(tmp_path, LibraryPlan(assets=12, shared="none", drawn=False)) as account:
        client = account.client()
        await client.sync()
        account.simulator.cloud.private.remove(PRIMARY_ZONE)
        for _ in range(2):
            with pytest.raises(NoPhotos):
                await client.sync()


async def test_a_shared_library_alone_is_a_library(tmp_path: Path) -> None:
    async with lab(tmp_path, LibraryPlan(assets=12, shared="shared", drawn=False)) as account:
        account.simulator.cloud.private.remove(PRIMARY_ZONE)
        client = account.client()
        await client.sync()
        assert [zone.zone.area for zone in client.zones] == ["shared"]
