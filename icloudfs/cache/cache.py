"""The cache: content on this disk, and the fetching of what is not there yet.

One ``Fetch`` a checksum holds everything that goes on about it, from the first open until the last reader
has left and nothing is under way; ``_fetches`` is the only place that knows them. So duplicates, albums
and zones share one download, and what is in ``_fetches`` is never evicted.

All fetching runs in one nursery, that of ``run``. When it is cancelled everything stops, ranges are
recorded, readers that wait get an error, and nothing outlives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import trio

from icloudfs.cache.eviction import Room, bytes_of
from icloudfs.cache.fetch import Fetch, Rules, Transfer
from icloudfs.cache.handle import OpenFile
from icloudfs.cache.holding import Holding
from icloudfs.cache.ledger import Ledger, record
from icloudfs.cache.places import Places
from icloudfs.cache.pull import Means
from icloudfs.cache.reachability import Reachability
from icloudfs.cache.source import Source
from icloudfs.cache.sweep import Sweep
from icloudfs.cache.urls import FreshURLs
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database
from icloudfs.tree.directory import File

log = logging.getLogger(__name__)

WHOLE_BELOW = 32 << 20
HEAD = 128 << 10
TIMEOUT = 30.0

_LARGEST_READ = 1 << 20
"""Bytes; the kernel's largest request (facts/fuse.md §1.2)."""

_LAST_WORDS = 10.0
"""Seconds to record what is here when the cache ends; a disk that takes longer is given up on."""


def _tell_nobody(checksum: str) -> None:
    """There is no kernel that could have copies."""


class Cache:
    """Content of one account on this disk. ``run`` must have been started before anything else."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        source: Source,
        *,
        limit: int,
        whole_below: int = WHOLE_BELOW,
        head: int = HEAD,
        strict: bool = False,
        timeout: float = TIMEOUT,
        on_content_changed: Callable[[str], None] | None = None,
    ) -> None:
        """``limit``: bytes of disk, 0 for no limit. ``whole_below``: files up to so many bytes are read
        only when whole and verified, all but their first ``head`` bytes, or all of them if ``strict``;
        larger ones stream. ``timeout``: seconds without progress that end a wait for the network.

        ``on_content_changed`` is called with a checksum when bytes that were read from it proved wrong
        or an imported file is no longer it: the kernel's copy of its pages must go.
        """
        self._places = Places(directory)
        self._database = database
        self._source = source
        self._rules = Rules(whole_below=whole_below, head=head, strict=strict)
        self._timeout = timeout
        self._on_content_changed = on_content_changed or _tell_nobody
        self._fetches: dict[str, Fetch] = {}
        self._ledger = Ledger(database)
        self._room = Room(limit, self._places, database, self._ledger, lambda: self._fetches.keys())
        self._buffer = memoryview(bytearray(_LARGEST_READ))
        self._means: Means | None = None
        self._nursery: trio.Nursery | None = None

    # -- life ------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the cache going until cancelled. Raises CacheUnusable before it has started."""
        unclean = await trio.to_thread.run_sync(self._places.prepare)
        known = await self._database.write(
            lambda connection: contents.set_directory(connection, str(self._places.directory))
        )
        await self._room.count()
        try:
            async with trio.open_nursery() as nursery:
                self._begin(nursery)
                nursery.start_soon(self._ledger.keep_ranges)
                nursery.start_soon(self._ledger.keep_access_times)
                nursery.start_soon(self._sweep, unclean or not known)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for fetch in self._fetches.values():
                fetch.stop()
            with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WORDS):
                await self._record_everything()

    def _begin(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._means = Means(
            source=self._source,
            database=self._database,
            urls=FreshURLs(self._source, nursery, self._timeout),
            reachability=Reachability(),
            room=self._room,
            ledger=self._ledger,
            timeout=self._timeout,
        )

    async def _sweep(self, thoroughly: bool) -> None:
        sweep = Sweep(self._places, self._database, self._room, self._fetches.__contains__)
        await sweep.run(thoroughly=thoroughly)
        await self._room.shrink()

    async def _record_everything(self) -> None:
        for fetch in list(self._fetches.values()):
            await record(fetch.holding)
            self._put_away(fetch)
        await self._ledger.record()
        await self._ledger.write_access_times()
        await trio.to_thread.run_sync(self._places.leave)

    # -- reading ---------------------------------------------------------------------------------

    def open(self, file: File) -> OpenFile:
        """Open ``file`` for reading: one open(2) at most, no network. Whoever opens must close."""
        return OpenFile(self._take_up(file), self._buffer)

    async def fetch(self, file: File) -> None:
        """Have the whole of ``file`` here, verified. Raises as ``OpenFile.read``."""
        fetch = self._take_up(file)
        try:
            await fetch.until_whole()
        finally:
            fetch.reader_left()

    def transfers(self) -> list[Transfer]:
        """What is on its way now."""
        transfers = [fetch.transfer() for fetch in self._fetches.values()]
        return [transfer for transfer in transfers if transfer is not None]

    # -- room ------------------------------------------------------------------------------------

    @property
    def usage(self) -> int:
        """Bytes on disk that count against the limit: whole and partial contents, nothing imported."""
        return self._room.used

    async def evict(self, bytes_wanted: int) -> int:
        """Free so many bytes, least recently used first; how many could be freed."""
        return await self._room.evict(bytes_wanted)

    # -- the contents in use ---------------------------------------------------------------------

    def _take_up(self, file: File) -> Fetch:
        """The one fetch of this content, with one more reader."""
        fetch = self._fetches.get(file.checksum)
        if fetch is None:
            fetch = self._fetches[file.checksum] = self._new_fetch(file)
        elif file.size == fetch.file.size:
            fetch.file = file  # the record that was asked last is the one most likely still there
        fetch.readers += 1
        self._ledger.touch(file.checksum)
        return fetch

    def _new_fetch(self, file: File) -> Fetch:
        if self._means is None or self._nursery is None:
            raise RuntimeError("Cache.run must be running")
        row = contents.get(self._database.reader, file.checksum)
        holding = Holding(self._places, self._database, file)
        holding.take_up(row)
        self._put_right(row, holding)
        return Fetch(
            file,
            holding,
            self._rules,
            self._means,
            self._nursery,
            proved_wrong=self._on_content_changed,
            left_alone=self._put_away_soon,
        )

    def _put_right(self, row: Content | None, holding: Holding) -> None:
        """The disk may hold less or more of a content than its row said."""
        expected = bytes_of(row) if row is not None else 0
        self._room.arrived(0, holding.counted - expected)
        if holding.row_is_wrong:
            self._ledger.note(holding)
        if row is not None and row.imported and not holding.whole:
            log.info("%s is no longer the photo that was imported", row.path)
            self._on_content_changed(holding.checksum)

    def _put_away_soon(self, fetch: Fetch) -> None:
        """Nobody has it open: let go of it, once what is here is recorded."""
        if self._fetches.get(fetch.file.checksum) is not fetch:
            return
        if self._nursery is not None and fetch.holding.row_is_wrong:
            self._nursery.start_soon(self._record_and_put_away, fetch)
        else:
            self._put_away(fetch)

    async def _record_and_put_away(self, fetch: Fetch) -> None:
        await record(fetch.holding)
        self._put_away(fetch)

    def _put_away(self, fetch: Fetch) -> None:
        if not fetch.is_idle or self._fetches.get(fetch.file.checksum) is not fetch:
            return
        del self._fetches[fetch.file.checksum]
        fetch.holding.close()
        if self._nursery is not None and self._room.is_exceeded:
            self._nursery.start_soon(self._room.shrink)
