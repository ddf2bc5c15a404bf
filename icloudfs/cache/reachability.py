"""What the last tries told about the network, so that readers need not find out one by one.

After a connection failure the cache is *offline* until something succeeds. A read that needs the network
then waits a second at most, and fails at once while the last failure is only a moment ago or another
read asked within the last second. Its fetch still has its full deadline in the background: on a slow link
that is what finds out that the network is back.
"""

from __future__ import annotations

import math

import trio

from icloudfs.errors import Offline, Throttled

PATIENCE = 1.0
"""Seconds that a read waits while the network is believed to be away."""

LONGEST_THROTTLE = 60.0
"""Seconds after which a reader tries again although Apple asked for more: it is one request."""

_BREATH = 0.25
"""Seconds after a failure in which nobody tries again."""


class Reachability:
    """Shared by everything in one cache that asks Apple. Times are trio's clock, in seconds."""

    def __init__(self) -> None:
        self.offline = False
        self._reason = ""
        self._quiet_until = -math.inf
        self._throttled_until = -math.inf

    def succeeded(self) -> None:
        """Apple answered something."""
        self.offline = False
        self._quiet_until = -math.inf

    def failed(self, error: Offline) -> None:
        """No connection, or no answer."""
        self.offline = True
        self._reason = str(error)
        self._quiet_until = trio.current_time() + _BREATH

    def slow_down(self, seconds: float) -> None:
        """Apple asked not to be asked for ``seconds``."""
        until = trio.current_time() + min(seconds, LONGEST_THROTTLE)
        self._throttled_until = max(self._throttled_until, until)

    def patience(self) -> float:
        """How long a read that needs the network may wait, in seconds; infinite while all is well.

        Raises Offline if asking again is pointless just now.
        """
        if not self.offline:
            return math.inf
        now = trio.current_time()
        if now < self._quiet_until:
            raise self.away()
        self._quiet_until = now + PATIENCE
        return PATIENCE

    @property
    def is_troubled(self) -> bool:
        """Whether iCloud did not answer the last time, or asked not to be asked just now."""
        return self.offline or trio.current_time() < self._throttled_until

    def gave_up(self) -> Offline:
        """A read has waited for as long as it may. The kernel asks once more after an error; that one need not
        wait again."""
        self._quiet_until = max(self._quiet_until, trio.current_time() + _BREATH)
        return self.away()

    def away(self) -> Offline:
        return Offline(self._reason or "iCloud does not answer.")

    async def wait_until_welcome(self, deadline: float) -> None:
        """Wait as long as Apple asked for. Raises Throttled if that is later than ``deadline``."""
        wait = self._throttled_until - trio.current_time()
        if wait <= 0:
            return
        if self._throttled_until >= deadline:
            raise Throttled("Apple asks to slow down.", retry_after=wait)
        await trio.sleep(wait)
