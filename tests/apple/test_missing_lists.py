"""An answer without its list is no empty list (facts/state-tracking.md §4.5, facts/cloudkit.md §1.12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from icloudfs.apple import ICloud, Index, Photos, Refused, Zone, cloudkit
from icloudfs.apple.decode import NOT_ANSWERED, Unreadable
from icloudfs.simulator import LibraryPlan, Simulator
from tests.apple.conftest import ACCOUNT, World

PRIMARY = Zone("private", "PrimarySync")
BUILT = Simulator(LibraryPlan(assets=40, drawn=False, large_files=False), ACCOUNT)

Ask = Callable[[Photos], Awaitable[object]]


def _zone() -> list[str]:
    return [name for _, name in BUILT.cloud.zone("PrimarySync").ranked("all")][:3]


CALLS: dict[str, Ask] = {
    "zones/list": lambda photos: photos.zones("private"),
    "changes/database": lambda photos: photos.database_changes("private"),
    "changes/zone": lambda photos: photos.zone_changes("private", [(PRIMARY, "")]),
    "counts": lambda photos: photos.counts(PRIMARY, [Index.ALL.count]),
    "list:all": lambda photos: photos.list_page(PRIMARY, Index.ALL, 0),
    "list:hidden": lambda photos: photos.list_page(PRIMARY, Index.HIDDEN, 0),
    "list:deleted": lambda photos: photos.list_page(PRIMARY, Index.RECENTLY_DELETED, 0),
    "list:bursts": lambda photos: photos.list_page(PRIMARY, Index.BURSTS, 0),
    "albums": lambda photos: photos.albums(PRIMARY),
    "folder": lambda photos: photos.albums(PRIMARY, "----Root-Folder----"),
    "lookup": lambda photos: photos.lookup(PRIMARY, _zone()),
}
NO_LISTS = ("no-list", "null-list", "error", "html", "nothing")


@pytest.fixture
async def icloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ICloud]:
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.0)
    async with BUILT.running() as address:
        world = World(BUILT, address.url, tmp_path)
        await world.sign_in()
        async with world.client() as client:
            yield client
        BUILT.faults.clear()


def _plain(answer: object) -> str:
    """An answer without what differs each time: download URLs."""
    if isinstance(answer, tuple) and answer and hasattr(answer[0], "resources"):
        return repr([record.name for record in answer])
    if zones := getattr(answer, "zones", None):
        return repr([changed.zone for changed in zones])
    if records := getattr(answer, "records", None):
        return repr([record.name for record in records])
    if isinstance(answer, tuple) and answer and getattr(answer[0], "records", None):
        return repr([record.name for record in answer[0].records])
    return repr(answer)


@pytest.mark.parametrize("way", NO_LISTS)
@pytest.mark.parametrize("call", CALLS)
async def test_it_is_asked_again_and_then_said(icloud: ICloud, call: str, way: str) -> None:
    untouched = _plain(await CALLS[call](icloud.photos))
    BUILT.faults.set("*", "answer", call=call, way=way, times=1, reason="out of order")
    assert _plain(await CALLS[call](icloud.photos)) == untouched
    BUILT.faults.set("*", "answer", call=call, way=way, reason="out of order")
    with pytest.raises(Unreadable) as caught:
        await CALLS[call](icloud.photos)
    assert way != "error" or "out of order" in str(caught.value)


@pytest.mark.parametrize("call", [name for name in CALLS if name != "changes/zone"])
async def test_an_empty_list_is_believed_when_two_answers_agree(icloud: ICloud, call: str) -> None:
    untouched = _plain(await CALLS[call](icloud.photos))
    BUILT.faults.set("*", "answer", call=call, way="empty-list", times=1)
    assert _plain(await CALLS[call](icloud.photos)) == untouched
    BUILT.traffic.reset()
    BUILT.faults.set("*", "answer", call=call, way="empty-list")
    await CALLS[call](icloud.photos)
    assert len(BUILT.traffic.log) == 2


async def test_a_name_that_a_look_up_leaves_out_is_not_gone(icloud: ICloud) -> None:
    BUILT.faults.set("*", "answer", call="lookup", way="empty-list")
    found = await icloud.photos.lookup(PRIMARY, _zone())
    assert [record.name for record in found] == _zone()
    assert all(isinstance(r, Refused) and r.code == NOT_ANSWERED for r in found)


async def test_a_zone_without_records_is_a_passing_error(icloud: ICloud) -> None:
    for way in ("no-inner-list", "empty-list"):
        BUILT.faults.set("*", "answer", call="changes/zone", way=way, times=1)
        (page,) = await icloud.photos.zone_changes("private", [(PRIMARY, "")])
        assert page.error is not None and page.error.code in ("NO_RECORDS", "NO_ANSWER")


async def test_counts_that_are_left_out_are_asked_for_again(icloud: ICloud) -> None:
    ids = [Index.ALL.count, Index.HIDDEN.count]
    untouched = await icloud.photos.counts(PRIMARY, ids)
    BUILT.faults.set("*", "answer", call="counts", way="no-inner-list", times=1)
    assert await icloud.photos.counts(PRIMARY, ids) == untouched
    BUILT.faults.set("*", "answer", call="counts", way="no-inner-list")
    assert await icloud.photos.counts(PRIMARY, ids) == {}
