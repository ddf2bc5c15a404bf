"""Memberships that no list and no change told of.

Apple's list of an album leaves out what is hidden or deleted (facts/cloudkit.md §1.7), so a listing does not
learn that such a photo is in it; and when the photo comes back, its own record alone is in the changes. An
album in a deleted folder is in no list at all until it is moved out. And while one reads an album page by
page, a photo that leaves it pulls the others up.

So at such times the albums' counts are compared with ours. A count may be larger than its list for good
(facts/cloudkit.md §1.12): an album is listed again only if its list has photos behind as many as we know of.
What is missing then may be of the shared library: it is looked for in the history (``foreign_members``).
"""

from __future__ import annotations

from functools import partial

import apsw

from icloudfs.apple import member_count_id
from icloudfs.apple.decode import Page
from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync import foreign_members, lists
from icloudfs.sync.books import Books
from icloudfs.sync.changes import NAMELESS, Position, follow
from icloudfs.sync.counting import counted
from icloudfs.sync.refusals import CHANGES, HISTORY, members_part

_COUNTS_A_CALL = 100
_ROUNDS = 3
"""Members may shift between two pages of an album again; a count that stays wrong is not believed."""


async def complete_albums(books: Books, zone: StoredZone) -> None:
    """Learn every membership that is due in a zone; nothing if none is."""
    reader = books.database.reader
    parts = books.refusals.of_zone(zone.zone)
    if parts.is_withheld(CHANGES):
        return
    if not catalogue.members_are_due(reader, zone.id):
        await parts.settle(HISTORY)  # it was to tell what is known by now
        return
    complete = True
    for _ in range(_ROUNDS):
        counts, all_counted = await _short_albums(books, zone)
        if counts is None:
            # Still due when iCloud counts again. What no count can tell of is looked for at once.
            if foreign_members.may_be_missing(reader, zone):
                await foreign_members.read(books, zone)
            return
        for album, count in counts.items():
            known = await books.database.read(
                partial(catalogue.listed_members, zone=zone.id, album=album)
            )
            if await _list_members(books, zone, album, known, _behind(count)):
                await _list_members(books, zone, album, 0, count, wanted=count)
        if await books.database.read(partial(_want_history, zone=zone, counts=counts)):
            complete = await foreign_members.read(books, zone)
        if await _is_quiet(books, zone):
            await _settle(books, zone, counts, due=not complete or not all_counted)
            if complete:
                await parts.settle(HISTORY)
            return


def _want_history(connection: apsw.Connection, *, zone: StoredZone, counts: dict[str, int]) -> bool:
    """Whether albums count more than lists gave, and photos of another library may be what is missing."""
    return bool(
        counts
        and foreign_members.may_be_missing(connection, zone)
        and _excess(connection, zone, counts)
    )


def _excess(connection: apsw.Connection, zone: StoredZone, counts: dict[str, int]) -> int:
    """How many photos albums are counted to hold beyond those that we know of."""
    here = catalogue.albums_with_members(connection, zone.id)
    return sum(max(0, count - here.get(album, count)) for album, count in counts.items())


async def _settle(books: Books, zone: StoredZone, counts: dict[str, int], *, due: bool) -> None:
    """Every list was read to its end while nothing changed: what the counts hold beyond that is an excess."""

    def transaction(connection: apsw.Connection) -> None:
        catalogue.note_album_excess(connection, zone.id, _excess(connection, zone, counts))
        catalogue.set_members_due(connection, zone.id, due=due)

    await books.database.write(transaction)


async def _is_quiet(books: Books, zone: StoredZone) -> bool:
    """Whether nothing changed while we compared; what did is applied. A photo that left an album
    without our knowing would make up for one that we lack."""
    key = metadata.sync_token_key(zone.zone.name)
    token = metadata.get(books.database.reader, key)
    if token is None:
        return False
    position = Position(zone, token, key)
    return not await follow(books, [position]) and position.token == token


async def _short_albums(books: Books, zone: StoredZone) -> tuple[dict[str, int] | None, bool]:
    """Albums that are said to hold more photos than we know of, and how many they are said to hold, None if
    iCloud refuses to count; and whether each was counted."""
    here = await books.database.read(partial(catalogue.albums_with_members, zone=zone.id))
    albums = list(here)
    short: dict[str, int] = {}
    all_counted = True
    for start in range(0, len(albums), _COUNTS_A_CALL):
        some = albums[start : start + _COUNTS_A_CALL]
        counts = await counted(books, zone, [member_count_id(a) for a in some])
        if counts is None:
            return None, False
        all_counted = all_counted and len(counts) == len(some)
        told = {album: counts.get(member_count_id(album), 0) for album in some}
        short |= {album: count for album, count in told.items() if count > here[album]}
    return short, all_counted


async def _list_members(
    books: Books, zone: StoredZone, album: str, start: int, end: int, wanted: int = 0
) -> int:
    """Store the members from one position to another, and what is behind it; how many were given. As
    ``lists.List.read``. Behind the end that the listing found one empty answer is the second one."""

    async def store(page: Page, _: bool) -> None:
        await books.store(zone, page.records)

    there = lists.of_album(books, zone, album)
    until = max(end, start + 1)
    read = partial(there.read, start, until, store, beyond=True, wanted=wanted, sure=start == 0)
    told = catalogue.album_told(books.database.reader, zone.id, album)
    parts = books.refusals.of_zone(zone.zone)
    found = await parts.ask(members_part(album), read, told=told)
    if found is not None and found.nameless:
        await parts.note(members_part(album), NAMELESS, told=told)
    return 0 if found is None else found.positions


def _behind(count: int) -> int:
    """Where to look whether an album has more than its listing gave: behind the end of a long one, too,
    since a gap may have moved it. A page from the last member of a short one reaches as far."""
    pages = -(-count // lists.MEMBERS_A_PAGE)
    return count if pages < 2 else pages * lists.MEMBERS_A_PAGE + 1
