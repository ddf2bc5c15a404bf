"""Room in the cache: what counts, and what leaves when there is too little.

Least recently used goes first. What is open, being fetched, pinned or imported stays, so the limit can be
exceeded for as long as somebody holds more than it open; it is made good when they close.

Invariants

* A file leaves by a rename, and never while somebody holds it. From one step of the event loop on, until its
  row is gone too, the content ``is_leaving``, and whoever opens it waits for that. So they either have it whole
  or find it gone, and what is fetched afterwards under the same name is never deleted by an eviction that
  began before.
* A file that is used where it lies is never touched; only its row goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import apsw
import trio

from icloudfs.aside import say
from icloudfs.cache.holding import storage_error
from icloudfs.cache.ledger import Ledger
from icloudfs.cache.places import Places
from icloudfs.errors import DiskFull, StateDamaged
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database

_AT_ONCE = 200
"""Files of one round: for so many, nobody can open one of them meanwhile."""


class Room:
    """The bytes of one cache. ``limit`` 0 means that only the disk sets one."""

    def __init__(
        self,
        limit: int,
        places: Places,
        database: Database,
        ledger: Ledger,
        held: Callable[[], Collection[str]],
    ) -> None:
        self.limit = limit
        self.used = 0
        """Bytes on disk that are the cache's own: whole and partial contents."""
        self._expected = 0
        self._places = places
        self._database = database
        self._ledger = ledger
        self._held = held
        self._evicting = trio.Lock()
        self._leaving: dict[str, trio.Event] = {}
        self._to_drop: dict[str, bool] = {}

    async def count(self) -> None:
        """Take stock of what the database knows."""
        self.used = await self._database.write(contents.cached_bytes)

    async def expect(self, size: int) -> None:
        """``size`` bytes are on their way: make room for them. While the state cannot be written, as much as
        can be made so: what is read comes first."""
        self._expected += size
        try:
            await self.shrink()
        except (DiskFull, StateDamaged) as error:
            say(error, "making room")

    def arrived(self, expected: int, new: int) -> None:
        """``expected`` bytes of those on their way came, or never will; ``new`` ones are on disk."""
        self._expected -= expected
        self.used += new

    def left(self, size: int) -> None:
        """``size`` bytes are no longer there."""
        self.used -= size

    async def shrink(self) -> None:
        """Evict as much as the limit demands."""
        if not self._excess:
            return
        async with self._evicting:
            if self._excess:
                await self._evict(self._excess)

    async def evict(self, wanted: int) -> int:
        """Free ``wanted`` bytes if that many can go; how many went."""
        async with self._evicting:
            return await self._evict(wanted)

    async def drop(self, checksums: Sequence[str], *, entirely: bool = False) -> int:
        """Remove these contents, pinned, imported and failed ones too; how many bytes that freed.

        What somebody holds is remembered: ``is_to_be_dropped``. ``entirely``: the pins go as well.
        """
        freed = 0
        async with self._evicting:
            for first in range(0, len(checksums), _AT_ONCE):
                # Each once: a photo of several albums is named once an album.
                batch = list(dict.fromkeys(checksums[first : first + _AT_ONCE]))
                held = self._held()
                self._to_drop.update((checksum, entirely) for checksum in batch if checksum in held)
                rows = [contents.get(self._database.reader, checksum) for checksum in batch]
                here = [row for row in rows if row is not None]
                freed += (await self._let_go(here, entirely=entirely))[1]
        return freed

    async def drop_what_was_held(self, checksum: str) -> None:
        """Its last holder has let go of a content that ``is_to_be_dropped``."""
        entirely = self._to_drop.pop(checksum, False)
        try:
            await self.drop([checksum], entirely=entirely)
        except Exception:
            self._to_drop.setdefault(checksum, entirely)  # for the next time that it is let go of
            raise

    def is_to_be_dropped(self, checksum: str) -> bool:
        """Whether the content goes as soon as nobody holds it."""
        return checksum in self._to_drop

    def is_leaving(self, checksum: str) -> bool:
        """Whether its file is gone and its row is not yet."""
        return checksum in self._leaving

    async def until_gone(self, checksum: str) -> None:
        """Wait until it is not leaving any more."""
        while (leaving := self._leaving.get(checksum)) is not None:
            await leaving.wait()

    @contextmanager
    def parting_with(self, checksums: Iterable[str]) -> Iterator[None]:
        """Let nobody open these contents, which nobody has open, while their files are moved."""
        leaving = {checksum: trio.Event() for checksum in checksums}
        self._leaving |= leaving
        try:
            yield
        finally:
            for checksum, gone in leaving.items():
                del self._leaving[checksum]
                gone.set()

    def has_room(self, size: int) -> bool:
        """Whether ``size`` bytes more are within the limit as things are, without evicting anything."""
        return not self.limit or self.used + self._expected + size <= self.limit

    @property
    def is_exceeded(self) -> bool:
        """Whether there is more than the limit allows."""
        return self._excess > 0

    @property
    def _excess(self) -> int:
        return max(self.used + self._expected - self.limit, 0) if self.limit else 0

    async def _evict(self, wanted: int) -> int:
        await self._ledger.write_access_times()
        freed = 0
        while freed < wanted:
            oldest = await self._oldest(wanted - freed)
            gone, size = await self._let_go(oldest, entirely=False)
            if not gone:
                break
            freed += size
        return freed

    async def _let_go(self, rows: list[Content], *, entirely: bool) -> tuple[int, int]:
        """Part with those of the contents that nobody holds; how many those were, and their bytes."""
        held = self._held()
        rows = [
            row for row in rows if row.checksum not in held and not self.is_leaving(row.checksum)
        ]
        # To the end, also if the caller is cancelled: a row without its file is set right only when somebody
        # opens it.
        with self.parting_with(row.checksum for row in rows), trio.CancelScope(shield=True):
            leaving, errors = await self._places.disk.run(partial(self._push_out, rows))
            for error in errors:
                say(storage_error(error), "making room")
            size = sum(bytes_of(row) for row in rows if row.checksum in leaving)
            self.left(size)
            try:
                await self._forget_and_unlink(leaving, entirely)
            except Exception:
                # The rows count them still: they are the next to go, again.
                self.left(-size)
                await self._places.disk.run(partial(self._bring_back, rows, leaving))
                raise
        return len(leaving), size

    async def _forget_and_unlink(self, leaving: dict[str, Path], entirely: bool) -> None:
        forget = partial(_forget, checksums=list(leaving), entirely=entirely)
        unlink = partial(self._places.disk.run, partial(_unlink, list(leaving.values())))
        try:
            await self._database.write(forget)
        except DiskFull:
            # The state may be on the disk that is to have room.
            await unlink()
            await self._database.write(forget)
        await unlink()

    async def _oldest(self, wanted: int) -> list[Content]:
        held = frozenset(self._held())

        def choose(connection: apsw.Connection) -> list[Content]:
            chosen: list[Content] = []
            size = 0
            for content in contents.least_recently_used(connection):
                if size >= wanted or len(chosen) == _AT_ONCE:
                    break
                if content.checksum not in held:
                    chosen.append(content)
                    size += bytes_of(content)
            return chosen

        return await self._database.write(choose)

    def _push_out(self, rows: list[Content]) -> tuple[dict[str, Path], list[OSError]]:
        """Checksums of those that could be moved, and where their files lie now; and what went wrong."""
        leaving: dict[str, Path] = {}
        errors: list[OSError] = []
        for content in rows:
            way_out = self._places.next_leaving()
            try:
                if content.path and not content.imported:
                    self._places.absolute(content.path).rename(way_out)
            except FileNotFoundError:
                pass
            except OSError as error:
                errors.append(error)
                continue
            leaving[content.checksum] = way_out
        return leaving, errors

    def _bring_back(self, rows: list[Content], leaving: dict[str, Path]) -> None:
        """Have the files again where the rows say that they are, but those that are unlinked already."""
        for content in rows:
            if content.checksum in leaving and content.path and not content.imported:
                with suppress(OSError):
                    leaving[content.checksum].rename(self._places.absolute(content.path))


def _forget(
    connection: apsw.Connection, checksums: Collection[str], entirely: bool = False
) -> None:
    forget = contents.remove if entirely else contents.forget
    for checksum in checksums:
        forget(connection, checksum)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def bytes_of(content: Content) -> int:
    """What of a content counts against the limit."""
    if content.imported:
        return 0
    if content.status == "downloaded":
        return content.size
    return sum(stop - start for start, stop in content.ranges)
