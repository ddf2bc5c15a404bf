"""Fixtures: a running simulator, and a browser that is signed in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from icloudfs.simulator import Address, LibraryPlan, Simulator
from tests.simulator.browser import Browser

PLAN = LibraryPlan(assets=120, seed=5, drawn=False, large_files=False)


@pytest.fixture
async def sim() -> Simulator:
    """A small library with every oddity."""
    return Simulator(PLAN)


@pytest.fixture
async def address(sim: Simulator, nursery: trio.Nursery) -> Address:
    started: Address = await nursery.start(_keep_running, sim)
    return started


async def _keep_running(
    sim: Simulator, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
) -> None:
    async with sim.running() as address:
        task_status.started(address)
        await trio.sleep_forever()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
async def stranger(address: Address, http: httpx.AsyncClient) -> Browser:
    """A browser that has not signed in."""
    return Browser(http, address.endpoints)


@pytest.fixture
async def browser(sim: Simulator, stranger: Browser) -> Browser:
    """A browser that has."""
    await stranger.sign_in(sim.account)
    return stranger
