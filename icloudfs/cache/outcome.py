"""A result that several tasks wait for and one brings."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from icloudfs.errors import Offline

T = TypeVar("T")


class Outcome(Generic[T]):
    """Set once, with a value or an error; every waiter gets it."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._value: T | None = None
        self._error: Exception | None = None

    def succeed(self, value: T) -> None:
        self._value = value
        self._done.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._done.set()

    async def bring(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` and tell all who wait what came of it, also if it is cancelled; the value, or the error
        raised."""
        failure: Exception = Offline("icloudfs is being stopped.")
        try:
            value = await work()
        except Exception as error:
            failure = error
            raise
        else:
            self.succeed(value)
            return value
        finally:
            if not self._done.is_set():
                self.fail(failure)

    async def wait(self) -> T:
        """The value, or the error raised."""
        await self._done.wait()
        if self._error is not None:
            # Each waiter gets its own: raising one error in several tasks would mix their tracebacks.
            raise copy.copy(self._error)
        return self._value  # type: ignore[return-value]  # it was set to a T
