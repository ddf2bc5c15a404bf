"""The listing of a zone: all of it, in parallel, newest first, resumable at any page.

    counts ─ first page (and its token) ─┬─ the other pages of every index ─┬─ replay ─ check ─ names
                                         └─ folders, albums, their members ─┘

Ranks shift while one reads: a photo that comes moves every older one, a photo that goes pulls them up.
So the token of the *first* page is kept, and at the end the change log is replayed from it. What a
deletion made slip through between two pages is in no log; the count at the end tells, and then the zone
is listed again, at last by its whole history, which cannot miss anything.

Interrupted anywhere it goes on where it was: each page notes itself as listed in the transaction that
stores it, and a page that is repeated changes nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import apsw
import msgspec
import trio

from icloudfs.apple import CloudKitError, Index, ZoneGone, member_count_id
from icloudfs.apple.records import Asset, Record, Refused, Tombstone
from icloudfs.apple.wire import PAGE_ASSETS
from icloudfs.errors import ProtocolError, one_error
from icloudfs.progress import Progress
from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import StoredZone, Touched
from icloudfs.sync.books import Books
from icloudfs.sync.changes import Position, follow, is_gone, needs_listing
from icloudfs.sync.owed import ask_for_owed, look_up
from icloudfs.sync.pages import place
from icloudfs.tree.albums import ALBUM
from icloudfs.tree.changes import Change
from icloudfs.tree.placing import Placing
from icloudfs.tree.settling import contests, settle

log = logging.getLogger(__name__)

_INDEXES = (Index.ALL, Index.BURSTS, Index.HIDDEN, Index.RECENTLY_DELETED)
"""Together they list every asset of a zone; the smart albums are subsets of the first."""

_NAMES_A_TRANSACTION = 500
_LOOKED_UP_AT_ONCE = 200
_COUNTS_A_CALL = 100
_WORKERS = 2
"""For each connection: one fetches, one stores."""

Job = Callable[[], Awaitable[object]]


class Listing:
    """One zone's listing, from whatever point an earlier one had reached."""

    def __init__(self, books: Books, zone: StoredZone) -> None:
        self._books = books
        self._zone = zone
        self._jobs: deque[Job] = deque()
        """Pages of photos, and what plans them."""
        self._member_jobs: deque[Job] = deque()
        """Pages of albums' members, in turn with those of photos: a photo whose albums are known
        before it comes is placed once."""
        self._members_next = True
        self._total = 0
        self._done = 0

    async def run(self) -> None:
        """List the zone to its end; afterwards it is ``listed`` and has its ``sync_token``.

        Raises what the photo service raises; the next ``run`` goes on from there.
        """
        if await self._token() is None:
            await self._begin()
        await self._list_everything()
        await self._replay()
        if await self._is_short():
            log.info("%s: the listing is short of iCloud's count; listing it again", self._name)
            await self._forget_pages()
            await self._list_everything()
            await self._replay()
            if missing := await self._is_short():
                await self._read_whole_history(missing)
        await self._remove_unseen()
        await self._settle_names()
        await self._finish()

    async def _begin(self) -> None:
        """Begin with the first page. What an earlier listing stored whose token is lost counts as not
        seen: it may have changed since, and nothing would tell."""

        def transaction(connection: apsw.Connection) -> StoredZone:
            catalogue.begin_relisting(connection, self._zone.id)
            return catalogue.zone_by_id(connection, self._zone.id)

        self._zone = await self._books.database.write(transaction)

    @property
    def _name(self) -> str:
        return self._zone.zone.name

    # -- pages ---------------------------------------------------------------------------------

    async def _list_everything(self) -> None:
        counts = await self._counts([index.count for index in _INDEXES])
        self._total = sum(counts.values())
        self._done = 0
        done = await self._ranks_of(Index.ALL.listing)
        if 0 not in done:
            await self._first_page()
        self._jobs.append(self._list_albums)
        for index in _INDEXES:
            await self._plan_index(index, counts.get(index.count, 0))
        await self._work()

    async def _counts(self, ids: list[str]) -> dict[str, int]:
        async with self._books.requests:
            return await self._books.photos.counts(self._zone.zone, ids)

    async def _ranks_of(self, name: str) -> set[int]:
        reader = self._books.database.reader
        return catalogue.listed_ranks(reader, self._zone.id, name)

    async def _token(self) -> str | None:
        return metadata.get(self._books.database.reader, metadata.listing_token_key(self._name))

    async def _first_page(self) -> None:
        """The newest photos, and the token that the replay begins at."""
        async with self._books.requests:
            page = await self._books.photos.list_page(self._zone.zone, Index.ALL, 0)
        if not page.token:
            raise ProtocolError(f"The first page of {self._name} came without a sync token.")

        def then(connection: apsw.Connection) -> None:
            key = metadata.listing_token_key(self._name)
            if metadata.get(connection, key) is None:
                metadata.put_token(connection, key, page.token, self._books.tree.clock())
            catalogue.note_listed(connection, self._zone.id, _list_name(Index.ALL), 0)

        await self._store(page.records, then)

    async def _plan_index(self, index: Index, count: int) -> None:
        done = await self._ranks_of(_list_name(index))
        ranks = range(0, max(count, 1), PAGE_ASSETS)
        for rank in ranks:
            if rank in done:
                self._done += PAGE_ASSETS
            else:
                self._jobs.append(partial(self._list_page, index, rank, last=rank == ranks[-1]))

    async def _list_page(self, index: Index, rank: int, *, last: bool) -> None:
        try:
            async with self._books.requests:
                page = await self._books.photos.list_page(self._zone.zone, index, rank)
        except CloudKitError as error:
            if isinstance(error, ZoneGone) or index is Index.ALL:
                raise
            # A shared library does not have every index.
            log.info("%s has no list of %s: %s", self._name, index.name, error)
            return
        note = partial(
            catalogue.note_listed, zone=self._zone.id, name=_list_name(index), start_rank=rank
        )
        await self._store(page.records, note)
        if last and _assets(page.records) >= PAGE_ASSETS:
            # The count was short of the list: photos came since, or it never was right.
            self._jobs.append(partial(self._list_page, index, rank + PAGE_ASSETS, last=True))

    async def _store(
        self, records: tuple[Record, ...], then: Callable[[apsw.Connection], None]
    ) -> None:
        await self._books.store(self._zone, records, then)
        self._done += _assets(records)
        self._books.report(Progress("listing", min(self._done, self._total), self._total))

    async def _work(self) -> None:
        """Do the jobs in their order: while pages are fetched over all connections, as many are stored.

        A worker stores its page before it fetches the next, so pages do not pile up in memory.
        """
        busy = 0
        changed = trio.Event()

        async def worker() -> None:
            nonlocal busy, changed
            while True:
                if job := self._next_job():
                    busy += 1
                    try:
                        await job()
                    finally:
                        busy -= 1
                        changed.set()
                        changed = trio.Event()
                elif busy:
                    await changed.wait()  # the others may still find more to do
                else:
                    return

        with one_error():
            async with trio.open_nursery() as nursery:
                for _ in range(_WORKERS * int(self._books.requests.total_tokens)):
                    nursery.start_soon(worker)

    def _next_job(self) -> Job | None:
        self._members_next = not self._members_next
        one, other = self._jobs, self._member_jobs
        if self._members_next:
            one, other = other, one
        if one:
            return one.popleft()
        return other.popleft() if other else None

    # -- albums --------------------------------------------------------------------------------

    async def _list_albums(self) -> None:
        """All folders and albums, however deep, then a job for every page of their members."""
        async with self._books.requests:
            albums = await self._books.photos.all_albums(self._zone.zone)
        # The older of two albums with one name keeps it, so they are stored in order of age.
        ordered = sorted(albums, key=lambda album: (album.created, album.name))
        await self._books.store(self._zone, tuple(ordered))
        members = [a.name for a in ordered if a.kind == ALBUM and not a.deleted]
        for start in range(0, len(members), _COUNTS_A_CALL):
            await self._plan_members(members[start : start + _COUNTS_A_CALL])

    async def _plan_members(self, albums: list[str]) -> None:
        counts = await self._counts([member_count_id(album) for album in albums])
        for album in albums:
            count = counts.get(member_count_id(album))
            if count != 0:
                self._member_jobs.append(partial(self._list_members, album, count))

    async def _list_members(self, album: str, count: int | None) -> None:
        """The first page of an album's members; it plans the others by its own size."""
        if count is not None and count <= self._members_here(album):
            return  # an earlier, interrupted listing got so far
        length = await self._store_members(album, 0)
        if count is None and length:
            self._member_jobs.append(partial(self._list_members_on, album, length))
        elif count is not None and length:
            done = await self._ranks_of(_member_list(album))
            for rank in range(length, count, length):
                if rank not in done:
                    self._member_jobs.append(partial(self._store_members, album, rank))

    def _members_here(self, album: str) -> int:
        row = self._books.database.reader.execute(
            "SELECT count(*) FROM relation WHERE zone = ? AND album = ? AND listing = ?",
            (self._zone.id, album, self._zone.listing),
        ).fetchone()
        assert row is not None and isinstance(row[0], int)
        return row[0]

    async def _list_members_on(self, album: str, start: int) -> None:
        """The rest of an album whose size nobody told, page after page."""
        while length := await self._store_members(album, start):
            start += length

    async def _store_members(self, album: str, start: int) -> int:
        async with self._books.requests:
            page = await self._books.photos.members(self._zone.zone, album, start)
        note = partial(
            catalogue.note_listed,
            zone=self._zone.id,
            name=_member_list(album),
            start_rank=start,
        )
        await self._books.store(self._zone, page.records, note)
        return len(page.records)

    # -- the end -------------------------------------------------------------------------------

    async def _replay(self) -> None:
        """What changed while we were listing, from the first page's token on."""
        token = await self._token()
        assert token is not None
        position = Position(self._zone, token, metadata.listing_token_key(self._name))
        await self._follow(position)
        await ask_for_owed(self._books, self._zone)

    async def _follow(self, position: Position) -> None:
        error = (await follow(self._books, [position])).get(self._zone.id)
        if error is None:
            return
        if is_gone(error):
            raise ZoneGone(error.code, error.reason)
        if needs_listing(error):
            # Refused while it is fresh: the next run begins again from the first page.
            key = metadata.listing_token_key(self._name)
            await self._books.database.write(
                lambda connection: metadata.remove_token(connection, key)
            )
        raise ProtocolError(
            f"The changes of {self._name} cannot be read: {error.code} {error.reason}".rstrip()
            + "."
        )

    async def _is_short(self) -> int:
        """How many photos fewer are here than iCloud counts, after a second look: photos may have
        come between the end of the changes and the count."""
        if await self._shortage():
            await self._replay()
            return await self._shortage()
        return 0

    async def _shortage(self) -> int:
        """How many photos fewer are here than iCloud counts."""
        theirs = await self._counts([index.count for index in _INDEXES])
        here = await self._books.database.read(partial(catalogue.counts, zone=self._zone.id))
        return sum(
            max(theirs.get(index.count, 0) - count, 0)
            for index, count in (
                (Index.ALL, here.visible),
                (Index.HIDDEN, here.hidden),
                (Index.RECENTLY_DELETED, here.deleted),
            )
        )

    async def _forget_pages(self) -> None:
        await self._books.database.write(
            lambda connection: connection.execute(
                "DELETE FROM listed_page WHERE zone = ?", (self._zone.id,)
            )
        )

    async def _read_whole_history(self, missing: int) -> None:
        """The change log from its beginning: slow, and complete whatever the indexes say."""
        log.warning(
            "%s: iCloud counts %d photos more than it lists; reading the library's whole history",
            self._name,
            missing,
        )
        position = Position(self._zone, "", metadata.listing_token_key(self._name))
        await self._follow(position)
        if missing := await self._shortage():
            log.warning(
                "%s: iCloud's count and its whole history differ by %d photos; the history is right",
                self._name,
                missing,
            )

    async def _remove_unseen(self) -> None:
        """What an earlier listing saw and this one did not is gone, if iCloud says so.

        Not everything is in a list: a hidden photo's place in an album is not, for one. So each is
        looked up before it goes, and nothing that still exists leaves the tree.
        """
        some = partial(catalogue.unseen, zone=self._zone.id, limit=_LOOKED_UP_AT_ONCE)
        while unseen := await self._books.database.read(some):
            records = await look_up(self._books, self._zone, [name for _, name in unseen])
            await self._store_or_remove(unseen, records)

    async def _store_or_remove(
        self, unseen: list[tuple[catalogue.Kind, str]], records: tuple[Record, ...]
    ) -> None:
        there = {record.name: record for record in records if not isinstance(record, Tombstone)}
        await self._books.store(self._zone, tuple(there.values()))

        def transaction(connection: apsw.Connection) -> list[Change]:
            touched = Touched()
            for kind, name in unseen:
                record = there.get(name)
                if record is None:
                    catalogue.remove(connection, kind, self._zone.id, name, touched)
                elif not isinstance(record, Refused):  # that is owed, and asked for again
                    catalogue.note_seen(connection, kind, self._zone.id, name)
            return place(connection, self._books.tree, self._zone, touched)

        await self._books.database.write(transaction, self._books.publish)

    async def _settle_names(self) -> None:
        """After a first listing: who keeps a plain name is decided by age, not by arrival."""
        if self._zone.listed:
            return
        total = await self._books.database.read(contests)
        done, ended = 0, total
        while ended:
            ended, _ = await self._books.database.write(self._settle, self._publish_settled)
            done += ended
            self._books.report(Progress("names", done, total))

    def _publish_settled(self, settled: tuple[int, list[Change]]) -> None:
        self._books.publish(settled[1])

    def _settle(self, connection: apsw.Connection) -> tuple[int, list[Change]]:
        tree = self._books.tree
        placing = Placing(
            connection, views=tree.views, now=tree.clock(), first_listing=True, final_names=True
        )
        ended = settle(connection, placing, _NAMES_A_TRANSACTION)
        return ended, placing.finish()

    async def _finish(self) -> None:
        """The zone is listed; its token takes its place in the same transaction."""

        def transaction(connection: apsw.Connection) -> None:
            listing, sync = (
                metadata.listing_token_key(self._name),
                metadata.sync_token_key(self._name),
            )
            assert metadata.get(connection, listing) is not None
            metadata.move_token(connection, listing, sync)
            catalogue.set_listed(connection, self._zone.id)
            # A photo that left an album between two pages of it pulled the others up, and one slipped
            # through: no log tells.
            catalogue.set_members_due(connection, self._zone.id, due=True)

        await self._books.database.write(transaction)
        self._zone = msgspec.structs.replace(self._zone, listed=True)


def _assets(records: tuple[Record, ...]) -> int:
    return sum(isinstance(record, Asset) for record in records)


def _list_name(index: Index) -> str:
    return index.listing


def _member_list(album: str) -> str:
    return f"album:{album}"
