"""Many files looked at by several threads at once.

The threads take one file after the other from a common queue, so that a film keeps one of them busy and
not all; while they work, the event loop tells how far they are.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import trio

from icloudfs.progress import Progress, Report, Unit

T = TypeVar("T")
R = TypeVar("R")

_TICK = 0.2
"""Seconds between two reports."""


class Meter:
    """How far something is. ``add`` may be called from any thread, ``tell`` from the event loop."""

    def __init__(self, report: Report, what: str, total: int | None, unit: Unit) -> None:
        self.done = 0
        self.total = total
        self._what = what
        self._unit = unit
        self._report = report
        self._lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self._lock:
            self.done += amount

    def tell(self) -> None:
        total = None if self.total is None else max(self.total, self.done)
        self._report(Progress(self._what, self.done, total, self._unit))


async def spread(work: Callable[[T], R], items: Sequence[T], meter: Meter) -> list[R]:
    """``work`` on each item in threads, as many as cores; the results in the order of the items.

    ``work`` should not raise, or the others go to waste. Cancelled, it ends after the items at hand.
    """
    results: dict[int, R] = {}
    queue = deque(enumerate(items))
    threads = min(len(os.sched_getaffinity(0)), len(items))
    limiter = trio.CapacityLimiter(max(threads, 1))

    def take_turns() -> None:
        while queue:
            trio.from_thread.check_cancelled()
            try:
                at, item = queue.popleft()
            except IndexError:
                return  # another thread was quicker
            results[at] = work(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tick, meter)
        async with trio.open_nursery() as workers:
            for _ in range(threads):
                workers.start_soon(_in_thread, take_turns, limiter)
        nursery.cancel_scope.cancel()
    meter.tell()
    return [results[at] for at in range(len(items))]


async def _in_thread(work: Callable[[], None], limiter: trio.CapacityLimiter) -> None:
    await trio.to_thread.run_sync(work, limiter=limiter)


async def _tick(meter: Meter) -> None:
    while True:
        await trio.sleep(_TICK)
        meter.tell()


def portions(
    items: Iterable[T], size_of: Callable[[T], int], most_bytes: int, most_items: int
) -> Iterator[list[T]]:
    """``items`` in lists of up to so many bytes and items; one that is larger comes alone."""
    portion: list[T] = []
    size = 0
    for item in items:
        if portion and (size + size_of(item) > most_bytes or len(portion) == most_items):
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += size_of(item)
    if portion:
        yield portion
