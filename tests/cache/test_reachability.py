from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from icloudfs.cache.reachability import LONGEST_THROTTLE, PATIENCE, Reachability
from icloudfs.errors import Offline, Throttled


async def test_all_is_well(autojump_clock: MockClock) -> None:
    assert Reachability().patience() == math.inf


async def test_one_tries_while_the_others_are_told_at_once(autojump_clock: MockClock) -> None:
    network = Reachability()
    network.failed(Offline("No route."))
    with pytest.raises(Offline, match="No route"):
        network.patience()
    await trio.sleep(0.3)
    assert network.patience() == PATIENCE
    with pytest.raises(Offline):
        network.patience()
    await trio.sleep(PATIENCE + 0.1)
    assert network.patience() == PATIENCE


async def test_a_success_ends_it(autojump_clock: MockClock) -> None:
    network = Reachability()
    network.failed(Offline("No route."))
    network.succeeded()
    assert network.patience() == math.inf


async def test_who_is_asked_to_wait_waits(autojump_clock: MockClock) -> None:
    network = Reachability()
    network.slow_down(5)
    began = trio.current_time()
    with pytest.raises(Throttled):
        await network.wait_until_welcome(began + 3)
    await network.wait_until_welcome(began + 30)
    assert trio.current_time() == pytest.approx(began + 5)
    await network.wait_until_welcome(began)


async def test_a_reader_tries_again_after_a_minute_whatever_is_asked(
    autojump_clock: MockClock,
) -> None:
    network = Reachability()
    network.slow_down(10**9)
    with pytest.raises(Throttled):
        await network.wait_until_welcome(trio.current_time() + LONGEST_THROTTLE - 1)
    await network.wait_until_welcome(trio.current_time() + LONGEST_THROTTLE + 1)
    assert not network.is_troubled
