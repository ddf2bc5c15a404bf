"""Random actions of the phone, random syncs, crashes and faults between them: at the end the tree is that
of a fresh account that lists the same library (issue 3's property; ``comparing`` lists the exceptions).

A run is its seed. ``ICLOUDFS_RANDOM_RUNS=300 ICLOUDFS_RANDOM_SEED=1`` does more of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.rows import Album, Asset
from icloudfs.state import metadata
from tests.sync.account import Client, Lab, lab
from tests.sync.comparing import (
    Names,
    albums_held,
    albums_shown,
    assert_is_what_the_simulator_holds,
    assert_same,
)

FILENAMES = ["IMG_0001.HEIC", "img_0001.heic", "IMG_0002.JPG", "IMG_0002-edited.JPG", ""]
TITLES = ["Trip", "trip", "Family", "A/B", "IMG_0001.HEIC"]
KINDS = ["heic", "jpeg", "live", "video", "raw+jpeg", "screenshot", "portrait"]
MONTHS = [1_700_000_000_000, 1_703_000_000_000, -1000]

FAULTS: list[tuple[str, str, dict[str, object]]] = [
    ("changes", "split", {"times": 3}),
    ("changes", "empty-page", {"times": 3}),
    ("changes", "record-error", {"times": 1}),
    ("changes", "zone-error", {"times": 1}),
    ("changes", "reject-token", {"times": 1}),
    ("changes", "status", {"status": 500, "times": 3}),
    ("changes", "drop", {"times": 2}),
    ("query", "try-again", {"times": 2, "retry_after": 0.001}),
    ("query", "status", {"status": 500, "times": 3, "skip": 2}),
    ("changes", "partial", {"times": 2}),
    ("changes", "partial", {"times": 2, "keep": ["isFavorite", "addedDate", "position"]}),
    ("lookup", "partial", {"times": 2}),
    ("query", "partial", {"times": 2, "keep": []}),
    ("query", "count", {"by": 1, "times": 4}),
    ("query", "count", {"by": -1, "times": 1}),
]


class Person:
    """Does things on the phone, as chance has it."""

    def __init__(self, account: Lab, chance: random.Random, known: Names) -> None:
        self._account = account
        self._phone = account.phone
        self._chance = chance
        self._known = known

    def act(self) -> None:
        action = self._chance.choice(self._ACTIONS)
        try:
            action(self)
        except (KeyError, IndexError):
            return  # there is nothing that this could be done to
        self._known.note()

    def _asset(self) -> str:
        zones = [z for z in self._account.simulator.cloud.zones() if z.photos]
        return self._chance.choice([a.name for z in zones for a in z.assets() if not a.burst])

    def _frame(self) -> str:
        zones = [z for z in self._account.simulator.cloud.zones() if z.photos]
        return self._chance.choice([a.name for z in zones for a in z.assets()])

    def _record(self) -> Asset:
        name = self._asset()
        return next(
            z.asset(name)
            for z in self._account.simulator.cloud.zones()
            if isinstance(z.rows.get(name), Asset)
        )

    def _albums(self, kind: int) -> list[Album]:
        zone = self._account.simulator.cloud.zone("PrimarySync")
        return [a for a in zone.albums() if a.kind == kind and a.title and not a.deleted]

    def _album(self) -> str:
        return self._chance.choice(self._albums(0)).name

    def _folder(self) -> str | None:
        return self._chance.choice([None, *(a.name for a in self._albums(3))])

    def _add(self) -> None:
        self._phone.add_photo(
            self._chance.choice(KINDS),  # type: ignore[arg-type]
            filename=self._chance.choice(FILENAMES),
            taken=self._chance.choice(MONTHS),
            favorite=self._chance.choice([None, 1]),
        )

    def _add_many(self) -> None:
        for _ in range(self._chance.randint(1, 110)):
            self._phone.add_photo("jpeg")

    def _burst(self) -> None:
        self._phone.add_burst(3, 1)

    def _edit(self) -> None:
        self._phone.edit(self._asset())

    def _revert(self) -> None:
        self._phone.revert(self._asset())

    def _favorite(self) -> None:
        self._chance.choice([self._phone.favorite, self._phone.unfavorite])(self._frame())

    def _hide(self) -> None:
        self._chance.choice([self._phone.hide, self._phone.unhide])(self._asset())

    def _delete(self) -> None:
        self._phone.delete(self._frame())

    def _restore(self) -> None:
        self._phone.restore(self._frame())

    def _purge(self) -> None:
        self._phone.purge(self._frame())

    def _redate(self) -> None:
        self._phone.redate(self._asset(), self._chance.choice(MONTHS), 3600)

    def _duplicate(self) -> None:
        self._phone.duplicate(self._asset())

    def _create(self) -> None:
        kind = self._chance.choice([0, 0, 3])
        self._phone.create_album(self._chance.choice(TITLES), self._folder(), kind)

    def _rename(self) -> None:
        self._phone.rename_album(self._album(), self._chance.choice(TITLES))

    def _move(self) -> None:
        self._phone.move_album(self._album(), self._folder())

    def _delete_album(self) -> None:
        kind = self._chance.choice([0, 3])
        album = self._chance.choice(self._albums(kind)).name
        self._phone.delete_album(album, for_good=self._chance.random() < 0.5)

    def _join(self) -> None:
        record = self._record()
        if not record.deleted and not record.hidden:
            self._phone.add_to_album(record.name, self._album())

    def _leave(self) -> None:
        album = self._album()
        zone = self._account.simulator.cloud.zone("PrimarySync")
        member = self._chance.choice(zone.relations(album))
        self._phone.remove_from_album(member.asset, album)

    def _share(self) -> None:
        self._phone.share(self._asset())

    def _unshare(self) -> None:
        self._phone.unshare(self._asset())

    def _move_library(self) -> None:
        """Under its own name, so that it stays in its albums."""
        zones = [z.name for z in self._account.simulator.cloud.zones() if z.photos]
        self._phone.move(
            self._asset(), self._chance.choice(zones), traceless=self._chance.random() < 0.5
        )

    def _add_shared(self) -> None:
        """A photo of the shared library, perhaps at once in an own album."""
        zones = [z for z in self._account.simulator.cloud.zones() if "SharedSync" in z.name]
        albums = [self._album()] if self._chance.random() < 0.5 else []
        self._phone.add_photo("jpeg", zone=self._chance.choice(zones).name, albums=albums)

    def _shared_zone(self) -> None:
        shared = [z for z in self._account.simulator.cloud.zones() if "SharedSync" in z.name]
        if shared and self._chance.random() < 0.3:
            self._phone.remove_shared_zone(shared[0].name)
        elif not shared:
            self._phone.create_shared_zone(mine=self._chance.random() < 0.5)

    def _compact(self) -> None:
        self._phone.compact(2)

    _ACTIONS: ClassVar[list[Callable[[Person], None]]] = [
        _add, _add, _add, _add_many, _burst, _edit, _revert, _favorite, _hide, _hide, _delete,
        _restore, _restore, _purge, _redate, _duplicate, _create, _create, _rename, _move,
        _delete_album, _join, _join, _join, _leave, _share, _unshare, _shared_zone, _compact,
        _move_library, _move_library, _add_shared, _add_shared,
    ]  # fmt: skip


async def test_any_story_ends_in_the_tree_of_a_fresh_account(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    plan = LibraryPlan(
        assets=chance.choice([0, 12, 110]),
        seed=seed,
        drawn=False,
        oddities=False,
        shared=chance.choice(["none", "private", "shared"]),
    )
    async with lab(tmp_path, plan, patience=0.2) as account:
        known = Names(account.simulator)
        known.note()
        person = Person(account, chance, known)
        client = account.client(connections=chance.choice([1, 4]))
        for _ in range(chance.randint(3, 9)):
            for _ in range(chance.randint(0, 9)):
                person.act()
            await _sync_somehow(account, client, person, chance)
        account.faults.clear()
        account.days_later += 61 / 1440  # the pauses of what was refused are over
        await client.sync()
        await client.sync()
        assert_is_what_the_simulator_holds(client, account.simulator)
        assert albums_shown(client) == albums_held(account.simulator)
        fresh = account.client()
        await fresh.sync()
        assert_same(client, fresh, known)


async def _sync_somehow(
    account: Lab, client: Client, person: Person, chance: random.Random
) -> None:
    """One run, perhaps with a fault, a crash, a lost token, or somebody at the phone meanwhile."""
    account.faults.clear()
    roll = chance.random()
    if roll < 0.4:
        kind, name, details = chance.choice(FAULTS)
        account.faults.set(kind, name, **details)  # type: ignore[arg-type]
    elif roll < 0.5 and client.zones:
        zone = chance.choice(client.zones).zone.name
        client.database.write_now(
            lambda c: metadata.put(c, metadata.sync_token_key(zone), "garbage")
        )
    if chance.random() < 0.4:
        client.after_publish = person.act
    try:
        if chance.random() < 0.4:
            await client.crash_during_sync(
                chance.randint(0, 12), after_commit=chance.random() < 0.5
            )
        else:
            await client.sync()
    except IcloudfsError:
        client.check()
    finally:
        client.after_publish = lambda: None
