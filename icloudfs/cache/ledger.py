"""What is written to the database in batches: ranges that arrived, and when contents were read.

After a kill the bytes of at most the last second are fetched again.
"""

from __future__ import annotations

import time

import trio

from icloudfs.aside import say
from icloudfs.cache.holding import Holding, storage_error
from icloudfs.state import contents
from icloudfs.state.database import Database

RECORD_EVERY = 1.0
"""Seconds between two records of the ranges of a content on its way."""

TOUCH_EVERY = 30.0
"""Seconds between two writes of access times; eviction writes them too."""


class Ledger:
    """Collects what the database should know, and tells it now and then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed: set[Holding] = set()
        self._accessed: dict[str, int] = {}
        self._something_changed = trio.Event()

    def note(self, holding: Holding) -> None:
        """The row of ``holding`` is behind what is on disk."""
        self._changed.add(holding)
        self._something_changed.set()

    def touch(self, checksum: str) -> None:
        """Somebody opened this content."""
        self._accessed[checksum] = int(time.time())

    async def keep_ranges(self) -> None:
        """Record ranges every second, while there are any. Runs until cancelled."""
        while True:
            await self._something_changed.wait()
            await trio.sleep(RECORD_EVERY)
            self._something_changed = trio.Event()
            await self.record()

    async def keep_access_times(self) -> None:
        """Write access times every half minute. Runs until cancelled."""
        while True:
            await trio.sleep(TOUCH_EVERY)
            await self.write_access_times()

    async def record(self) -> None:
        """Record all ranges now. What cannot be recorded waits for the next time, while it is open."""
        changed, self._changed = self._changed, set()
        for holding in changed:
            if not await record(holding):
                self.note(holding)

    async def write_access_times(self) -> None:
        """Write them, or keep them for the next time."""
        accessed, self._accessed = self._accessed, {}
        if not accessed:
            return
        try:
            await self._database.write(
                lambda connection: contents.touch(connection, accessed.items())
            )
        except Exception as error:
            self._accessed = accessed | self._accessed
            say(error, "writing access times")


async def record(holding: Holding) -> bool:
    """Bring the row of ``holding`` up to date, or say why not; whether it is."""
    try:
        await holding.record()
    except OSError as error:
        say(storage_error(error), "recording what is here")
        return False
    except Exception as error:
        say(error, "recording what is here")
        return False
    return True
