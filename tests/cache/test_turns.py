from __future__ import annotations

import trio
import trio.testing

from icloudfs.cache.turns import Turns


async def test_whoever_asked_last_is_next() -> None:
    turns, order = Turns(1), list[str]()

    async def take(name: str) -> None:
        async with turns.turn(name):
            order.append(name)

    async with trio.open_nursery() as nursery, turns.turn("first"):
        for name in ("a", "b", "c"):
            nursery.start_soon(take, name)
            await trio.testing.wait_all_tasks_blocked()
        turns.hasten("a")
        turns.hasten("nobody")
    assert order == ["a", "c", "b"]


async def test_one_that_gives_up_takes_no_turn_away() -> None:
    turns, order = Turns(1), list[str]()

    async def take(name: str) -> None:
        async with turns.turn(name):
            order.append(name)

    async with trio.open_nursery() as nursery, turns.turn("first"):
        with trio.CancelScope() as scope:
            nursery.start_soon(take, "patient")
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as others:
                others.start_soon(take, "impatient")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
    async with turns.turn("later"):
        assert order == ["patient"]


async def test_no_more_at_a_time_than_may() -> None:
    turns, now, most = Turns(3), 0, 0

    async def take(name: str) -> None:
        nonlocal now, most
        async with turns.turn(name):
            now += 1
            most = max(most, now)
            await trio.sleep(0.001)
            now -= 1

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(take, str(number))
    assert most == 3
