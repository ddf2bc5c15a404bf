"""Incremental sync: every delta of facts/cloudkit.md §1.7 reaches the tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan, Phone
from icloudfs.state import metadata
from tests.sync.account import SMALL, Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
)

WITH_SHARED = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="private")
KEY = "sync_token:PrimarySync"

Action = Callable[[Phone, str], object]

ACTIONS: dict[str, list[Action]] = {
    "add": [lambda phone, _: phone.add_photo("jpeg")],
    "live": [lambda phone, _: phone.add_photo("live")],
    "burst": [lambda phone, _: phone.add_burst()],
    "edit and revert": [lambda phone, a: phone.edit(a), lambda phone, a: phone.revert(a)],
    "favourite and back": [lambda phone, a: phone.favorite(a), lambda p, a: p.unfavorite(a)],
    "hide and back": [lambda phone, a: phone.hide(a), lambda phone, a: phone.unhide(a)],
    "delete and restore": [lambda phone, a: phone.delete(a), lambda phone, a: phone.restore(a)],
    "delete and restore as null": [
        lambda phone, a: phone.delete(a),
        lambda phone, a: phone.restore(a, as_null=True),
    ],
    "delete and purge": [lambda phone, a: phone.delete(a), lambda phone, a: phone.purge(a)],
    "duplicate, purge the first": [lambda p, a: p.duplicate(a), lambda phone, a: phone.purge(a)],
    "redate": [lambda phone, a: phone.redate(a, -1000, 7200)],
    "title": [lambda phone, a: phone.caption(a, "Sunset")],
    "post": [lambda phone, a: phone.post(a)],
    "same again": [lambda phone, a: phone.touch(a)],
    "share": [lambda phone, a: phone.share(a)],
    "unshare": [lambda phone, a: phone.unshare(phone.share(a).asset)],
    "empty pages": [lambda phone, a: phone.compact(3), lambda phone, a: phone.favorite(a)],
}


async def assert_right(lab: Lab, client: Client, known: Names | None = None) -> None:
    assert_is_what_the_simulator_holds(client, lab.simulator)
    assert albums_shown(client) == albums_held(lab.simulator)
    if known is None:
        known = Names(lab.simulator)
    known.note()
    fresh = lab.client()
    await fresh.sync()
    assert_same(client, fresh, known)


def visible(lab: Lab, rank: int = 0) -> str:
    return lab.simulator.cloud.zone("PrimarySync").ranked("all")[rank][1]


@pytest.mark.parametrize("what", ACTIONS)
async def test_an_action_reaches_the_tree(tmp_path: Path, what: str) -> None:
    async with lab(tmp_path, WITH_SHARED) as account:
        client = account.client()
        await client.sync()
        known = Names(account.simulator)
        asset = visible(account, 5)
        for action in ACTIONS[what]:
            action(account.phone, asset)
            known.note()
            account.calls()
            figures = await client.sync()
            assert figures.kind == "changes"
            assert account.calls() <= 7
            assert_is_what_the_simulator_holds(client, account.simulator)
        await assert_right(account, client, known)


async def test_albums(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client, phone = account.client(), account.phone
        await client.sync()
        known = Names(account.simulator)

        async def follow() -> None:
            known.note()
            await client.sync()
            assert albums_shown(client) == albums_held(account.simulator)

        folder = phone.create_folder("Folder")
        album = phone.create_album("Trip", folder)
        await follow()
        phone.add_to_album(visible(account), album)
        await follow()
        phone.rename_album(folder, "Box")
        await follow()
        phone.move_album(album, None)
        await follow()
        phone.move_album(album, folder)
        phone.add_to_album(visible(account, 1), album)
        phone.remove_from_album(visible(account), album)
        await follow()
        twin = phone.create_album("Trip", folder)
        phone.add_to_album(visible(account, 2), twin)
        await follow()
        phone.delete_album(album)
        await follow()
        phone.delete_album(twin, for_good=True)
        await follow()
        await assert_right(account, client, known)


async def test_a_photo_that_was_hidden_when_we_listed_comes_back_into_its_albums(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path) as account:
        phone = account.phone
        album = phone.create_album("Trip")
        for rank in range(3):
            phone.add_to_album(visible(account, rank), album)
        hidden, deleted = visible(account, 0), visible(account, 1)
        phone.hide(hidden)
        phone.delete(deleted)
        client = account.client()
        await client.sync()
        phone.unhide(hidden)
        phone.restore(deleted)
        await client.sync()
        await assert_right(account, client)
        account.calls()
        await client.sync()
        assert account.calls() <= 2


@pytest.mark.parametrize("area", ["private", "shared"])
async def test_a_shared_library_comes_and_goes(tmp_path: Path, area: str) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        zone = account.phone.create_shared_zone(mine=area == "private")
        for _ in range(3):
            account.phone.add_photo("jpeg", zone=zone)
        await client.sync()
        assert {z.zone.area for z in client.zones} == {"private", area}
        await assert_right(account, client)
        account.phone.add_photo("live", zone=zone)
        await client.sync()
        await assert_right(account, client)
        account.phone.remove_shared_zone(zone)
        await client.sync()
        assert len(client.zones) == 1
        assert metadata.get(client.reader, metadata.sync_token_key(zone)) is None
        await assert_right(account, client)


@pytest.mark.parametrize("theirs", [False, True])
async def test_a_shared_album_is_no_library(tmp_path: Path, theirs: bool) -> None:
    """Nothing shows them yet: their zones come and go, and are never asked for (facts/cloudkit.md §1.13)."""
    async with lab(tmp_path) as account:
        client, sharing = account.client(), account.phone.sharing
        album = sharing.create_shared_album("Garden", theirs=theirs)
        await client.sync()
        zones = client.zones

        async def nothing_new() -> None:
            account.calls()
            await client.sync()
            assert account.calls() == 2
            assert client.zones == zones
            await assert_right(account, client)

        asset = sharing.add_to_shared_album(album, "live")
        await nothing_new()
        sharing.remove_from_shared_album(album, asset)
        sharing.rename_shared_album(album, "Balcony")
        await nothing_new()
        sharing.leave_shared_album(album)
        await nothing_new()


async def test_a_library_that_went_while_the_databases_token_was_lost(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        zone = account.phone.create_shared_zone()
        account.phone.add_photo("jpeg", zone=zone)
        await client.sync()
        account.phone.remove_shared_zone(zone)
        client.database.write_now(
            lambda c: metadata.remove(c, metadata.database_token_key("private"))
        )
        await client.sync()
        assert len(client.zones) == 1
        await assert_right(account, client)


async def test_a_library_that_goes_while_it_is_listed(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        zone = account.phone.create_shared_zone()
        for _ in range(3):
            account.phone.add_photo("jpeg", zone=zone)
        account.faults.set("*", "status", status=500, skip=12)
        account.icloud.patience = 0
        with pytest.raises(IcloudfsError):
            await client.sync()
        account.faults.clear()
        account.phone.remove_shared_zone(zone)
        await client.sync()
        assert len(client.zones) == 1
        await assert_right(account, client)


@pytest.mark.parametrize("bad", ["garbage", "truncated", "of another zone", "of a database"])
async def test_a_rejected_token_lists_again(
    tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that still exists leaves the tree meanwhile, and what is gone leaves at the end."""
    async with lab(tmp_path, WITH_SHARED) as account:
        client = account.client()
        await client.sync()
        known = Names(account.simulator)
        known.note()
        zone = account.simulator.cloud.zone("PrimarySync")
        shared = next(z for z in account.simulator.cloud.zones() if z.name.startswith("SharedSync"))
        album = next(a.name for a in zone.albums() if a.title == "Best of")
        in_album = zone.ranked_members(album)[0].name
        account.phone.purge(visible(account, 3))
        account.phone.hide(in_album)
        token = {
            "garbage": "garbage",
            "truncated": zone.token()[:20],
            "of another zone": shared.token(),
            "of a database": account.simulator.cloud.private.token(),
        }[bad]
        client.database.write_now(lambda c: metadata.put(c, KEY, token))
        before = dict(client.reader.execute("SELECT ino, nlink FROM inode"))

        def nothing_leaves() -> None:
            now = dict(client.reader.execute("SELECT ino, nlink FROM inode"))
            gone.update(before.keys() - now.keys())

        gone: set[int] = set()
        client.after_publish = nothing_leaves
        figures = await client.sync()
        client.after_publish = lambda: None
        assert "listing" in figures.kind
        assert "PrimarySync" in caplog.text
        assert len(gone) <= 4, "the files of one photo, and a directory perhaps"
        await assert_right(account, client, known)
        account.phone.unhide(in_album)
        await client.sync()
        await assert_right(account, client, known)


async def test_a_second_listing_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    async with lab(tmp_path, WITH_SHARED) as account:
        client = account.client(connections=1)
        await client.sync()
        account.phone.purge(visible(account, 3))
        client.database.write_now(lambda c: metadata.put(c, KEY, "garbage"))
        died = 0
        while await client.crash_during_sync(2 + died, after_commit=died % 2 == 0):
            died += 1
            account.phone.favorite(visible(account, died))
        assert died > 3
        await client.sync()
        await assert_right(account, client)


async def test_a_token_that_is_refused_twice(tmp_path: Path) -> None:
    """The listing's own token is refused, too: its changes wait until they are given."""
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        account.faults.set("changes", "reject-token", times=2)
        account.phone.favorite(visible(account))
        figures = await client.sync()
        assert len(figures.refused) == 1 and "changes" in figures.refused[0]
        account.phone.purge(visible(account, 1))
        account.days_later = 1
        figures = await client.sync()
        assert figures.refused == []
        await assert_right(account, client)


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "split"},
        {"name": "empty-page", "times": 20},
        {"name": "record-error", "times": 1},
        {"name": "try-again", "times": 2, "retry_after": 0.01},
        {"name": "status", "status": 503, "times": 2, "retry_after": 0.01},
        {"name": "drop", "times": 1},
        {"name": "zone-error", "times": 1},
    ],
    ids=lambda fault: str(fault["name"]),
)
async def test_changes_survive(tmp_path: Path, fault: dict[str, object]) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        for number in range(110):
            account.phone.add_photo("jpeg", filename=f"N{number}.JPG")
        account.phone.favorite(visible(account, 3))
        account.faults.set("changes", **fault)  # type: ignore[arg-type]
        for _ in range(3):
            try:
                await client.sync()
            except IcloudfsError:
                client.check()
        account.faults.clear()
        await client.sync()
        await assert_right(account, client)


async def test_a_log_that_leads_nowhere_ends(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        account.phone.favorite(visible(account))
        account.faults.set("changes", "empty-page")
        account.calls()
        await client.sync()
        assert account.calls() < 100
        account.faults.clear()
        account.days_later = 1
        await client.sync()
        await assert_right(account, client)


@pytest.mark.parametrize("after_commit", [False, True])
async def test_page_and_token_are_one(tmp_path: Path, after_commit: bool) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        for number in range(250):
            account.phone.add_photo("jpeg", filename=f"N{number}.JPG")
        died = 0
        while await client.crash_during_sync(2, after_commit=after_commit):
            died += 1
            zone = account.simulator.cloud.zone("PrimarySync")
            token = metadata.get(client.reader, KEY)
            assert token is not None
            told = [r.name for r in zone.changes(zone.position_of(token), 10_000).rows]
            stored = {n for (n,) in client.reader.execute("SELECT name FROM asset")}
            missing = {a.name for a in zone.assets()} - stored
            assert missing <= set(told), "a photo is behind the token and not here"
            if died > 20:
                break
        await client.sync()
        await assert_right(account, client)


async def test_photos_stop_being_recent_without_a_record(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        account.phone.add_photo("jpeg")
        await client.sync()
        assert b"Recent" in _tops(client)
        account.days_later = 31
        await client.sync()
        assert b"Recent" not in _tops(client)


def _tops(client: Client) -> set[object]:
    return {name for (name,) in client.reader.execute("SELECT name FROM dirent WHERE parent = 1")}


async def test_the_order_of_members_and_photos_in_small_pages(tmp_path: Path) -> None:
    async with lab(tmp_path, SMALL) as account:
        client = account.client()
        await client.sync()
        album = account.phone.create_album("Trip")
        for _ in range(120):
            account.phone.add_photo("live", filename="IMG_0001.HEIC", albums=[album])
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)
