"""Every call of a sign-in and of a download, answered without measure or without end, for ever."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from icloudfs.apple import Index, Master, Zone, icloud, retry, transport
from icloudfs.errors import IcloudfsError
from icloudfs.simulator import LibraryPlan
from icloudfs.simulator.calls import SETUP_CALLS, SIGN_IN_CALLS
from icloudfs.simulator.excess import WITHOUT_MEASURE
from tests.apple.conftest import World
from tests.apple.test_answers import come_back, sign_in
from tests.peak import at_most
from tests.ways import some

CALLS = (*SIGN_IN_CALLS, *SETUP_CALLS)
WAYS = tuple(WITHOUT_MEASURE)
PATIENCE = 0.3  # seconds
MOST_CALLS = 100
MOST_MEMORY = 100  # MiB, the local iCloud's own included
BOUND = 20.0  # seconds


@pytest.fixture
def plan() -> LibraryPlan:
    return LibraryPlan(assets=3, drawn=False, oddities=False, shared="none", large_files=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)
    monkeypatch.setitem(retry.with_patience.__kwdefaults__ or {}, "patience", PATIENCE)
    monkeypatch.setattr(icloud, "RENEWAL_TIMEOUT", 4 * PATIENCE)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.05)


def hurried(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "trickle":
        monkeypatch.setattr(transport, "WHOLE_ANSWER_TIMEOUT", 0.5)


@pytest.mark.parametrize("call", CALLS)
async def test_a_sign_in_without_measure(
    world: World, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in some(WAYS, call, CALLS):
        for again in (sign_in, come_back):
            world.forget()
            world.sim.faults.set("*", "answer", call=call, way=way)
            with at_most(MOST_MEMORY), monkeypatch.context() as patched:
                hurried(way, patched)
                await again(world)
            assert len(world.sim.traffic.log) <= MOST_CALLS, way
            assert len(world.store().session.cookies.stored()) <= 100, way
            world.sim.faults.clear()
            assert await again(world) is None, way


@pytest.mark.parametrize("way", WAYS)
async def test_a_download_without_measure(
    signed_in: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes is taken up to the size that was announced; its reader sees that it is not the content."""
    monkeypatch.setattr(transport, "HEAD_TIMEOUT", 5.0)
    async with signed_in.client(patience=PATIENCE) as client:
        page = await client.photos.list_page(Zone("private", "PrimarySync"), Index.ALL, 0)
        original = next(r.original for r in page.records if isinstance(r, Master) and r.original)
        signed_in.forget()
        signed_in.sim.faults.set("content", "answer", way=way)
        taken = 0
        with at_most(MOST_MEMORY), trio.fail_after(BOUND), suppress(IcloudfsError):
            async with client.download(
                original.url, size=original.size, idle_timeout=2.0
            ) as content:
                async for chunk in content.chunks():
                    taken += len(chunk)
    assert taken <= original.size
    assert len(signed_in.sim.traffic.log) <= MOST_CALLS
