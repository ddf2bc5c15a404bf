"""The cache: content on this disk, and the fetching of what is not there yet.

One ``Fetch`` a checksum holds everything that goes on about it, from the first open until the last reader
has left and nothing is under way; ``_fetches`` is the only place that knows them. So duplicates, albums
and zones share one download, and what is in ``_fetches`` is never evicted.

All fetching runs in one nursery, that of ``run``. When it is cancelled everything stops, ranges are
recorded, readers that wait get an error, and nothing outlives it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import trio

from icloudfs import pathtext
from icloudfs.aside import aside, keep_going, say
from icloudfs.cache.adopting import Adopted, Adoption
from icloudfs.cache.bringing import Arrival, How
from icloudfs.cache.disk import in_passing, nearest
from icloudfs.cache.echo import Echo
from icloudfs.cache.eviction import Room, bytes_of
from icloudfs.cache.fetch import Fetch, Rules, Transfer
from icloudfs.cache.handle import OpenFile
from icloudfs.cache.holding import Holding, identity
from icloudfs.cache.ledger import Ledger, record
from icloudfs.cache.places import Places, checksum_of, content_name, file_name
from icloudfs.cache.prefetching import Prefetch, PrefetchResult
from icloudfs.cache.pull import Means
from icloudfs.cache.reachability import Reachability
from icloudfs.cache.readahead import Habits
from icloudfs.cache.shelf import Shelf
from icloudfs.cache.source import Source
from icloudfs.cache.sweep import Sweep
from icloudfs.cache.thumbnails import MOST, MOST_BYTES, Figures, Thumbnails
from icloudfs.cache.urls import NEARBY, FreshURLs
from icloudfs.errors import CacheUnusable, DiskSilent, IcloudfsError, Offline
from icloudfs.progress import Report
from icloudfs.state import contents, metadata
from icloudfs.state.contents import Content
from icloudfs.state.database import Database, connect
from icloudfs.tree.directory import Directory, File

log = logging.getLogger(__name__)

WHOLE_BELOW = 32 << 20
HEAD = 128 << 10
TIMEOUT = 30.0

_LARGEST_READ = 1 << 20
"""Bytes; the kernel's largest request (facts/fuse.md §1.2)."""

_LAST_WORDS = 10.0
"""Seconds to record what is here when the cache ends; a disk that takes longer is given up on."""


_DISK_TO_SPARE = 1 << 30
"""Bytes of the disk that are not filled with what nobody has asked for."""

_REST = 10.0
"""Seconds until a task that failed in an unforeseen way is begun again."""

_PAGE = 500
"""Rows that are looked through at once."""

_LOOK_AT_ALL_EVERY = 86_400.0
"""Seconds between two looks at all contents for those that nothing shows. Other than a sync's changes, only
a photo that was purged while it was being fetched leaves any."""

_LOOKED_AT_ALL = "contents_looked_through"
"""In ``metadata``: when that was last done, in seconds since the epoch."""


class DiskUsage(NamedTuple):
    """Bytes, as ``shutil.disk_usage`` tells them."""

    total: int
    used: int
    free: int


def _disk_usage(directory: Path) -> DiskUsage:
    """Of the disk that ``directory`` is on, or would be if it were made: a cache that was deleted is made
    anew when something is to be kept."""
    try:
        return DiskUsage(*shutil.disk_usage(nearest(directory)))
    except OSError as error:
        raise CacheUnusable(f"The disk of {directory} cannot be read: {error.strerror}.") from error


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
        self.places = Places(directory)
        self.database = database
        self._source = source
        self._rules = Rules(whole_below=whole_below, head=head, strict=strict)
        self._timeout = timeout
        self._on_content_changed = on_content_changed or _tell_nobody
        self.echo = Echo()
        """Tells it files of this machine from what our own mount serves by another way."""
        self._fetches: dict[str, Fetch] = {}
        self._checked: set[str] = set()
        """What was read or fetched since the start, and found right; kept if ``strict``."""
        self._ledger = Ledger(database)
        self._room = Room(limit, self.places, database, self._ledger, lambda: self._fetches.keys())
        self._adoption = Adoption(self.places, database, self._room, self._hold)
        self.auditing = trio.Lock()
        """Held by whoever verifies: two at once would share their place in the row."""
        self._buffer = memoryview(bytearray(_LARGEST_READ))
        self._shelf = Shelf(self.places.thumbnails, MOST, MOST_BYTES)
        self._means: Means | None = None
        self._thumbnails: Thumbnails | None = None
        self._nursery: trio.Nursery | None = None
        self._is_swept = False
        """Whether there is no whole content that no row speaks of, so that nobody need look for one."""

    # -- life ------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the cache going until cancelled. Raises CacheUnusable before it has started."""
        unclean = await self._prepared()
        known = await self.database.write(
            lambda connection: contents.set_directory(
                connection, pathtext.kept(self.places.directory), self.places.which
            )
        )
        await self._room.count()
        try:
            async with trio.open_nursery() as nursery:
                self._begin(nursery)
                nursery.start_soon(keep_going, self._ledger.keep_ranges, _REST)
                nursery.start_soon(keep_going, self._ledger.keep_access_times, _REST)
                nursery.start_soon(aside, self._sweep, unclean or not known)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for fetch in self._fetches.values():
                fetch.stop()
            with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WORDS):
                await self._record_everything()

    async def _prepared(self) -> bool:
        """Whether the last use did not end well. A disk that stands still when one begins is none to begin
        with: there would be no mount, and no word why."""
        try:
            return await self.places.disk.ask(self.places.prepare, self._timeout)
        except DiskSilent as error:
            raise CacheUnusable(
                f"The cache directory {self.places.directory} cannot be used. {error}"
            ) from None

    def _begin(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        urls = FreshURLs(
            self._source, nursery, self._timeout, lambda file: self.tree.nearby(file.ino, NEARBY)
        )
        self._thumbnails = Thumbnails(
            self._shelf, self.places.disk, self._source, urls, nursery, self._timeout
        )
        self._means = Means(
            source=self._source,
            database=self.database,
            urls=urls,
            reachability=Reachability(),
            room=self._room,
            ledger=self._ledger,
            habits=Habits(),
            timeout=self._timeout,
        )

    async def _sweep(self, thoroughly: bool) -> None:
        sweep = Sweep(self.places, self.database, self._room, self.is_claimed)
        await sweep.run(thoroughly=thoroughly)
        self._is_swept = True
        await self._room.shrink()

    async def _record_everything(self) -> None:
        for fetch in list(self._fetches.values()):
            if fetch.holding.verified:
                await aside(fetch.holding.keep)
            await record(fetch.holding)
            self._put_away(fetch)
            await aside(self.places.disk.run, fetch.holding.closing())
        await self._ledger.record()
        await self._ledger.write_access_times()
        try:
            await self.database.settle()
        except IcloudfsError as error:
            log.warning("What lies in the cache is looked through at the next start: %s", error)
        else:
            await aside(self.places.disk.run, self.places.leave)

    @property
    def tree(self) -> Directory:
        """What the mount shows, as it is now. Not to be kept: its cursor would keep the reader at this
        state of the database."""
        return Directory(self.database.reader)

    # -- reading ---------------------------------------------------------------------------------

    def open(self, file: File) -> OpenFile:
        """Open ``file`` for reading: waits for neither disk nor network. Whoever opens must close."""
        return OpenFile(self._take_up(file), self._buffer)

    async def fetch(self, file: File, *, may_be_there: bool = False) -> bool:
        """Have the whole of ``file`` here, verified; whether it was not before. ``may_be_there``: also without
        a row that says so.

        Raises as ``OpenFile.read``.
        """
        self._ledger.touch(file.checksum)
        fetch = self._hold(file, look=may_be_there)
        try:
            await fetch.until_opened()
            was_lacking = not fetch.holding.is_here
            await fetch.until_whole()
            return was_lacking
        finally:
            fetch.reader_left()

    async def prefetch(
        self,
        files: Iterable[File] | AsyncIterable[File],
        report: Report,
        connections: int,
        total: int | None = None,
    ) -> PrefetchResult:
        """Have all of ``files`` here, ``connections`` at a time; ``total`` is for the progress alone.

        Cancelled, it asks for no more; a photo under way is finished. Raises LoginNeeded, DiskFull and
        CacheUnusable at once, Offline and Throttled when they meet one file after the other; all other
        failures are in the result.
        """
        return await Prefetch(self.fetch, report, connections, total).run(files)

    def heard(self, error: Offline | None) -> None:
        """Somebody else asked iCloud, and got an answer, or ``error``: no reader need find out by waiting."""
        if self._means is not None:
            if error is None:
                self._means.reachability.succeeded()
            else:
                self._means.reachability.failed(error)

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits for anything to come from iCloud."""
        return any(transfer.waiting for transfer in self.transfers())

    async def can_spare(self, size: int) -> bool:
        """Whether so many bytes can come without a need: iCloud answers, and nothing must make room."""
        if self._means is None or self._means.reachability.is_troubled:
            return False
        if not self._room.has_room(size):
            return False
        try:
            disk = await self.disk_usage()
        except (CacheUnusable, DiskSilent):
            return False
        return disk.free > size + _DISK_TO_SPARE

    async def disk_usage(self) -> DiskUsage:
        """Of the disk that the cache directory is on. Raises CacheUnusable, DiskSilent."""
        usage = partial(_disk_usage, self.places.directory)
        return await self.places.disk.ask(usage, self._timeout)

    async def thumbnail(self, file: File) -> bytes:
        """A small JPEG of what ``file`` shows, without a byte of its content. Raises as ``Thumbnails.of``."""
        if self._thumbnails is None:
            raise RuntimeError("Cache.run must be running")
        return await self._thumbnails.of(file)

    @property
    def thumbnails_kept(self) -> Figures:
        """Not counted against the limit: they have their own."""
        return Figures(self._shelf.count, self._shelf.bytes)

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

    async def drop(self, checksums: Iterable[str]) -> int:
        """Remove these contents, and what is known of them; how many bytes that freed.

        What is open goes when it is closed. An imported file stays where it is. A pin stays too, as a
        wish to have the content back.
        """
        return await self._drop(checksums, entirely=False)

    async def drop_unreferenced(self) -> int:
        """Remove contents that no file shows any more: of purged photos and old renditions. Bytes freed.

        Costs a query if nothing changed. Does nothing until every library was listed once.
        """
        if not contents.is_catalogue_complete(self.database.reader):
            return 0
        freed = await self._drop_left_behind()
        last = metadata.get(self.database.reader, _LOOKED_AT_ALL)
        now = time.time()
        if last is None or not 0 <= now - float(last) < _LOOK_AT_ALL_EVERY:
            freed += await self._drop_all_unreferenced()
            await self.database.write(
                lambda connection: metadata.put(connection, _LOOKED_AT_ALL, str(now))
            )
        return freed

    async def _drop_left_behind(self) -> int:
        freed = 0
        after = ""
        while page := contents.left_behind(self.database.reader, after, _PAGE):
            after = page[-1][0]
            freed += await self._drop([c for c, shown in page if not shown], entirely=True)
            settled = [checksum for checksum, _ in page]
            await self.database.write(partial(contents.forget_left_behind, checksums=settled))
        return freed

    async def _drop_all_unreferenced(self) -> int:
        freed = 0
        after: str | None = ""
        connection = await trio.to_thread.run_sync(
            partial(connect, self.database.path, write=False)
        )
        try:
            while after is not None:
                gone, after = await trio.to_thread.run_sync(
                    contents.unreferenced, connection, after, _PAGE
                )
                freed += await self._drop(gone, entirely=True)
        finally:
            connection.close()
        return freed

    async def _drop(self, checksums: Iterable[str], *, entirely: bool) -> int:
        freed = 0
        rest = iter(checksums)
        while page := list(islice(rest, _PAGE)):
            freed += await self._room.drop(page, entirely=entirely)
        return freed

    async def pin(self, checksums: Iterable[str], pinned: bool) -> None:
        """Keep these contents from eviction, here or not yet; or no longer. Fetches nothing."""
        rest = iter(checksums)
        while page := list(islice(rest, _PAGE)):
            await self.database.write(partial(contents.set_pinned, checksums=page, pinned=pinned))
        if not pinned:
            await self._room.shrink()

    # -- what is found on this machine -----------------------------------------------------------

    async def adopt(self, arrivals: Sequence[Arrival], how: How) -> Adopted:
        """Make files of this machine the contents that they are. Raises as ``Adoption.adopt``."""
        return await self._adoption.adopt(arrivals, how)

    def is_claimed(self, name: str) -> bool:
        """Whether a file of that name in the cache directory is somebody's business just now, whatever
        the rows say."""
        checksum = checksum_of(name)
        if checksum is None:
            return content_name(name) in map(file_name, self._fetches)
        return checksum in self._fetches or self._room.is_leaving(checksum)

    async def remove(self, path: Path) -> None:
        """Remove a file of the cache directory that is nobody's: not ``is_claimed``, and without a row."""
        checksum = checksum_of(path.name)
        with self._room.parting_with([] if checksum is None else [checksum]):
            await self.places.disk.run(path.unlink)

    def is_leaving(self, checksum: str) -> bool:
        """Whether the content is being evicted just now: its file is gone, its row not yet."""
        return self._room.is_leaving(checksum)

    async def condemn(self, checksum: str, seen: str) -> File | None:
        """The file that counts as a content, with the identity ``seen`` ('' if there is none), is not it:
        the content is pending again, and the file gone unless it is an imported one.

        A file that to fetch it again, or None if nothing shows the content any more.
        """
        file = self.tree.file_of(checksum)
        if file is None:
            await self._drop([checksum], entirely=True)
            return None
        fetch = self._hold(file)
        try:
            await fetch.until_opened()
            row = contents.get(self.database.reader, checksum)
            if row is not None and row.path and not row.imported:
                path = self.places.absolute(row.path)
                await self.places.disk.run(partial(self._push_out, path, seen))
            is_it = await self._is_open_at(fetch.holding, seen)
            if is_it and fetch.holding.is_here and fetch.is_quiet:
                fetch.lose()
            await record(fetch.holding)
        finally:
            fetch.reader_left()
        return file

    def _push_out(self, path: Path, seen: str) -> None:
        leaving = self.places.next_leaving()
        with suppress(FileNotFoundError):
            if identity(path.lstat()) == seen:
                path.rename(leaving)
                leaving.unlink()

    async def _is_open_at(self, holding: Holding, seen: str) -> bool:
        """Whether the file that was ``seen`` is the one that is read from; '' is none, so whatever is."""
        return not seen or await self.places.disk.run(partial(holding.is_open_at, seen))

    # -- the contents in use ---------------------------------------------------------------------

    def _take_up(self, file: File) -> Fetch:
        """The one fetch of this content, with one more reader, who will read it."""
        self._ledger.touch(file.checksum)
        return self._hold(file)

    def _hold(self, file: File, *, look: bool = False) -> Fetch:
        """The one fetch of this content, with one more reader. ``look`` for it whatever its row says."""
        fetch = self._fetches.get(file.checksum)
        if fetch is None:
            fetch = self._fetches[file.checksum] = self._new_fetch(file, look=look)
        else:
            if file.size == fetch.file.size:
                # The record that was asked last is the one most likely still there.
                fetch.file = file
            if not fetch.holding.is_what_was_written():
                fetch.lose()
        fetch.reader_came()
        return fetch

    def _new_fetch(self, file: File, *, look: bool) -> Fetch:
        if self._means is None or self._nursery is None:
            raise RuntimeError("Cache.run must be running")
        row = contents.get(self.database.reader, file.checksum)
        holding = Holding(self.places, self.database, file)
        holding.on_lost = self._room.left
        nursery = self._nursery
        fetch = Fetch(
            file,
            holding,
            self._rules,
            self._means,
            self._nursery,
            proved_wrong=self._on_content_changed,
            left_alone=self._put_away_soon,
            open_again=lambda fetch: nursery.start_soon(aside, self._open, fetch),
        )
        is_nothing_there = self._is_swept and not look and (row is None or not row.path)
        is_leaving = self._room.is_leaving(file.checksum)
        check = self._is_to_be_checked(file)
        if is_leaving or not (is_nothing_there or holding.take_up_at_once(row, check=check)):
            fetch.begin_opening()
        else:
            self._put_right(row, holding)
        return fetch

    def _is_to_be_checked(self, file: File) -> bool:
        """Whether it is not believed to be what was written, though it looks like it."""
        return self._rules.strict and file.checksum not in self._checked

    async def _open(self, fetch: Fetch) -> None:
        """Ask the disk what it has of a content."""
        failure: Exception = Offline("icloudfs is being stopped.")
        try:
            holding = await self._taken_up(fetch.file)
        except Exception as error:
            say(error, f"opening {fetch.file.checksum}")
            failure = error
        else:
            fetch.opened(holding)
            return
        finally:
            if fetch.is_opening:
                fetch.not_opened(failure)

    async def _taken_up(self, file: File) -> Holding:
        await self._room.until_gone(file.checksum)
        known = row = contents.get(self.database.reader, file.checksum)
        holding = Holding(self.places, self.database, file)
        holding.on_lost = self._room.left
        if row is not None and row.imported:
            path = os.fsencode(self.places.absolute(row.path))
            if await self.echo.is_ours(path):
                log.warning(
                    "%s may be shown by the mounted library itself: it is not read", row.path
                )
                row = None
                holding.disown_row()
        disk = self.places.elsewhere if row is not None and row.imported else self.places.disk
        take_up = partial(holding.take_up, row, check=self._is_to_be_checked(file))
        await disk.ask(take_up, self._timeout, undo=lambda _: holding.close())
        self._put_right(known, holding)
        return holding

    def _put_right(self, row: Content | None, holding: Holding) -> None:
        """The disk may hold less or more of a content than its row said."""
        holding.in_row = bytes_of(row) if row is not None else 0
        self._room.arrived(0, holding.counted - holding.in_row)
        if holding.row_is_wrong:
            self._ledger.note(holding)
        if row is not None and row.imported and not holding.is_here:
            log.info("%s is no longer the photo that was imported", row.path)
            self._on_content_changed(holding.checksum)

    def _put_away_soon(self, fetch: Fetch) -> None:
        """Nobody has it open: let go of it, once what is here is recorded."""
        if self._fetches.get(fetch.file.checksum) is not fetch:
            return
        is_being_recorded = fetch.holding.lock.locked()
        if self._nursery is not None and (fetch.holding.row_is_wrong or is_being_recorded):
            self._nursery.start_soon(aside, self._record_and_put_away, fetch)
        else:
            self._put_away(fetch)

    async def _record_and_put_away(self, fetch: Fetch) -> None:
        await record(fetch.holding)
        self._put_away(fetch)

    def _put_away(self, fetch: Fetch) -> None:
        if not fetch.is_idle or self._fetches.get(fetch.file.checksum) is not fetch:
            return
        del self._fetches[fetch.file.checksum]
        if self._rules.strict and fetch.holding.whole:
            self._checked.add(fetch.file.checksum)
        if fetch.holding.row_is_wrong:
            # It could not be recorded: what counts from now on is what the row says, right or wrong.
            self._room.left(fetch.holding.counted - fetch.holding.in_row)
        if self._nursery is None:
            return  # whoever ends the cache closes it
        if fetch.holding.may_wait_to_close:
            in_passing(fetch.holding.closing())
        else:
            fetch.holding.close()
        if self._room.is_to_be_dropped(fetch.file.checksum):
            drop = partial(self._room.drop_what_was_held, fetch.file.checksum)
            self._nursery.start_soon(aside, drop)
        if self._room.is_exceeded:
            self._nursery.start_soon(aside, self._room.shrink)
