"""Who may use a plain name.

A scope is a set of photos that must not share names: a month, an album, and the whole library (scope 0)
for the flat directories such as Favorites. The first photo in a scope keeps ``IMG_0001.HEIC``; a later
one gets ``IMG_0001_<suffix>.HEIC``, in every rendition. The decision is made once and stored, as the
names that the photo claims, plain or suffixed; a sibling that comes or goes never changes it.

For the flat directories the scope is the library and not the directory, because a photo enters and
leaves Favorites at any time: were names judged among the favourites alone, they would depend on who was
marked first, and a database that is built anew could not know.

Invariants:

* (scope, key) belongs to one photo; keys are folded, so names that differ in case alone clash.
* A photo with any claim in a scope is decided there. ``decide`` is then a look-up.
* During the first listing of a library photos come in no particular order, so decisions are provisional;
  ``settle`` makes them again at its end, the photo that was added first, first. Never afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw

WHOLE_LIBRARY = 0

Names = Sequence[str]
"""The file names of one photo's renditions."""


class Claims:
    """The ``claim`` table, in the caller's transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute: Callable[..., Any] = connection.execute

    def decide(self, scope: int, asset: int, plain: Names, suffixed: Names) -> frozenset[str]:
        """The names that the photo holds in the scope; claims them if it is new there.

        ``plain`` and ``suffixed`` are folded and of the same length, one for each rendition. A
        rendition that came later than its photo may find its plain name taken: it then holds the
        suffixed one, whatever its siblings hold.
        """
        held = self.held(scope, asset)
        is_plain = not held.isdisjoint(plain) if held else not self._any_taken(scope, plain)
        for name, otherwise in zip(plain, suffixed, strict=True):
            if name in held or otherwise in held:
                continue
            if is_plain and self._take(scope, asset, name):
                held.add(name)
            elif self._take(scope, asset, otherwise):
                held.add(otherwise)
        return frozenset(held)

    def held(self, scope: int, asset: int) -> set[str]:
        """The names that the photo has claimed in the scope; empty if it was never decided there."""
        return {
            key
            for (key,) in self._execute(
                "SELECT key FROM claim WHERE asset = ? AND scope = ?", (asset, scope)
            )
        }

    def release(self, asset: int, *, keep: Iterable[int] = ()) -> None:
        """Give up every claim of a photo, but for those in the scopes to ``keep``."""
        scopes = {scope for (scope,) in self._execute(
            "SELECT DISTINCT scope FROM claim WHERE asset = ?", (asset,)
        )}  # fmt: skip
        for scope in scopes.difference(keep):
            self.release_in(scope, asset)

    def release_in(self, scope: int, asset: int) -> None:
        self._execute("DELETE FROM claim WHERE asset = ? AND scope = ?", (asset, scope))

    def _any_taken(self, scope: int, keys: Names) -> bool:
        marks = ", ".join("?" * len(keys))
        found = self._execute(
            f"SELECT 1 FROM claim WHERE scope = ? AND key IN ({marks}) LIMIT 1", (scope, *keys)
        ).fetchone()
        return found is not None

    def _take(self, scope: int, asset: int, key: str) -> bool:
        self._execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?)", (scope, key, asset))
        return self._connection.changes() == 1
