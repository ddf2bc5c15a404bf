"""How long the daemon waits after a run that failed."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from icloudfs.errors import IcloudfsError, Offline, Throttled
from icloudfs.sync.schedule import Schedule

INTERVAL = 300.0


async def runs_of(
    error: IcloudfsError, seconds: float, wake_at: float | None = None
) -> list[float]:
    """When runs began that all end with ``error``, in seconds since the first."""
    began = trio.current_time()
    runs: list[float] = []

    async def sync() -> None:
        runs.append(trio.current_time() - began)
        raise error

    schedule = Schedule(sync, INTERVAL)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(schedule.run)
            if wake_at is not None:
                await trio.sleep(wake_at)
                schedule.wake()
    return runs


@pytest.mark.parametrize("asked", [1e9, 7200.0])
async def test_apple_is_waited_for_an_hour_at_most(asked: float, autojump_clock: MockClock) -> None:
    first, second = await runs_of(Throttled("no", retry_after=asked), 2 * 3600)
    assert 3600 <= second - first <= 3605


@pytest.mark.parametrize("asked", [None, 0.001, 1.0])
async def test_no_run_follows_another_without_a_pause(
    asked: float | None, autojump_clock: MockClock
) -> None:
    assert len(await runs_of(Throttled("no", retry_after=asked), 86_400)) < 86_400 / 200
    assert len(await runs_of(Offline("no"), 86_400)) < 86_400 / 200


async def test_a_person_does_not_wait(autojump_clock: MockClock) -> None:
    runs = await runs_of(Throttled("no", retry_after=1e9), 3000, wake_at=10)
    assert runs[1] == pytest.approx(10)
