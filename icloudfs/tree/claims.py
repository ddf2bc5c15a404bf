"""Who may use a name.

A scope is a set of photos that must not share names: a month, an album, and the whole library (scope 0)
for the flat directories such as Favorites. The first photo in a scope keeps ``IMG_0001.HEIC``; a later
one gets ``IMG_0001_<suffix>.HEIC``, in every rendition. The decision is made once and stored, as the
names that the photo claims, plain or suffixed; a sibling that comes or goes never changes it. Folders
are scopes too: there albums claim the names of their directories.

For the flat directories the scope is the library and not the directory, because a photo enters and
leaves Favorites at any time: were names judged among the favourites alone, they would depend on who was
marked first, and a database that is built anew could not know.

What a batch of photos may want is read ahead with one query, and what they claim is written with one
statement; in between ``Claims`` knows better than the table.

Invariants:

* (scope, key) belongs to one owner; keys are folded, so names that differ in case alone clash.
* An owner with any claim in a scope is decided there. ``decide`` is then a comparison.
* During the first listing of a library photos come in no particular order, so decisions are provisional:
  whoever did not get all its plain names is noted as a contestant, and ``settling`` decides again at the
  end, the photo that was added first, first. Never afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count
from typing import Any

import apsw
import msgspec

WHOLE_LIBRARY = 0

Keys = Sequence[str]
"""The folded names of one photo's renditions, in a fixed order."""

Held = dict[int, set[str]]
"""What one owner has claimed: keys by scope."""

Name = tuple[int, str]
"""A scope and a key."""

_NOBODY = 0
"""No owner: ids of assets begin at 1."""

_HOLDERS = """
SELECT c.scope, c.key, c.owner
  FROM json_each(?) j CROSS JOIN claim c ON c.scope = j.value ->> 0 AND c.key = j.value ->> 1
"""


class Claims:
    """The ``claim`` table, in the caller's transaction. What was claimed is in the table after ``write``."""

    def __init__(self, connection: apsw.Connection, *, provisional: bool) -> None:
        """``provisional``: decisions are those of a first listing, and contests are noted."""
        self._connection = connection
        self._execute: Callable[..., Any] = connection.execute
        self._provisional = provisional
        self._owners: dict[Name, int] = {}
        """Of every name that was looked at; _NOBODY if nobody has it."""
        self._unwritten: set[Name] = set()
        self._contests: list[tuple[int, str, int]] = []

    def read_ahead(self, wanted: Iterable[Name]) -> None:
        """Look up at once who has these names."""
        names = set(wanted).difference(self._owners)
        self._owners.update(dict.fromkeys(names, _NOBODY))
        for scope, key, owner in self._execute(_HOLDERS, (_json(names),)):
            self._owners[scope, key] = owner

    def write(self) -> None:
        """Write what was claimed and given up since the last time."""
        owners, many = self._owners, self._connection.executemany
        many(
            "DELETE FROM claim WHERE scope = ? AND key = ?",
            [name for name in self._unwritten if owners[name] == _NOBODY],
        )
        many(
            "INSERT OR REPLACE INTO claim VALUES (?, ?, ?)",
            [(*name, owners[name]) for name in self._unwritten if owners[name] != _NOBODY],
        )
        many("INSERT OR IGNORE INTO contest VALUES (?, ?, ?)", self._contests)
        self._owners, self._unwritten, self._contests = {}, set(), []

    def held_by(self, owners: Iterable[int]) -> dict[int, Held]:
        """What each of these owners has claimed; those without a claim are left out."""
        self.write()
        found: dict[int, Held] = {}
        for owner, scope, key in self._execute(
            "SELECT owner, scope, key FROM claim WHERE owner IN (SELECT value FROM json_each(?))",
            (_json(owners),),
        ):
            found.setdefault(owner, {}).setdefault(scope, set()).add(key)
        return found

    def decide(
        self, scope: int, asset: int, variant: Callable[[int], Keys], held: set[str]
    ) -> list[int]:
        """Which variant of its name each rendition of a photo has in the scope.

        ``variant(0)`` are the plain names, ``variant(1)`` the suffixed ones, and so on without end,
        one key a rendition. ``held`` is what the photo has claimed there; what it no longer uses is
        given up. A rendition that came later than its photo may find its name taken: it then has the
        next variant that is free, whatever its siblings have.
        """
        plain = variant(0)
        if held and (number := _variant_held(variant, held)) is not None:
            chosen = [number] * len(plain)
        elif held:
            chosen = self._decide_late(scope, asset, variant, held)
        else:
            chosen = [self._decide_first(scope, asset, variant)] * len(plain)
        if self._provisional and any(chosen):
            self._note_contest(scope, asset, plain)
        return chosen

    def _decide_first(self, scope: int, asset: int, variant: Callable[[int], Keys]) -> int:
        for number in count():
            if self._take_all(scope, asset, variant(number)):
                return number
        raise AssertionError("unreachable")

    def _decide_late(
        self, scope: int, asset: int, variant: Callable[[int], Keys], held: set[str]
    ) -> list[int]:
        known = [variant(number) for number in range(_VARIANTS_LOOKED_AT)]
        base = next((n for n, keys in enumerate(known) if not held.isdisjoint(keys)), 0)
        chosen = []
        for at in range(len(known[0])):
            mine = (n for n, keys in enumerate(known) if keys[at] in held)
            free = (n for n in count(base) if self.take(scope, variant(n)[at], asset))
            chosen.append(next(chain(mine, free)))
        self.release(asset, scope, held.difference(variant(n)[at] for at, n in enumerate(chosen)))
        return chosen

    def _take_all(self, scope: int, owner: int, keys: Keys) -> bool:
        taken: list[str] = []
        for key in keys:
            # Two renditions may come to the same name; the second one then needs another variant.
            if not self.take(scope, key, owner):
                self.release(owner, scope, taken)
                return False
            taken.append(key)
        return True

    def take(self, scope: int, key: str, owner: int) -> bool:
        """Claim a name; False if anybody has it."""
        if self.holder(scope, key) is not None:
            return False
        self._owners[scope, key] = owner
        self._unwritten.add((scope, key))
        return True

    def holder(self, scope: int, key: str) -> int | None:
        """Who has a name."""
        owner = self._owners.get((scope, key))
        if owner is None:
            row = self._execute(
                "SELECT owner FROM claim WHERE scope = ? AND key = ?", (scope, key)
            ).fetchone()
            owner = self._owners[scope, key] = _NOBODY if row is None else row[0]
        return owner or None

    def release(self, owner: int, scope: int, keys: Iterable[str]) -> None:
        """Give up some names in a scope, as far as the owner has them."""
        for key in keys:
            if self.holder(scope, key) == owner:
                self._owners[scope, key] = _NOBODY
                self._unwritten.add((scope, key))

    def release_other_scopes(self, owner: int, held: Held, keep: Iterable[int]) -> None:
        """Give up every claim of an owner, but for those in the scopes to ``keep``."""
        for scope in held.keys() - set(keep):
            self.release(owner, scope, held[scope])

    def release_all(self, owner: int, *, but: str = "") -> None:
        """Give up every claim of an owner, but for those of one name."""
        self.write()
        self._execute("DELETE FROM claim WHERE owner = ? AND key <> ?", (owner, but))

    # -- contests --------------------------------------------------------------------------------

    def _note_contest(self, scope: int, asset: int, keys: Keys) -> None:
        self._contests += [(scope, key, asset) for key in keys]

    def contestants(self, scope: int, key: str) -> set[int]:
        """The photos that wanted a name and did not get it."""
        return {
            asset
            for (asset,) in self._execute(
                "SELECT asset FROM contest WHERE scope = ? AND key = ?", (scope, key)
            )
        }

    def end_contest(self, scope: int, keys: Iterable[str]) -> int:
        """Nobody wants these names any more; how many wishes that were."""
        before = self._connection.total_changes()
        self._connection.executemany(
            "DELETE FROM contest WHERE scope = ? AND key = ?", [(scope, key) for key in keys]
        )
        return self._connection.total_changes() - before


def _variant_held(variant: Callable[[int], Keys], held: set[str]) -> int | None:
    """The variant that makes up exactly what is held: nearly always one of the first two."""
    for number in range(2):
        keys = variant(number)
        if len(held) == len(keys) and held.issuperset(keys):
            return number
    return None


_VARIANTS_LOOKED_AT = 4
"""A photo whose suffixed name is taken has its third variant; more never came up."""

_encode = msgspec.json.Encoder().encode


def _json(values: Iterable[int | Name]) -> str:
    return _encode(list(values)).decode()
