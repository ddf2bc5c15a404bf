"""A record that comes with fewer fields than were asked for never empties what is known: it is looked up."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from tests.sync.account import SMALL, Client, Lab, lab
from tests.sync.comparing import (
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same_records,
)

KINDS = pytest.mark.parametrize("kind", ["CPLAsset", "CPLMaster", "CPLAlbum"])
LEFT: dict[str, dict[str, Any]] = {
    "no fields at all": {},
    "empty fields": {"keep": []},
    # What a browser was seen to be given (facts/cloudkit.md §1.12), and what a shared album sends (§1.7).
    "a few fields": {"keep": ["isFavorite", "addedDate", "position", "itemType"]},
    "fields that nobody asked for": {"keep": ["lastSharedDate", "shareCount"]},
}
PARTS = pytest.mark.parametrize("left", LEFT)


def touch_everything(account: Lab) -> None:
    """Let every photo, file and album come again in the changes, one photo with a new date."""
    zone = account.simulator.cloud.zone("PrimarySync")
    for asset in list(zone.assets()):
        account.phone.touch(asset.name)
        if zone.master(asset.master) is not None:
            account.phone.touch(asset.master)
    for album in zone.albums():
        account.phone.touch(album.name)


def entries(client: Client) -> dict[tuple[object, object], object]:
    rows = client.reader.execute("SELECT parent, name, ino FROM dirent")
    return {(parent, name): ino for parent, name, ino in rows}


def owed(client: Client) -> int:
    ((count,),) = client.reader.execute("SELECT count(*) FROM owed")
    return int(str(count))


async def assert_right(account: Lab, client: Client) -> None:
    account.faults.clear()
    account.days_later = 1  # what was refused is asked for again after a pause
    await client.sync()
    assert owed(client) == 0
    assert_is_what_the_simulator_holds(client, account.simulator)
    assert albums_shown(client) == albums_held(account.simulator)
    fresh = account.client()
    await fresh.sync()
    assert_same_records(client.reader, fresh.reader)


@KINDS
@PARTS
async def test_in_changes_it_is_looked_up(tmp_path: Path, kind: str, left: str) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        before = entries(client)
        lost: set[object] = set()
        client.after_publish = lambda: lost.update(before.keys() - entries(client).keys())
        touch_everything(account)
        account.faults.set("changes", "partial", type=kind, **LEFT[left])
        account.simulator.traffic.reset()
        await client.sync()
        client.after_publish = lambda: None
        assert not lost and entries(client) == before, "nothing left the tree, not for a moment"
        assert owed(client) == 0
        assert account.asked("records/lookup") >= 1
        await assert_right(account, client)


@KINDS
@PARTS
async def test_until_the_look_up_is_whole_what_is_known_stays(
    tmp_path: Path, kind: str, left: str
) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        before = entries(client)
        touch_everything(account)
        for call in ("changes", "lookup"):
            account.faults.set(call, "partial", type=kind, **LEFT[left])
        for _ in range(2):
            await client.sync()
            assert entries(client) == before
            assert owed(client) > 0
        await assert_right(account, client)
        assert entries(client) == before


@KINDS
@pytest.mark.parametrize("way", ["one by one", "400", "403", "404", "500"])
async def test_while_the_look_up_is_refused_what_is_known_stays(
    tmp_path: Path, kind: str, way: str
) -> None:
    async with lab(tmp_path, patience=0.1) as account:
        client = account.client()
        await client.sync()
        before = entries(client)
        touch_everything(account)
        account.faults.set("changes", "partial", type=kind, keep=[])
        if way == "one by one":
            for _ in range(200):
                account.faults.set("lookup", "record-error", code="ACCESS_DENIED", times=1)
        else:
            account.faults.set("lookup", "answer", way=way)
        with suppress(IcloudfsError):
            await client.sync()
        client.check()
        assert entries(client) == before
        assert owed(client) > 0
        await assert_right(account, client)


@pytest.mark.parametrize("call", ["query", "lookup", "changes"])
@PARTS
async def test_in_a_first_listing(tmp_path: Path, call: str, left: str) -> None:
    async with lab(
        tmp_path, LibraryPlan(assets=60, seed=4, drawn=False, large_files=False)
    ) as account:
        client = account.client()
        account.faults.set(call, "partial", times=8, **LEFT[left])
        await client.sync()
        await assert_right(account, client)


@PARTS
async def test_when_all_is_listed_again(tmp_path: Path, left: str) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        before = entries(client)
        lost: set[object] = set()
        client.after_publish = lambda: lost.update(before.keys() - entries(client).keys())
        account.faults.set("query", "partial", **LEFT[left])
        await client.syncing.run(relist=True)
        client.after_publish = lambda: None
        client.check()
        assert not lost
        await assert_right(account, client)


async def test_a_part_does_not_show_what_is_hidden_or_deleted(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        zone = account.simulator.cloud.zone("PrimarySync")
        hidden, deleted = (name for _, name in zone.ranked("all")[:2])
        account.phone.hide(hidden)
        account.phone.delete(deleted)
        client = account.client()
        await client.sync()
        account.phone.touch(hidden)
        account.phone.touch(deleted)
        for call in ("changes", "lookup"):
            account.faults.set(call, "partial", keep=["addedDate", "orientation"])
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
        await assert_right(account, client)


async def test_what_a_part_tells_is_known_at_once(tmp_path: Path) -> None:
    """A photo that is hidden must not stay in sight because its record cannot be had."""
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        hidden = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
        account.phone.hide(hidden)
        for call in ("changes", "lookup"):
            account.faults.set(call, "partial", keep=["isHidden"])
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
        await assert_right(account, client)


async def test_an_edit_that_is_undone_and_a_title_that_is_taken_away(tmp_path: Path) -> None:
    """Their fields are left out, too: a look-up says that there is nothing behind it."""
    async with lab(tmp_path, SMALL) as account:
        client = account.client()
        asset = account.phone.add_photo("jpeg", caption="Sea", keywords=("sun",)).asset
        account.phone.edit(asset)
        await client.sync()
        account.phone.revert(asset)
        account.phone.caption(asset, "")
        account.phone.keywords(asset, ())
        await client.sync()
        assert owed(client) == 0
        await assert_right(account, client)


async def test_a_photo_that_is_restored_is_believed_at_once(tmp_path: Path) -> None:
    """``isDeleted`` is left out when it is not so: no look-up is needed for that."""
    async with lab(tmp_path) as account:
        client = account.client()
        asset = account.simulator.cloud.zone("PrimarySync").ranked("all")[0][1]
        for act in (account.phone.delete, account.phone.restore):
            act(asset)
            await client.sync()
        account.simulator.traffic.reset()
        for act in (account.phone.delete, account.phone.restore):
            act(asset)
            await client.sync()
            assert_is_what_the_simulator_holds(client, account.simulator)
        assert account.asked("records/lookup") == 0
