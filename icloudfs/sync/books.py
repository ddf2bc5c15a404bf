"""What every part of a sync shares: the database, the photo service, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw
import trio

from icloudfs.apple import Photos
from icloudfs.apple.records import Record
from icloudfs.errors import IcloudfsError
from icloudfs.progress import Progress
from icloudfs.state.catalogue import StoredZone
from icloudfs.state.database import Database
from icloudfs.state.runs import Figures
from icloudfs.sync.pages import Tree, store_page
from icloudfs.tree.changes import Change


@contextmanager
def one_error() -> Iterator[None]:
    """What went wrong first, out of the group that a nursery makes of its tasks' errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _one_of(group) from None


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What nobody foresaw before all else; then that we are cancelled, which must reach whoever
    cancelled us; then the first of the errors that have a sentence."""
    errors = list(_leaves(group))
    unforeseen = [
        e for e in errors if isinstance(e, Exception) and not isinstance(e, IcloudfsError)
    ]
    cancelled = [e for e in errors if not isinstance(e, Exception)]
    return (unforeseen or cancelled or errors)[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class Books:
    """One run's view of the world. Pages are stored one at a time, each with what must follow it."""

    def __init__(
        self,
        database: Database,
        photos: Photos,
        tree: Tree,
        *,
        connections: int,
        publish: Callable[[list[Change]], None],
        report: Callable[[Progress], None],
    ) -> None:
        self.database = database
        self.photos = photos
        self.tree = tree
        self.requests = trio.CapacityLimiter(connections)
        """One token a request to iCloud: all zones together never ask more at a time."""
        self.publish = publish
        self.report = report
        self.figures = Figures()

    async def store(
        self,
        zone: StoredZone,
        records: tuple[Record, ...],
        then: Callable[[apsw.Connection], None] | None = None,
    ) -> None:
        """Store a page and do ``then`` in one transaction; tell the kernel when it is done."""

        def transaction(connection: apsw.Connection) -> list[Change]:
            stored = store_page(connection, self.tree, zone, records)
            if then is not None:
                then(connection)
            self.figures.seen += stored.assets
            return stored.changes

        self.publish(await self.database.write(transaction))
