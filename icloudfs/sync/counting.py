"""iCloud's own counts of what is in its lists and albums.

A count that is missing is no 0: what it would have told is found by reading on, and that it is missing is
noted. Only of a list that a library does not offer there need not be any.
"""

from __future__ import annotations

from collections.abc import Sequence

from icloudfs.apple import Index, ZoneError, ZoneProblem
from icloudfs.apple.decode import NOT_ANSWERED
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.refusals import COUNTS, Parts, list_part

_LISTS = {index.count: list_part(index) for index in Index}


async def counted(books: Books, zone: StoredZone, ids: Sequence[str]) -> dict[str, int] | None:
    """How many photos each index of a zone holds, those left out whose count is missing; None if iCloud
    refuses to count."""

    async def ask() -> dict[str, int]:
        async with books.requests:
            return await books.photos.counts(zone.zone, ids)

    parts = books.refusals.of_zone(zone.zone)
    found = await parts.ask(COUNTS, ask)
    if found is None:
        return None
    if missing := [one for one in ids if one not in found and not _is_not_offered(parts, one)]:
        why = f"{len(missing)} of {len(ids)} counts are missing"
        await parts.note(COUNTS, ZoneError(ZoneProblem.TRANSIENT, NOT_ANSWERED, why))
    await parts.settle(COUNTS)
    return found


def _is_not_offered(parts: Parts, counted: str) -> bool:
    """Whether it is the count of a list that the library refuses."""
    return counted in _LISTS and parts.is_refused(_LISTS[counted])
