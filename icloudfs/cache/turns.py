"""Turns at something that only so many may do at a time: whoever asked last is next.

A person looks at what was opened last; what was asked for before it can wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """``most`` at a time. A name waits once at most."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[str, trio.Event] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn; it ends with the block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(name)
        try:
            yield
        finally:
            self._pass_on()

    def hasten(self, name: str) -> None:
        """If that one waits, it is next."""
        if (event := self._waiting.pop(name, None)) is not None:
            self._waiting[name] = event

    async def _wait(self, name: str) -> None:
        event = self._waiting[name] = trio.Event()
        try:
            await event.wait()
        except trio.Cancelled:
            self._waiting.pop(name, None)
            if event.is_set():  # it was our turn, and nobody takes it
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        if self._waiting:
            _, event = self._waiting.popitem()
            event.set()
        else:
            self._free += 1
