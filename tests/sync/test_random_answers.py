"""Random stories in which iCloud answers wrongly, in several ways at once, for a while: no run ends in
anything unforeseen or asks without end, nothing that exists is lost meanwhile, and afterwards the tree is
that of a fresh account.

A run is its seed, as in ``test_random``, of whose number a third is run here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from icloudfs.apple import cloudkit, icloud, retry
from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.calls import DATABASE_CALLS
from icloudfs.simulator.faults import WAYS
from icloudfs.state.refusals import refusals
from icloudfs.sync import changes
from icloudfs.sync.refusals import LONGEST_PAUSE
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
    assert_same_records,
)
from tests.sync.test_random import Person

STATUSES = ("400", "403", "404", "421", "450", "500", "503")
CODES = ("BAD_REQUEST", "ZONE_NOT_FOUND", "ACCESS_DENIED", "THROTTLED", "SYNC_TOKEN_EXPIRED", "")

SUBTLE: list[tuple[str, str, dict[str, Any]]] = [
    ("query", "count", {"percent": 30}),
    ("query", "count", {"percent": -100}),
    ("query", "count", {"by": 100_000}),
    ("query", "count", {"by": -7}),
    ("query", "gap", {"at": 3, "length": 40}),
    ("query", "blank-token", {}),
    ("query", "short-page", {"positions": 7}),
    ("query", "record-error", {}),
    ("query", "orphans", {"count": 5}),
    ("lookup", "record-error", {}),
    ("changes", "blank-token", {}),
    ("changes", "record-error", {}),
    ("changes", "reject-token", {}),
    ("changes", "empty-page", {}),
    ("changes", "split", {}),
    ("changes", "zone-error", {"code": "ZONE_NOT_FOUND"}),
    ("changes", "zone-error", {"code": "THROTTLED"}),
    ("*", "try-again", {"retry_after": 0.001}),
]
"""Answers in good form that are not the truth. Changes that leave out what changed are not among them: nothing
tells of those."""

PATIENCE = 0.15  # seconds
BOUND = 60.0  # seconds for one run, whatever is answered
MOST_CALLS = 1500
"""Of one run, of a library of a hundred photos and a few albums."""
RUNS = 6
"""So many at most until everything is right again."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.02)
    monkeypatch.setattr(cloudkit, "_ASKED_AGAIN_AFTER", 0.01)
    monkeypatch.setattr(changes, "_PAUSE", 0.01)


class Weather:
    """What goes wrong, as chance has it."""

    def __init__(self, account: Lab, chance: random.Random) -> None:
        self._account = account
        self._chance = chance
        self.told: list[object] = []

    def change(self) -> None:
        chance = self._chance
        if chance.random() < 0.4:
            self._account.faults.clear("*")
            for kind in ("query", "changes", "lookup"):
                self._account.faults.clear(kind)
            self.told.append("clear")
        for _ in range(chance.randint(0, 3)):
            (self._one_call if chance.random() < 0.65 else self._something_subtle)()

    def _one_call(self) -> None:
        chance = self._chance
        zones = [zone.name for zone in self._account.simulator.cloud.zones() if zone.photos]
        details: dict[str, Any] = {
            "call": chance.choice(DATABASE_CALLS),
            "way": chance.choice([*STATUSES, *WAYS]),
            "times": chance.choice([None, None, 1, 2, 5]),
            "skip": chance.choice([0, 0, 0, 1, 4]),
        }
        if details["way"] in STATUSES and chance.random() < 0.3:
            details["code"] = chance.choice(CODES)
        if chance.random() < 0.3:
            details["zone"] = chance.choice(zones)
        if (details["call"], details["way"]) == ("changes/database", "empty-list"):
            return  # what nearly every answer says: a library that is gone is announced once only
        if details["way"] == "empty-list":
            details["times"] = 1  # said again and again it is the truth
            details["skip"] = 0
        self._set("*", "answer", details)

    def _something_subtle(self) -> None:
        kind, name, details = self._chance.choice(SUBTLE)
        times = self._chance.choice([None, 1, 3])
        self._set(kind, name, {**details, "times": times})

    def _set(self, kind: str, name: str, details: dict[str, Any]) -> None:
        self.told.append((kind, name, details))
        self._account.faults.set(kind, name, **details)


class Witness:
    """Sees to it that nothing is lost, invented or asked for without end."""

    def __init__(self, account: Lab, client: Client) -> None:
        self._account = account
        self._client = client
        self._ever = set(self._there())

    def _there(self) -> Iterator[tuple[str, str]]:
        for zone in self._account.simulator.cloud.zones():
            if zone.photos:
                yield from ((zone.name, asset.name) for asset in zone.assets())

    def note(self) -> None:
        self._ever.update(self._there())

    def known(self) -> set[tuple[str, str]]:
        rows = self._client.reader.execute(
            "SELECT z.name, a.name FROM asset a JOIN zone z ON z.id = a.zone"
        )
        return {(str(zone), str(name)) for zone, name in rows}

    def shown(self) -> set[tuple[str, str]]:
        """Photos that are somewhere in the tree."""
        rows = self._client.reader.execute(
            "SELECT DISTINCT z.name, a.name FROM inode i JOIN asset a ON a.id = i.asset"
            " JOIN zone z ON z.id = a.zone WHERE i.nlink > 0"
        )
        return {(str(zone), str(name)) for zone, name in rows}

    def compare(self, known: set[tuple[str, str]], shown: set[tuple[str, str]]) -> None:
        there = set(self._there())
        assert not (known & there) - self.known(), "a photo that exists is forgotten"
        assert self.known() <= self._ever, "a photo is invented"
        visible = {
            (zone.name, asset.name)
            for zone in self._account.simulator.cloud.zones()
            if zone.photos
            for asset in zone.assets()
            if not asset.burst
        }
        assert not (shown & visible) - self.shown(), "a photo that exists left the tree"


async def run(account: Lab, client: Client) -> IcloudfsError | None:
    """One run; the error if it ended with one of ours, as it may."""
    account.calls()
    try:
        with trio.fail_after(BOUND):
            figures = await client.syncing.run()
            assert bool(figures.refused) == bool(failures(client))
    except IcloudfsError as error:
        assert str(error)
        return error
    finally:
        calls = account.calls()
        client.check()
        assert calls < MOST_CALLS, calls
    return None


def failures(client: Client) -> list[str]:
    return [str(refusal) for refusal in refusals(client.reader) if not refusal.harmless]


async def until_all_is_well(account: Lab, client: Client) -> None:
    """As the daemon does: again and again, with pauses, in a world that answers rightly."""
    for _ in range(RUNS):
        account.simulator.advance(2 * LONGEST_PAUSE / 1000)
        if await run(account, client) is None and not failures(client):
            return
    raise AssertionError((await run(account, client), failures(client)))


async def test_any_weather_passes(tmp_path: Path, weather_seed: int) -> None:
    seed = weather_seed
    chance = random.Random(seed)
    plan = LibraryPlan(
        assets=chance.choice([12, 60, 110]),
        seed=seed,
        drawn=False,
        oddities=False,
        large_files=False,
        shared=chance.choice(["none", "shared", "private"]),
    )
    async with lab(tmp_path, plan, patience=PATIENCE) as account:
        names = Names(account.simulator)
        names.note()
        person = Person(account, chance, names)
        weather = Weather(account, chance)
        client = account.client(connections=chance.choice([1, 4]))
        witness = Witness(account, client)
        for _ in range(chance.randint(2, 6)):
            weather.change()
            for _ in range(chance.randint(0, 5)):
                person.act()
                witness.note()
            known, shown = witness.known(), witness.shown()
            weather.told.append("sync")
            if chance.random() < 0.25:
                try:
                    await client.crash_during_sync(chance.randint(0, 40), after_commit=False)
                except IcloudfsError:
                    client.check()
                client.check()
            else:
                await run(account, client)
            witness.compare(known, shown)
            account.simulator.advance(chance.choice([0, 0, 61, 7200]))
        print(f"seed {seed}: {weather.told}")
        account.faults.clear()
        for zone in account.simulator.cloud.zones():
            if zone.photos and (assets := list(zone.assets())):
                account.phone.touch(assets[0].name, zone.name)
        await until_all_is_well(account, client)
        await until_all_is_well(account, client)
        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)
        fresh = account.client()
        await fresh.sync()
        await fresh.sync()
        assert_same_records(client.reader, fresh.reader)
        assert_same(client, fresh, names)
