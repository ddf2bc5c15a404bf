"""Every call of the database, answered without measure or without end, for ever.

Whatever comes, a run is over in time, has asked so often at most, and takes so much memory at most; what is
wrong is noted, with a pause. Once iCloud answers rightly again, everything is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from icloudfs.apple import icloud, retry, transport
from icloudfs.apple.course import Course
from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.calls import DATABASE_CALLS
from icloudfs.simulator.excess import WITHOUT_END, WITHOUT_MEASURE
from tests.peak import at_most
from tests.sync.account import Lab, lab
from tests.sync.comparing import Names, assert_same
from tests.sync.test_answers import run, until_all_is_well
from tests.ways import some

PLAN = LibraryPlan(assets=24, seed=11, drawn=False, large_files=False, shared="none")
MANY_ALBUMS = LibraryPlan(assets=150, seed=5, drawn=False, large_files=False, shared="none")
WAYS = (*WITHOUT_END, *WITHOUT_MEASURE)
ONE_PAGE_IS_TRUE = ("changes/database", "changes/zone", "zones/list")
"""Where an old answer is a good one: that nothing has changed since."""
PATIENCE = 0.15  # seconds
BOUND = 40.0
"""Seconds for one run, on a machine that has other things to do; it takes one or two."""
MOST_CALLS = 1000
MOST_MEMORY = 120
"""MiB, the local iCloud's own included."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.02)
    for name, value in (("most", 150), ("most_empty", 100)):
        monkeypatch.setitem(Course.__init__.__kwdefaults__ or {}, name, value)


@contextmanager
def bounded(account: Lab) -> Iterator[None]:
    account.calls()
    with trio.fail_after(BOUND), at_most(MOST_MEMORY):
        yield
    assert account.calls() <= MOST_CALLS


@pytest.mark.parametrize("call", DATABASE_CALLS)
async def test_every_call_without_measure_or_end(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        names = Names(account.simulator)
        names.note()
        untouched, client = account.client(), account.client()
        await untouched.sync()
        await client.sync()
        for way in some(WAYS, call, DATABASE_CALLS):
            if way == "again" and call in ONE_PAGE_IS_TRUE:
                continue
            account.faults.set("*", "answer", call=call, way=way)
            with monkeypatch.context() as patched:
                if way == "trickle":
                    patched.setattr(transport, "WHOLE_ANSWER_TIMEOUT", 0.3)
                fresh = account.client()
                account.phone.add_photo("jpeg")
                names.note()
                for one in (fresh, client):
                    with bounded(account):
                        await run(one)
            account.faults.clear("*")
            await untouched.sync()
            for one in (fresh, client):
                await until_all_is_well(account, one)
                assert_same(one, untouched, names)


@pytest.mark.parametrize("by", [10**7, 10**8, 10**9])
async def test_counts_beyond_all_measure(tmp_path: Path, by: int) -> None:
    async with lab(tmp_path, MANY_ALBUMS) as account:
        names = Names(account.simulator)
        names.note()
        untouched, client = account.client(), account.client()
        await untouched.sync()
        account.faults.set("query", "count", by=by)
        stalled = 0.0

        async def watch() -> None:
            nonlocal stalled
            while True:
                before = trio.current_time()
                await trio.sleep(0.01)
                stalled = max(stalled, trio.current_time() - before)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            with at_most(MOST_MEMORY):
                await client.sync()
            nursery.cancel_scope.cancel()
        assert stalled < 1.0, "the mount has its turn"
        assert_same(client, untouched, names)


async def test_a_list_that_gives_the_same_page_at_every_place_ends(tmp_path: Path) -> None:
    """As if the place where a page is to begin were not heeded; its count makes it long."""
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        account.faults.switch(markers=False)
        account.faults.set("query", "count", by=10**6)
        account.faults.set("query", "answer", call="list:all", way="again")
        client = account.client()
        await client.sync()
        assert account.calls() < 400, "a count of a million photos is ten thousand pages"


async def test_a_list_that_leads_on_over_nothing_is_not_empty(tmp_path: Path) -> None:
    """Its end was never reached: that is an error, and the history tells what there is."""
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        names = Names(account.simulator)
        names.note()
        untouched = account.client()
        await untouched.sync()
        for way in WITHOUT_END:
            account.faults.set("*", "answer", call="list:all", way=way)
            client = account.client()
            figures = await client.sync()
            assert bool(figures.refused) == (way != "again"), way
            account.faults.clear("*")
            assert_same(client, untouched, names)


async def test_what_goes_round_is_refused_and_pauses(tmp_path: Path) -> None:
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        client = account.client()
        await client.sync()
        for way in ("circle", "onward", "hollow"):
            account.faults.set("*", "answer", call="changes/zone", way=way)
            account.phone.add_photo("jpeg")
            figures = await client.sync()
            assert figures.refused, way
            account.calls()
            await client.sync()
            assert account.calls() <= 6, (way, "it is not asked for again at once")
            account.faults.clear("*")
            await until_all_is_well(account, client)


async def test_the_error_is_one_of_ours(tmp_path: Path) -> None:
    """Where everything is without measure, nothing is left but to say so."""
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        for way in ("bomb", "coded-twice", "endless", "interim", "many", "wait-never"):
            account.faults.set("*", "answer", way=way)
            with bounded(account):
                error = await run(account.client())
            assert isinstance(error, IcloudfsError), way
            account.faults.clear("*")
