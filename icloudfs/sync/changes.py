"""Following the change log of zones: ``changes/zone``, page by page (facts/cloudkit.md §1.7).

A page and the token that follows it are one transaction. Empty pages with ``moreComing`` are followed
like any other; real histories have runs of seventy of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import apsw
import msgspec
import trio

from icloudfs.apple import ZoneChanges, ZoneError, ZoneGone, ZoneProblem
from icloudfs.apple.course import Course
from icloudfs.apple.decode import UNREADABLE
from icloudfs.apple.records import Area, has_nameless
from icloudfs.state import metadata
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.refusals import CHANGES, Refused, code_and_reason

log = logging.getLogger(__name__)

MOST_PAGES_WITHOUT_PROGRESS = 50
"""Empty pages that lead nowhere: with the same token again and again there is nothing to wait for."""


_TRIES = 2
"""Of an error of one zone that may pass, with a pause before each."""
_PAUSE = 0.25  # seconds, doubled before each


class Position(msgspec.Struct):
    """Where in a zone's change log we are, and under which key of ``metadata`` that is kept."""

    zone: StoredZone
    token: str
    key: str
    course: Course = msgspec.field(
        default_factory=lambda: Course(patience=MOST_PAGES_WITHOUT_PROGRESS)
    )
    failed: int = 0
    """Errors in a row that may pass."""
    records: int = 0
    """Records that came."""
    tell: Callable[[int], None] = lambda _: None
    """Is told ``records`` after each page."""
    held_back: bool = False
    """A record came whose name cannot be found. What is behind it is stored, and no token that would say that
    it was here: the log is read from there again the next time."""


async def follow(books: Books, positions: Iterable[Position]) -> dict[int, ZoneError]:
    """Apply every change of these zones since their tokens. Zones of one area share each request, or get
    their own where iCloud refuses that.

    Returns what went wrong, by zone id; a zone with an error keeps the token it had reached. What may pass is
    noted as refused (``refusals.CHANGES``), and a zone whose changes are is not asked for until its time comes.
    """
    errors: dict[int, ZoneError] = {}
    asked = list(positions)
    by_area: dict[Area, dict[int, Position]] = {}
    for position in asked:
        zone = position.zone
        if books.refusals.of_zone(zone.zone).is_withheld(CHANGES):
            errors[zone.id] = ZoneError(ZoneProblem.TRANSIENT, _WITHHELD)
        else:
            by_area.setdefault(zone.zone.area, {})[zone.id] = position
    for area, pending in by_area.items():
        apart: set[Area] = set()
        while pending:
            await _follow_one_page(books, area, pending, errors, apart)
    for position in asked:
        if position.held_back:
            errors.setdefault(position.zone.id, NAMELESS)
        await _note(books, position.zone, errors)
    return errors


_WITHHELD = "WITHHELD"
_NO_END = "it does not end"

NAMELESS = ZoneError(ZoneProblem.TRANSIENT, UNREADABLE, "a record came whose name cannot be read")


async def _note(books: Books, zone: StoredZone, errors: dict[int, ZoneError]) -> None:
    """Say what is refused, and that it no longer is; make sure that a zone is gone."""
    parts = books.refusals.of_zone(zone.zone)
    error = errors.get(zone.id)
    if error is None:
        await parts.settle(CHANGES)
        return
    if is_gone(error) and not await books.refusals.is_gone(zone.zone):
        error = errors[zone.id] = ZoneError(ZoneProblem.TRANSIENT, error.code, error.reason)
    if error.problem is ZoneProblem.TRANSIENT and error.code != _WITHHELD:
        await parts.note(CHANGES, error)


async def _follow_one_page(
    books: Books,
    area: Area,
    pending: dict[int, Position],
    errors: dict[int, ZoneError],
    apart: set[Area],
) -> None:
    asked = list(pending.values())
    for position, page in zip(asked, await _pages(books, area, asked, apart), strict=True):
        if page.error is not None:
            if await _may_pass(position, page.error):
                continue
            errors[position.zone.id] = page.error
            del pending[position.zone.id]
            continue
        if has_nameless(page.records):
            if await _may_pass(position, NAMELESS):
                continue
            position.held_back = True
        position.failed = 0
        await _store(books, position, page)
        if not page.more_coming:
            del pending[position.zone.id]
        elif trouble := position.course.trouble(position.token, _names(page)):
            errors[position.zone.id] = ZoneError(ZoneProblem.TRANSIENT, trouble, _NO_END)
            del pending[position.zone.id]


def _names(page: ZoneChanges) -> list[str]:
    return [record.name for record in page.records]


async def _may_pass(position: Position, error: ZoneError) -> bool:
    """Whether a zone that could not be given just now is asked for once more, after a pause."""
    if error.problem is not ZoneProblem.TRANSIENT or position.failed >= _TRIES:
        return False
    position.failed += 1
    await trio.sleep(_PAUSE * 2**position.failed)
    return True


async def _pages(
    books: Books, area: Area, asked: list[Position], apart: set[Area]
) -> list[ZoneChanges]:
    """One page of each, in their order: by one call, or by one each in areas that are in ``apart``."""
    if area not in apart and len(asked) > 1:
        try:
            with books.refusals.patience():
                return _in_order(asked, await _ask(books, area, asked))
        except Refused as error:
            if not isinstance(error, ZoneGone) and not await books.refusals.is_of_one_call(error):
                raise
            apart.add(area)
    return [await _page_alone(books, area, position) for position in asked]


async def _page_alone(books: Books, area: Area, position: Position) -> ZoneChanges:
    try:
        with books.refusals.patience():
            (page,) = await _ask(books, area, [position])
            return page
    except ZoneGone as gone:
        problem, told = ZoneProblem.ZONE_GONE, (gone.code, gone.reason)
    except Refused as error:
        if not await books.refusals.is_of_one_call(error):
            raise
        problem, told = ZoneProblem.TRANSIENT, code_and_reason(error)
    position.failed = _TRIES  # the call itself was tried often enough
    return ZoneChanges(position.zone.zone, error=ZoneError(problem, *told))


async def _ask(books: Books, area: Area, asked: list[Position]) -> tuple[ZoneChanges, ...]:
    async with books.requests:
        return await books.photos.zone_changes(area, [(p.zone.zone, p.token) for p in asked])


def _in_order(asked: list[Position], answers: Iterable[ZoneChanges]) -> list[ZoneChanges]:
    by_name: Mapping[str, ZoneChanges] = {answer.zone.name: answer for answer in answers}
    return [by_name[position.zone.zone.name] for position in asked]


async def _store(books: Books, position: Position, page: ZoneChanges) -> None:
    token = page.token or position.token
    if not page.records and token == position.token:
        return  # nothing changed: not worth a transaction

    def keep(connection: apsw.Connection) -> None:
        if token and not position.held_back:
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
