"""Room in the cache: what counts, and what leaves when there is too little.

Least recently used goes first. What is open, being fetched, pinned or imported stays, so the limit can be
exceeded for as long as somebody holds more than it open; it is made good when they close.

Invariant: a file leaves in one step of the event loop, by a rename, and never while somebody holds it. So
whoever opens a content either has it whole or finds it gone, and what is fetched afterwards under the
same name is never deleted by an eviction that began before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import apsw
import trio

from icloudfs.cache.ledger import Ledger
from icloudfs.cache.places import Places
from icloudfs.state import contents
from icloudfs.state.contents import Content
from icloudfs.state.database import Database

_AT_ONCE = 200
"""Files of one round: their renames run on the event loop, some 10 µs each."""


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

    async def count(self) -> None:
        """Take stock of what the database knows."""
        self.used = await self._database.write(contents.cached_bytes)

    async def expect(self, size: int) -> None:
        """``size`` bytes are on their way: make room for them."""
        self._expected += size
        await self.shrink()

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
            leaving = self._push_out(oldest)
            if not leaving:
                break
            await self._database.write(partial(_forget, checksums=leaving))
            await trio.to_thread.run_sync(_unlink, list(leaving.values()))
            freed += sum(bytes_of(content) for content in oldest if content.checksum in leaving)
        return freed

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

    def _push_out(self, oldest: list[Content]) -> dict[str, Path]:
        """Checksums of those that nobody opened meanwhile, and where their files lie now."""
        held = self._held()
        leaving = {}
        for content in oldest:
            if content.checksum in held:
                continue
            leaving[content.checksum] = self._places.next_leaving()
            with suppress(FileNotFoundError):
                self._places.absolute(content.path).rename(leaving[content.checksum])
            self.left(bytes_of(content))
        return leaving


def _forget(connection: apsw.Connection, checksums: Collection[str]) -> None:
    for checksum in checksums:
        contents.forget(connection, checksum)


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
