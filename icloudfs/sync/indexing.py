"""A library that Apple is still indexing (facts/cloudkit.md §1.12).

While Apple builds the indexes that lists and counts are read from, these are not the truth, and nothing says
how much of it they are; the history by ``changes/zone`` is whole. So the state is asked for with the first
listing of a library, it never holds anything back, and what it says is in ``status``. When the indexes are
finished, the library is listed once more.
"""

from __future__ import annotations

import logging

from icloudfs.apple.cloudkit import IndexingState
from icloudfs.apple.retry import patience_of
from icloudfs.state import catalogue
from icloudfs.state.catalogue import StoredZone
from icloudfs.sync.books import Books
from icloudfs.sync.refusals import INDEXING

log = logging.getLogger(__name__)

_PATIENCE = 20.0
"""Seconds for an answer that must not matter."""


async def note_state(books: Books, zone: StoredZone) -> None:
    """Ask how far Apple is with a library's indexes, and note it if they are not finished."""
    state = await _state(books, zone)
    if state is None or state.finished:
        return
    done = "" if state.progress is None else f", {state.progress} %"
    log.warning(
        "%s: iCloud is still indexing this library (%s%s); its whole history is read in the meantime",
        zone.zone.name,
        state.state,
        done,
    )
    await books.database.write(
        lambda c: catalogue.note_indexing(c, zone.id, state.state, state.progress)
    )


async def has_finished(books: Books, zone: StoredZone) -> bool:
    """Whether the indexes of a library are finished now that were not. What Apple says else is noted."""
    state = await _state(books, zone)
    if state is None:
        return False
    if not state.finished and (state.state, state.progress) != (zone.indexing, zone.indexed):
        await books.database.write(
            lambda c: catalogue.note_indexing(c, zone.id, state.state, state.progress)
        )
    return state.finished


async def _state(books: Books, zone: StoredZone) -> IndexingState | None:
    """None if iCloud does not say, for whatever reason: that must not matter."""

    async def ask() -> IndexingState | None:
        async with books.requests:
            return await books.photos.indexing_state(zone.zone)

    parts = books.refusals.of_zone(zone.zone)
    with patience_of(_PATIENCE):
        state = await parts.ask(INDEXING, ask)
    await parts.settle(INDEXING)
    return state
