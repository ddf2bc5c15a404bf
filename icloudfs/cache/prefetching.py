"""Many files fetched one after the other, some at a time: what somebody will want to have here.

Files come from an iterator that is asked only for the next one, so a million of them are never in memory.
Each is fetched as a reader would have it fetched, so nothing is downloaded twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

import msgspec
import trio

from icloudfs.errors import (
    CacheUnusable,
    DiskFull,
    IcloudfsError,
    LoginNeeded,
    Offline,
    StateDamaged,
    Throttled,
)
from icloudfs.progress import Progress, Report
from icloudfs.tree.directory import File

MOST_LISTED = 10_000
"""Failures that are listed one by one; all are counted, and in the state."""

_LOST_CAUSES = (LoginNeeded, DiskFull, CacheUnusable, StateDamaged)
"""What the next file would meet as well."""


class Failure(msgspec.Struct, frozen=True):
    """A file that could not be had, and why."""

    checksum: str
    ino: int
    reason: str


class PrefetchResult(msgspec.Struct):
    """What came of it. Sizes in bytes."""

    fetched: int = 0
    already: int = 0
    """Files whose content was here, or was being fetched for another of them."""
    bytes: int = 0
    """Of the files that were fetched."""
    failed: list[Failure] = []
    failed_count: int = 0
    failed_first: list[str] = []
    """The first of these, as they are told: path and reason."""
    library_complete: bool = True
    """False: the library was not listed to its end, so more may belong to what was asked for."""


class Prefetch:
    """One run. ``fetch`` has a file here and tells whether it had to be waited for."""

    def __init__(
        self,
        fetch: Callable[[File], Awaitable[bool]],
        report: Report,
        connections: int,
        total: int | None,
    ) -> None:
        self.result = PrefetchResult()
        self._fetch = fetch
        self._report = report
        self._total = total
        self._connections = max(connections, 1)
        self._under_way: set[str] = set()
        self._failures_in_a_row = 0
        self._given_up: IcloudfsError | None = None
        self._turn = trio.Lock()

    async def run(self, files: Iterable[File] | AsyncIterable[File]) -> PrefetchResult:
        """Fetch ``files``. Raises what makes going on pointless, when those under way have ended."""
        coming = aiter(files if isinstance(files, AsyncIterable) else _one_by_one(files))
        async with trio.open_nursery() as nursery:
            for _ in range(self._connections):
                nursery.start_soon(self._work, coming)
        if self._given_up is not None:
            raise self._given_up
        return self.result

    async def _work(self, coming: AsyncIterator[File]) -> None:
        while (file := await self._next(coming)) is not None:
            if file.checksum in self._under_way:
                self.result.already += 1
                continue
            self._under_way.add(file.checksum)
            try:
                await self._have(file)
            finally:
                self._under_way.discard(file.checksum)
            self._report(Progress("downloading", self._done, self._total))

    async def _next(self, coming: AsyncIterator[File]) -> File | None:
        async with self._turn:
            return None if self._given_up is not None else await anext(coming, None)

    async def _have(self, file: File) -> None:
        try:
            waited = await self._fetch(file)
        except IcloudfsError as error:
            self._note(file, error)
            return
        self._failures_in_a_row = 0
        if waited:
            self.result.fetched += 1
            self.result.bytes += file.size
        else:
            self.result.already += 1

    def _note(self, file: File, error: IcloudfsError) -> None:
        """One photo may be broken; if the network is, all are."""
        self.result.failed_count += 1
        if len(self.result.failed) < MOST_LISTED:
            self.result.failed.append(Failure(file.checksum, file.ino, str(error)))
        if isinstance(error, Offline | Throttled):
            self._failures_in_a_row += 1
        if isinstance(error, _LOST_CAUSES) or self._failures_in_a_row > 2 * self._connections:
            self._given_up = error

    @property
    def _done(self) -> int:
        return self.result.fetched + self.result.already + self.result.failed_count


async def _one_by_one(files: Iterable[File]) -> AsyncIterator[File]:
    for file in files:
        yield file
        await trio.lowlevel.checkpoint()
