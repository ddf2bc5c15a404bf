"""Photos of the shared library in own albums, of which no list tells.

The relation is in the zone of the album, and only the change log of that zone has it; the photo is in another
zone (facts/cloudkit.md §1.12). Changes bring such relations by themselves. What was there before the first
listing is in the zone's history alone, so that is read once for each listing: relations and nothing else, a
page and the place in the log in one transaction, so that it goes on where it was cut off.
"""

from __future__ import annotations

import logging
from functools import partial

import apsw

from icloudfs.apple import ZoneChanges, ZoneError, ZoneProblem
from icloudfs.apple.course import Course
from icloudfs.apple.decode import RELATION_KEYS
from icloudfs.apple.records import Record, Refused, Relation, has_nameless
from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.changes import MOST_PAGES_WITHOUT_PROGRESS, NAMELESS, needs_listing
from icloudfs.sync.refusals import HISTORY

log = logging.getLogger(__name__)


def may_be_missing(connection: apsw.Connection, zone: StoredZone) -> bool:
    """Whether there may be such photos, and the history was not read for them since the zone was listed."""
    others = any(other.id != zone.id for other in catalogue.zones(connection))
    return others and not catalogue.relations_are_read(connection, zone.id)


async def read(books: Books, zone: StoredZone) -> bool:
    """Read the zone's history for relations, to its end. False if iCloud refuses it, or a record of it has no
    name that can be found: a later run goes on, from before that."""
    parts = books.refusals.of_zone(zone.zone)
    key = metadata.relations_token_key(zone.zone.name)
    token = metadata.get(books.database.reader, key) or ""
    log.info("%s: reading its history for photos of other libraries in its albums", zone.zone.name)
    course = Course(token, patience=MOST_PAGES_WITHOUT_PROGRESS)
    whole = True
    while True:
        page = await _page(books, zone, token)
        if page is None:
            return False
        token = page.token or token
        relations = tuple(record for record in page.records if _is_of_a_relation(record))
        if whole and has_nameless(page.records):
            whole = False
            await parts.note(HISTORY, NAMELESS)
        then = partial(_note, zone=zone, token=token, ended=not page.more_coming)
        now = books.tree.clock()
        await books.store(zone, relations, partial(then, now=now) if whole else None)
        if not page.more_coming:
            if whole:
                await parts.settle(HISTORY)
            return whole
        if trouble := course.trouble(token, [record.name for record in page.records]):
            await parts.note(HISTORY, ZoneError(ZoneProblem.TRANSIENT, trouble, "it does not end"))
            return False


async def read_again(books: Books, zone: StoredZone) -> None:
    """When a zone is listed again and such photos are known, the history tells which of them stay:
    no list does, and looking up each relation would cost more."""
    if await books.database.read(partial(_are_known_and_unread, zone=zone)):
        await read(books, zone)


def _are_known_and_unread(connection: apsw.Connection, zone: StoredZone) -> bool:
    return may_be_missing(connection, zone) and catalogue.has_foreign_members(connection, zone.id)


def _is_of_a_relation(record: Record) -> bool:
    """Or of one that iCloud did not give, which is owed then. Tombstones say nothing of what there is."""
    if isinstance(record, Refused):
        return "-IN-" in record.name
    return isinstance(record, Relation) and not record.deleted


async def _page(books: Books, zone: StoredZone, token: str) -> ZoneChanges | None:
    """The next page; None if it is refused. A place in the log that is not accepted is forgotten."""

    async def ask() -> tuple[ZoneChanges, ...]:
        async with books.requests:
            return await books.photos.zone_changes(
                zone.zone.area, [(zone.zone, token)], RELATION_KEYS
            )

    parts = books.refusals.of_zone(zone.zone)
    answer = await parts.ask(HISTORY, ask)
    if answer is None:
        return None
    (page,) = answer
    if page.error is None:
        return page
    await parts.note(HISTORY, page.error)
    if needs_listing(page.error):
        key = metadata.relations_token_key(zone.zone.name)
        await books.database.write(lambda connection: metadata.remove_token(connection, key))
    return None


def _note(
    connection: apsw.Connection, *, zone: StoredZone, token: str, ended: bool, now: int
) -> None:
    """Said in the transaction that stores a page; ``now`` in milliseconds since the epoch."""
    key = metadata.relations_token_key(zone.zone.name)
    if ended:
        metadata.remove_token(connection, key)
        catalogue.set_relations_read(connection, zone.id)
    elif token:
        metadata.put_token(connection, key, token, now)
