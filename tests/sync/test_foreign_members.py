"""Photos of the shared library in own albums (facts/cloudkit.md §1.12)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.zone import Zone
from icloudfs.state import metadata
from icloudfs.state.refusals import refusals
from icloudfs.tree.directory import Directory
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
)

AREAS = pytest.mark.parametrize("area", ["private", "shared"])


def plan(shared: str) -> LibraryPlan:
    return LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared=shared)


def shared_zone(account: Lab) -> Zone:
    return next(z for z in account.simulator.cloud.zones() if z.name.startswith("SharedSync"))


def album(account: Lab, title: str) -> str:
    zone = account.simulator.cloud.zone("PrimarySync")
    return next(a.name for a in zone.albums() if a.title == title)


def shown(client: Client, title: str) -> set[str]:
    return {asset for path, asset in albums_shown(client) if path == title}


async def assert_right(account: Lab, client: Client, known: Names | None = None) -> None:
    assert_is_what_the_simulator_holds(client, account.simulator)
    assert albums_shown(client) == albums_held(account.simulator)
    known = known or Names(account.simulator)
    known.note()
    fresh = account.client()
    await fresh.sync()
    assert_same(client, fresh, known)


@AREAS
async def test_a_first_listing_shows_them(tmp_path: Path, area: str) -> None:
    async with lab(tmp_path, plan(area)) as account:
        client = account.client()
        await client.sync()
        theirs = {asset.name for asset in shared_zone(account).assets()}
        assert shown(client, "Together") <= theirs and len(shown(client, "Together")) == 5
        assert len(shown(client, "Best of") & theirs) == 3 and shown(client, "Best of") - theirs
        await assert_right(account, client)
        account.calls()
        await client.sync()
        assert account.calls() <= 2


async def test_they_are_the_files_of_the_shared_library(tmp_path: Path) -> None:
    """One inode in both, with the name that it has there."""
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        directory = Directory(client.reader)
        together = directory.at("Albums/Together")
        assert together is not None
        for name, inode in directory.page(together.ino, 0, 100):
            places = directory.places(inode.ino)
            home = [path for path in places if path.startswith("Shared Library/")]
            assert [path.rpartition("/")[2] for path in home] == [name.decode()]
            assert inode.nlink == len(places) >= 2


async def test_the_history_is_read_once(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        read = "SELECT relations_read, listing FROM zone WHERE name = 'PrimarySync'"
        ((once, listing),) = client.reader.execute(read)
        assert once == listing
        account.simulator.traffic.reset()
        hidden = next(iter(shown(client, "Best of")))
        for act in (account.phone.hide, account.phone.unhide):
            act(hidden)
            await client.sync()
        # A count that no list and no history explains is looked at, and believed.
        account.faults.set("query", "count", by=2)
        account.phone.hide(hidden)
        account.phone.unhide(hidden)
        await client.sync()
        assert account.asked("changes/zone") <= 8
        await assert_right(account, client)


async def test_without_a_shared_library_no_history_is_read(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("none")) as account:
        account.faults.set("query", "count", by=2)
        client = account.client()
        await client.sync()
        ((read,),) = client.reader.execute("SELECT relations_read FROM zone")
        assert read == 0


async def test_albums_without_them_need_no_history(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("none")) as account:
        zone = account.phone.create_shared_zone()
        account.phone.add_photo("jpeg", zone=zone)
        client = account.client()
        await client.sync()
        read = "SELECT relations_read FROM zone WHERE name = 'PrimarySync'"
        assert client.reader.execute(read).fetchall() == [(0,)]


@AREAS
async def test_one_comes_and_goes(tmp_path: Path, area: str) -> None:
    async with lab(tmp_path, plan(area)) as account:
        client = account.client()
        await client.sync()
        best = album(account, "Best of")
        added = account.phone.add_photo("live", zone=shared_zone(account).name)
        await client.sync()
        account.phone.add_to_album(added.asset, best)
        await client.sync()
        assert added.asset in shown(client, "Best of")
        account.phone.remove_from_album(added.asset, best)
        await client.sync()
        assert added.asset not in shown(client, "Best of")
        both = account.phone.add_photo("jpeg", zone=shared_zone(account).name, albums=[best])
        await client.sync()
        assert both.asset in shown(client, "Best of")
        await assert_right(account, client)


@pytest.mark.parametrize("traceless", [False, True])
@AREAS
async def test_a_photo_that_is_moved_stays_in_its_album(
    tmp_path: Path, area: str, traceless: bool
) -> None:
    """Under its plain name, there and back."""
    async with lab(tmp_path, plan(area)) as account:
        zone = shared_zone(account).name
        client = account.client()
        trip = account.phone.create_album("Trip")
        moved = account.phone.add_photo("jpeg", filename="MOVED.JPG", favorite=1).asset
        account.phone.add_to_album(moved, trip)
        await client.sync()
        known = Names(account.simulator)
        for there, top in ((zone, "Shared Library"), ("PrimarySync", "Library")) * 2:
            known.note()
            account.phone.move(moved, there, traceless=traceless)
            await client.sync()
            assert shown(client, "Trip") == {moved}
            directory = Directory(client.reader)
            found = directory.at("Albums/Trip/MOVED.JPG")
            assert found is not None
            assert any(path.startswith(f"{top}/") for path in directory.places(found.ino))
        await assert_right(account, client, known)


async def test_one_whose_photo_is_nowhere_is_kept_and_costs_no_look_up(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        nowhere = [
            name
            for (name,) in client.reader.execute(
                "SELECT asset FROM relation WHERE asset NOT IN (SELECT name FROM asset)"
            )
        ]
        assert len(nowhere) == 1
        assert client.reader.execute("SELECT count(*) FROM owed").fetchall() == [(0,)]
        assert account.asked("records/lookup") == 0
        account.phone.favorite(next(iter(shown(client, "Best of"))))
        await client.sync()
        # Nor when all is listed again: the history tells that it is still there.
        await client.syncing.run(relist=True)
        client.check()
        assert account.asked("records/lookup") == 0
        assert client.reader.execute(
            "SELECT count(*) FROM relation WHERE asset = ?", (nowhere[0],)
        ).fetchall() == [(1,)]
        await assert_right(account, client)


async def test_what_left_an_album_while_the_token_was_lost(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        together = album(account, "Together")
        gone, stays = sorted(shown(client, "Together"))[:2]
        account.phone.remove_from_album(gone, together)
        added = account.phone.add_photo("jpeg", zone=shared_zone(account).name)
        account.phone.add_to_album(added.asset, together)
        client.database.write_now(
            lambda c: metadata.put(c, metadata.sync_token_key("PrimarySync"), "garbage")
        )
        await client.sync()
        assert gone not in shown(client, "Together")
        assert {stays, added.asset} <= shown(client, "Together")
        await assert_right(account, client)


async def test_a_history_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("private")) as account:
        account.phone.compact(6)
        added = account.phone.add_photo("jpeg", zone=shared_zone(account).name)
        account.phone.add_to_album(added.asset, album(account, "Together"))
        client = account.client(connections=1)
        key = metadata.relations_token_key("PrimarySync")
        reached: list[str | None] = []
        for _ in range(3):
            with trio.CancelScope() as scope:

                def stop(scope: trio.CancelScope = scope) -> None:
                    reached.append(metadata.get(client.reader, key))
                    if reached[-1] not in (None, *reached[:-1]):
                        scope.cancel()

                client.after_publish = stop
                await client.syncing.run()
            assert scope.cancelled_caught
            client.check()
        client.after_publish = lambda: None
        await client.sync()
        assert metadata.get(client.reader, key) is None
        assert len(shown(client, "Together")) == 6
        await assert_right(account, client)


@pytest.mark.parametrize("way", ["400", "403", "404"])
async def test_a_history_that_is_refused_is_asked_for_again(tmp_path: Path, way: str) -> None:
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        # The first two are the replays of the two listings.
        account.faults.set("changes", "answer", way=way, call="changes/zone", skip=2, times=4)
        try:
            await client.sync()
        except IcloudfsError:
            client.check()
        account.faults.clear()
        account.days_later = 1
        await client.sync()
        assert len(shown(client, "Together")) == 5
        await assert_right(account, client)


async def test_a_history_that_is_needed_no_more_is_not_refused_any_more(tmp_path: Path) -> None:
    """It was to tell which of them stay while the library was listed again, and then the counts told."""
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        account.phone.add_photo("jpeg")
        client.database.write_now(
            lambda c: metadata.put(c, metadata.sync_token_key("PrimarySync"), "garbage")
        )
        account.faults.set("*", "answer", call="changes/zone", way="403", skip=1, times=5)
        await client.sync()
        assert "history" in {one.part.part for one in refusals(client.reader)}
        account.faults.clear()
        account.days_later = 1
        await client.sync()
        await client.sync()
        assert [one for one in refusals(client.reader) if not one.harmless] == []
        await assert_right(account, client)


async def test_a_shared_library_that_comes_later(tmp_path: Path) -> None:
    """The account has it from the beginning, and iCloud tells of it only in the second run."""
    async with lab(tmp_path, plan("shared")) as account:
        client = account.client()
        for path in ("shared/changes/database", "shared/zones/list"):
            account.faults.set("*", "answer", way="403", path=path)
        await client.sync()
        assert not shown(client, "Together")
        account.faults.clear()
        account.days_later = 1
        await client.sync()
        assert len(shown(client, "Together")) == 5
        await assert_right(account, client)


async def test_a_shared_library_that_goes(tmp_path: Path) -> None:
    async with lab(tmp_path, plan("private")) as account:
        client = account.client()
        await client.sync()
        account.phone.remove_shared_zone()
        await client.sync()
        assert not shown(client, "Together")
        await assert_right(account, client)
