"""Every call of a sign-in, answered in every wrong way: once, and for ever.

Whatever comes, the end is a session that works or an error of ours with a sentence, within its patience; never
a session that is said to work and does not. Once Apple answers rightly again, the next try succeeds.
"""

from __future__ import annotations

import pytest
import trio

from icloudfs.apple import icloud, retry
from icloudfs.errors import IcloudfsError
from icloudfs.simulator.calls import SETUP_CALLS, SIGN_IN_CALLS
from icloudfs.simulator.faults import WAYS
from tests.apple.conftest import Codes, World, kept_password
from tests.ways import some

CALLS = (*SIGN_IN_CALLS, *SETUP_CALLS)
STATUSES = ("302", "400", "401", "403", "404", "409", "412", "421", "450", "500", "503")
ALL_WAYS = (*STATUSES, *(way for way in WAYS if not way.endswith("list")), "no-list")
"""Answers of the sign-in service have no lists: without one, they are an empty object."""
PATIENCE = 0.3  # seconds
BOUND = 20.0
"""Seconds for one sign-in, whatever is answered."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.05)
    monkeypatch.setitem(retry.with_patience.__kwdefaults__ or {}, "patience", PATIENCE)
    monkeypatch.setattr(icloud, "RENEWAL_TIMEOUT", 4 * PATIENCE)
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.05)


async def sign_in(world: World) -> IcloudfsError | None:
    """Forget everything and sign in; the error, if it was one. Anything else fails the test."""
    world.store().forget()
    async with world.client(patience=PATIENCE) as client:
        with trio.fail_after(BOUND):
            try:
                await client.login(world.sim.account.password, Codes())
            except IcloudfsError as error:
                assert str(error)
                return error
            await client.photos.zones("private")  # what is said to be signed in is
    return None


async def come_back(world: World) -> IcloudfsError | None:
    """Use a session that is kept and has grown old, with a password at hand."""
    store = world.store()
    store.session.validated_at = 0
    store.save()
    world.sim.expire("web-token")
    async with world.client(password=kept_password, patience=PATIENCE) as client:
        with trio.fail_after(BOUND):
            try:
                await client.ensure_session()
                await client.photos.zones("private")
            except IcloudfsError as error:
                assert str(error)
                return error
    return None


@pytest.mark.parametrize("call", CALLS)
async def test_a_sign_in_that_is_answered_wrongly(world: World, call: str) -> None:
    for way in some(ALL_WAYS, call, CALLS):
        for times in (1, None):
            world.sim.faults.set("*", "answer", call=call, way=way, times=times)
            await sign_in(world)
            world.sim.faults.clear()
            assert await sign_in(world) is None, (way, times)


@pytest.mark.parametrize("call", CALLS)
async def test_a_renewal_that_is_answered_wrongly(world: World, call: str) -> None:
    await world.sign_in()
    for way in some(ALL_WAYS, call, CALLS):
        for times in (1, None):
            world.sim.faults.set("*", "answer", call=call, way=way, times=times)
            await come_back(world)
            world.sim.faults.clear()
            assert await come_back(world) is None, (way, times)
