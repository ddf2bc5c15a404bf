"""Every call of the database, answered in every wrong way: once, and for ever; first listing and changes.

Once: afterwards the library equals one that was answered rightly. For ever: everything else equals it, the part
is named, and nothing that was known is gone; when the call is answered again, nothing is missing any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from icloudfs.apple import icloud, retry
from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.calls import DATABASE_CALLS
from icloudfs.simulator.faults import WAYS
from icloudfs.state.refusals import refusals
from icloudfs.sync.refusals import LONGEST_PAUSE
from icloudfs.tree.directory import Directory
from icloudfs.tree.layout import View
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import Names, assert_same, assert_same_records
from tests.ways import some

PLAN = LibraryPlan(assets=104, seed=11, drawn=False, large_files=False, shared="shared")
STATUSES = ("400", "403", "404", "421", "450", "500", "503")
NESTED = ("changes/zone", "counts")
"""Calls whose list has parts with lists of their own."""

ONLY_TO_MAKE_SURE = "zones/list"
"""Asked where something else was refused: that it is refused itself takes nothing from the library."""

HEALED_LATER = "changes/database", "empty-list"
"""That nothing changed is what nearly every answer says. What one such answer kept back comes with the next
change of its library, as the end of the test shows, or within a day (test_refusals)."""

BAD = ("bad-value", "bad-name", "bad-token", "bad-cookie", "bad-headers")
"""A value that cannot be read costs a field, a record or nothing, and need not cost the part."""

ALBUMS, LISTED_APART = (View.ALBUMS,), (View.HIDDEN, View.DELETED, View.BURSTS)
MAY_LACK: dict[str, tuple[View, ...]] = {
    "albums": ALBUMS,
    "folder": ALBUMS,
    "members": ALBUMS,
    # It alone tells which photos of the shared library are in one's own albums, and what the lists that a
    # shared library does not offer would hold (facts/cloudkit.md §1.12).
    "changes/zone": (*ALBUMS, *LISTED_APART),
}
"""In a first listing, where a call is refused for ever: what may be missing meanwhile. All other views are
whole: the history of a library has what a refused list would have held."""

PATIENCE = 0.15  # seconds
BOUND = 30.0  # seconds for one run, whatever is answered
RUNS = 4
"""So many at most until everything is right again."""


def once(call: str) -> list[str]:
    """The ways in which one answer to a call can be wrong."""
    ways = [*STATUSES, *(way for way in WAYS if way != "no-inner-list" or call in NESTED)]
    return some(ways, call, DATABASE_CALLS)


def for_ever(call: str) -> list[str]:
    """The same of all answers. Those that say, in good form, that there is nothing are the truth then."""
    return [way for way in once(call) if way != "empty-list"]


Entries = dict[tuple[int, int], str]
"""The path of a directory, by itself and what is in it."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.02)


async def run(client: Client) -> IcloudfsError | None:
    """One run; the error if it ended with one of ours, as it may. The tree is right in any case."""
    try:
        with trio.fail_after(BOUND):
            await client.syncing.run()
    except IcloudfsError as error:
        assert str(error)
        return error
    finally:
        client.check()
    return None


async def until_all_is_well(account: Lab, client: Client) -> None:
    """As the daemon does: again and again, with pauses, in a world that answers rightly."""
    for _ in range(RUNS):
        account.simulator.advance(2 * LONGEST_PAUSE / 1000)
        if await run(client) is None and not failures(client):
            return
    raise AssertionError((await run(client), failures(client)))


def failures(client: Client) -> list[str]:
    return [str(refusal) for refusal in refusals(client.reader) if not refusal.harmless]


def named(client: Client) -> set[tuple[str, str, str]]:
    """The parts that are refused, be it no failure."""
    return {refusal.part.key for refusal in refusals(client.reader)}


def entries(client: Client) -> Entries:
    directory = Directory(client.reader)
    found = client.reader.execute("SELECT parent, ino FROM dirent").fetchall()
    paths: dict[int, str] = {}
    for parent in {int(str(parent)) for parent, _ in found}:
        paths[parent] = next(iter(directory.places(parent)), "")
    return {(int(str(parent)), int(str(ino))): paths[int(str(parent))] for parent, ino in found}


def missing(here: Entries, there: Entries) -> Iterator[str]:
    """The views that lack something."""
    for (parent, ino), path in there.items():
        if (parent, ino) not in here and path:
            yield path.split("/")[0]


@pytest.mark.parametrize("call", DATABASE_CALLS)
async def test_a_first_listing_that_is_answered_wrongly_once(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        names = Names(account.simulator)
        names.note()
        untouched = account.client()
        await untouched.sync()
        for way in once(call):
            account.faults.set("*", "answer", call=call, way=way, times=1)
            client = account.client()
            await run(client)
            account.faults.clear("*")
            await until_all_is_well(account, client)
            await untouched.sync()
            assert_same(client, untouched, names)
            assert_same_records(client.reader, untouched.reader)


@pytest.mark.parametrize("call", DATABASE_CALLS)
async def test_a_first_listing_that_is_answered_wrongly_for_ever(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        names = Names(account.simulator)
        names.note()
        untouched = account.client()
        await untouched.sync()
        for way in for_ever(call):
            account.simulator.traffic.reset()
            account.faults.set("*", "answer", call=call, way=way)
            client = account.client()
            assert await run(client) is None, (way, "one part holds back the rest")
            was_asked = any(asked.name == call for asked in account.simulator.traffic.log)
            here, there = entries(client), entries(untouched)
            assert here.keys() <= there.keys(), way
            assert set(missing(here, there)) <= set(MAY_LACK.get(call, ())), way
            if call != ONLY_TO_MAKE_SURE and way not in BAD:
                assert (named(client) != named(untouched)) == was_asked, way
            account.faults.clear("*")
            await until_all_is_well(account, client)
            await untouched.sync()
            assert_same(client, untouched, names)


@pytest.mark.parametrize("call", DATABASE_CALLS)
async def test_changes_that_are_answered_wrongly(tmp_path: Path, call: str) -> None:
    async with lab(tmp_path, PLAN, patience=PATIENCE) as account:
        names = Names(account.simulator)
        client = account.client()
        await client.sync()
        for number, way in enumerate(once(call)):
            for times in (1, None) if way in for_ever(call) else (1,):
                album = act(account, number)
                names.note()
                before = entries(client)
                account.faults.set("*", "answer", call=call, way=way, times=times)
                await run(client)
                assert not set(missing(entries(client), before)), (way, times)
                account.faults.clear("*")
                await until_all_is_well(account, client)
                if (call, way) != HEALED_LATER:
                    assert album in entries(client).values(), (way, times)
        fresh = account.client()
        await fresh.sync()
        assert_same(client, fresh, names)
        assert_same_records(client.reader, fresh.reader)


def act(account: Lab, number: int) -> str:
    """What a person does: the path of the album that is made of it."""
    phone = account.phone
    folder = phone.create_folder(f"Trip {number}")
    album = phone.create_album(f"Day {number}", folder)
    for _ in range(2):
        added = phone.add_photo()
        phone.add_to_album(added.asset, album)
    phone.favorite(added.asset)
    shared = phone.add_photo()
    phone.share(shared.asset)
    return f"Albums/Trip {number}/Day {number}"
