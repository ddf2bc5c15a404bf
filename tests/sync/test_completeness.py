"""What is complete, and what is not for as long as iCloud keeps it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from icloudfs.apple import cloudkit, icloud
from icloudfs.errors import NoPhotos
from icloudfs.simulator import LibraryPlan
from icloudfs.state import completeness
from icloudfs.sync import changes
from icloudfs.tree import numbers
from icloudfs.tree.directory import ROOT
from icloudfs.tree.growth import Growth
from icloudfs.tree.layout import View
from tests.sync.account import Client, Lab, lab

PLAN = LibraryPlan(assets=250, seed=3, drawn=False, oddities=False, shared="shared")
SMALL = LibraryPlan(assets=40, seed=3, drawn=False, oddities=False, shared="none")

LIBRARY, SHARED, ALBUMS = (
    numbers.of_path(view.value) for view in (View.LIBRARY, View.SHARED, View.ALBUMS)
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.0)
    monkeypatch.setattr(changes, "_PAUSE", 0.0)


def growing(
    client: Client, directories: tuple[int, ...] = (ROOT, LIBRARY, SHARED, ALBUMS)
) -> set[int]:
    growth = Growth(client.reader)
    return {directory for directory in directories if growth.may_grow(directory)}


def watched(client: Client) -> list[set[int]]:
    """What may grow, after each transaction of a sync."""
    seen: list[set[int]] = []
    client.after_publish = lambda: seen.append(growing(client))
    return seen


async def later(account: Lab, client: Client) -> None:
    account.days_later += 0.1
    await client.sync()


async def test_nothing_is_complete_before_the_first_listing(tmp_path: Path) -> None:
    async with lab(tmp_path, SMALL) as account:
        client = account.client()
        assert growing(client) == {ROOT, LIBRARY, SHARED, ALBUMS}
        await client.sync()
        assert growing(client) == set() and completeness.misses_nothing(client.reader)


async def test_a_listing_that_was_cut_off_is_not_complete(tmp_path: Path) -> None:
    """The personal library is, once it is listed, while the shared one is on its way."""
    async with lab(tmp_path, PLAN) as account:
        client = account.client()
        assert await client.crash_during_sync(4, after_commit=True)
        assert growing(client) == {ROOT, LIBRARY, SHARED, ALBUMS}
        seen = watched(client)
        await client.sync()
        assert {ROOT, SHARED, ALBUMS} in seen
        assert growing(client) == set()


async def test_a_library_that_is_listed_anew_stays_complete(tmp_path: Path) -> None:
    """Its token is refused; nothing of it goes meanwhile."""
    async with lab(tmp_path, SMALL) as account:
        client = account.client()
        await client.sync()
        account.faults.set("changes", "reject-token", times=1)
        account.phone.add_photo("jpeg")
        seen = watched(client)
        figures = await client.sync()
        assert "listing" in figures.kind and seen
        assert not any(seen)


@pytest.mark.parametrize("way", ["403", "500"])
async def test_a_list_that_the_history_makes_up_for_is_complete(tmp_path: Path, way: str) -> None:
    async with lab(tmp_path, SMALL, patience=0.2) as account:
        account.faults.set("*", "answer", call="list:hidden", way=way)
        client = account.client()
        await client.sync()
        assert growing(client) == set()


async def test_a_list_that_nothing_makes_up_for_is_not(tmp_path: Path) -> None:
    async with lab(tmp_path, SMALL, patience=0.2) as account:
        for call in "list:hidden", "changes/zone":
            account.faults.set("*", "answer", call=call, way="500")
        client = account.client()
        await client.sync()
        assert {ROOT, LIBRARY} <= growing(client)
        account.faults.clear()
        await later(account, client)
        assert growing(client) == set()


async def test_albums_that_are_refused_for_ever_are_incomplete(tmp_path: Path) -> None:
    async with lab(tmp_path, SMALL, patience=0.2) as account:
        account.faults.set("*", "answer", call="albums", way="403")
        client = account.client()
        await client.sync()
        assert growing(client) == {ROOT, ALBUMS}
        account.faults.clear()
        await later(account, client)
        assert growing(client) == set()


@pytest.mark.parametrize(("way", "expected"), [("500", {ROOT, SHARED, ALBUMS}), ("403", set())])
async def test_an_area_that_does_not_answer_may_have_libraries(
    tmp_path: Path, way: str, expected: set[int]
) -> None:
    """One that says that this account may not look has none."""
    async with lab(tmp_path, SMALL, patience=0.2) as account:
        for path in "shared/changes/database", "shared/zones/list":
            account.faults.set("*", "answer", path=path, way=way)
        client = account.client()
        await client.sync()
        assert growing(client) == expected
        account.faults.clear()
        await later(account, client)
        assert growing(client) == set()


async def test_an_empty_library_is_complete(tmp_path: Path) -> None:
    async with lab(tmp_path, LibraryPlan(assets=0, seed=3, oddities=False)) as account:
        client = account.client()
        await client.sync()
        assert growing(client, (ROOT,)) == set()


async def test_an_account_without_any_library_is_not_complete(tmp_path: Path) -> None:
    """Where every answer says for once that there is no library, a backup is not to delete all that it has."""
    async with lab(tmp_path, SMALL) as account:
        client = account.client()
        await client.sync()
        private = account.simulator.cloud.private
        library = private.zones["PrimarySync"]
        private.remove(library.name)
        with pytest.raises(NoPhotos):
            await client.sync()
        assert growing(client) == {ROOT, LIBRARY, SHARED, ALBUMS}
        private.add(library)
        await client.sync()
        assert growing(client) == set()
