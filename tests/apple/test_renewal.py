"""Nobody is asked for a code whom Apple would trust (facts/sign-in.md §6.3)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio

from icloudfs.apple import ICloud, icloud, renewal
from icloudfs.apple.session import now_ms
from icloudfs.errors import LoginNeeded
from tests.apple.conftest import ACCOUNT, Codes, World, account_with, kept_password

DAY = 86_400.0

LIVE = ["trust", "accountLogin"]
SIGN_IN = ["signin", "init", "complete", "trust"]

TimePasses = Callable[[float], None]


@pytest.fixture
def days_pass(monkeypatch: pytest.MonkeyPatch) -> TimePasses:
    """Let days pass, for Apple and for us. Waits are not by this clock."""
    now, now_ns, gone = time.time, time.time_ns, 0.0

    def later(days: float) -> None:
        nonlocal gone
        gone += days * DAY

    monkeypatch.setattr(time, "time", lambda: now() + gone)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(gone * 1e9))
    return later


async def ask(client: ICloud) -> None:
    assert await client.photos.zones("private")


def asked_a_person(world: World) -> list[str]:
    """What was asked of the sign-in service that shows a code on a device or sends one."""
    log = world.sim.traffic.log
    return [call.path for call in log if "/verify/" in call.path and call.method == "PUT"]


def trusted_days(world: World) -> float:
    return (world.store().session.trusted_until - now_ms()) / 86_400_000


# -- the session -----------------------------------------------------------------------------------


async def test_the_session_is_opened_anew_at_half_of_its_life(
    signed_in: World, days_pass: TimePasses
) -> None:
    async with signed_in.client() as client:
        days_pass(6.5)
        await client.stay_signed_in()
        assert signed_in.paths == []
        days_pass(1)
        await client.stay_signed_in()
        assert signed_in.paths == ["accountLogin"]
        await client.stay_signed_in()
        assert signed_in.paths == ["accountLogin"]
    assert signed_in.store().session.lasts_until > now_ms() + 13 * renewal.DAY


async def test_a_session_that_is_not_opened_anew_works_to_its_end(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(8)
    signed_in.sim.faults.set("setup", "status", status=421)
    async with signed_in.client() as client:
        await client.stay_signed_in()
        await client.stay_signed_in()
        assert signed_in.paths == ["accountLogin"]
        await ask(client)
        assert client.person_needed is None


# -- the trust -------------------------------------------------------------------------------------


async def test_trust_is_renewed_on_the_live_session_when_half_of_its_days_are_left(
    signed_in: World, days_pass: TimePasses
) -> None:
    old = signed_in.store().session.trust_token
    days_pass(7.5)
    async with signed_in.client() as client:
        await client.stay_signed_in()
        days_pass(7)
        await client.stay_signed_in()
        assert signed_in.store().session.trust_token == old
        signed_in.forget()
        days_pass(1)
        await client.stay_signed_in()
    assert signed_in.paths == LIVE
    renewed = signed_in.store().session
    assert renewed.trust_token != old and renewed.trust_renewal == "live"
    assert trusted_days(signed_in) == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("account", [account_with(trust_renewal="sign-in")])
async def test_trust_is_renewed_after_a_sign_in_with_the_kept_password(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    async with signed_in.client(password=kept_password) as client:
        await client.stay_signed_in()
        await ask(client)
    assert signed_in.paths == ["trust", *SIGN_IN, "accountLogin", "list"]
    assert signed_in.store().session.trust_renewal == "sign-in"
    assert trusted_days(signed_in) == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("account", [account_with(trust_renewal="sign-in")])
async def test_without_a_kept_password_it_is_said_that_one_is_missing(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    async with signed_in.client() as client:
        await client.stay_signed_in()
        await ask(client)
    held = signed_in.store().session
    assert held.trust_renewal == "no-password"
    assert trusted_days(signed_in) == pytest.approx(14, abs=0.1)


@pytest.mark.parametrize(
    "account",
    [account_with(trust_renewal=how) for how in ("never", "worthless", "unchanged")],
    ids=["never", "worthless", "unchanged"],
)
async def test_what_is_held_is_given_up_only_for_what_was_accepted(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    async with signed_in.client(password=kept_password) as client:
        await client.stay_signed_in()
        await ask(client)
    assert signed_in.store().session.trust_renewal == "refused"
    assert trusted_days(signed_in) == pytest.approx(14, abs=0.1)
    # The trust that is held is as good as it was.
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert asked_a_person(signed_in) == []


@pytest.mark.parametrize("account", [account_with(trust_renewal="never")])
async def test_the_kept_password_is_used_at_most_once_a_day(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    for _ in range(12 * 24):
        async with signed_in.client(password=kept_password) as client:
            await client.stay_signed_in()
        days_pass(1 / 24)
    assert signed_in.paths.count("complete") == 4  # after 1, 2, 4 days
    assert signed_in.store().session.trust_renewal == "refused"


@pytest.mark.parametrize("account", [account_with(trust_renewal="never")])
async def test_a_sign_in_that_is_cut_off_again_and_again_is_no_storm(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    signed_in.sim.faults.set("signin", "drop", path="2sv/trust", skip=1)
    for _ in range(20):
        async with signed_in.client(password=kept_password) as client:
            await client.stay_signed_in()
        days_pass(1 / 24)
    assert signed_in.paths.count("complete") == 1


@pytest.mark.parametrize(
    "account",
    [account_with(trust_renewal=how) for how in ("live", "sign-in")],
    ids=["live", "sign-in"],
)
async def test_a_computer_that_runs_for_a_year_asks_for_no_code(
    signed_in: World, days_pass: TimePasses
) -> None:
    async with signed_in.client(password=kept_password) as client:
        for _ in range(365):
            days_pass(1)
            await client.stay_signed_in()
            await ask(client)
        assert client.person_needed is None
    assert asked_a_person(signed_in) == []
    assert signed_in.paths.count("complete") <= (0 if signed_in.sim.account == ACCOUNT else 27)


@pytest.mark.parametrize("path", ["2sv/trust", "accountLogin"])
async def test_a_renewal_that_is_cut_off_loses_nothing(
    signed_in: World, days_pass: TimePasses, path: str
) -> None:
    days_pass(7.5)
    async with signed_in.client() as client:
        await client.stay_signed_in()
    days_pass(7.6)
    before = signed_in.store().session
    signed_in.sim.faults.set("*", "delay", seconds=30, path=path)
    async with signed_in.client() as client:
        with trio.move_on_after(0.3):
            await client.stay_signed_in()
    signed_in.sim.faults.clear("*")
    after = signed_in.store().session
    assert (after.trust_token, after.session_token) == (before.trust_token, before.session_token)
    signed_in.forget()
    async with signed_in.client() as client:
        await ask(client)
        await client.stay_signed_in()  # within the hour nothing is tried again
        assert signed_in.paths == ["list"]
        days_pass(0.1)
        await client.stay_signed_in()
    assert signed_in.store().session.trust_renewal == "live"


async def test_an_abandoned_renewal_leaves_the_live_session_usable(
    signed_in: World, days_pass: TimePasses
) -> None:
    signed_in.sim.faults.switch(strict_scnt=True)
    signed_in.sim.faults.set("setup", "status", status=421, times=2)
    days_pass(16)
    async with signed_in.client() as client:
        await client.stay_signed_in()
        assert signed_in.store().session.trust_renewal == "no-password"
        days_pass(1.1)
        await client.stay_signed_in()
    assert signed_in.store().session.trust_renewal == "live"


async def test_a_sign_in_by_another_process_is_not_undone(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    signed_in.sim.faults.set("setup", "delay", seconds=0.5, times=1)
    async with signed_in.client() as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(daemon.stay_signed_in)
        await trio.sleep(0.2)
        other = signed_in.store()
        other.session.client_id = "auth-of-the-other"
        other.save()
    assert signed_in.store().session.client_id == "auth-of-the-other"


async def test_one_renewal_for_all_callers_and_processes(
    signed_in: World, days_pass: TimePasses
) -> None:
    days_pass(16)
    async with (
        signed_in.client() as daemon,
        signed_in.client() as command,
        trio.open_nursery() as nursery,
    ):
        for client in (daemon, command) * 5:
            nursery.start_soon(client.stay_signed_in)
    assert signed_in.paths == LIVE


# -- a code is asked for last ----------------------------------------------------------------------


async def test_no_code_is_sent_for_an_account_that_is_still_trusted(signed_in: World) -> None:
    signed_in.sim.faults.switch(trust_overlooked=True)
    codes = Codes()
    async with signed_in.client() as client:
        await client.login(ACCOUNT.password, codes)
        assert await client.begin_login(ACCOUNT.password) is None
        await ask(client)
    assert codes.asked == [] and asked_a_person(signed_in) == []


async def test_an_unattended_sign_in_uses_the_trust_although_a_code_is_asked_for(
    signed_in: World,
) -> None:
    signed_in.sim.faults.switch(trust_overlooked=True)
    for kind in ("web-token", "trusted-session-token"):
        signed_in.sim.expire(kind)
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert asked_a_person(signed_in) == []


async def test_a_login_elsewhere_uses_the_session_on_disk(signed_in: World) -> None:
    signed_in.sim.move_to("café")
    codes = Codes()
    async with signed_in.client() as client:
        await client.login(ACCOUNT.password, codes)
        await ask(client)
    assert codes.asked == [] and asked_a_person(signed_in) == []


async def test_trust_holds_only_where_it_was_got_and_that_is_said(signed_in: World) -> None:
    for kind in ("web-token", "trusted-session-token"):
        signed_in.sim.expire(kind)
    signed_in.sim.move_to("café")
    async with signed_in.client(password=kept_password) as client:
        with pytest.raises(LoginNeeded, match="another internet address"):
            await ask(client)
    assert asked_a_person(signed_in) == []
    signed_in.sim.move_to("home")
    async with signed_in.client(password=kept_password) as client:
        await ask(client)


async def test_new_connections_are_tried_before_a_person_is_asked(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "status", status=421, times=1)
    async with signed_in.client() as client:
        await ask(client)
    assert signed_in.paths == ["list", "accountLogin", "accountLogin", "list"]


async def test_what_is_on_disk_is_tried_before_a_person_is_asked(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    async with signed_in.client() as client:
        client.store.session.session_token = "spoilt in memory"
        await ask(client)
    assert signed_in.paths == ["list", "accountLogin", "accountLogin", "list"]


async def test_what_one_process_was_refused_is_tried_again_after_an_hour(
    signed_in: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "status", status=421)
    async with signed_in.client() as client:
        with pytest.raises(LoginNeeded):
            await ask(client)
        signed_in.sim.faults.clear("setup")
        with pytest.raises(LoginNeeded):
            await ask(client)
        monkeypatch.setattr(icloud, "SECOND_LOOK", 0.0)
        await ask(client)


async def test_a_new_trust_can_be_had_before_the_old_one_ends(signed_in: World) -> None:
    old = signed_in.store().session.trust_token
    async with signed_in.client() as client:
        assert await client.begin_login(ACCOUNT.password, renew_trust=True) is not None
    assert signed_in.store().session.trust_token == old
    codes = Codes()
    async with signed_in.client() as client:
        await client.login(ACCOUNT.password, codes, renew_trust=True)
    assert len(codes.asked) == 1
    assert signed_in.store().session.trust_token not in ("", old)
