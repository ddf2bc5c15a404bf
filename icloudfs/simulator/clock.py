"""The simulator's two clocks.

Sessions, cookies and content URLs live by the wall clock, because the clients under test compare them
with theirs. Records live by a clock of their own that starts at the plan's ``now`` and moves only when
the phone does something, so that the same seed gives the same library at any hour.
"""

from __future__ import annotations

import time


class Clock:
    """Both clocks; ``advance`` moves them together."""

    def __init__(self, now: int) -> None:
        self.told_off = 0.0
        """Seconds that the ``Date`` header is ahead of ``wall``: by them the client's clock seems behind."""
        self._advanced = 0.0
        self._record_ms = now

    def wall(self) -> float:
        """Seconds since the epoch, as sessions and URLs see it."""
        return time.time() + self._advanced

    def told(self) -> float:
        """Seconds since the epoch, as the ``Date`` header has them."""
        return self.wall() + self.told_off

    def record(self) -> int:
        """Milliseconds since the epoch, as records see it, without moving on."""
        return self._record_ms

    def tick(self) -> int:
        """The next moment of the record clock: one second after the one before, in milliseconds."""
        self._record_ms += 1000
        return self._record_ms

    def advance(self, seconds: float) -> None:
        """Let time pass for tokens, URLs and records alike."""
        self._advanced += seconds
        self._record_ms += int(seconds * 1000)
