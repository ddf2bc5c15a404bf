"""One range of a content on its way: a ranged GET, carried through what goes wrong with it.

A pull ends with its range on disk, or with an error; never later than ``timeout`` seconds after the last
byte came. What came stays: every try goes on where the last one stopped.

A pull may have asked for more than its range, up to ``reach``: then it holds the line when the range is
here, reading nothing, so that a reader who goes on costs no second request. Nor does one who closes the file
and opens it again at once. If nobody goes on, a short rest is finished, and of a longer one is kept what the
network has delivered meanwhile: what was sent need not be sent again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio

from icloudfs.cache.eviction import Room
from icloudfs.cache.holding import Holding
from icloudfs.cache.ledger import Ledger
from icloudfs.cache.reachability import Reachability
from icloudfs.cache.readahead import Habits, Place
from icloudfs.cache.source import Download, ExpiredURL, Interrupted, Source
from icloudfs.cache.urls import FreshURLs
from icloudfs.errors import (
    ContentMismatch,
    ContentUnavailable,
    DiskFull,
    IcloudfsError,
    Offline,
    Throttled,
)
from icloudfs.state.database import Database
from icloudfs.tree.directory import File

BATCH = 1 << 20
"""Bytes that are written at once, in a thread. A pwrite of 1 MiB on the event loop takes 0.2 ms while the
page cache takes it, but 3 ms, and up to 42, once the kernel throttles writers to the speed of the disk; the
thread costs 0.16 ms a batch whatever the disk does. There is no RWF_NOWAIT for writes on ext4."""

TRIES = 3
"""Of transient errors in a row."""

_REAL_PROGRESS = 4 << 20
"""Bytes after which a broken connection is not counted: large files live through many of them."""

_FIRST_PAUSE = 0.15
"""Seconds before the second try, doubled for the third, with jitter."""

_EXPIRIES = 2
"""410 right after a fresh look-up more often than this is no matter of age."""

_ROOM_AT_LEAST = 64 << 20
"""Bytes to evict when the disk is full: one batch at a time would be a rename each."""


@dataclass(frozen=True)
class Means:
    """What every fetch of one cache works with."""

    source: Source
    database: Database
    urls: FreshURLs
    reachability: Reachability
    room: Room
    ledger: Ledger
    habits: Habits
    timeout: float
    """Seconds without progress after which a network wait ends."""


HOLD = 0.25
"""Seconds that the line is held for nobody in particular: a viewer that goes on does so at once, and so does a
program that looks what a file is, closes it and reads it."""

REST = 1 << 20
"""Bytes that are worth less than asking for them again: a rest of no more is finished."""

_MOMENT = 0.05
"""Seconds to take what the network has delivered of a longer one: no more than ``REST``."""


class Pull:
    """Bytes ``[written, stop)`` are still to come. While it runs, ``stop`` may come down, or go up to
    ``reach``; no other pull claims anything between the two."""

    def __init__(
        self,
        file: File,
        holding: Holding,
        means: Means,
        span: tuple[int, int],
        place: Place | None,
        reach: int,
        is_urgent: Callable[[int], bool],
        is_wanted: Callable[[Pull], bool],
    ) -> None:
        """``is_urgent`` tells whether somebody waits for nothing beyond an offset, ``is_wanted`` whether
        anybody still has a use for the pull."""
        self.start, self.stop = span
        self.reach = reach
        self.written = self.start
        self.place = place
        """The reader it runs ahead of, if it does."""
        self.scope = trio.CancelScope()
        self.began = trio.current_time()
        self._file = file
        self._holding = holding
        self._means = means
        self._is_urgent = is_urgent
        self._is_wanted = is_wanted
        self._expected = 0
        self._tries = 0
        self._expiries = 0
        self._is_receiving = False
        self._is_paused = False
        """Whether nothing more is taken until somebody comes back or the pull is given up."""
        self._news = trio.Event()
        """Set when ``stop`` or ``reach`` moved, or somebody came or left."""

    def claims(self, offset: int) -> bool:
        """Whether ``offset`` is still to come."""
        return self.written <= offset < self.stop

    @property
    def is_held(self) -> bool:
        """Whether all that was asked for is here; only the line is kept open, for more."""
        return self.written >= self.stop

    def can_go_on(self, start: int, stop: int) -> bool:
        """Whether ``[start, stop)`` can come by this pull as well."""
        return start == self.stop and stop <= self.reach

    def go_on(self, stop: int) -> None:
        """What lies before ``stop`` is to come by this pull, too."""
        self.stop = stop
        self._news.set()

    def give_way(self, offset: int) -> None:
        """What lies beyond ``offset`` comes by another pull, or not at all, unless it was claimed."""
        self.reach = max(min(self.reach, offset), self.stop)
        self._news.set()

    def leave(self, *, pause: bool) -> None:
        """Nobody has the file open any more: the line is held from now on, ``pause`` at once, and else where
        ``stop`` is."""
        self._is_paused = pause
        self._news.set()

    def come_back(self) -> None:
        """Somebody opened it again."""
        self._is_paused = False
        self.scope.deadline = math.inf
        self._news.set()

    def give_up(self) -> None:
        """Nobody came back. What has come is kept, and a short rest finished."""
        self._is_paused = False
        if self._is_receiving:
            self._end_soon()
        else:
            self.scope.cancel()
        self._news.set()

    def _end_soon(self) -> None:
        if self.reach - self.written > REST:
            self.reach = self.written + REST
            self.scope.deadline = trio.current_time() + _MOMENT
        self.stop = self.reach
        if self.place is not None:
            self.place.cut(self.stop)

    def end_at(self, offset: int) -> None:
        """What lies beyond ``offset`` is not to come by this pull."""
        self.stop = self.reach = offset
        if self.place is not None:
            self.place.cut(offset)

    async def run(self, arrived: Callable[[], None]) -> None:
        """Fetch the range; ``arrived`` is called whenever more of it is on disk.

        Raises what the source raises, ContentMismatch for a body that is not what was announced,
        Interrupted after too many broken bodies, DiskFull, CacheUnusable, and Offline when nothing
        came for too long.
        """
        room = self._means.room
        try:
            await self._expect_the_rest()
            with trio.CancelScope() as self._waiting:
                self._moved()
                while self.written < self.stop:
                    await self._try(arrived)
            if self._waiting.cancelled_caught:
                error = Offline(f"Nothing came from iCloud for {self._means.timeout:g} seconds.")
                self._means.reachability.failed(error)
                raise error
        except Offline:
            self._means.urls.forget(self._file)  # it may be the address that leads nowhere
            raise
        finally:
            room.arrived(self._expected, 0)

    async def _expect_the_rest(self) -> None:
        more = self.stop - self.written - self._expected
        if more > 0:
            self._expected += more
            await self._means.room.expect(more)

    def _moved(self) -> None:
        self._waiting.deadline = trio.current_time() + self._means.timeout

    async def _try(self, arrived: Callable[[], None]) -> None:
        means, before = self._means, self.written
        try:
            await means.reachability.wait_until_welcome(self._waiting.deadline)
            url = await means.urls.url(self._file)
            async with self._download(url) as download:
                means.reachability.succeeded()
                await self._receive(download, arrived)
        except ExpiredURL as error:
            means.urls.forget(self._file)
            self._expiries += 1
            if self._expiries > _EXPIRIES:
                raise ContentUnavailable("iCloud gives only expired download URLs.") from error
        except (Interrupted, Throttled, Offline) as error:
            if self.written - before >= _REAL_PROGRESS:
                self._tries = 0
            await self._pause_after(error)
        except IcloudfsError:
            means.reachability.succeeded()
            means.urls.forget(self._file)
            raise

    def _download(self, url: str) -> AbstractAsyncContextManager[Download]:
        return self._means.source.download(url, self.written, self.reach, size=self._file.size)

    async def _pause_after(self, error: Interrupted | Throttled | Offline) -> None:
        """Wait as long as is wise after the error. Raises it if it is the last."""
        self._tries += 1
        reachability = self._means.reachability
        pause = _FIRST_PAUSE * 2 ** (self._tries - 1) * random.uniform(0.7, 1.3)
        if isinstance(error, Throttled):
            pause = max(error.retry_after or 0.0, pause)
            reachability.slow_down(pause)
        last = self._tries >= TRIES or trio.current_time() + pause >= self._waiting.deadline
        if not isinstance(error, Offline):
            reachability.succeeded()
        elif not isinstance(error, Interrupted):
            # A missing network is not worth three tries while somebody waits for an answer.
            last = last or reachability.offline or self._tries == TRIES - 1
            if last:
                reachability.failed(error)
        if last:
            raise error
        await trio.sleep(pause)

    async def _receive(self, download: Download, arrived: Callable[[], None]) -> None:
        """Take the body of one answer, up to ``stop`` and as far as that goes up."""
        if download.total is not None and download.total != self._file.size:
            raise ContentMismatch(
                f"Expected {self._file.size} bytes, found {download.total} in iCloud's answer."
            )
        skip = self.written - download.start
        if skip < 0:
            raise ContentMismatch(
                f"Expected bytes from {self.written}, found bytes from {download.start}."
            )
        batch = _Batch()
        self._is_receiving = True
        try:
            async for chunk in download.chunks():
                self._means.reachability.succeeded()
                self._moved()
                rest = chunk[skip:]
                skip = max(skip - len(chunk), 0)
                while rest:
                    rest = batch.add(rest, self.stop - self.written)
                    reached = self.written + batch.size
                    if not self._is_wanted(self):
                        self.end_at(reached)
                    is_due = batch.size >= BATCH or reached >= self.stop or self._is_paused
                    if is_due or self._is_urgent(reached):
                        await self._write(batch, arrived)
                    if self._is_paused:
                        await self._until_it_is_settled()
                    if self.written >= self.stop and not await self._is_to_go_on():
                        return
        finally:
            self._is_receiving = False
            # Also when cancelled: what came need not come again.
            with trio.CancelScope(shield=True):
                await self._write(batch, arrived)
        if self.written < self.stop:
            raise Interrupted("The download ended too early.", received=self.written)

    async def _until_it_is_settled(self) -> None:
        """Hold the line until somebody comes, or it is given up."""
        self._waiting.deadline = math.inf
        while self._is_paused:
            self._news = trio.Event()
            await self._news.wait()
        self._moved()

    async def _is_to_go_on(self) -> bool:
        """Hold the line until ``stop`` goes up, or nobody is there to wait for any more."""
        self._waiting.deadline = math.inf
        while self.is_held and self.stop < self.reach:
            self._news = trio.Event()
            with trio.move_on_after(HOLD) as pause:
                await self._news.wait()
            if pause.cancelled_caught and (self.place is None or not self._is_wanted(self)):
                self._end_soon()
        self._moved()
        await self._expect_the_rest()
        return self.written < self.stop

    async def _write(self, batch: _Batch, arrived: Callable[[], None]) -> None:
        blocks = batch.take(self.stop - self.written)
        size = sum(map(len, blocks))
        if not size:
            return
        room = self._means.room
        try:
            new = await self._holding.write(self.written, blocks)
        except DiskFull:
            if not await room.evict(max(size, _ROOM_AT_LEAST)):
                raise
            new = await self._holding.write(self.written, blocks)
        self.written += size
        self._expected -= size
        room.arrived(size, new)
        self._means.ledger.note(self._holding)
        self._moved()
        arrived()


class _Batch:
    """Chunks that came and are not written yet."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes, most: int) -> bytes:
        """Take in as much of ``chunk`` as makes ``most`` bytes in all; the rest of it."""
        taken = chunk[: max(most - self.size, 0)]
        if taken:
            self._chunks.append(taken)
            self.size += len(taken)
        return chunk[len(taken) :]

    def take(self, most: int) -> list[bytes]:
        """All of them, but no more than ``most`` bytes."""
        chunks, self._chunks, self.size = self._chunks, [], 0
        taken = []
        for chunk in chunks:
            taken.append(chunk[:most])
            most -= len(taken[-1])
        return [chunk for chunk in taken if chunk]
