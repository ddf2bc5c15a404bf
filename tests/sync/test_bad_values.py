"""A value that is none costs its field or its record, and never the page around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from icloudfs.apple import cloudkit
from icloudfs.simulator.faults import BAD_VALUES
from icloudfs.state import metadata
from icloudfs.state.refusals import refusals
from icloudfs.sync import changes
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same_records,
)

SOME = ("no number", "lone surrogate", "nesting")
"""Of BAD_VALUES: not JSON, not UTF-8, and not to be read by going down. All are in ``test_lenient``."""
KEY = metadata.sync_token_key("PrimarySync")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(changes, "_PAUSE", 0.0)


def owed(client: Client) -> list[str]:
    return [str(name) for (name,) in client.reader.execute("SELECT name FROM owed")]


def refused(client: Client) -> set[str]:
    return {one.part.part for one in refusals(client.reader) if not one.harmless}


def token(client: Client) -> str | None:
    return metadata.get(client.reader, KEY)


def photos(account: Lab) -> list[str]:
    return [name for _, name in account.simulator.cloud.zone("PrimarySync").ranked("all")]


def favorites(client: Client) -> set[str]:
    rows = client.reader.execute("SELECT name FROM asset WHERE favorite = 1")
    return {str(name) for (name,) in rows}


def act(account: Lab) -> set[str]:
    """On the phone: two photos become favourites that were none; all that are then."""
    zone = account.simulator.cloud.zone("PrimarySync")
    names = [name for name in photos(account) if not zone.asset(name).favorite]
    for name in names[:2]:
        account.phone.favorite(name)
    return {asset.name for asset in zone.assets() if asset.favorite}


async def assert_right(account: Lab, client: Client) -> None:
    account.faults.clear()
    account.days_later += 1  # what was refused is asked for again after a pause
    figures = await client.sync()
    assert figures.refused == [] and owed(client) == []
    assert_is_what_the_simulator_holds(client, account.simulator)
    assert albums_shown(client) == albums_held(account.simulator)
    fresh = account.client()
    await fresh.sync()
    assert_same_records(client.reader, fresh.reader)


async def test_in_a_field_it_costs_the_field_until_it_is_looked_up(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        for value in BAD_VALUES:
            marked = act(account)
            bad: dict[str, Any] = {"way": "bad-value", "value": value, "times": 1}
            account.faults.set("*", "answer", call="changes/zone", **bad)
            figures = await client.sync()
            assert figures.refused == [] and figures.owed == 0, value
            assert favorites(client) == marked, value
        await assert_right(account, client)


async def test_in_a_field_of_a_first_listing(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        for value in SOME:
            bad: dict[str, Any] = {"way": "bad-value", "value": value, "times": 1}
            for call in ("list:all", "albums", "members", "counts", "indexing"):
                account.faults.set("*", "answer", call=call, **bad)
            client = account.client()
            figures = await client.sync()
            assert figures.refused == [] and figures.owed == 0, value
            assert_is_what_the_simulator_holds(client, account.simulator)
        await assert_right(account, client)


async def test_a_record_that_cannot_be_read_is_owed(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        for value in SOME:
            marked = act(account)
            for key in ("recordType", "fields", "deleted"):
                bad: dict[str, Any] = {"way": "bad-value", "key": key, "value": value}
                for call in ("changes/zone", "lookup"):
                    account.faults.set("*", "answer", call=call, **bad)
                account.phone.touch(photos(account)[-1])
                figures = await client.sync()
                assert figures.owed >= 1 and figures.refused == [], (value, key)
                assert not list(missing_from(client, account)), (value, key)
                account.faults.clear()
            await client.sync()
            assert favorites(client) == marked and not owed(client), value
        await assert_right(account, client)


async def test_without_a_name_it_is_asked_for_once_more(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        bad: dict[str, Any] = {"way": "bad-name", "times": 1}
        account.faults.set("*", "answer", call="list:all", **bad)
        figures = await client.sync()
        assert figures.refused == []
        for value in SOME:
            marked = act(account)
            account.faults.set("*", "answer", call="changes/zone", value=value, **bad)
            figures = await client.sync()
            assert figures.refused == [] and favorites(client) == marked, value
        await assert_right(account, client)


async def test_behind_a_record_without_a_name_no_token_is_kept(tmp_path: Path) -> None:
    """What comes with it and behind it is shown all the same, again after a restart, and it is named."""
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        before = token(client)
        marked = act(account)
        account.faults.set("*", "answer", way="bad-name", call="changes/zone")
        figures = await client.sync()
        assert refused(client) == {"changes"} and "changes" in figures.refused[0]
        assert token(client) == before
        assert len(marked - favorites(client)) == 1
        album = account.phone.create_album("Later")
        account.phone.add_to_album(photos(account)[0], album)
        account.days_later += 1
        client.restart()
        await client.sync()
        assert token(client) == before and refused(client) == {"changes"}
        assert ("Later",) in client.reader.execute("SELECT title FROM album").fetchall()
        await assert_right(account, client)
        assert favorites(client) >= marked and token(client) != before


@pytest.mark.parametrize("call", ["list:all", "list:hidden", "members", "albums", "changes/zone"])
async def test_a_first_listing_with_a_record_without_a_name(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path) as account:
        account.phone.hide(photos(account)[0])
        account.faults.set("*", "answer", way="bad-name", call=call)
        if call == "changes/zone":  # which is read if a list is not whole
            account.faults.set("*", "answer", way="bad-name", call="list:all")
        client = account.client()
        figures = await client.sync()
        assert figures.refused
        if call.startswith("list:"):
            assert_is_what_the_simulator_holds(client, account.simulator)
        await assert_right(account, client)


def missing_from(client: Client, account: Lab) -> Iterator[str]:
    known = {str(n) for (n,) in client.reader.execute("SELECT name FROM asset")}
    for asset in account.simulator.cloud.zone("PrimarySync").assets():
        if asset.name not in known:
            yield asset.name


@pytest.mark.parametrize("call", ["changes/database", "changes/zone", "list:all"])
async def test_around_the_records_it_costs_no_record(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path) as account:
        for key in ("syncToken", "moreComing", "reason", "zoneID", "continuationMarker"):
            account.faults.set("*", "answer", way="bad-value", key=key, call=call)
            client = account.client()
            await client.sync()
            assert not list(missing_from(client, account)), key
            marked = act(account)
            account.phone.add_photo()
            await client.sync()
            if (call, key) != ("changes/zone", "zoneID"):
                assert not list(missing_from(client, account)), key
                assert favorites(client) == marked, key
            else:
                assert refused(client) == {"changes"}
            account.faults.clear()
        await assert_right(account, client)


async def test_a_library_without_a_name_is_named_as_missing(tmp_path: Path) -> None:
    async with lab(tmp_path) as account:
        client = account.client()
        await client.sync()
        marked = act(account)
        account.faults.set("*", "answer", way="bad-name", call="changes/database")
        figures = await client.sync()
        assert figures.refused and refused(client) == {"libraries"}
        assert favorites(client) >= marked, "libraries that are known are looked at"
        await assert_right(account, client)
