"""A thread that gives way to everybody else: for work that nobody waits for.

trio's own threads are used again by others, and a thread that was once niced cannot be made equal again by
an ordinary user.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import trio

T = TypeVar("T")

_NICE = 5


class NicedThread:
    """Does one thing after the other."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "niced", initializer=_give_way)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of ``work(*arguments)``. If the caller is cancelled, the work is done all the same."""
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()
        future = self._executor.submit(partial(work, *arguments))

        def tell(_: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        future.add_done_callback(tell)
        await done.wait()
        return future.result()

    def end(self) -> None:
        """What has not been begun is not done any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _give_way() -> None:
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) < _NICE:
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)
