"""Records that CloudKit answered with an error in the place of: asked for again until they come."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from icloudfs.apple import CloudKitError
from icloudfs.apple.decode import RECORD_KEYS
from icloudfs.apple.records import Master, Record, Refused, Tombstone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.measuring import measured

log = logging.getLogger(__name__)

_A_RUN = 1000
_UNKNOWN = frozenset({"NOT_FOUND", "UNKNOWN_ITEM"})
"""Codes of a look-up for a record that does not exist."""


async def look_up(books: Books, zone: StoredZone, names: Sequence[str]) -> tuple[Record, ...]:
    """These records as they are now, whole, every size measured that iCloud does not tell; one that does
    not exist is a Tombstone."""
    async with books.requests:
        records = await books.photos.lookup(zone.zone, names, RECORD_KEYS)
    return await measured(books, [_understood(record) for record in records])


def _understood(record: Record) -> Record:
    match record:
        case Refused(code=code) if code in _UNKNOWN:
            return Tombstone(record.name)
        case Master():
            return msgspec.structs.replace(record, whole=True)
    return record


async def ask_for_owed(books: Books, zone: StoredZone) -> None:
    """Look up what a zone owes us. What is refused again stays owed."""
    names = catalogue.owed(books.database.reader, zone.id, _A_RUN)
    if not names:
        return
    try:
        records = await look_up(books, zone, names)
    except CloudKitError as error:
        log.warning("%s: records that are owed cannot be looked up: %s", zone.zone.name, error)
        return
    current = msgspec.structs.replace(
        zone, listing=catalogue.zone_by_id(books.database.reader, zone.id).listing
    )
    await books.store(current, records)
