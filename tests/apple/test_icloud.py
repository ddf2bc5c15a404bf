"""What an expired session, throttling and approval cost (facts/sign-in.md §1.8 and §1.9)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio

from icloudfs.apple import Endpoints, ICloud, PasswordSource, account, icloud, retry
from icloudfs.apple.cloudkit import CloudKitError, ZoneGone
from icloudfs.apple.records import Zone
from icloudfs.errors import (
    ConsentNeeded,
    IcloudfsError,
    LoginNeeded,
    NotSupported,
    Offline,
    ProtocolError,
    Throttled,
)
from tests.apple.conftest import ACCOUNT, Codes, World, account_with, kept_password

PRIMARY = Zone("private", "PrimarySync")


async def ask(client: ICloud) -> None:
    assert await client.photos.zones("private")


async def many(client: ICloud, count: int = 20) -> list[IcloudfsError | None]:
    """``count`` callers at the same time, and how each fared."""
    outcomes: list[IcloudfsError | None] = []

    async def one() -> None:
        try:
            await ask(client)
        except IcloudfsError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return outcomes


async def test_a_session_is_used_without_asking(signed_in: World) -> None:
    async with signed_in.client() as client:
        await client.ensure_session()
        await ask(client)
    assert signed_in.paths == ["list"]


async def test_an_older_session_is_validated_once(signed_in: World) -> None:
    store = signed_in.store()
    store.session.validated_at -= 700_000
    store.save()
    async with signed_in.client() as client:
        await client.ensure_session()
        await client.ensure_session()
    assert signed_in.paths == ["validate"]


async def test_the_tokens_renew_an_expired_session(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert signed_in.paths == ["list", "accountLogin", "list"]
    async with signed_in.client() as client:
        await ask(client)  # the renewal was kept
    assert signed_in.paths[-1] == "list" and len(signed_in.paths) == 4


async def test_a_kept_password_comes_after_the_tokens(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")
    before = signed_in.store().session.trust_token
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert signed_in.paths == [
        "list",
        "accountLogin",
        "accountLogin",  # what is on disk, on new connections
        "signin",
        "init",
        "complete",
        "accountLogin",
        "list",
    ]
    assert signed_in.store().session.trust_token == before


async def test_without_a_password_a_person_is_needed_and_nothing_is_lost(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")
    before = signed_in.store().session
    async with signed_in.client() as client:
        with pytest.raises(LoginNeeded):
            await ask(client)
        count = len(signed_in.paths)
        for _ in range(5):
            with pytest.raises(LoginNeeded):
                await ask(client)
    assert signed_in.paths[count:] == ["list"] * 5  # no storm
    assert signed_in.store().session.trust_token == before.trust_token


async def test_nobody_ever_signed_in(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(LoginNeeded, match="Nobody"):
            await ask(client)
        with pytest.raises(LoginNeeded):
            await client.ensure_session()
    assert world.paths == []


async def test_trust_that_is_over_sends_no_code_and_needs_a_person(signed_in: World) -> None:
    for kind in ("web-token", "trusted-session-token", "trust"):
        signed_in.sim.expire(kind)
    before = signed_in.store().session.trust_token
    async with signed_in.client(password=kept_password) as client:
        for outcome in await many(client):
            assert isinstance(outcome, LoginNeeded)
            assert "code" in str(outcome)
    assert signed_in.paths.count("complete") == 1
    assert "auth" not in signed_in.paths and "securitycode" not in signed_in.paths
    assert signed_in.store().session.trust_token == before


@pytest.mark.parametrize("account", [account_with(escrow="X-Apple-EDP")])
async def test_a_renewal_proves_the_password_once_more_where_apple_wants_it(
    signed_in: World,
) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")
    before = signed_in.store().session.trust_token
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert [call.path for call in signed_in.sim.traffic.log if "/escrow/" in call.path] == [
        "/appleauth/auth/escrow/init",
        "/appleauth/auth/escrow/complete",
    ]
    assert "securitycode" not in signed_in.paths  # no code was asked for
    assert signed_in.store().session.trust_token == before


@pytest.mark.parametrize("account", [account_with(escrow="X-Apple-EDP")])
async def test_a_renewal_with_trust_that_is_over_needs_a_person(signed_in: World) -> None:
    for kind in ("web-token", "trusted-session-token", "trust"):
        signed_in.sim.expire(kind)
    async with signed_in.client(password=kept_password) as client:
        with pytest.raises(LoginNeeded, match="code"):
            await ask(client)
    assert "securitycode" not in signed_in.paths


async def test_a_kept_password_that_changed_is_tried_once(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")

    async def outdated() -> str:
        return "outdated"

    async with signed_in.client(password=outdated) as client:
        for _ in range(3):
            with pytest.raises(LoginNeeded, match="kept password"):
                await ask(client)
    assert signed_in.paths.count("complete") == 1


async def test_a_keyring_that_fails_is_no_password(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.expire("trusted-session-token")

    async def broken() -> str:
        raise RuntimeError("locked")

    async with signed_in.client(password=broken) as client:
        with pytest.raises(LoginNeeded):
            await ask(client)


@pytest.mark.parametrize("password", [None, kept_password])
async def test_one_renewal_for_all_callers(
    signed_in: World, password: PasswordSource | None
) -> None:
    signed_in.sim.expire("web-token")
    if password:
        signed_in.sim.expire("trusted-session-token")
    async with signed_in.client(password=password) as client:
        assert await many(client) == [None] * 20
    assert signed_in.paths.count("accountLogin") == (3 if password else 1)
    assert signed_in.paths.count("complete") == (1 if password else 0)


async def test_two_processes_renew_one_after_the_other(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    async with (
        signed_in.client() as daemon,
        signed_in.client() as command,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ask, daemon)
        nursery.start_soon(ask, command)
    assert signed_in.paths.count("accountLogin") == 1


async def test_a_caller_without_patience_interrupts_no_renewal(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "delay", seconds=0.3, times=1)
    async with signed_in.client() as client:
        with trio.move_on_after(0.1) as scope:
            await ask(client)
        assert scope.cancelled_caught
        await ask(client)
    assert signed_in.paths.count("accountLogin") == 1


async def test_leaving_while_a_renewal_is_under_way(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "delay", seconds=5, times=1)
    outcome: list[IcloudfsError | None] = []
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery, signed_in.client() as client:

            async def one() -> None:
                outcome.extend(await many(client, 1))

            nursery.start_soon(one)
            await trio.sleep(0.2)
    assert isinstance(outcome[0], Offline)


async def test_errors_leave_the_client_as_they_are(world: World) -> None:
    with pytest.raises(KeyError):
        async with world.client():
            raise KeyError


async def test_a_person_who_signs_in_elsewhere_is_noticed(signed_in: World) -> None:
    for kind in ("web-token", "trusted-session-token", "trust"):
        signed_in.sim.expire(kind)
    async with signed_in.client() as daemon:
        with pytest.raises(LoginNeeded):
            await ask(daemon)
        async with signed_in.client() as command:
            await command.login(ACCOUNT.password, Codes())
        await ask(daemon)
        assert not daemon.store.changed()


async def test_reissued_cookies_are_kept(signed_in: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def token() -> set[str]:
        held = signed_in.store().session.cookies.stored()
        return {cookie.value for cookie in held if cookie.name == "X-APPLE-WEBAUTH-TOKEN"}

    before = token()
    async with signed_in.client() as client:
        for _ in range(7):
            await ask(client)
    assert token() != before


# -- 421, 401, 403, 450 ----------------------------------------------------------------------------


def fail_database(world: World, times: int | None, status: int, **details: float | str) -> None:
    details["status"] = status
    fault = world.sim.faults.set("changes", "status", times=times)
    fault.details.update(details)


async def test_421_first_costs_new_connections_only(signed_in: World) -> None:
    fail_database(signed_in, 1, status=421)
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
        assert client._transport.pool_number == 1
    assert signed_in.paths == ["list", "list"]


async def test_421_then_the_tokens_then_the_password(signed_in: World) -> None:
    fail_database(signed_in, 5, status=421)
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert [p for p in signed_in.paths if p in ("list", "accountLogin", "complete")] == [
        "list",
        "list",
        "accountLogin",
        "list",
        "list",  # whether it is this call alone that is refused
        "complete",
        "accountLogin",
        "list",
    ]


@pytest.mark.parametrize("status", [401, 421, 450])
async def test_a_session_that_nothing_helps_ends(signed_in: World, status: int) -> None:
    fail_database(signed_in, None, status=status)
    before = signed_in.store().session.trust_token
    async with signed_in.client(password=kept_password) as client:
        with pytest.raises(LoginNeeded):
            await ask(client)
        renewals = signed_in.paths.count("accountLogin")
        for outcome in await many(client, 5):
            assert isinstance(outcome, LoginNeeded)
    assert renewals == 2
    assert signed_in.paths.count("accountLogin") == renewals
    assert signed_in.paths.count("complete") == 1
    assert signed_in.store().session.trust_token == before


async def test_signing_in_again_and_again_is_stopped(
    signed_in: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icloud, "SIGN_INS_IN_WINDOW", 2)
    async with signed_in.client(password=kept_password) as client:
        for _ in range(2):
            fail_database(signed_in, 4, status=401)
            await ask(client)
        fail_database(signed_in, None, status=401)
        with pytest.raises(Throttled) as caught:
            await ask(client)
    assert caught.value.retry_after is not None
    assert signed_in.paths.count("complete") == 2


async def test_403_that_a_renewal_cures(signed_in: World) -> None:
    fail_database(signed_in, 1, status=403)
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
    assert signed_in.paths == ["list", "accountLogin", "list"]


async def test_403_that_stays_is_throttling_where_no_approval_is_needed(signed_in: World) -> None:
    fail_database(signed_in, None, status=403)
    async with signed_in.client(password=kept_password) as client:
        with pytest.raises(Throttled):
            await ask(client)
    assert signed_in.paths == [
        "list",
        "accountLogin",
        "list",
        *("list", "database"),  # whether it is this call alone that is refused
        "requestWebAccessState",
    ]


@pytest.mark.parametrize("lately", [False, True])
@pytest.mark.parametrize("status", [401, 403, 421, 423, 450])
async def test_one_call_that_is_refused_for_ever_is_no_matter_of_the_session(
    signed_in: World, status: int, lately: bool
) -> None:
    """One renewal for all of them, no sign-in, and nobody is sent for."""
    signed_in.sim.faults.set("*", "answer", call="albums", way=str(status))
    async with signed_in.client(password=kept_password) as client:
        if lately:
            await ask(client)
        for _ in range(3):
            with pytest.raises(CloudKitError) as caught:
                await client.photos.albums(PRIMARY)
            assert caught.value.status == status
            assert client.person_needed is None
            await ask(client)
    assert signed_in.paths.count("accountLogin") == 1
    assert signed_in.paths.count("complete") == 0
    assert signed_in.paths.count("requestWebAccessState") == 0


@pytest.mark.parametrize("call", ["zones/list", "changes/database"])
async def test_either_call_that_is_known_to_work_may_be_the_one_that_is_refused(
    signed_in: World, call: str
) -> None:
    signed_in.sim.faults.set("*", "answer", call=call, way="403")
    async with signed_in.client() as client:
        with pytest.raises(CloudKitError):
            await (
                ask(client) if call == "zones/list" else client.photos.database_changes("private")
            )
        assert await client.answers() and client.person_needed is None


async def test_many_callers_of_a_refused_call_renew_once(signed_in: World) -> None:
    signed_in.sim.faults.set("*", "answer", call="albums", way="450")
    refused: list[bool] = []
    async with signed_in.client(password=kept_password) as client:
        await ask(client)

        async def one() -> None:
            with pytest.raises(CloudKitError):
                await client.photos.albums(PRIMARY)
            refused.append(True)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
    assert len(refused) == 20
    assert signed_in.paths.count("accountLogin") == 1 and "complete" not in signed_in.paths


async def test_an_expired_session_is_renewed_though_calls_went_well_before(
    signed_in: World,
) -> None:
    async with signed_in.client() as client:
        await ask(client)
        signed_in.sim.expire("web-token")
        assert await many(client) == [None] * 20
    assert signed_in.paths.count("accountLogin") == 1


async def test_a_security_key_that_cloudkit_misses(signed_in: World) -> None:
    fail_database(signed_in, 1, status=401, body='{"reason":"no auth method found"}')
    async with signed_in.client(password=kept_password) as client:
        with pytest.raises(NotSupported, match="security key"):
            await ask(client)


async def test_a_shared_area_that_is_refused_is_no_alarm(signed_in: World) -> None:
    fail_database(signed_in, 1, status=403)
    async with signed_in.client(password=kept_password) as client:
        assert await client.photos.zones("shared") == ()
    assert signed_in.paths == ["list"]


async def test_a_renewal_that_is_throttled_holds_off(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "status", status=503, retry_after=300)
    async with signed_in.client() as client:
        outcomes = await many(client)
        assert all(isinstance(outcome, Throttled) for outcome in outcomes)
        with pytest.raises(Throttled):
            await ask(client)
    assert signed_in.paths.count("accountLogin") == 1


async def test_a_person_at_hand_does_not_wait_for_what_apple_asks(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", "status", status=503, retry_after=10**12)
    async with signed_in.client() as client:
        with pytest.raises(Throttled) as caught:
            await ask(client)
        assert caught.value.retry_after == retry.LONGEST_ASKED
        with pytest.raises(Throttled) as caught:
            await ask(client)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after <= icloud.LONGEST_HOLD, "a reader tries sooner"
        signed_in.sim.faults.clear()
        client.try_again_now()
        await ask(client)


@pytest.mark.parametrize("fault", ["json", "html"])
async def test_a_renewal_that_answers_nonsense_holds_off(signed_in: World, fault: str) -> None:
    signed_in.sim.expire("web-token")
    signed_in.sim.faults.set("setup", fault)
    async with signed_in.client() as client:
        with pytest.raises(ProtocolError, match="no account"):
            await ask(client)
        with pytest.raises(Throttled):
            await ask(client)
    assert signed_in.paths.count("accountLogin") == 1


async def test_an_unforeseen_error_does_not_bring_the_house_down(
    signed_in: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in.sim.expire("web-token")

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(account, "account_login", broken)
    async with signed_in.client() as client:
        with pytest.raises(ProtocolError, match="ZeroDivisionError"):
            await ask(client)


# -- throttling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "set_fault",
    [
        lambda world: fail_database(world, 2, status=503, retry_after=0.01),
        lambda world: fail_database(world, 2, status=429, retry_after=0.01),
        lambda world: world.sim.faults.set("changes", "try-again", times=2, retry_after=0.01),
        lambda world: world.sim.faults.set(
            "changes", "try-again", times=2, retry_after=0.01, code="THROTTLED"
        ),
    ],
)
async def test_apple_asks_to_wait(signed_in: World, set_fault: Callable[[World], None]) -> None:
    set_fault(signed_in)
    async with signed_in.client() as client:
        await ask(client)
    assert signed_in.paths == ["list"] * 3


async def test_apple_asks_for_more_than_we_have(signed_in: World) -> None:
    fail_database(signed_in, None, status=503, retry_after=60)
    async with signed_in.client(patience=5.0) as client:
        with trio.fail_after(2), pytest.raises(Throttled) as caught:
            await ask(client)
    assert caught.value.retry_after == 60.0
    assert signed_in.paths == ["list"]


async def test_an_unexplained_400_is_repeated_once(
    signed_in: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.01)
    fail_database(signed_in, 1, status=400)
    async with signed_in.client() as client:
        await ask(client)
        fail_database(signed_in, None, status=400)
        with pytest.raises(CloudKitError):
            await ask(client)
    assert signed_in.paths == ["list"] * 4


async def test_a_zone_that_is_gone(signed_in: World) -> None:
    async with signed_in.client() as client:
        with pytest.raises(ZoneGone):
            await client.photos.albums(Zone("private", "SharedSync-nowhere"))
    assert len(signed_in.paths) == 1


async def test_patience_can_be_shortened(signed_in: World) -> None:
    fail_database(signed_in, None, status=503, retry_after=3)
    async with signed_in.client(patience=60.0) as client:
        with trio.fail_after(2), pytest.raises(Throttled), retry.patience_of(1.0):
            await ask(client)


# -- offline ---------------------------------------------------------------------------------------


async def test_offline_fails_at_once_and_loses_nothing(signed_in: World) -> None:
    client = ICloud(
        signed_in.store(),
        Endpoints.at("http://127.0.0.1:9"),
        ACCOUNT.apple_id,
        password=kept_password,
    )
    client.store.session.database = "http://127.0.0.1:9"
    async with client:
        with trio.fail_after(1), pytest.raises(Offline):
            await ask(client)
        await client.ensure_session()  # within ten minutes of the last word


async def test_a_dropped_connection_is_tried_again(signed_in: World) -> None:
    signed_in.sim.faults.set("changes", "drop", times=1)
    async with signed_in.client() as client:
        await ask(client)
        signed_in.sim.faults.set("changes", "drop")
        with pytest.raises(Offline):
            await ask(client)


async def test_a_truncated_page_is_tried_again(signed_in: World) -> None:
    signed_in.sim.faults.set("changes", "truncate", times=1)
    async with signed_in.client() as client:
        await ask(client)
    assert signed_in.paths == ["list", "list"]


@pytest.mark.parametrize("fault", ["html", "tiny"])
async def test_a_page_that_is_none(signed_in: World, fault: str) -> None:
    signed_in.sim.faults.set("changes", fault)
    async with signed_in.client() as client:
        with pytest.raises(ProtocolError):
            await ask(client)


async def test_a_database_at_another_host_is_not_asked(signed_in: World) -> None:
    store = signed_in.store()
    store.session.database = "https://evil.example"
    store.save()
    async with signed_in.client() as client:
        with pytest.raises(ProtocolError, match="unexpected server"):
            await ask(client)


# -- Advanced Data Protection ----------------------------------------------------------------------

PROTECTED = account_with(advanced_data_protection=True, approval_asks=2)


@pytest.fixture
def quick_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = account.obtain_consent.__kwdefaults__
    assert keywords is not None
    monkeypatch.setitem(keywords, "poll", 0.01)
    monkeypatch.setitem(keywords, "patience", 0.5)


@pytest.mark.parametrize("account", [PROTECTED])
async def test_a_device_approves(
    world: World, quick_consent: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await world.sign_in()
    async with world.client() as client:
        assert await many(client, 10) == [None] * 10
    assert world.paths.count("enableDeviceConsentForPCS") == 1
    assert "requestPCS" in world.paths
    assert "waiting for approval" in caplog.text
    assert world.store().session.pcs_granted_at > 0
    world.sim.expire("pcs")
    async with world.client() as client:
        await ask(client)
    assert world.paths.count("enableDeviceConsentForPCS") == 2


@pytest.mark.parametrize(
    "account", [account_with(advanced_data_protection=True, approval_asks=10**6)]
)
async def test_nobody_approves(world: World, quick_consent: None) -> None:
    await world.sign_in()
    async with world.client() as client:
        for outcome in await many(client, 5):
            assert isinstance(outcome, ConsentNeeded)
        with pytest.raises(ConsentNeeded):
            await ask(client)
        asked = world.paths.count("enableDeviceConsentForPCS")
        with pytest.raises(ConsentNeeded):
            await client.approve(patience=0.1)
    assert asked == 1  # the devices are not bothered by every caller
    assert world.paths.count("enableDeviceConsentForPCS") == 2  # a person who asks may


@pytest.mark.parametrize("account", [account_with(advanced_data_protection=True, late_keys=2)])
async def test_only_the_first_request_for_keys_comes_from_a_person(
    world: World, quick_consent: None
) -> None:
    await world.sign_in()
    async with world.client() as client:
        assert await client.approve(patience=1.0)
    assert world.paths.count("requestPCS") == 3
    assert world.sim.application.keeper.user_actions == 1


@pytest.mark.parametrize("account", [PROTECTED])
async def test_the_end_of_an_approval_is_known(world: World, quick_consent: None) -> None:
    await world.sign_in()
    async with world.client() as client:
        assert await client.approve(patience=1.0)
    kept = world.store().session
    end = int(1000 * world.sim.application.keeper.consented_until)
    assert abs(kept.consented_until - end) < 1000
    # It ends: the database says so, and a device is asked again.
    world.forget()
    world.sim.advance(3700)
    async with world.client() as client:
        await ask(client)
    assert world.paths.count("enableDeviceConsentForPCS") == 1
    assert world.store().session.consented_until > end


@pytest.mark.parametrize("account", [PROTECTED])
@pytest.mark.parametrize("call", ["enableDeviceConsentForPCS", "requestPCS"])
async def test_devices_that_cannot_be_asked_are_not_asked_again(
    world: World, quick_consent: None, call: str
) -> None:
    await world.sign_in()
    body = '{"message":"Issue requesting IDMS for arming."}'
    world.sim.faults.set("setup", "status", status=500, body=body, path=f"/{call}")
    async with world.client() as client:
        for outcome in await many(client, 3):
            assert isinstance(outcome, ConsentNeeded)
            assert "too many sign-ins" in outcome.hint
    assert world.paths.count(call) == 1
    async with world.client() as client:  # nor does the next process ask
        with pytest.raises(ConsentNeeded):
            await ask(client)
        with pytest.raises(ConsentNeeded):
            await client.approve(patience=0.1)
    assert world.paths.count(call) == 1
    store = world.store()
    store.session.pcs_not_before = 1  # an hour later
    store.save()
    world.sim.faults.clear()
    async with world.client() as client:
        await ask(client)


@pytest.mark.parametrize("account", [PROTECTED])
async def test_approval_on_demand(world: World, quick_consent: None) -> None:
    await world.sign_in()
    async with world.client() as client:
        assert await client.approve(patience=1.0)
        await ask(client)


async def test_no_approval_is_needed(signed_in: World) -> None:
    async with signed_in.client() as client:
        assert not await client.approve()


async def test_a_session_that_ends_while_a_device_is_asked(signed_in: World) -> None:
    signed_in.sim.expire("web-token")
    async with signed_in.client() as client:
        with pytest.raises(LoginNeeded):
            await client.approve()


# -- leaving ---------------------------------------------------------------------------------------


async def test_logout(signed_in: World) -> None:
    async with signed_in.client() as client:
        await client.logout()
        with pytest.raises(LoginNeeded):
            await ask(client)
    assert signed_in.paths == ["logout"]
    assert not signed_in.store().path.exists()


async def test_logout_offline_forgets_all_the_same(signed_in: World) -> None:
    signed_in.sim.faults.set("setup", "drop")
    async with signed_in.client() as client:
        with pytest.raises(Offline):
            await client.logout()
    assert not signed_in.store().path.exists()


async def test_it_must_be_entered(world: World) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await world.client().ensure_session()


# -- nothing unforeseen ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("way", ["bad-cookie", "bad-headers", "nested-error", "much-later"])
async def test_what_an_answer_carries_spoils_no_later_call(signed_in: World, way: str) -> None:
    """Neither in this process nor, from the session file, in the next one."""
    async with signed_in.client(patience=0.2) as client:
        signed_in.sim.faults.set("*", "answer", way=way)
        with suppress(ProtocolError, Throttled):
            await ask(client)
        signed_in.sim.faults.clear()
        await ask(client)
    async with signed_in.client() as client:
        await ask(client)
    assert "accountLogin" not in signed_in.paths


async def test_a_session_file_with_what_cannot_be_sent_works(signed_in: World) -> None:
    """As an earlier icloudfs kept it."""
    store = signed_in.store()
    store.session.scnt = store.session.session_id = "m\xfcll"
    text = store.session.to_json().decode()
    store.path.write_text(text.replace('"X-APPLE-WEBAUTH-USER"', '"X-APPLE-S\xe4CRET"'))
    async with signed_in.client(password=kept_password) as client:
        await ask(client)
        await client.login(ACCOUNT.password, Codes())
        await ask(client)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 409, 421, 503])
@pytest.mark.parametrize(
    "body",
    [
        '{"serverErrorCode":"X","reason":' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"serverErrorCode":' + "[" * 300 + "]" * 300 + ',"reason":{}}',
        '{"serverErrorCode":"THROTTLED","retryAfter":1' + "0" * 400 + "}",
        '{"serverErrorCode":"THROTTLED","retryAfter":NaN}',
        '{"serverErrorCode":"\\ud800","reason":"\\x"}',
        '{"direct":' * 300 + "1" + "}" * 300,
    ],
    ids=["deep", "nested", "later", "never", "no text", "wrapped"],
)
async def test_an_error_in_any_form_is_one_of_ours(
    signed_in: World, status: int, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icloud, "_UNEXPLAINED_PAUSE", 0.0)
    monkeypatch.setattr(
        retry.with_patience, "__kwdefaults__", {"patience": 0.1, "jitter": lambda: 0}
    )
    signed_in.sim.faults.set("*", "status", status=status, body=body)
    async with signed_in.client(password=kept_password, patience=0.1) as client:
        for call in (ask, lambda c: c.login(ACCOUNT.password, Codes())):
            with pytest.raises(IcloudfsError) as caught:
                await call(client)
            assert "unforeseen" not in str(caught.value)
            assert len(str(caught.value)) < 1000
