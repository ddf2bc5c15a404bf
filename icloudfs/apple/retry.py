"""When to try again: the one place that waits.

429, 5xx and CloudKit's "later" codes mean the same (facts/sign-in.md §1.9, facts/cloudkit.md §1.10):
wait for as long as Apple says, or ever longer with jitter, and give up when the caller's deadline would
pass. The error raised then is the real cause, not a timeout.
"""

from __future__ import annotations

import email.utils
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import trio

from icloudfs.errors import IcloudfsError, Offline, Throttled

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 1.0  # seconds; doubled each time
LONGEST_PAUSE = 60.0
LONGEST_ASKED_PAUSE = 120.0
"""Seconds that one call waits at most because Apple asks to: a caller who has more patience tries sooner."""
LONGEST_ASKED = 3600.0
"""Seconds that are believed of a ``Retry-After``, whatever it says."""
_ASKED_IN_VAIN = 1 / 16
"""Of the pause that grows, so much is kept though Apple asks for less: it may do so for ever."""
PATIENCE = 120.0
"""Seconds that a call goes on trying when its caller sets no shorter deadline."""


_at_most: ContextVar[float] = ContextVar("patience", default=math.inf)


@contextmanager
def patience_of(seconds: float) -> Iterator[None]:
    """Within it, calls of this task go on trying for so many seconds at most.

    Unlike a deadline it cuts off no answer that is slow to come.
    """
    before = _at_most.set(min(seconds, _at_most.get()))
    try:
        yield
    finally:
        _at_most.reset(before)


class Dropped(Offline):
    """The connection broke in the middle of an exchange; worth one more try at once."""


class TryLater(Exception):
    """The same request will do later. ``error`` is what to say if there is no later."""

    def __init__(self, error: IcloudfsError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after
        """Seconds, if Apple named them."""


def busy(what: str, retry_after: float | None = None) -> TryLater:
    """TryLater whose last word is Throttled."""
    return TryLater(Throttled(what, retry_after=retry_after), retry_after)


async def with_patience(
    attempt: Callable[[], Awaitable[T]],
    *,
    patience: float = PATIENCE,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Call ``attempt`` until it answers, or until waiting longer makes no sense.

    ``patience`` is in seconds; a nearer deadline of the caller's own cancel scopes counts as well, and
    so does ``patience_of``.
    Raises what ``attempt`` raises, and ``TryLater.error`` at the end.
    """
    patience = min(patience, _at_most.get())
    limit = min(trio.current_time() + patience, trio.current_effective_deadline())
    pause = FIRST_PAUSE
    may_reconnect = True
    while True:
        try:
            return await attempt()
        except Dropped:
            # A kept connection that the server had closed meanwhile looks just like this.
            if not may_reconnect:
                raise
            may_reconnect = False
        except TryLater as later:
            wait = _wait(later.retry_after, pause, jitter())
            if trio.current_time() + wait >= limit:
                raise later.error from None
            log.info("%s Trying again in %.1f s.", later.error, wait)
            await trio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)


def _wait(asked: float | None, pause: float, jitter: float) -> float:
    """Seconds: what was asked for and a little more, else half to the whole of ``pause``."""
    if asked is not None:
        return max(min(asked, LONGEST_ASKED_PAUSE), pause * _ASKED_IN_VAIN) + 0.1 * jitter
    return pause * (0.5 + jitter / 2)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header, which is a number or a date: an hour at most. None if there is none,
    or none that can be meant: at once, in the past, not a number. The usual pause takes its place then."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        return asked_pause(float(value))
    except ValueError:
        return asked_pause(_seconds_until(value))


def asked_pause(told: object) -> float | None:
    """Seconds that Apple asks to wait, as ``retry_after``; also those of a body's ``retryAfter``."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not told > 0:
        return None
    return float(min(told, LONGEST_ASKED))


def _seconds_until(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
