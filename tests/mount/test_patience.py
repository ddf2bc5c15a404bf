"""No wait is long, and all of them together are half of the time at most."""

from __future__ import annotations

import trio
import trio.testing

from icloudfs.mount import patience
from icloudfs.mount.patience import Patience


async def wait(purse: Patience, seconds: float) -> float:
    """How long somebody waited for what takes so many seconds."""
    began = trio.current_time()
    with purse.spent(patience.PATIENCE):
        await trio.sleep(seconds)
    return trio.current_time() - began


async def test_what_comes_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    assert await wait(Patience(), 2) == 2


async def test_none_takes_longer_than_it_may(autojump_clock: trio.testing.MockClock) -> None:
    assert await wait(Patience(), 1000) == patience.PATIENCE


async def test_who_walks_through_all_folders_waits_half_of_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    purse, began = Patience(), trio.current_time()
    waited = 0.0
    for _ in range(600):
        waited += await wait(purse, 1000)
        await trio.sleep(0.1)
    assert waited < patience._SAVED + 0.51 * (trio.current_time() - began)


async def test_who_rested_is_waited_for_again(autojump_clock: trio.testing.MockClock) -> None:
    purse = Patience()
    for _ in range(20):
        await wait(purse, 1000)
    assert await wait(purse, 1000) < 1
    await trio.sleep(10)
    assert await wait(purse, 1000) == patience.PATIENCE
