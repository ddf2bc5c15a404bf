"""Apple's lists of photos, read position by position: an index, or the members of an album.

A page may hold fewer positions than one asks for. Where it has a marker, the list goes on there; where it has
none, at the next rank. An empty page may be a gap, a run of records that are gone, with photos behind it
(facts/cloudkit.md §1.12): before the end that is expected it is stepped over.

Before it is believed it is read twice. But a count may be much larger than its list, and then many pages behind
the last photo are empty: of these only the first is read twice, and the rest believed (``Tail``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import apsw
import msgspec

from icloudfs.apple import Index
from icloudfs.apple.course import Course, Given
from icloudfs.apple.decode import Page
from icloudfs.apple.records import Asset, Record, Refused, Relation, Tombstone, has_nameless
from icloudfs.apple.wire import PAGE_ASSETS, PAGE_RECORDS
from icloudfs.errors import ProtocolError
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books

MEMBERS_A_PAGE = PAGE_RECORDS // 3
"""Photos on a full page of an album: a relation, a master and an asset each (facts/cloudkit.md §1.12)."""

_MOST_PAGES = 10_000
"""Of one stretch of a list: a million photos. One that does not end is a mistake."""

_MOST_IDLE = 50
"""Pages in a row of one stretch that bring nothing new: its end, or an error where a marker leads on."""

MOST_STALE = 10
"""Pages in a row that bring nothing which the list had not given before: it goes round, or does not heed where
a page is to begin. Photos that come while one reads push some to the next page; a hundred push a whole one."""

MOST_EMPTY = 10
"""Pages in a row that give nothing, without a marker: a thousand photos. What a count promises beyond that is
not there, and a count may promise anything."""

Then = Callable[[apsw.Connection], None]


class Found(msgspec.Struct, frozen=True):
    """What reading a stretch of a list came to."""

    positions: int
    """That were given, each counted once."""
    more: bool
    """The last page that was read leads on."""
    behind: bool
    """Behind the last position that was given an empty page was read."""
    sure: bool = True
    """Nothing was believed for an empty page that was read only once."""
    nameless: bool = False
    """A record came whose name cannot be found, twice: what else came is stored, and this is not the whole."""


class Tail:
    """One list's pages that give nothing: which were read once, what makes them believed, and when to stop."""

    def __init__(self) -> None:
        self._furthest = -1
        self._ended = False
        """Behind the furthest photo two answers were empty."""
        self._doubtful: dict[int, Callable[[], Awaitable[object]]] = {}
        self._empty: set[int] = set()
        """Where pages begin that gave nothing, with none behind them that gave something."""
        self._given = Given()
        self._stale = 0

    @property
    def leads_nowhere(self) -> bool:
        """Whether the list gave nothing, or nothing new, for so long that the rest is not asked for."""
        return len(self._empty) >= MOST_EMPTY or self._stale >= MOST_STALE

    def take(self, records: Sequence[Record]) -> None:
        """A page of the list was given."""
        if records:
            names = [record.name for record in records]
            self._stale = 0 if self._given.has_news(names) else self._stale + 1

    def note(self, rank: int, found: Found, again: Callable[[], Awaitable[object]]) -> None:
        """What reading the page at ``rank`` came to; ``again`` reads it twice, and notes it anew."""
        self._doubtful.pop(rank, None)
        if found.positions:
            self._empty = {other for other in self._empty if other > rank}
        else:
            self._empty.add(rank)
        if found.positions and rank > self._furthest:
            self._furthest, self._ended = rank, found.behind and found.sure
        elif not found.sure:
            self._doubtful[rank] = again
        elif rank > self._furthest:
            self._ended = True

    async def settle(self) -> list[int]:
        """Read once more each gap with photos behind it, and the first page behind all photos. Returns where
        the others begin, which are believed to be empty."""
        while (rank := min(self._doubtful, default=None)) is not None:
            if self._ended and rank > self._furthest:
                break
            await self._doubtful.pop(rank)()
        believed = sorted(self._doubtful)
        self._doubtful.clear()
        return believed


class List(msgspec.Struct, frozen=True):
    """One of Apple's lists, of one library."""

    ask: Callable[[int, str], Awaitable[Page]]
    """One page, by the rank it begins at and the marker of the page before."""
    length: Callable[[Sequence[Record]], int]
    """Positions that records of a page take."""
    full: int
    """Positions of a page that may have another one behind it, though it has no marker."""

    async def read(
        self,
        start: int,
        end: int,
        store: Callable[[Page, bool], Awaitable[None]],
        *,
        beyond: bool = False,
        wanted: int = 0,
        sure: bool = True,
    ) -> Found:
        """Read the positions from ``start`` up to ``end``.

        ``beyond``: and those behind the end, as long as there are any: a short page is the last one,
        unless fewer than ``wanted`` positions were found; then an empty one is. So are pages that bring
        nothing new. Raises ProtocolError where markers lead on for ever. ``store`` is given each page, and
        whether it was the last one of a stretch that is whole. Unless ``sure``, a stretch that has nothing
        is not read twice, and ``store`` is not told of its end.
        """
        rank, at, marker, idle, empty, found = start, start, "", 0, 0, 0
        nameless = False
        seen: set[str] = set()
        course = Course(patience=_MOST_PAGES, most_empty=_MOST_PAGES)
        for _ in range(_MOST_PAGES):
            page = await self.ask(rank, marker)
            if has_nameless(page.records):
                page = await self.ask(rank, marker)
            nameless = nameless or has_nameless(page.records)
            twice = sure or found > 0
            if twice and rank and at < end and not page.records and not page.marker:
                page = await self.ask(rank, marker)  # a gap is one when two answers agree
            length = self.length(page.records)
            most = length + sum(not record.name for record in page.records)
            empty = 0 if length else empty + 1
            news = self.length([record for record in page.records if record.name not in seen])
            seen.update(record.name for record in page.records)
            found += news
            idle = 0 if news else idle + 1
            following = page.marker if page.marker != marker else ""
            if following and (course.trouble(following) or idle > _MOST_IDLE):
                raise ProtocolError("One of iCloud's lists leads on and does not end.")
            at = at + length if idle <= _MOST_IDLE else max(at, end)
            if at < end:
                last = False
                if not length and not following:
                    at = end if empty >= MOST_EMPTY else at + self.full  # a gap, or the end
                    last = at >= end and not (beyond and found < wanted)
            else:
                full = news > 0 and (most >= self.full or found < wanted)
                last = not (beyond and (following or full))
            believed = twice or found > 0 or not start
            await store(page, last and believed and not nameless)
            if last:
                more = bool(following) or most >= self.full
                return Found(found, more, found > 0 and not length, believed, nameless)
            marker = following
            if not following:
                rank = at
        raise ProtocolError("One of iCloud's lists does not end.")


def of_index(books: Books, zone: StoredZone, index: Index) -> List:
    """The list of an index."""

    async def ask(rank: int, marker: str) -> Page:
        async with books.requests:
            page = await books.photos.list_page(zone.zone, index, rank, marker)
        return msgspec.structs.replace(page, records=tuple(map(_in_a_list, page.records)))

    return List(ask, photos_on, PAGE_ASSETS)


def of_album(books: Books, zone: StoredZone, album: str, *, in_doubt: bool = True) -> List:
    """The members of an album; ``in_doubt``: that there are none has to be said twice."""

    async def ask(rank: int, marker: str) -> Page:
        async with books.requests:
            return await books.photos.members(zone.zone, album, rank, marker, in_doubt=in_doubt)

    return List(ask, _members_on, MEMBERS_A_PAGE)


def _in_a_list(record: Record) -> Record:
    """A list names what is there. One that calls a record gone at the same time says two things, and which of
    them is true is for a look-up to tell."""
    if isinstance(record, Tombstone):
        return Refused(record.name, "DELETED", "a list names it and says that it is gone")
    return record


def photos_on(records: Sequence[Record]) -> int:
    """Photos on a page of an index. One whose master or asset is left out or refused counts, too."""
    assets = sum(isinstance(record, Asset) for record in records)
    return max(assets, -(-len(records) // 2))


def leads_on(page: Page) -> bool:
    """Whether a page of an album may have another one behind it."""
    return bool(page.marker) or _members_on(page.records) >= MEMBERS_A_PAGE


def _members_on(records: Sequence[Record]) -> int:
    """A refused record is a relation by its name alone."""
    return sum(
        isinstance(record, Relation) or (isinstance(record, Refused) and "-IN-" in record.name)
        for record in records
    )
