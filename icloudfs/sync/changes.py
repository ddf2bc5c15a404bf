"""Following the change log of zones: ``changes/zone``, page by page (facts/cloudkit.md §1.7).

A page and the token that follows it are one transaction. Empty pages with ``moreComing`` are followed
like any other; real histories have runs of seventy of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import apsw
import msgspec

from icloudfs.apple import ZoneChanges, ZoneError, ZoneProblem
from icloudfs.apple.records import Area
from icloudfs.errors import ProtocolError
from icloudfs.state import metadata
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books

log = logging.getLogger(__name__)

_MOST_PAGES = 100_000
"""A history of 7,300 photos has 450 pages (facts/cloudkit.md §1.7); a log without end is a mistake."""


_MOST_PAGES_WITHOUT_PROGRESS = 50
"""Empty pages that lead nowhere: with the same token again and again there is nothing to wait for."""


class Position(msgspec.Struct):
    """Where in a zone's change log we are, and under which key of ``metadata`` that is kept."""

    zone: StoredZone
    token: str
    key: str
    stuck: int = 0
    """Pages since the token moved."""
    records: int = 0
    """Records that came."""
    tell: Callable[[int], None] = lambda _: None
    """Is told ``records`` after each page."""


async def follow(books: Books, positions: Iterable[Position]) -> dict[int, ZoneError]:
    """Apply every change of these zones since their tokens. Zones of one area share each request.

    Returns what went wrong, by zone id; a zone with an error keeps the token it had reached.
    """
    errors: dict[int, ZoneError] = {}
    by_area: dict[Area, dict[int, Position]] = {}
    for position in positions:
        by_area.setdefault(position.zone.zone.area, {})[position.zone.id] = position
    for area, pending in by_area.items():
        for _ in range(_MOST_PAGES):
            if not pending:
                break
            await _follow_one_page(books, area, pending, errors)
        else:
            raise ProtocolError(f"The change log of {sorted(pending)} does not end.")
    return errors


async def _follow_one_page(
    books: Books, area: Area, pending: dict[int, Position], errors: dict[int, ZoneError]
) -> None:
    asked = list(pending.values())
    async with books.requests:
        answers = await books.photos.zone_changes(area, [(p.zone.zone, p.token) for p in asked])
    for position, page in zip(asked, _in_order(asked, answers), strict=True):
        if page.error is not None:
            errors[position.zone.id] = page.error
            del pending[position.zone.id]
            continue
        await _store(books, position, page)
        if not page.more_coming:
            del pending[position.zone.id]
        elif position.stuck > _MOST_PAGES_WITHOUT_PROGRESS:
            errors[position.zone.id] = ZoneError(ZoneProblem.TRANSIENT, "NO_PROGRESS")
            del pending[position.zone.id]


def _in_order(asked: list[Position], answers: Iterable[ZoneChanges]) -> list[ZoneChanges]:
    by_name: Mapping[str, ZoneChanges] = {answer.zone.name: answer for answer in answers}
    return [by_name[position.zone.zone.name] for position in asked]


async def _store(books: Books, position: Position, page: ZoneChanges) -> None:
    token = page.token or position.token
    position.stuck = position.stuck + 1 if token == position.token else 0
    if not page.records and position.stuck:
        return  # nothing changed: not worth a transaction

    def keep(connection: apsw.Connection) -> None:
        if token:
            metadata.put_token(connection, position.key, token, books.tree.clock())

    await books.store(position.zone, page.records, keep)
    position.token = token
    position.records += len(page.records)
    position.tell(position.records)


def needs_listing(error: ZoneError) -> bool:
    """Whether the zone's token is refused for good, so that only a new listing helps."""
    return error.problem is ZoneProblem.BAD_TOKEN


def is_gone(error: ZoneError) -> bool:
    """Whether the zone does not exist any more."""
    return error.problem is ZoneProblem.ZONE_GONE
