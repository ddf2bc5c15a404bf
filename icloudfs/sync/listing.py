"""The listing of a zone: all of it, in parallel, newest first, resumable at any page.

    counts ─ first page (and its token) ─┬─ the other pages of every index ─┬─ replay ─ check ─ names
                                         └─ folders, albums, their members ─┘

Ranks shift while one reads: a photo that comes moves every older one, a photo that goes pulls them up.
So the token of the *first* page is kept, and at the end the change log is replayed from it.

What a deletion made slip through between two pages is in no log. iCloud's counts alone do not tell: on many
accounts they are larger than any list, for good (facts/cloudkit.md §1.12). But three things must come together
for a photo to slip through: a count is larger than what is here; the log has moved since the first page; and
the list has photos at the ranks behind as many as are here. Then the zone is listed again, at last by its
whole history, which cannot miss anything. Else the count is wrong, and the excess is noted.

The whole history takes the place of the replay where lists are known not to be whole: while Apple is still
indexing the library, and where a list of photos is refused, as shared libraries do with some.

What is refused holds back nothing else (``refusals``): it is left out, and listed by itself when it is given.

Interrupted anywhere it goes on where it was: each page notes itself as listed in the transaction that
stores it, and a page that is repeated changes nothing.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import apsw
import msgspec
import trio

from icloudfs.apple import Index, ZoneGone, member_count_id
from icloudfs.apple.decode import Page
from icloudfs.apple.records import Record, Refused, Tombstone
from icloudfs.apple.wire import PAGE_ASSETS, SHARED_ZONE_PREFIX
from icloudfs.errors import ProtocolError, one_error
from icloudfs.progress import Progress
from icloudfs.state import catalogue, metadata
from icloudfs.state.catalogue import Counts, StoredZone, Touched
from icloudfs.sync import foreign_members, indexing, lists
from icloudfs.sync.books import Books
from icloudfs.sync.changes import NAMELESS, Position, follow, is_gone, needs_listing
from icloudfs.sync.counting import counted
from icloudfs.sync.folders import albums_below
from icloudfs.sync.owed import ask_for_owed, look_up
from icloudfs.sync.pages import place
from icloudfs.sync.refusals import (
    ALBUMS,
    CHANGES,
    COUNTS,
    INDEXING,
    album_of,
    folder_of,
    index_of,
    list_part,
    members_part,
)
from icloudfs.tree.albums import ALBUM
from icloudfs.tree.changes import Change
from icloudfs.tree.placing import Placing
from icloudfs.tree.settling import contests, settle

log = logging.getLogger(__name__)

_INDEXES = (Index.ALL, Index.BURSTS, Index.HIDDEN, Index.RECENTLY_DELETED)
"""Together they list every asset of a zone; the smart albums are subsets of the first."""

Short = dict[Index, tuple[int, int]]
"""Lists whose count is larger than what is here of them: the count, and how many are here."""

_NAMES_A_TRANSACTION = 500
_LOOKED_UP_AT_ONCE = 200
_COUNTS_A_CALL = 100
_ROUNDS = 3
"""Counts are compared so often while the library keeps changing."""
_MOST_PLANNED = 10_000
"""Pages of one list, whatever a count says: a million photos. What is behind them is read with the last one."""
_WORKERS = 2
"""For each connection: one fetches, one stores."""

Job = Callable[[], Awaitable[object]]


class _Jobs:
    """Jobs in their order. A page of a list is made one when it is its turn: a count may promise a million."""

    def __init__(self) -> None:
        self._lots: deque[Iterator[Job]] = deque()

    def __bool__(self) -> bool:
        return bool(self._lots)

    def add(self, job: Job) -> None:
        self.add_all(iter([job]))

    def add_all(self, jobs: Iterator[Job]) -> None:
        self._lots.append(jobs)

    def next(self) -> Job | None:
        """The next one; None if there is none."""
        while self._lots:
            if (job := next(self._lots[0], None)) is not None:
                return job
            self._lots.popleft()
        return None


class Listing:
    """One zone's listing, from whatever point an earlier one had reached."""

    def __init__(self, books: Books, zone: StoredZone) -> None:
        self._books = books
        self._zone = zone
        self._jobs = _Jobs()
        """Pages of photos, and what plans them."""
        self._member_jobs = _Jobs()
        """Pages of albums' members, in turn with those of photos: a photo whose albums are known
        before it comes is placed once."""
        self._members_next = True
        self._total = 0
        self._done = 0
        self._tails: defaultdict[str, lists.Tail] = defaultdict(lists.Tail)
        """Of each list, by its name."""
        self._looked_behind: set[Index] = set()
        """Lists behind whose end an empty page was read."""
        self._parts = books.refusals.of_zone(zone.zone)
        self._refused: set[Index] = set()
        """Lists of photos that are refused: the library's history has what is in them."""
        self._nameless: dict[str, str] = {}
        """Parts of which a record came without a name, and how they are told."""
        self._history_is_due = False
        """It was needed, and refused."""

    async def run(self) -> bool:
        """List the zone to its end; afterwards it is ``listed`` and has its ``sync_token``. True.

        Raises what the photo service raises, if that is no refusal of a part; the next ``run`` goes on from
        there.
        """
        if self._kept(metadata.listing_token_key) is None:
            await self._begin()
            await self._ask_for_indexing()
        await self._list_everything()
        if self._needs_history():
            await self._read_history()
            short = await self._short_lists()
        else:
            await self._replay()
            short = await self._find_what_slipped_through()
        await self._note_excess(short)
        if self._zone.listed:
            await foreign_members.read_again(self._books, self._zone)
        await self._remove_unseen()
        await self._settle_names()
        await self._finish()
        for refusal in self._parts.due():  # it was all asked for anew
            await self._parts.settle(refusal.part.part)
        return True

    async def ask_again(self) -> None:
        """List what was refused of a zone that is listed, and whose time has come."""
        due = [refusal.part.part for refusal in self._parts.due()]
        for part in due:
            if (index := index_of(part)) is not None:
                self._jobs.add(partial(self._list_page, index, 0, 0))
            elif part == ALBUMS:
                self._jobs.add(self._list_albums)
            elif (folder := folder_of(part)) is not None:
                self._jobs.add(partial(self._list_albums, folder))
            elif (album := album_of(part)) is not None:
                self._member_jobs.add(partial(self._list_members, album, None))
            elif part == INDEXING:
                self._jobs.add(partial(indexing.note_state, self._books, self._zone))
            elif part == COUNTS:
                self._jobs.add(partial(self._counts, [index.count for index in _INDEXES]))
        if not self._jobs and not self._member_jobs:
            return
        await self._work()
        await self._books.database.write(
            lambda c: c.execute("DELETE FROM listed_page WHERE zone = ?", (self._zone.id,))
        )
        for part in due:
            if part != CHANGES:
                await self._parts.settle(part)

    async def _begin(self) -> None:
        """Begin with the first page. What an earlier listing stored whose token is lost counts as not
        seen: it may have changed since, and nothing would tell."""

        def transaction(connection: apsw.Connection) -> StoredZone:
            catalogue.begin_relisting(connection, self._zone.id)
            metadata.forget_listing(connection, self._name)
            return catalogue.zone_by_id(connection, self._zone.id)

        self._zone = await self._books.database.write(transaction)

    async def _ask_for_indexing(self) -> None:
        if not self._zone.listed:
            await indexing.note_state(self._books, self._zone)
            self._zone = catalogue.zone_by_id(self._books.database.reader, self._zone.id)

    @property
    def _name(self) -> str:
        return self._zone.zone.name

    # -- pages ---------------------------------------------------------------------------------

    async def _list_everything(self) -> None:
        counts = await self._counts([index.count for index in _INDEXES])
        self._total = sum(counts.values())
        self._done = 0
        if 0 not in self._ranks_of(Index.ALL.listing):
            await self._list_page(Index.ALL, 0, counts.get(Index.ALL.count, 0))
        self._jobs.add(self._list_albums)
        for index in _INDEXES:
            self._plan_index(index, counts.get(index.count, 0))
        await self._work()

    async def _counts(self, ids: list[str]) -> dict[str, int]:
        """Empty if iCloud refuses to count: lists are then read to their ends."""
        return await counted(self._books, self._zone, ids) or {}

    def _ranks_of(self, name: str) -> set[int]:
        reader = self._books.database.reader
        return catalogue.listed_ranks(reader, self._zone.id, name)

    def _kept(self, key: Callable[[str], str]) -> str | None:
        """A token of this listing."""
        return metadata.get(self._books.database.reader, key(self._name))

    def _keep_first_token(self, connection: apsw.Connection, token: str) -> None:
        """The replay begins at the token of the first page. Where that has none there is no replay, and the
        history tells everything."""
        key = metadata.listing_token_key(self._name)
        if token and metadata.get(connection, key) is None:
            now = self._books.tree.clock()
            metadata.put_token(connection, key, token, now)
            metadata.put_token(connection, metadata.listing_began_key(self._name), token, now)

    def _plan_index(self, index: Index, count: int) -> None:
        if self._parts.is_withheld(list_part(index)):
            self._refused.add(index)  # an earlier, interrupted run was told so
            return
        done = self._ranks_of(_list_name(index))
        self._done += PAGE_ASSETS * len(done)
        self._jobs.add_all(self._pages_of(index, count, done))

    def _pages_of(self, index: Index, count: int, done: set[int]) -> Iterator[Job]:
        ranks = range(0, min(max(count, 1), _MOST_PLANNED * PAGE_ASSETS), PAGE_ASSETS)
        for rank in ranks:
            if self._tails[_list_name(index)].leads_nowhere:
                return
            if rank not in done:
                yield partial(self._list_page, index, rank, count)
        if ranks[-1] in done and not self._ranks_of(_end_of(_list_name(index))):
            # The count was larger when that page was stored, which did not look behind itself.
            yield partial(self._list_page, index, ranks[-1] + PAGE_ASSETS, count)

    async def _list_page(self, index: Index, rank: int, count: int, *, sure: bool = False) -> None:
        """The positions that a page should hold; of the last one all that are behind it, too: the count
        may be too small. Unless ``sure`` an empty one is read twice only where its ``Tail`` wants it."""
        last = rank + PAGE_ASSETS >= min(count, _MOST_PLANNED * PAGE_ASSETS)
        if self._tails[_list_name(index)].leads_nowhere:
            return
        very_first = index is Index.ALL and rank == 0 and self._is_under_way

        async def store(page: Page, complete: bool) -> None:
            nonlocal very_first
            keep_token, very_first = very_first, False
            self._tails[_list_name(index)].take(page.records)

            def then(connection: apsw.Connection) -> None:
                if keep_token:
                    self._keep_first_token(connection, page.token)
                if complete:
                    catalogue.note_listed(connection, self._zone.id, _list_name(index), rank)
                    if last:
                        end = _end_of(_list_name(index))
                        catalogue.note_listed(connection, self._zone.id, end, rank)

            await self._store(page.records, then)

        there = lists.of_index(self._books, self._zone, index)
        end = max(min(rank + PAGE_ASSETS, count), rank + 1)
        read = partial(there.read, rank, end, store, beyond=last, sure=sure)
        found = await self._parts.ask(list_part(index), read)
        if found is None:
            self._refused.add(index)
            return
        again = partial(self._list_page, index, rank, count, sure=True)
        self._tails[_list_name(index)].note(rank, found, again)
        if found.nameless:
            self._refused.add(index)
            self._nameless[list_part(index)] = ""
        if last and found.behind:
            self._looked_behind.add(index)

    @property
    def _is_under_way(self) -> bool:
        """Whether the zone is being listed, and not just a part of it."""
        return not self._zone.listed or self._zone.relisting

    async def _store(
        self, records: tuple[Record, ...], then: Callable[[apsw.Connection], None]
    ) -> None:
        await self._books.store(self._zone, records, then)
        self._done += lists.photos_on(records)
        done = min(self._done, self._total)
        self._books.report(Progress(self._said("listing"), done, self._total))

    def _said(self, what: str) -> str:
        """What is under way, in the words of ``Progress``."""
        return (
            f"{what}, while iCloud is still indexing the library" if self._zone.indexing else what
        )

    async def _work(self) -> None:
        """Do all jobs, and what their empty pages make necessary."""
        await self._do_jobs()
        believed = {name: await tail.settle() for name, tail in self._tails.items()}
        self._tails.clear()
        while self._nameless:  # when the rest of them is read: what is refused is not asked for
            part, told = self._nameless.popitem()
            await self._parts.note(part, NAMELESS, told=told)

        def transaction(connection: apsw.Connection) -> None:
            for name, ranks in believed.items():
                for rank in ranks:
                    catalogue.note_listed(connection, self._zone.id, name, rank)
                if ranks:
                    catalogue.note_listed(connection, self._zone.id, _end_of(name), 0)

        if any(believed.values()):
            await self._books.database.write(transaction)

    async def _do_jobs(self) -> None:
        """In their order: while pages are fetched over all connections, as many are stored.

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
        return one.next() or other.next()

    # -- albums --------------------------------------------------------------------------------

    async def _list_albums(self, folder: str | None = None) -> None:
        """All folders and albums, or those in one folder, however deep; then a job for every page of their
        members."""
        albums = await albums_below(self._books, self._zone, folder)
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
            self._member_jobs.add(partial(self._list_members, album, count))

    async def _list_members(self, album: str, count: int | None) -> None:
        """The first page of an album's members; it plans the others by its own size."""
        ended = 0 in self._ranks_of(_end_of(_member_list(album)))
        if ended and count is not None and count <= self._members_here(album):
            return  # an earlier, interrupted listing got so far
        first = await self._store_members(album, 0, 1, counted=count)
        if first is None or not first.more:
            return  # if its count is larger than that, ``complete_albums`` looks behind its end
        length = first.positions
        most = min(max(count or 0, length + 1), _MOST_PLANNED * length)
        ranks = range(length, most, length)
        done = self._ranks_of(_member_list(album))

        def pages() -> Iterator[Job]:
            for rank in ranks:
                if self._tails[_member_list(album)].leads_nowhere:
                    return
                if rank not in done or (rank == ranks[-1] and not ended):
                    end = min(rank + length, max(count or 0, rank + 1))
                    last = rank == ranks[-1]
                    yield partial(self._store_members, album, rank, end, last=last)

        self._member_jobs.add_all(pages())

    def _members_here(self, album: str) -> int:
        row = self._books.database.reader.execute(
            "SELECT count(*) FROM relation WHERE zone = ? AND album = ? AND listing = ?",
            (self._zone.id, album, self._zone.listing),
        ).fetchone()
        assert row is not None and isinstance(row[0], int)
        return row[0]

    async def _store_members(
        self,
        album: str,
        start: int,
        end: int,
        *,
        last: bool = False,
        sure: bool = False,
        counted: int | None = None,
    ) -> lists.Found | None:
        """The members from one position to another; ``last``: and all behind that. None if they are
        refused, or an empty stretch leads nowhere. ``sure``: as ``_list_page``. ``counted``: 0 and an empty
        list are two answers that agree."""
        name = _member_list(album)
        if self._tails[name].leads_nowhere:
            return None

        async def store(page: Page, complete: bool) -> None:
            self._tails[name].take(page.records)

            def then(connection: apsw.Connection) -> None:
                if complete:
                    catalogue.note_listed(connection, self._zone.id, name, start)
                    if last or (start == 0 and not lists.leads_on(page)):
                        catalogue.note_listed(connection, self._zone.id, _end_of(name), 0)

            await self._books.store(self._zone, page.records, then)

        there = lists.of_album(self._books, self._zone, album, in_doubt=counted != 0)
        told = catalogue.album_told(self._books.database.reader, self._zone.id, album)
        read = partial(there.read, start, end, store, beyond=last, sure=sure)
        found = await self._parts.ask(members_part(album), read, told=told)
        if found is not None:
            again = partial(self._store_members, album, start, end, last=last, sure=True)
            self._tails[name].note(start, found, again)
            if found.nameless:
                self._nameless[members_part(album)] = told
        return found

    # -- the end -------------------------------------------------------------------------------

    async def _replay(self) -> None:
        """What changed while we were listing, from the first page's token on."""
        key = metadata.listing_token_key(self._name)
        token = metadata.get(self._books.database.reader, key)
        assert token is not None
        await self._follow(Position(self._zone, token, key))
        await ask_for_owed(self._books, self._zone)

    def _needs_history(self) -> bool:
        """Whether lists are known not to be whole, or an earlier, interrupted run found so."""
        return (
            bool(self._refused)
            or bool(self._zone.indexing)
            or self._kept(metadata.history_token_key) is not None
            or self._kept(metadata.listing_token_key) is None
        )

    async def _read_history(self) -> None:
        """The change log from its beginning, or from where an earlier run had come to: slow, and complete
        whatever the indexes say."""
        what = self._said("reading the whole history")

        def tell(records: int) -> None:
            self._books.report(Progress(what, records))

        key = metadata.history_token_key(self._name)
        whole = await self._follow(
            Position(self._zone, self._kept(lambda _: key) or "", key, tell=tell)
        )
        self._history_is_due = not whole
        if whole and self._name.startswith(SHARED_ZONE_PREFIX):
            for index in self._refused:
                await self._parts.excuse(list_part(index))
        await ask_for_owed(self._books, self._zone)

    async def _follow(self, position: Position) -> bool:
        """Whether all came. What did not, comes with the changes, when they are given."""
        error = (await follow(self._books, [position])).get(self._zone.id)
        if error is None:
            return True
        if is_gone(error):
            raise ZoneGone(error.code, error.reason)
        if needs_listing(error):
            # Refused while it is fresh: to list everything again and again would not help.
            await self._parts.note(CHANGES, error)
        return False

    async def _find_what_slipped_through(self) -> Short:
        """List again if a photo can have slipped through between two pages; see the module. Returns which
        counts are too large, as far as lists and changes tell."""
        short = await self._short_lists_while_quiet()
        if not short:
            return short
        for index, (count, here) in short.items():
            # A gap may have moved the end of a list behind its count.
            if index not in self._looked_behind:
                behind = -(-count // PAGE_ASSETS) * PAGE_ASSETS
                await self._look(index, behind, beyond=True, wanted=count - here)
        await self._replay()
        if await self._something_slipped_through(short):
            log.info("%s: it changed while it was listed; listing it again", self._name)
            await self._list_again()
            await self._replay()
            if await self._something_slipped_through(await self._short_lists()):
                log.warning("%s: it keeps changing; reading its whole history", self._name)
                await self._read_history()
        return await self._short_lists()

    async def _short_lists_while_quiet(self) -> Short:
        """A photo that goes between the replay and the counts would make up for one that slipped through."""
        short = await self._short_lists()
        for _ in range(_ROUNDS):
            token = self._kept(metadata.listing_token_key)
            if short or not self._has_changed():
                break
            await self._replay()
            if self._kept(metadata.listing_token_key) == token:
                break
            short = await self._short_lists()
        return short

    def _has_changed(self) -> bool:
        """Whether anything changed since the first page, so that ranks may have shifted."""
        began, now = metadata.listing_began_key, metadata.listing_token_key
        return self._kept(began) != self._kept(now)

    async def _something_slipped_through(self, short: Short) -> bool:
        """Whether a list has photos behind as many as are here. A photo that goes while we look would hide
        that, so nothing may change meanwhile; where it always does, nobody can say, and that is a yes."""
        if not self._has_changed():
            return False
        for _ in range(_ROUNDS):
            token = self._kept(metadata.listing_token_key)
            here = await self._here()
            for index in short:
                if await self._look(index, here[index]):
                    return True
            await self._replay()
            if self._kept(metadata.listing_token_key) == token:
                return False
        return True

    async def _short_lists(self) -> Short:
        theirs = await self._counts([index.count for index in _INDEXES])
        ours = await self._here()
        counts = {index: theirs.get(index.count, 0) for index in ours}
        return {
            index: (counts[index], here) for index, here in ours.items() if counts[index] > here
        }

    async def _here(self) -> dict[Index, int]:
        """How many photos this listing saw of each list."""
        counted: Counts = await self._books.database.read(
            partial(catalogue.counts, zone=self._zone.id)
        )
        return {
            Index.ALL: counted.visible,
            Index.HIDDEN: counted.hidden,
            Index.RECENTLY_DELETED: counted.deleted,
            Index.BURSTS: counted.bursts,
        }

    async def _look(
        self, index: Index, rank: int, *, beyond: bool = False, wanted: int = 0
    ) -> bool:
        """Whether a list has photos at a rank, and, ``beyond``, behind it; they are stored. Behind an end
        that was read twice one empty answer does."""

        async def store(page: Page, _: bool) -> None:
            await self._books.store(self._zone, page.records)

        there = lists.of_index(self._books, self._zone, index)
        read = partial(
            there.read, rank, rank + 1, store, beyond=beyond, wanted=wanted, sure=not beyond
        )
        found = await self._parts.ask(list_part(index), read)
        if found is not None and found.nameless:
            await self._parts.note(list_part(index), NAMELESS)
        return found is not None and found.positions > 0

    async def _list_again(self) -> None:
        token = self._kept(metadata.listing_token_key)
        assert token is not None

        def forget_pages(connection: apsw.Connection) -> None:
            connection.execute("DELETE FROM listed_page WHERE zone = ?", (self._zone.id,))
            began = metadata.listing_began_key(self._name)
            metadata.put_token(connection, began, token, self._books.tree.clock())

        await self._books.database.write(forget_pages)
        await self._list_everything()

    async def _note_excess(self, short: Short) -> None:
        """How many photos iCloud counts that it does not give: a figure, and no more than that."""
        # Frames of bursts are counted with the rest.
        excess = sum(
            count - here for index, (count, here) in short.items() if index != Index.BURSTS
        )
        if excess:
            log.info("%s: iCloud counts %d photos more than it gives", self._name, excess)
        await self._books.database.write(
            lambda connection: catalogue.note_excess(connection, self._zone.id, excess)
        )

    async def _remove_unseen(self) -> None:
        """What an earlier listing saw and this one did not is gone, if iCloud says so.

        Not everything is in a list: a hidden photo's place in an album is not, for one. So each is
        looked up before it goes, and nothing that still exists leaves the tree.
        """
        some = partial(catalogue.unseen, zone=self._zone.id, limit=_LOOKED_UP_AT_ONCE)
        while unseen := await self._books.database.read(some):
            records = await look_up(self._books, self._zone, [name for _, name in unseen])
            if records is None:
                await self._owe(unseen)
            else:
                await self._store_or_remove(unseen, records)

    async def _owe(self, unseen: list[tuple[catalogue.Kind, str]]) -> None:
        """Whether they are gone is asked with the records that are owed, as soon as iCloud says."""

        def transaction(connection: apsw.Connection) -> None:
            for _, name in unseen:
                catalogue.owe(connection, self._zone.id, name, "it is in no list")

        await self._books.database.write(transaction)

    async def _store_or_remove(
        self, unseen: list[tuple[catalogue.Kind, str]], records: tuple[Record, ...]
    ) -> None:
        answered = {record.name: record for record in records}
        there = [record for record in records if not isinstance(record, Tombstone)]
        await self._books.store(self._zone, tuple(there), asked_for=True)

        def transaction(connection: apsw.Connection) -> list[Change]:
            touched = Touched()
            for kind, name in unseen:
                record = answered[name]
                if isinstance(record, Tombstone):
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
            history = metadata.history_token_key(self._name)
            reached = metadata.get(connection, history) is not None
            from_ = history if reached else metadata.listing_token_key(self._name)
            if metadata.get(connection, from_) is None:
                raise ProtocolError(f"The history of {self._name} came without a sync token.")
            if reached or not self._history_is_due:
                # Without a token the library is listed again, with its history, when changes are given.
                metadata.move_token(connection, from_, metadata.sync_token_key(self._name))
            metadata.forget_listing(connection, self._name)
            catalogue.set_listed(connection, self._zone.id, complete=not self._history_is_due)
            if reached:
                catalogue.set_relations_read(connection, self._zone.id)
            # A photo that left an album between two pages of it pulled the others up, and one slipped
            # through: no log tells.
            # And the albums of a library may hold photos of another one.
            catalogue.set_all_members_due(connection)

        await self._books.database.write(transaction)
        self._zone = msgspec.structs.replace(self._zone, listed=True)


def _list_name(index: Index) -> str:
    return index.listing


def _end_of(name: str) -> str:
    """The name under which it is noted that a list was read to its end."""
    return f"{name}:end"


def _member_list(album: str) -> str:
    return f"album:{album}"
