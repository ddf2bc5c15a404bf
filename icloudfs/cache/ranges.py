"""A set of bytes of one file, as half-open ranges.

Invariant: the ranges ascend, are not empty, and neither touch nor overlap, so that one set has one form.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Which bytes of a file are there. Offsets are bytes; ``stop`` is not included."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.total = 0
        """How many bytes are in the set."""
        for start, stop in ranges:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def add(self, start: int, stop: int) -> int:
        """Add ``[start, stop)``; how many of its bytes are new."""
        if start >= stop:
            return 0
        before = self.total
        # Every range that overlaps or touches the new one melts into it.
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        melted = zip(self._starts[first:last], self._stops[first:last], strict=True)
        self.total -= sum(stop_ - start_ for start_, stop_ in melted)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
        self.total += stop - start
        return self.total - before

    def covers(self, start: int, stop: int) -> bool:
        """Whether every byte of ``[start, stop)`` is in the set; an empty range always is."""
        if start >= stop:
            return True
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and self._stops[at] >= stop

    def reaches(self, start: int) -> int:
        """Up to where every byte from ``start`` on is in the set; ``start`` if that one is not."""
        at = bisect_right(self._starts, start) - 1
        return max(start, self._stops[at]) if at >= 0 else start

    def holes(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What of ``[start, stop)`` is not in the set, ascending."""
        at = bisect_right(self._stops, start)
        while start < stop:
            if at == len(self._starts) or self._starts[at] >= stop:
                yield start, stop
                return
            if start < self._starts[at]:
                yield start, self._starts[at]
            start = self._stops[at]
            at += 1

    def clear(self) -> None:
        self._starts.clear()
        self._stops.clear()
        self.total = 0
