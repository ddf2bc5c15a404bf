"""Signing in, against the simulator: facts/sign-in.md §1.3 to §1.6 and §1.9."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from icloudfs.apple import (
    AskDevices,
    AskPhone,
    Challenge,
    DeviceCode,
    Endpoints,
    Phone,
    PhoneCode,
    Session,
    SignInOver,
    signin,
)
from icloudfs.apple.account import account_login
from icloudfs.apple.transport import Answer, Transport
from icloudfs.errors import (
    AccountLocked,
    IcloudfsError,
    LoginNeeded,
    NotSupported,
    ProtocolError,
    Throttled,
    WrongCode,
    WrongPassword,
    WrongRegion,
)
from icloudfs.simulator import KINDS, Account
from tests.apple.conftest import ACCOUNT, Codes, World, account_with, kept_password

PASSWORD, CODE = ACCOUNT.password, ACCOUNT.code
WRONG = DeviceCode("654321")


def pending(world: World) -> Session:
    """The sign-in that waits for its code."""
    found = world.store().session.pending
    assert found is not None
    return found


async def log_in(world: World, codes: Codes | None = None, password: str = PASSWORD) -> Codes:
    codes = codes or Codes()
    async with world.client() as icloud:
        await icloud.login(password, codes)
    return codes


async def test_the_steps_in_order(world: World) -> None:
    codes = await log_in(world)
    assert world.paths == [
        "signin",  # /authorize/signin
        "init",
        "complete",
        "auth",
        "securitycode",  # PUT: push
        "securitycode",  # POST: the code
        "trust",
        "accountLogin",
    ]
    (challenge,) = codes.asked
    assert challenge.pushed and challenge.has_devices and not challenge.wrong
    assert [phone.id for phone in challenge.phones] == [1, 2]
    assert challenge.phones[0].number.endswith("42")
    kept = world.store().session
    assert kept.trust_token and kept.session_token and kept.is_usable
    assert kept.trusted_at > 0 and kept.account_country == "USA"
    assert kept.region == "custom" and kept.code_requested_at == 0


async def test_the_second_time_no_code_is_asked_for(signed_in: World) -> None:
    codes = await log_in(signed_in)
    assert codes.asked == []
    assert signed_in.paths == ["signin", "init", "complete", "accountLogin"]


@pytest.mark.parametrize("account", [account_with(protocol="s2k_fo")])
async def test_the_other_derivation(world: World) -> None:
    await log_in(world)


async def test_the_name_may_be_written_in_any_case(world: World) -> None:
    store = world.store()
    async with world.client() as icloud:
        icloud.apple_id = " ALICE@Example.com "
        await icloud.login(PASSWORD, Codes())
    assert store.path.exists()


async def test_wrong_password(world: World) -> None:
    with pytest.raises(WrongPassword):
        await log_in(world, password="wrong")
    assert world.paths.count("complete") == 1
    assert not world.store().session.is_usable


async def test_wrong_codes_then_the_right_one(world: World) -> None:
    codes = await log_in(
        world, Codes(WRONG, DeviceCode("12"), DeviceCode(f" {CODE[:3]}-{CODE[3:]} "))
    )
    assert [(c.wrong, c.tries_left) for c in codes.asked] == [(False, 3), (True, 2), (True, 1)]
    assert world.paths.count("securitycode") == 3  # one push, two codes: "12" is never sent


async def test_three_wrong_codes(world: World) -> None:
    with pytest.raises(WrongCode):
        await log_in(world, Codes(WRONG, WRONG, WRONG))


async def test_by_text(world: World) -> None:
    def to_second(challenge: Challenge) -> AskPhone:
        return AskPhone(challenge.phones[1])

    def by_phone(challenge: Challenge) -> PhoneCode:
        assert challenge.sent_to == challenge.phones[1]
        return PhoneCode(CODE, challenge.phones[1])

    await log_in(world, Codes(AskDevices(), to_second, by_phone))


@pytest.mark.parametrize("wrapped", [False, True])
async def test_without_trusted_devices(world: World, wrapped: bool) -> None:
    world.sim.faults.switch(no_trusted_devices=True, wrapped_auth_state=wrapped)
    codes = Codes(
        lambda challenge: AskPhone(challenge.phones[0]),
        lambda challenge: PhoneCode(CODE, challenge.phones[0]),
    )
    await log_in(world, codes)
    assert not codes.asked[0].has_devices and not codes.asked[0].pushed
    assert "trusteddevice" not in " ".join(call.path for call in world.sim.traffic.log)


@pytest.mark.parametrize(
    "switch",
    [
        "push_required",
        "code_accepted_with_409",
        "strict_scnt",
        "rscd_instead_of_status",
        "wrapped_auth_state",
        "salt_begins_with_zero",
        "b_begins_with_zero",
        "s_begins_with_zero",
    ],
)
async def test_apples_moods(world: World, switch: str) -> None:
    world.sim.faults.switch(**{switch: True})
    await log_in(world)
    assert world.store().session.is_usable


@pytest.mark.parametrize("switch", ["b_begins_with_zero", "s_begins_with_zero"])
async def test_numbers_with_zeros_cost_no_second_exchange(world: World, switch: str) -> None:
    world.sim.faults.switch(**{switch: True})
    await log_in(world)
    assert (world.paths.count("init"), world.paths.count("complete")) == (1, 1)


async def test_a_wrong_code_in_the_older_spelling(world: World) -> None:
    world.sim.faults.switch(camel_case_errors=False)
    with pytest.raises(WrongPassword):
        await log_in(world, password="wrong")
    await log_in(world, Codes(WRONG, DeviceCode(CODE)))


async def test_a_wrong_password_and_a_salt_with_zeros_costs_two_tries(world: World) -> None:
    world.sim.faults.switch(salt_begins_with_zero=True)
    with pytest.raises(WrongPassword):
        await log_in(world, password="wrong")
    assert world.paths.count("complete") == 2


@pytest.mark.parametrize("account", [account_with(two_factor="none")])
async def test_an_account_without_two_factor_authentication(world: World) -> None:
    codes = await log_in(world)
    assert codes.asked == []
    assert world.paths == ["signin", "init", "complete", "complete", "accountLogin"]


async def test_a_stale_scnt_begins_anew_once(world: World) -> None:
    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
    world.sim.expire("sign-ins")
    world.forget()
    transport = Transport(Endpoints.at(world.url))
    session = pending(world)
    assert session.session_id
    await signin.sign_in(transport, session, ACCOUNT.apple_id, PASSWORD, Codes())
    await transport.aclose()
    assert world.paths.count("init") == 2
    assert world.paths.count("complete") == 1


async def test_init_that_refuses_for_ever(world: World) -> None:
    world.sim.faults.set("signin", "status", status=401, path="/signin/init")
    with pytest.raises(ProtocolError, match="401"):
        await log_in(world)
    assert world.paths.count("init") == 2


async def test_401_without_the_code_is_not_called_a_wrong_password(world: World) -> None:
    world.sim.faults.set("signin", "status", status=401, path="/signin/complete", body="{}")
    with pytest.raises(ProtocolError):
        await log_in(world)


async def test_a_locked_account(world: World) -> None:
    world.sim.faults.switch(account_locked=True)
    with pytest.raises(AccountLocked) as caught:
        await log_in(world)
    assert "iforgot.apple.com" in caught.value.hint


async def test_an_apple_id_that_apple_does_not_know(world: World) -> None:
    async with world.client() as icloud:
        icloud.apple_id = "Nobody@example.com"
        with pytest.raises(Throttled) as caught:
            await icloud.login(PASSWORD, Codes())
    assert str(caught.value).startswith("Apple does not know the Apple ID nobody@example.com")
    assert caught.value.hint.startswith("Check the Apple ID first")
    assert world.paths.count("complete") == 1


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_refused_proof_is_throttling_and_not_repeated(world: World, status: int) -> None:
    world.sim.faults.set("signin", "status", status=status, retry_after=77, path="/signin/complete")
    with pytest.raises(Throttled) as caught:
        await log_in(world)
    assert caught.value.retry_after == 77.0
    assert world.paths.count("complete") == 1


async def test_a_busy_init_is_waited_for(world: World) -> None:
    world.sim.faults.set(
        "signin", "status", status=503, retry_after=0.01, times=2, path="/signin/init"
    )
    await log_in(world)
    assert world.paths.count("init") == 3


async def test_an_init_that_stays_busy(world: World) -> None:
    world.sim.faults.set("signin", "status", status=503, retry_after=300, path="/signin/init")
    with pytest.raises(Throttled):
        await log_in(world)


async def test_a_push_that_is_refused_is_no_end(world: World) -> None:
    world.sim.faults.set(
        "signin", "status", status=412, times=1, path="/verify/trusteddevice/securitycode"
    )
    codes = await log_in(world)
    assert not codes.asked[0].pushed


async def test_security_keys(world: World) -> None:
    world.sim.faults.switch(security_key=True)
    with pytest.raises(NotSupported) as caught:
        await log_in(world)
    assert "security key" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("switch", "error", "words"),
    [
        ("wrong_region", WrongRegion, r"iCloud\.com\.cn"),
        ("terms_update_needed", AccountLocked, "terms"),
        ("web_access_forbidden", AccountLocked, "web"),
    ],
)
async def test_accounts_that_cannot_be_opened(
    world: World, switch: str, error: type[Exception], words: str
) -> None:
    world.sim.faults.switch(**{switch: True})
    with pytest.raises(error, match=words) as caught:
        await log_in(world)
    assert getattr(caught.value, "hint", "")


def kind(name: str) -> Account:
    """A kind of account that the local iCloud offers, quick to sign in to."""
    return replace(KINDS[name].account, iteration=ACCOUNT.iteration)


@pytest.mark.parametrize(
    ("account", "error", "words", "hint"),
    [
        (kind("other-region"), WrongRegion, r"iCloud\.com\.cn", "--region china"),
        (replace(kind("other-region"), elsewhere=200), WrongRegion, "belongs", "--region china"),
        (
            replace(kind("other-region"), region="china"),
            WrongRegion,
            r"iCloud\.com\.$",
            "--region global",
        ),
        (kind("repair"), AccountLocked, "wants something done", "https://www.icloud.com once"),
        (kind("inactive"), AccountLocked, "not active.*suspended", "https://www.icloud.com once"),
        (kind("stronger-password"), AccountLocked, "stronger password", "account.apple.com"),
    ],
)
async def test_accounts_that_must_be_looked_after_first(
    world: World, error: type[IcloudfsError], words: str, hint: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        await log_in(world)
    assert hint in caught.value.hint
    assert not world.store().session.is_usable


@pytest.mark.parametrize("account", [kind("repair"), kind("inactive")])
@pytest.mark.parametrize("held", [False, True], ids=["at first", "after an older session"])
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_code_is_not_wasted_on_an_account_that_stays_closed(
    world: World, account: Account, held: bool, processes: int
) -> None:
    """What Apple wants is done at icloud.com; the sign-in after that needs no other code."""
    before = ""
    if held:
        world.sim.application.keeper.account = ACCOUNT
        await log_in(world)
        before = world.store().session.session_token
        world.sim.application.keeper.account = account
        world.sim.expire("all")
        world.forget()
    for _ in range(2):
        with pytest.raises(AccountLocked):
            if processes == 1:
                await log_in(world)
            else:
                async with world.client() as icloud:
                    await icloud.begin_login(PASSWORD)
                async with world.client() as icloud:
                    await icloud.finish_login(DeviceCode(CODE))
        assert world.store().session.session_token == before, "what is held stays"
    world.sim.application.keeper.account = ACCOUNT
    if held:
        await log_in(world)
    else:
        async with world.client(password=kept_password) as icloud:
            await icloud.ensure_session()
    assert world.paths.count("securitycode") == 2, "one was pushed, and one given"
    kept = world.store().session
    assert kept.session_token not in ("", before) and kept.trust_token and kept.pending is None


# -- codes that are accepted in other words --------------------------------------------------------


@pytest.mark.parametrize("account", [kind("code-409"), kind("code-412")])
async def test_valid_decides_whatever_the_status(world: World) -> None:
    codes = await log_in(world)
    assert len(codes.asked) == 1
    assert world.store().session.trust_token


@pytest.mark.parametrize("account", [kind("code-412")])
async def test_valid_decides_in_a_second_process_too(world: World) -> None:
    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
    async with world.client() as icloud:
        await icloud.finish_login(DeviceCode(CODE))
    assert world.store().session.is_usable


# -- escrow ----------------------------------------------------------------------------------------

ESCROW = kind("escrow")


@pytest.mark.parametrize("account", [ESCROW, replace(ESCROW, escrow="X-Apple-PDP")])
async def test_escrow_after_the_code_and_at_each_sign_in_after(world: World) -> None:
    codes = await log_in(world)
    assert len(codes.asked) == 1
    assert world.paths[-5:] == ["securitycode", "init", "complete", "trust", "accountLogin"]
    first = world.store().session.session_token
    world.forget()
    assert (await log_in(world)).asked == []
    assert world.paths == ["signin", "init", "complete", "init", "complete", "accountLogin"]
    assert world.store().session.session_token not in ("", first)


@pytest.mark.parametrize("account", [ESCROW])
async def test_escrow_that_is_refused_leads_to_a_code(signed_in: World) -> None:
    """An expired trust token is answered 409 with the same header as one that is good."""
    for kind in ("trust", "trusted-session-token"):
        signed_in.sim.expire(kind)
    codes = await log_in(signed_in)
    assert len(codes.asked) == 1
    assert (await log_in(signed_in)).asked == []  # and the new trust lasts


@pytest.mark.parametrize("account", [ESCROW])
@pytest.mark.parametrize("switch", ["salt_begins_with_zero", "s_begins_with_zero"])
async def test_escrow_with_zeros(world: World, switch: str) -> None:
    world.sim.faults.switch(**{switch: True})
    await log_in(world)
    assert (await log_in(world)).asked == []


@pytest.mark.parametrize("account", [ESCROW])
@pytest.mark.parametrize("status", [400, 404, 412])
async def test_escrow_that_apple_does_not_take_costs_trust_and_no_access(
    world: World, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.sim.faults.set("signin", "status", status=status, path="/escrow/complete")
    await log_in(world)
    assert world.store().session.is_usable
    assert "at the next sign-in" in caplog.text


@pytest.mark.parametrize("account", [ESCROW])
async def test_escrow_in_a_second_process_asks_for_the_password_before_the_code_is_spent(
    world: World,
) -> None:
    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
    assert pending(world).escrow_owed
    world.forget()
    async with world.client() as icloud:
        with pytest.raises(LoginNeeded, match="password once more") as caught:
            await icloud.finish_login(DeviceCode(CODE))
        assert "--password-file" in caught.value.hint
        assert world.paths == []
        await icloud.finish_login(DeviceCode(CODE), kept_password)
    kept = world.store().session
    assert kept.is_usable and not kept.escrow_owed and not kept.code_requested_at
    assert (await log_in(world)).asked == []


@pytest.mark.parametrize("account", [ESCROW])
async def test_a_kept_password_does_for_escrow(world: World) -> None:
    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
    async with world.client(password=kept_password) as icloud:
        await icloud.finish_login(DeviceCode(CODE))
    assert (await log_in(world)).asked == []


@pytest.mark.parametrize("account", [ESCROW])
async def test_a_code_that_was_accepted_is_not_asked_for_again(world: World) -> None:
    async def mistyped() -> str:
        return "mistyped"

    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
    async with world.client() as icloud:
        with pytest.raises(WrongPassword):
            await icloud.finish_login(DeviceCode(CODE), mistyped)
    assert pending(world).code_accepted
    world.forget()
    async with world.client() as icloud:
        await icloud.finish_login(None, kept_password)
    assert world.paths == ["init", "complete", "trust", "accountLogin"]
    assert world.store().session.pending is None
    assert (await log_in(world)).asked == []


async def test_escrow_that_only_the_code_s_answer_tells_of() -> None:
    """The first process could not know; what was reached is kept for a process with the password."""
    accepted = httpx.Response(
        409, json={"securityCode": {"valid": True}}, headers={"X-Apple-EDP": "x"}
    )
    session = Session(code_requested_at=1)
    with pytest.raises(LoginNeeded, match="password once more"):
        await signin.finish(scripted(accepted), session, DeviceCode(CODE))
    assert session.code_accepted and session.escrow_owed and session.code_requested_at


# -- a code that only the opening of the account asks for ------------------------------------------


async def test_a_code_that_account_login_asks_for(signed_in: World) -> None:
    """signin/complete takes the trust token, and accountLogin does not: the person is asked."""
    challenged = {"dsInfo": {"hsaVersion": 2}, "hsaChallengeRequired": True}
    signed_in.sim.faults.set(
        "setup", "status", status=200, body=json.dumps(challenged), path="/accountLogin", times=1
    )
    codes = await log_in(signed_in)
    assert len(codes.asked) == 1
    assert signed_in.paths.count("complete") == 2


async def test_a_code_that_account_login_asks_for_in_two_processes(signed_in: World) -> None:
    challenged = {"dsInfo": {"hsaVersion": 2}, "hsaChallengeRequired": True}
    signed_in.sim.faults.set(
        "setup", "status", status=200, body=json.dumps(challenged), path="/accountLogin", times=1
    )
    async with signed_in.client() as icloud:
        assert await icloud.begin_login(PASSWORD) is not None
    async with signed_in.client() as icloud:
        await icloud.finish_login(DeviceCode(CODE))
    assert signed_in.store().session.is_usable


async def test_an_account_that_asks_for_codes_for_ever(world: World) -> None:
    challenged = {"dsInfo": {"hsaVersion": 2}, "hsaChallengeRequired": True}
    world.sim.faults.set(
        "setup", "status", status=200, body=json.dumps(challenged), path="/accountLogin"
    )
    with pytest.raises(AccountLocked, match="asks for one again") as caught:
        await log_in(world)
    assert "icloud.com" in caught.value.hint


# -- 421 after a good code -------------------------------------------------------------------------


async def test_421_after_a_good_code_costs_new_connections(world: World) -> None:
    world.sim.faults.set("setup", "status", status=421, path="/accountLogin", times=1)
    async with world.client() as icloud:
        await icloud.login(PASSWORD, Codes())
        assert icloud._transport.pool_number == 1
    assert world.paths[-2:] == ["accountLogin", "accountLogin"]


async def test_421_that_stays_names_its_causes(world: World) -> None:
    world.sim.faults.set("setup", "status", status=421, path="/accountLogin")
    with pytest.raises(AccountLocked, match="does not open the account") as caught:
        await log_in(world)
    for cause in ("Access iCloud Data on the Web", "--region", "partition"):
        assert cause in caught.value.hint
    assert world.paths.count("accountLogin") == 2


async def test_the_body_comes_before_the_status(world: World) -> None:
    body = json.dumps({"dsInfo": {"isWebAccessAllowed": False}})
    world.sim.faults.set("setup", "status", status=421, body=body, path="/accountLogin")
    with pytest.raises(AccountLocked, match="on the web"):
        await log_in(world)


async def test_a_repair_that_only_a_cookie_tells_of() -> None:
    opened = {"dsInfo": {"hsaVersion": 0, "dsid": "1"}}
    for cookies in (["X-APPLE-WEBAUTH-REPAIR=x; Path=/"], []):
        headers = [("Set-Cookie", cookie) for cookie in cookies]
        services = {"ckdatabasews": {"url": "http://127.0.0.1:1", "status": "active"}}
        answer = httpx.Response(200, json=opened | {"webservices": services}, headers=headers)
        with pytest.raises(AccountLocked, match="wants something done"):
            await account_login(scripted(answer), Session())


# -- by text and by call ---------------------------------------------------------------------------


@pytest.mark.parametrize("voice", [False, True])
async def test_what_was_asked_of_a_phone_is_repeated_with_the_code(
    world: World, voice: bool
) -> None:
    world.sim.faults.switch(non_fteu_required=True)
    codes = Codes(
        lambda challenge: AskPhone(challenge.phones[1], voice=voice),
        lambda challenge: PhoneCode(CODE, challenge.phones[1]),
    )
    await log_in(world, codes)
    assert codes.asked[1].by_call == voice


@pytest.mark.parametrize("voice", [False, True])
async def test_what_was_asked_of_a_phone_is_repeated_by_the_second_process(
    world: World, voice: bool
) -> None:
    world.sim.faults.switch(non_fteu_required=True)
    async with world.client() as icloud:
        challenge = await icloud.begin_login(PASSWORD)
        assert challenge is not None
        await icloud.send_code_to_phone(challenge.phones[1], voice=voice)
    kept = pending(world)
    assert (kept.code_phone, kept.code_non_fteu, kept.code_by_call) == (2, True, voice)
    async with world.client() as icloud:
        await icloud.finish_login(PhoneCode(CODE, Phone(2, "")))
    assert world.store().session.pending is None


# -- in two processes ------------------------------------------------------------------------------


async def test_begun_in_one_process_and_finished_in_another(world: World) -> None:
    world.sim.faults.switch(push_required=True, strict_scnt=True)
    async with world.client() as icloud:
        challenge = await icloud.begin_login(PASSWORD)
    assert challenge is not None
    assert pending(world).code_requested_at > 0
    async with world.client() as icloud:
        with pytest.raises(WrongCode):
            await icloud.finish_login(WRONG)
    async with world.client() as icloud:
        assert (await icloud.finish_login(DeviceCode(CODE))).dsid == ACCOUNT.dsid
    assert world.store().session.pending is None
    assert world.store().session.code_requested_at == 0


async def test_by_text_in_two_processes(world: World) -> None:
    async with world.client() as icloud:
        challenge = await icloud.begin_login(PASSWORD)
        assert challenge is not None
        await icloud.send_code_to_phone(challenge.phones[0])
    assert pending(world).code_phone == 1
    async with world.client() as icloud:
        await icloud.finish_login(PhoneCode(CODE, challenge.phones[0]))


async def test_what_worked_goes_on_working_until_the_code_comes(signed_in: World) -> None:
    before = signed_in.store().session
    for kind in ("trust", "trusted-session-token"):
        signed_in.sim.expire(kind)
    async with signed_in.client() as icloud:
        assert await icloud.begin_login(PASSWORD) is not None
    async with signed_in.client() as icloud:
        assert await icloud.photos.zones("private")
    after = signed_in.store().session
    assert after.session_token == before.session_token
    assert after.trust_token == before.trust_token


async def test_a_code_that_nothing_waits_for(world: World) -> None:
    async with world.client() as icloud:
        with pytest.raises(LoginNeeded):
            await icloud.finish_login(DeviceCode(CODE))
    assert world.paths == []


async def test_a_code_that_comes_too_late(world: World) -> None:
    async with world.client() as icloud:
        await icloud.begin_login(PASSWORD)
        world.sim.expire("sign-ins")
        with pytest.raises(SignInOver) as caught:
            await icloud.finish_login(DeviceCode(CODE))
    assert "without --code" in caught.value.hint
    assert world.store().session.pending is None  # the next login begins anew


async def test_a_person_who_takes_too_long_is_told_so(world: World) -> None:
    def late(_: Challenge) -> DeviceCode:
        world.sim.expire("sign-ins")
        return DeviceCode(CODE)

    with pytest.raises(LoginNeeded, match="no longer valid") as caught:
        await log_in(world, Codes(late))
    assert caught.value.hint == "Enter the code within a few minutes."


# -- shapes that the simulator does not send -------------------------------------------------------


def _unread(response: httpx.Response) -> httpx.Response:
    """The same as it comes from a network: nobody has looked at its body."""
    content = httpx.ByteStream(response.content)
    return httpx.Response(response.status_code, headers=response.headers, stream=content)


def scripted(*answers: httpx.Response) -> Transport:
    remaining = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        return _unread(remaining.pop(0))

    return Transport(Endpoints.at("http://127.0.0.1:1"), inner=httpx.MockTransport(answer))


BOOT_ARGS = (
    '<!DOCTYPE html><html><script>var a = {};</script><script type="application/json" '
    'class="boot_args">\n{"direct":{"hasTrustedDevices":false,"authInitialRoute":'
    '"auth/verify/phone","twoSV":{"authFactors":["sms"],"phoneNumberVerification":'
    '{"trustedPhoneNumbers":[{"id":3,"obfuscatedNumber":"(•••) •••-••81","lastTwoDigits":"81",'
    '"pushMode":"sms"}],"securityCode":{"length":6}}}}}\n</script></html>'
)


async def test_options_as_a_page() -> None:
    transport = scripted(httpx.Response(200, html=BOOT_ARGS))
    found = await signin.challenge_of(transport, Session())
    assert found.phones == (signin.Phone(3, "(•••) •••-••81"),)
    assert not found.has_devices and not found.pushed


async def test_options_with_a_single_phone() -> None:
    options: Any = {
        "trustedPhoneNumber": {"id": 1, "lastTwoDigits": "07"},
        "noTrustedDevices": True,
    }
    found = await signin.challenge_of(scripted(httpx.Response(200, json=options)), Session())
    assert found.phones == (signin.Phone(1, "…07"),)


async def test_options_that_make_no_sense() -> None:
    with pytest.raises(ProtocolError):
        await signin.challenge_of(scripted(httpx.Response(200, html="<p>")), Session())


async def test_the_bridge_is_passed_by_when_a_push_is_agreed_to() -> None:
    options = {"authInitialRoute": "auth/bridge/step", "hasTrustedDevices": True}
    transport = scripted(httpx.Response(200, json=options), httpx.Response(202))
    assert (await signin.challenge_of(transport, Session())).pushed


async def test_the_bridge_alone_is_not_supported() -> None:
    options = {"direct": {"authInitialRoute": "auth/bridge/step", "hasTrustedDevices": True}}
    transport = scripted(httpx.Response(200, json=options), httpx.Response(412))
    with pytest.raises(NotSupported) as caught:
        await signin.challenge_of(transport, Session())
    assert "device" in caught.value.hint


async def test_the_old_two_step_verification() -> None:
    hello = {"iteration": 1, "salt": "c2FsdA==", "protocol": "s2k", "b": "BQ==", "c": "d-1:MSA"}
    transport = scripted(
        httpx.Response(200),
        httpx.Response(200, json=hello),
        httpx.Response(409, json={"authType": "hsa"}),
    )
    with pytest.raises(NotSupported, match="two-step"):
        await signin.authenticate(transport, Session(), "a@example.com", "password")


async def test_codes_locked() -> None:
    options = {"securityCode": {"length": 6, "securityCodeLocked": True}}
    with pytest.raises(AccountLocked):
        await signin.challenge_of(scripted(httpx.Response(200, json=options)), Session())


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(409, json={"securityCode": {"valid": True}}),
        httpx.Response(412, json={"securityCode": {"valid": True}}),
        httpx.Response(412, json={"phoneNumberVerification": {"securityCode": {"valid": True}}}),
        httpx.Response(409, json={}, headers={"X-Apple-Session-Token": "t"}),
        httpx.Response(204),
    ],
)
async def test_a_code_is_accepted(answer: httpx.Response) -> None:
    session = Session(code_requested_at=1)
    await signin.finish(scripted(answer, httpx.Response(204)), session, DeviceCode("054321"))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(409, json={"securityCode": {"valid": False}}),
        httpx.Response(200, json={"securityCode": {"valid": False}}),
        httpx.Response(400, json={"service_errors": [{"code": "-21669"}], "hasError": True}),
        httpx.Response(400, headers={"X-Apple-I-Ercd": "-21669"}),
    ],
)
async def test_a_code_is_refused(answer: httpx.Response) -> None:
    with pytest.raises(WrongCode):
        await signin.finish(scripted(answer), Session(code_requested_at=1), DeviceCode("054321"))


async def test_412_without_two_factors_is_repaired() -> None:
    hello = {"iteration": 1, "salt": "c2FsdA==", "protocol": "s2k", "b": "BQ==", "c": "d-1:MSA"}
    begun = (httpx.Response(200), httpx.Response(200, json=hello))
    repaired = scripted(*begun, httpx.Response(412, json={}), httpx.Response(200))
    assert not await signin.authenticate(repaired, Session(), "a@example.com", "password")
    trusted = Session(trust_token="t")
    with pytest.raises(AccountLocked, match="stronger password"):
        await signin.authenticate(
            scripted(*begun, httpx.Response(412, json={})), trusted, "a@example.com", "password"
        )


async def test_headers_that_other_clients_send() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return _unread(httpx.Response(400))

    transport = Transport(Endpoints.at("http://127.0.0.1:1"), inner=httpx.MockTransport(answer))
    with pytest.raises(ProtocolError):
        await signin.authenticate(transport, Session(), "a@example.com", "password")
    for headers in seen:
        assert json.loads(headers["X-Apple-I-FD-Client-Info"])["U"] == headers["User-Agent"]
        assert headers["X-Apple-Domain-Id"] == "3"
        assert headers["X-Apple-Offer-Security-Upgrade"] == "1"
        assert headers["X-Apple-I-Require-UE"] == "true"
        assert headers["X-Requested-With"] == "XMLHttpRequest"
    assert len(seen) == 2


async def test_hellos_that_make_no_sense() -> None:
    hello = {"iteration": 10**9, "salt": "c2FsdA==", "protocol": "s2k", "b": "BQ==", "c": "x"}
    for change in ({}, {"protocol": "s3k"}, {"salt": "!"}, {"b": 3}, {"iteration": "many"}):
        transport = scripted(httpx.Response(200), httpx.Response(200, json={**hello, **change}))
        with pytest.raises(ProtocolError):
            await signin.authenticate(transport, Session(), "a@example.com", "password")


# -- silence ---------------------------------------------------------------------------------------


async def test_nothing_secret_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A whole life with logging at DEBUG: two sign-ins, errors, a renewal, a look at the library."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    secrets: set[str] = {PASSWORD, CODE, "not the password", "654321"}

    def gather() -> None:
        session = world.store().session
        named = (session.session_token, session.trust_token, session.scnt, session.session_id)
        secrets.update((*named, session.auth_attributes, session.client_id))
        secrets.update(cookie.value.strip('"') for cookie in session.cookies.stored())

    with pytest.raises(WrongPassword):
        await log_in(world, password="not the password")
    async with world.client() as icloud:
        challenge = await icloud.begin_login(PASSWORD)
    gather()
    codes = await log_in(world, Codes(WRONG, DeviceCode(CODE)))
    gather()
    async with world.client() as icloud:
        world.sim.expire("web-token")
        await icloud.photos.zones("private")
        gather()
        shown = repr((icloud.store, icloud.store.session, icloud.meter, codes.asked, challenge))
    secrets -= {"", "USA", "US-EN"}
    assert len(secrets) > 20
    everything = caplog.text + shown
    everything += "".join(repr(record.args) for record in caplog.records)
    found = [secret for secret in secrets if len(secret) > 3 and secret in everything]
    assert found == []
    assert "accountLogin" in caplog.text


@pytest.mark.parametrize(
    "page",
    [
        b"<script" * 300_000,
        b"<script>" * 300_000,
        b"<script " + b"x" * 2_000_000,
        b"<script>x</script" * 200_000,
        b"<script></script>" * 200_000,
        b"<script></script>",
    ],
)
def test_a_page_of_codes_takes_no_longer_than_it_is_long(page: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(ProtocolError, match="unknown form"):
        signin._options(Answer(200, httpx.Headers(), page))
    assert time.monotonic() - began < 1
    behind = (
        page
        + b'</script><SCRIPT class="boot_args">{"direct": {"hasTrustedDevices": true}}</script>'
    )
    if len(page) < 100:
        found = signin._options(Answer(200, httpx.Headers(), behind))
        assert found == {"direct": {"hasTrustedDevices": True}}
