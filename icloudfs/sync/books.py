"""What every part of a sync shares: the database, the photo service, and who wants to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import apsw
import trio

from icloudfs.apple import ICloud
from icloudfs.apple.records import Record
from icloudfs.progress import Progress
from icloudfs.state.catalogue import StoredZone
from icloudfs.state.database import Database
from icloudfs.state.runs import Figures
from icloudfs.sync.pages import Tree, store_page
from icloudfs.sync.refusals import Refusals
from icloudfs.tree.changes import Change


class Books:
    """One run's view of the world. Pages are stored one at a time, each with what must follow it."""

    def __init__(
        self,
        database: Database,
        icloud: ICloud,
        tree: Tree,
        *,
        size_of: Callable[[str], Awaitable[int | None]],
        connections: int,
        publish: Callable[[list[Change]], None],
        report: Callable[[Progress], None],
    ) -> None:
        """``size_of`` measures the content behind a download URL, as ``ICloud.size_of``."""
        self.database = database
        self.size_of = size_of
        self.photos = icloud.photos
        self.tree = tree
        self.refusals = Refusals(database, icloud, tree.clock)
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
        *,
        asked_for: bool = False,
    ) -> None:
        """Store a page and do ``then`` in one transaction; tell the kernel when it is done.

        ``asked_for`` as in ``store_page``.
        """

        def transaction(connection: apsw.Connection) -> list[Change]:
            stored = store_page(connection, self.tree, zone, records, asked_for=asked_for)
            if then is not None:
                then(connection)
            self.figures.seen += stored.assets
            return stored.changes

        await self.database.write(transaction, self.publish)
