from __future__ import annotations

import os
import threading

import pytest

from icloudfs.desktop.niced import NicedThread


async def test_it_gives_way_and_nobody_else_does() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    thread = NicedThread()
    own = niceness()
    assert await thread.run(niceness) == max(own, 5)
    assert niceness() == own
    thread.end()


async def test_errors_are_raised_where_it_was_asked() -> None:
    def fail(what: str) -> None:
        raise ValueError(what)

    thread = NicedThread()
    with pytest.raises(ValueError, match="no"):
        await thread.run(fail, "no")
    assert await thread.run(lambda: 3) == 3
    thread.end()
