"""What readers will want next: how far ahead of one a large file is fetched, and whether it goes on at all.

A large file is fetched in windows, one growing window a place that is read.

Pure arithmetic. The window starts at 1 MiB and doubles with each one that is used up, as in
mountpoint-s3's prefetcher (facts/fuse.md §4); the next one is asked for when half of the last is used,
so that the connection never idles. A jump starts a new place with a small window: what a thumbnailer
reads at the end of a video must not pull the video.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WINDOW = (1 << 20) + (128 << 10)
"""Bytes; the kernel's own readahead adds 128 KiB to a first read of 1 MiB."""

LARGEST_WINDOW = 32 << 20

NEAR = 1 << 20
"""Bytes that a read may lie before or behind a place and still belong to it: the kernel sends its
readahead out of order, and fetching a small gap is cheaper than another connection."""


@dataclass
class Habits:
    """What those who read the beginning of a file did the last time: whether they went on.

    A viewer goes on, and must not wait for a second request; an indexer takes a look at the beginning of
    every file, and what was asked for beyond that would be for nothing. Either does the same many times in a
    row, so the last time is the best guess there is; and at first, the cheaper one.
    """

    photos_are_read_on: bool = False
    films_are_read_on: bool = False


class Place:
    """Where one reader is in a file, and up to where it was fetched for them. Offsets in bytes."""

    def __init__(self, start: int, now: float) -> None:
        self.begin = start
        self.asked = start
        """Everything of ``[begin, asked)`` has been asked for."""
        self.used = now
        """When somebody last read here, trio's clock."""
        self._window = 0

    def owns(self, start: int) -> bool:
        """Whether a read at ``start`` goes on here."""
        return self.begin - NEAR <= start <= self.asked + NEAR

    def advance(self, start: int, stop: int, size: int, now: float) -> tuple[int, int] | None:
        """Somebody reads ``[start, stop)`` of ``size`` bytes: what to ask for next, if anything."""
        self.used = now
        self.begin = min(self.begin, start)
        if stop <= self.asked - self._window // 2 or self.asked >= size:
            return None
        self._window = min(max(2 * self._window, FIRST_WINDOW), LARGEST_WINDOW)
        begin = self.asked
        self.asked = min(max(begin + self._window, stop), size)
        return begin, self.asked

    def cut(self, at: int) -> None:
        """Nothing from ``at`` on is on its way for this place any more."""
        if self.begin <= at < self.asked:
            self.asked = at
            self._window = 0
