"""iCloud's own counts of what is in its lists and albums."""

from __future__ import annotations

from collections.abc import Sequence

from icloudfs.apple import ZoneError, ZoneProblem
from icloudfs.apple.decode import NOT_ANSWERED
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.refusals import COUNTS


async def counted(books: Books, zone: StoredZone, ids: Sequence[str]) -> dict[str, int] | None:
    """How many photos each index of a zone holds; None if iCloud refuses to count."""

    async def ask() -> dict[str, int]:
        async with books.requests:
            return await books.photos.counts(zone.zone, ids)

    parts = books.refusals.of_zone(zone.zone)
    found = await parts.ask(COUNTS, ask)
    if found == {} and ids:
        why = "the answer has no count"
        await parts.note(COUNTS, ZoneError(ZoneProblem.TRANSIENT, NOT_ANSWERED, why))
        return None
    if found is not None:
        await parts.settle(COUNTS)
    return found
