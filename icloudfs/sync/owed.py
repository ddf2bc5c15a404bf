"""Records that CloudKit answered with an error in the place of: asked for again until they come.

Those that are refused for ever take turns with the others: who was asked for longest ago comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from icloudfs.apple import ZoneError, ZoneProblem
from icloudfs.apple.decode import NOT_ANSWERED, RECORD_KEYS
from icloudfs.apple.records import Master, Record, Refused, Tombstone
from icloudfs.state import catalogue
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.measuring import measured
from icloudfs.sync.refusals import LOOKUP

_A_RUN = 1000
_AT_ONCE = 200
"""Records between two looks whether any comes at all."""
_UNKNOWN = frozenset({"NOT_FOUND", "UNKNOWN_ITEM"})
"""Codes of a look-up for a record that does not exist."""


async def look_up(
    books: Books, zone: StoredZone, names: Sequence[str]
) -> tuple[Record, ...] | None:
    """These records as they are now, whole, every size measured that iCloud does not tell; one that does
    not exist, as two answers say, is a Tombstone. None if iCloud refuses to look up any."""

    async def ask(names: Sequence[str]) -> tuple[Record, ...]:
        async with books.requests:
            return await books.photos.lookup(zone.zone, names, RECORD_KEYS)

    parts = books.refusals.of_zone(zone.zone)
    records = await parts.ask(LOOKUP, partial(ask, names))
    if records is None:
        return None
    if unknown := [record.name for record in records if _is_unknown(record)]:
        again = await parts.ask(LOOKUP, partial(ask, unknown))
        if again is None:
            return None
        said = {record.name: record for record in again}
        records = tuple(said.get(record.name, record) for record in records)
    if names and all(isinstance(r, Refused) and r.code == NOT_ANSWERED for r in records):
        why = "the answer leaves all records out"
        await parts.note(LOOKUP, ZoneError(ZoneProblem.TRANSIENT, NOT_ANSWERED, why))
        return None
    await parts.settle(LOOKUP)
    return await measured(books, [_understood(record) for record in records])


def _is_unknown(record: Record) -> bool:
    return isinstance(record, Refused) and record.code in _UNKNOWN


def _understood(record: Record) -> Record:
    if _is_unknown(record):
        return Tombstone(record.name)
    if isinstance(record, Master):
        return msgspec.structs.replace(record, whole=True)
    return record


async def ask_for_owed(books: Books, zone: StoredZone) -> None:
    """Look up what a zone owes us, up to a thousand records; as soon as none comes, the rest waits. What is
    refused again stays owed."""
    reader = books.database.reader
    turn = catalogue.next_turn(reader, zone.id)
    for _ in range(0, _A_RUN, _AT_ONCE):
        names = catalogue.owed(reader, zone.id, _AT_ONCE, turn)
        if not names:
            return
        records = await look_up(books, zone, names)
        if records is None:
            return
        current = msgspec.structs.replace(
            zone, listing=catalogue.zone_by_id(reader, zone.id).listing
        )
        note = partial(catalogue.note_asked, zone=zone.id, names=names, turn=turn)
        await books.store(current, records, note, asked_for=True)
        if all(isinstance(record, Refused) for record in records):
            return
