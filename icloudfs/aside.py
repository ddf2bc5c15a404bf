"""What runs beside something that must go on: whatever becomes of it, nothing else ends.

A task that fails takes its nursery with it, and with that the mount. So whatever is begun and not waited for
is begun by one of these two; tests/test_tasks.py knows every task of the program.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from cachetools import TTLCache

from icloudfs.errors import IcloudfsError, foremost, one_error

log = logging.getLogger(__name__)

SAID_FOR = 600.0
"""Seconds in which the same sentence is not said again: a disk that fails, fails every second."""

_said: TTLCache[str, None] = TTLCache(256, SAID_FOR, time.monotonic)
_bugs: set[tuple[str, type[BaseException]]] = set()


async def aside(task: Callable[..., Awaitable[object]], *arguments: Any) -> None:
    """Run ``task`` once. What goes wrong is said; those who wait for its work hear of it from the task."""
    try:
        with one_error():
            await task(*arguments)
    except Exception as error:
        say(error, _name(task))


async def keep_going(task: Callable[[], Awaitable[None]], pause: float) -> None:
    """Run ``task`` to its end, again ``pause`` seconds after each failure."""
    while True:
        try:
            with one_error():
                await task()
            return
        except Exception as error:
            say(error, _name(task))
            await trio.sleep(pause)


def say(error: BaseException, what: str) -> None:
    """Log that ``what`` failed: an error that has a sentence by that, once in a while; any other one with its
    traceback the first time, and by one line from then on."""
    cause = foremost(error)
    if isinstance(cause, IcloudfsError):
        if str(cause) not in _said:
            _said[str(cause)] = None
            log.warning("%s", f"{cause} {cause.hint}".rstrip())
        return
    bug = what, type(cause)
    if bug in _bugs:
        log.error("%s failed again: %r", what, cause)
    else:
        _bugs.add(bug)
        log.error("%s failed in an unforeseen way", what, exc_info=error)


def is_over(error: IcloudfsError) -> None:
    """What ``error`` says is so no more: should it come back, it is said again."""
    _said.pop(str(error), None)


def _name(task: Callable[..., object]) -> str:
    return getattr(task, "__qualname__", repr(task))
