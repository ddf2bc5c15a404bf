"""Answers that are well formed and untrue: they take no photo away that iCloud still has, and what they say
that cannot be is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icloudfs.apple import cloudkit
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.rows import Asset
from icloudfs.simulator.zone import Zone
from icloudfs.state.summary import summarise
from icloudfs.sync import changes
from icloudfs.tree.albums import MOST_DEEP
from tests.sync.account import Lab, lab
from tests.sync.comparing import (
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
)

PLAN = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="none")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(changes, "_PAUSE", 0.0)


def photos(account: Lab) -> list[Asset]:
    return list(account.simulator.cloud.zone("PrimarySync").assets())


def lie(account: Lab, kind: str, *records: str, **untruth: Any) -> None:
    account.faults.set(kind, "untrue", records=list(records), **untruth)


async def test_a_master_that_is_said_to_be_gone_while_its_photo_is_not(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        one, other = photos(account)[:2]
        lie(account, "changes", one.master)
        account.phone.favorite(other.name)

        figures = await client.sync()

        assert figures.owed == 0
        assert_is_what_the_simulator_holds(client, account.simulator)


async def test_a_photo_that_is_purged_is_not_asked_for_again(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        account.phone.purge(photos(account)[0].name)
        account.calls()

        await client.sync()

        assert account.asked("records/lookup") == 0
        assert_is_what_the_simulator_holds(client, account.simulator)


@pytest.mark.parametrize("value", [None, {"recordName": None}, {"recordName": ""}, 5])
async def test_a_photo_that_says_that_it_has_no_master(tmp_path: Path, value: object) -> None:
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        one = photos(account)[0]
        lie(account, "changes", one.name, fields={"masterRef": {"value": value}})
        account.phone.favorite(one.name)

        await client.sync()

        assert_is_what_the_simulator_holds(client, account.simulator)


async def test_a_list_that_names_a_photo_and_says_that_it_is_gone(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN) as account:
        one, other = photos(account)[:2]
        lie(account, "query", one.name, other.master)
        client = account.client()

        await client.sync()

        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)


async def test_sizes_that_no_content_has_spoil_no_sum(tmp_path: Path) -> None:
    """The true size is asked of the server that has the content."""
    async with lab(tmp_path, PLAN) as account:
        lie(account, "query", *(one.master for one in photos(account)), size=2**63 - 1)
        client = account.client()

        await client.sync()

        assert_is_what_the_simulator_holds(client, account.simulator)
        assert summarise(client.reader).assets.bytes < 2**40


async def test_a_library_of_the_same_name_in_the_other_area(tmp_path: Path) -> None:
    """It takes neither the place of the first one nor its token."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        await client.sync()
        cloud = account.simulator.cloud
        cloud.shared.add(Zone("PrimarySync", "_another", "shared"))
        account.days_later += 1.1
        for _ in range(2):
            account.phone.add_photo("jpeg")
            await client.sync()

            assert_is_what_the_simulator_holds(client, account.simulator)
            (zone,) = summarise(client.reader).zones
            assert zone.area == "private" and zone.has_token


async def test_folders_in_each_other_without_end(tmp_path: Path) -> None:
    """What is shown of them is bounded, and that there are more is told."""
    async with lab(tmp_path, PLAN) as account:
        photo, folder = photos(account)[0].name, None
        for number in range(MOST_DEEP + 5):
            folder = account.phone.create_folder(f"Folder {number}", folder)
            account.phone.add_to_album(photo, account.phone.create_album("Inside", folder))
        client = account.client()

        figures = await client.sync()

        assert figures.refused == ["the list of albums of PrimarySync (NO_END)"]
        deepest = max(path.count("/") for path, _ in albums_shown(client))
        assert deepest == MOST_DEEP


@pytest.mark.parametrize("code", ["UNKNOWN_ITEM", "NOT_FOUND"])
async def test_a_look_up_that_does_not_know_a_record_once(tmp_path: Path, code: str) -> None:
    """Nothing else would ever tell of it again."""
    async with lab(tmp_path, PLAN) as account:
        lie(account, "query", photos(account)[0].name)
        account.faults.set("lookup", "record-error", times=1, code=code)
        client = account.client()

        await client.sync()

        assert_is_what_the_simulator_holds(client, account.simulator)
