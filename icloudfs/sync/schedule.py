"""When to sync: at once, then at intervals, sooner when asked, later when it fails.

A failure never ends the daemon: what is cached stays readable, and the tree stays as it was.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable

import trio

from icloudfs.apple.retry import LONGEST_ASKED
from icloudfs.errors import IcloudfsError, LoginNeeded, Throttled

log = logging.getLogger(__name__)

_FIRST_PAUSE = 5.0
"""Seconds after a first failure; doubled with each further one, up to the interval."""


class Schedule:
    """Runs ``sync`` for as long as the daemon lives."""

    def __init__(self, sync: Callable[[], Awaitable[None]], interval: float) -> None:
        """``interval``: seconds between two looks at what changed."""
        self._sync = sync
        self._interval = interval
        self._wanted = trio.Event()
        self.last_error: IcloudfsError | None = None
        """Why the last run failed; None after one that went well."""
        self.went_well_at: float | None = None
        """When one last did, in seconds since the epoch."""

    def wake(self) -> None:
        """Run now, or once more if a run is under way."""
        self._wanted.set()

    async def run(self) -> None:
        """Sync until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            self._wanted = trio.Event()
            try:
                await self._sync()
            except IcloudfsError as error:
                self._report(error)
                pause = self._pause_after(error, pause)
            else:
                if self.last_error is not None:
                    log.info("iCloud answers again")
                self.last_error = None
                self.went_well_at = time.time()
                pause = _FIRST_PAUSE
            await self._sleep(self._interval if self.last_error is None else pause)

    def _report(self, error: IcloudfsError) -> None:
        if str(error) != str(self.last_error):
            event = "sign-in.needed" if isinstance(error, LoginNeeded) else "sync.failed"
            log.warning("%s %s", error, error.hint, extra={"event": event})
        self.last_error = error

    def _pause_after(self, error: IcloudfsError, last: float) -> float:
        """Seconds, with jitter: many machines lose and regain one network together."""
        usual = min(last * 2, self._interval) * random.uniform(0.8, 1.2)
        if isinstance(error, Throttled) and error.retry_after is not None:
            return max(min(error.retry_after, LONGEST_ASKED), usual) + random.uniform(0, 5)
        if isinstance(error, LoginNeeded):
            # Looks at the session file only, until another process has renewed it.
            return min(self._interval, 30)
        return usual

    async def _sleep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._wanted.wait()
