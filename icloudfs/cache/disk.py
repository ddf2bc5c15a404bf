"""Calls that may wait for a disk: in threads, and in no more of them than leave enough to everybody else.

A disk that sleeps answers after seconds; one of another machine, or of a program that stands still, perhaps
never. So nothing that can reach a disk runs on the event loop, and each disk has threads of its own number:
what waits for one takes none from the database, from the network, or from another disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import trio

from icloudfs.errors import DiskSilent

T = TypeVar("T")

_THREADS = 40
"""At a time, as many as trio gives to everything else together."""


def nearest(directory: Path) -> Path:
    """The directory, or if there is none, the one on the way to it in which the next would have to be made.

    Raises OSError for one that cannot be looked at.
    """
    return next(each for each in (directory, *directory.parents) if each.exists())


def _nothing_to_undo(_: object) -> None:
    """What came too late is of no harm."""


class Disk:
    """One disk, and the threads that wait for it."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def run(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, however long it takes. Raises what it raises."""
        return await trio.to_thread.run_sync(call, limiter=self._limiter)

    async def ask(
        self,
        call: Callable[[], T],
        patience: float,
        undo: Callable[[T], None] = _nothing_to_undo,
    ) -> T:
        """What ``call`` returns, if that is within ``patience`` seconds.

        Raises DiskSilent if not, and what it raises. The thread is then left to itself; ``undo`` is called in
        it with what comes too late, as for whoever is cancelled.
        """
        asked = _Asked(call, undo)
        try:
            with trio.move_on_after(patience):
                return await trio.to_thread.run_sync(
                    asked.run, limiter=self._limiter, abandon_on_cancel=True
                )
        except BaseException:
            asked.give_up()
            raise
        asked.give_up()
        raise DiskSilent(f"The disk has not answered for {patience:g} seconds.")


class _Asked(Generic[T]):
    """One call that may be given up while it runs."""

    def __init__(self, call: Callable[[], T], undo: Callable[[T], None]) -> None:
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._is_given_up = False
        self._answers: list[T] = []

    def run(self) -> T:
        answer = self._call()
        with self._lock:
            if not self._is_given_up:
                self._answers.append(answer)
                return answer
        self._undo(answer)
        return answer

    def give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            answers, self._answers = self._answers, []
        for answer in answers:
            in_passing(lambda answer=answer: self._undo(answer))  # type: ignore[misc]


def in_passing(call: Callable[[], object]) -> None:
    """Have ``call`` done by some thread, and wait for nothing. It must not raise."""
    trio.lowlevel.start_thread_soon(call, lambda _: None)
