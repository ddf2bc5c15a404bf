"""Memberships that no list and no change told of.

Apple's list of an album leaves out what is hidden or deleted (facts/cloudkit.md §1.7), so a listing does not
learn that such a photo is in it; and when the photo comes back, its own record alone is in the changes. An
album in a deleted folder is in no list at all until it is moved out. And while one reads an album page by
page, a photo that leaves it pulls the others up.

So at such times the albums' counts are compared with ours, and those that hold more are listed again.
"""

from __future__ import annotations

from functools import partial

from icloudfs.apple import member_count_id
from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.changes import Position, follow

_COUNTS_A_CALL = 100
_ROUNDS = 3
"""Members may shift between two pages of an album again; a count that stays wrong is not believed."""


async def complete_albums(books: Books, zone: StoredZone) -> None:
    """Learn every membership that is due in a zone; nothing if none is."""
    reader = books.database.reader
    if not catalogue.members_are_due(reader, zone.id):
        return
    quiet = False
    for _ in range(_ROUNDS):
        short = await _short_albums(books, zone)
        for album in short:
            await _list_members(books, zone, album)
        quiet = await _is_quiet(books, zone)
        if quiet and not short:
            break
    if quiet:
        await books.database.write(
            lambda connection: catalogue.set_members_due(connection, zone.id, due=False)
        )


async def _is_quiet(books: Books, zone: StoredZone) -> bool:
    """Whether nothing changed while we compared; what did is applied. A photo that left an album
    without our knowing would make up for one that we lack."""
    key = metadata.sync_token_key(zone.zone.name)
    token = metadata.get(books.database.reader, key)
    if token is None:
        return False
    position = Position(zone, token, key)
    return not await follow(books, [position]) and position.token == token


async def _short_albums(books: Books, zone: StoredZone) -> list[str]:
    """Albums that hold more photos than we know of."""
    here = await books.database.read(partial(catalogue.albums_with_members, zone=zone.id))
    albums = list(here)
    short = []
    for start in range(0, len(albums), _COUNTS_A_CALL):
        some = albums[start : start + _COUNTS_A_CALL]
        async with books.requests:
            counts = await books.photos.counts(zone.zone, [member_count_id(a) for a in some])
        short += [album for album in some if counts.get(member_count_id(album), 0) > here[album]]
    return short


async def _list_members(books: Books, zone: StoredZone, album: str) -> None:
    start = 0
    while True:
        async with books.requests:
            page = await books.photos.members(zone.zone, album, start)
        if not page.records:
            return
        await books.store(zone, page.records)
        start += len(page.records)
