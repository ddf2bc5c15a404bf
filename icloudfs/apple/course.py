"""Following what leads on: a log by its tokens, a list by its markers, ``moreComing``.

Nothing but the server says where such a thing ends, and one that goes wrong says it never: it gives the same
place again, leads in a circle, or on and on with nothing on its pages. Real logs have runs of seventy empty
pages (facts/cloudkit.md §1.7).
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_PAGES = 100_000
"""A history of 7,300 photos has 450 pages (facts/cloudkit.md §1.7)."""
MOST_EMPTY = 1000
"""Pages in a row without anything that was not given before, each of which leads on to another place."""

NO_PROGRESS = "NO_PROGRESS"
"""The same place again and again."""
CIRCLE = "CIRCLE"
"""A place where one was before."""
NOTHING_COMES = "NOTHING_COMES"
"""Pages with nothing new, without end."""
NO_END = "NO_END"
"""Pages without end."""


class Given:
    """What was given, by one bit of each name, so that a million need no more room than a hundred. It may take
    a name for one that was given; those of a whole page never."""

    _BITS = 1 << 19

    def __init__(self) -> None:
        self._bits = bytearray()

    def has_news(self, names: Iterable[str]) -> bool:
        """Whether any of these was not given before; they are now."""
        self._bits = self._bits or bytearray(self._BITS // 8)
        news = False
        for name in names:
            at, bit = divmod(hash(name) % self._BITS, 8)
            news |= not self._bits[at] & (1 << bit)
            self._bits[at] |= 1 << bit
        return news


class Course:
    """Where following has come to."""

    def __init__(
        self,
        begin: str = "",
        *,
        patience: int = 0,
        most_empty: int = MOST_EMPTY,
        most: int = MOST_PAGES,
    ) -> None:
        """``begin``: the first place; ``patience``: how often in a row a page may lead to where it was."""
        self._place = begin
        self._been = {hash(begin)}
        self._patience, self._most_empty, self._most = patience, most_empty, most
        self._stuck = self._empty = self._pages = 0
        self._given = Given()

    def trouble(self, place: str, names: Iterable[str] = ()) -> str:
        """A page, with what has these names on it, leads on to ``place``. Returns what is wrong with that: one
        of the codes above, or nothing."""
        self._pages += 1
        self._empty = 0 if self._given.has_news(names) else self._empty + 1
        if place == self._place:
            self._stuck += 1
            return NO_PROGRESS if self._stuck > self._patience else ""
        if hash(place) in self._been:
            return CIRCLE
        self._place, self._stuck = place, 0
        self._been.add(hash(place))
        if self._empty > self._most_empty:
            return NOTHING_COMES
        return NO_END if self._pages > self._most else ""
