"""An open file: what the mount reads from.

Bytes may be shown before the whole is verified (fetch.py). Invariant: if some which were shown, to whomever,
prove wrong, every open from before gets nothing but that error any more, so whoever copies through it does not
end well. The next open begins anew.
"""

from __future__ import annotations

import copy

import trio

from icloudfs.cache.fetch import Fetch
from icloudfs.errors import ContentError

_MOST_LOSSES = 3
"""Times that a file may vanish under one read before that is an error."""


class OpenFile:
    """One open of one file. Any number of tasks may read from it until it is closed."""

    def __init__(self, fetch: Fetch, buffer: memoryview) -> None:
        """``buffer`` is shared by all that read on one event loop; it is used between two awaits."""
        self.size = fetch.file.size
        self._fetch = fetch
        self._buffer = buffer
        self._open = True
        # The fetch's count of verdicts when it was opened. What others were shown counts as well: the
        # kernel keeps one set of pages a file, and shows this reader theirs without asking.
        self._believed = fetch.verdicts

    @property
    def verified(self) -> bool:
        """Whether every byte is here and was checked: nothing waits, and the kernel may keep it."""
        return self._fetch.holding.verified

    async def until_opened(self) -> None:
        """Wait until the disk has said what it has of the file, if it has to be asked. Raises DiskSilent."""
        await self._fetch.until_opened()

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Up to ``size`` bytes at ``offset`` without waiting for disk or network, or None.

        Short only at the end of the file.
        """
        stop = min(offset + size, self.size)
        if offset >= stop:
            return b""
        fetch = self._fetch
        if self._was_misled or not fetch.may_read(offset, stop):
            return None
        try:
            data = fetch.holding.read_now(offset, stop, self._buffer)
            if data is None or not fetch.holding.is_still_itself():
                return None
        except OSError:
            return None  # ``read`` meets it again, and may wait
        self._shown(offset, stop)
        return data

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, fetched if need be; short only at the end of the file.

        Raises ContentMismatch, ContentUnavailable, DiskFull, another ContentError if the disk fails,
        and Offline, Throttled or LoginNeeded if iCloud cannot be asked.
        """
        # Also when nothing is waited for: who reads a cached film must let the others run.
        await trio.lowlevel.checkpoint()
        if (data := self.read_now(offset, size)) is not None:
            return data
        if self._was_misled:
            raise copy.copy(self._fetch.last_verdict or ContentError("The content proved wrong."))
        with self._fetch.reading():
            await self._fetch.until_opened()
            return await self._read(offset, min(offset + size, self.size))

    async def until_verified(self) -> None:
        """Have every byte here and checked; nothing of a file that streams. Raises as ``read``."""
        if not self._fetch.streams:
            with self._fetch.reading():
                await self._fetch.until_readable(0, self.size)

    async def _read(self, start: int, stop: int) -> bytes:
        fetch = self._fetch
        for _ in range(_MOST_LOSSES):
            if not fetch.may_read(start, stop):
                await fetch.until_readable(start, stop)
                # What came just now is in memory, unless that is short.
                if (data := self.read_now(start, stop - start)) is not None:
                    return data
            holding = fetch.holding
            generation = holding.generation
            try:
                data = await holding.read(start, stop, fetch.patience)
            except OSError as error:
                raise ContentError(f"The cache could not be read: {error.strerror}.") from error
            if holding.generation != generation:
                continue  # thrown away while the thread was reading
            if data is not None:
                self._shown(start, stop)
                return data
            fetch.lose()
        raise ContentError("The cached file changes under us.")

    def _shown(self, start: int, stop: int) -> None:
        self._fetch.was_read(start, stop)

    @property
    def _was_misled(self) -> bool:
        return self._believed != self._fetch.verdicts

    def close(self) -> None:
        """Nothing more will be read. Closing twice is no harm."""
        if self._open:
            self._open = False
            self._fetch.reader_left()
