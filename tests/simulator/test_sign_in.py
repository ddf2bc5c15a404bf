"""Signing in: facts/sign-in.md."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import httpx
import pytest
from click.testing import CliRunner

from icloudfs.cli import icloudfs
from icloudfs.simulator import KINDS, Account, Address, LibraryPlan, Simulator
from icloudfs.simulator.account import EscrowHeader, TrustRenewal
from tests.simulator.browser import Browser

TINY = LibraryPlan(assets=3, oddities=False, other_zones=False)


@asynccontextmanager
async def at_home(account: Account) -> AsyncIterator[tuple[Simulator, Browser]]:
    sim = Simulator(TINY, account)
    async with sim.running() as address, httpx.AsyncClient(trust_env=False, verify=False) as http:
        yield sim, Browser(http, address.endpoints)


async def test_the_whole_way(sim: Simulator, stranger: Browser) -> None:
    answer = await stranger.password(sim.account)
    assert answer.status_code == 409
    assert answer.json()["authType"] == "hsa2"
    assert answer.headers["X-Apple-ID-Account-Country"] == "USA"
    first_login = (await stranger.account_login()).json()
    assert first_login["hsaChallengeRequired"] is True
    assert "X-APPLE-WEBAUTH-TOKEN" not in stranger.http.cookies

    state = await stranger.auth("GET", "", Accept="application/json")
    assert [p["id"] for p in state.json()["trustedPhoneNumbers"]] == [1, 2]
    page = await stranger.auth("GET", "", Accept="text/html")
    assert re.search(r'<script type="application/json" class="boot_args">\s*\{', page.text)

    await stranger.auth("PUT", "/verify/trusteddevice/securitycode")
    body = {"securityCode": {"code": sim.account.code}}
    scnt = stranger.headers["scnt"]
    accepted = await stranger.auth("POST", "/verify/trusteddevice/securitycode", body)
    assert accepted.status_code == 204
    assert stranger.headers["scnt"] != scnt
    trust = await stranger.auth("GET", "/2sv/trust")
    assert trust.status_code == 204
    assert stranger.trust_token

    login = await stranger.account_login()
    assert login.json()["hsaTrustedBrowser"] is True
    assert (await stranger.setup("/validate")).status_code == 200
    assert (await stranger.ask("zones/list", {}))["zones"]


async def test_trust_spares_the_code_until_it_expires(sim: Simulator, browser: Browser) -> None:
    assert (await browser.password(sim.account)).status_code == 200
    sim.advance(29 * 86_400)
    assert (await browser.password(sim.account)).status_code == 200
    sim.advance(2 * 86_400)
    assert (await browser.password(sim.account)).status_code == 409


async def test_wrong_password(sim: Simulator, stranger: Browser) -> None:
    answer = await stranger.password(sim.account, "wrong")
    assert answer.status_code == 401
    assert answer.json()["serviceErrors"][0]["code"] == "-20101"


async def test_an_unknown_account_is_refused_and_its_password_is_not_blamed(
    stranger: Browser,
) -> None:
    answer = await stranger.password(Account(apple_id="nobody@example.com"))
    assert answer.status_code == 403
    assert "-20101" not in answer.text


@pytest.mark.parametrize("camel", [True, False])
async def test_wrong_code(sim: Simulator, stranger: Browser, camel: bool) -> None:
    sim.faults.switch(camel_case_errors=camel)
    await stranger.password(sim.account)
    body = {"securityCode": {"code": "000000"}}
    answer = await stranger.auth("POST", "/verify/trusteddevice/securitycode", body)
    assert answer.status_code == 400
    assert answer.headers["X-Apple-I-Ercd"] == "-21669"
    errors = answer.json()["serviceErrors" if camel else "service_errors"]
    assert errors[0]["code"] == "-21669"


async def test_a_code_accepted_with_409(sim: Simulator, stranger: Browser) -> None:
    sim.faults.switch(code_accepted_with_409=True)
    await stranger.password(sim.account)
    before = stranger.session_token
    body = {"securityCode": {"code": sim.account.code}}
    answer = await stranger.auth("POST", "/verify/trusteddevice/securitycode", body)
    assert answer.status_code == 409
    assert answer.json()["securityCode"]["valid"] is True
    assert stranger.session_token != before
    assert (await stranger.auth("GET", "/2sv/trust")).status_code == 204


async def test_a_push_may_have_to_come_first(sim: Simulator, stranger: Browser) -> None:
    sim.faults.switch(push_required=True)
    await stranger.password(sim.account)
    path, body = "/verify/trusteddevice/securitycode", {"securityCode": {"code": "123456"}}
    assert (await stranger.auth("POST", path, body)).status_code == 400
    assert (await stranger.auth("PUT", path)).status_code == 202
    assert (await stranger.auth("POST", path, body)).status_code == 204


async def test_text_message_to_the_second_phone(sim: Simulator, stranger: Browser) -> None:
    await stranger.password(sim.account)
    code = {"phoneNumber": {"id": 2}, "securityCode": {"code": "123456"}, "mode": "sms"}
    assert (await stranger.auth("POST", "/verify/phone/securitycode", code)).status_code == 400
    ask = {"phoneNumber": {"id": 2}, "mode": "sms"}
    assert (await stranger.auth("PUT", "/verify/phone", ask)).status_code == 200
    assert (await stranger.auth("POST", "/verify/phone/securitycode", code)).status_code == 200


async def test_without_two_factor() -> None:
    async with at_home(Account(two_factor="none", protocol="s2k_fo")) as (sim, browser):
        assert (await browser.password(sim.account)).status_code == 412
        assert (await browser.auth("POST", "/repair/complete", {})).status_code == 200
        login = (await browser.account_login()).json()
        assert login["hsaChallengeRequired"] is False
        assert login["dsInfo"]["hsaVersion"] == 0
        assert (await browser.ask("zones/list", {}))["zones"]


async def test_mixed_case_name_and_other_words() -> None:
    async with at_home(Account(apple_id="Jörg.Beispiel@Example.com", password="pässwörd")) as (
        sim,
        browser,
    ):
        assert (await browser.password(sim.account)).status_code == 409


async def test_a_salt_that_begins_with_zero_only_when_asked(
    sim: Simulator, stranger: Browser
) -> None:
    keeper = sim.application.keeper
    assert keeper.salt(sim.faults.switches)[0] != 0
    sim.faults.switch(salt_begins_with_zero=True)
    assert keeper.salt(sim.faults.switches)[0] == 0
    assert (await stranger.password(sim.account)).status_code == 409


async def test_strict_scnt(sim: Simulator, stranger: Browser) -> None:
    sim.faults.switch(strict_scnt=True)
    await stranger.password(sim.account)
    stale = await stranger.auth("GET", "", scnt="old one")
    assert stale.status_code == 401


async def test_locked_and_security_key(sim: Simulator, stranger: Browser) -> None:
    sim.faults.switch(account_locked=True)
    answer = await stranger.password(sim.account)
    assert answer.status_code == 403
    assert answer.json()["serviceErrors"][0]["code"] == "-20209"
    sim.faults.clear()
    sim.faults.switch(security_key=True)
    answer = await stranger.password(sim.account)
    assert answer.json()["fsaChallenge"]["rpId"] == "apple.com"


async def test_the_other_region() -> None:
    async with at_home(Account(region="china")) as (sim, browser):
        await browser.password(sim.account)
        body = {"dsWebAuthToken": browser.session_token}
        home = {"Origin": "https://www.icloud.com"}
        answer = await browser.setup("/accountLogin", body, **home)
        assert answer.json() == {"domainToUse": "iCloud.com.cn"}
        assert (await browser.account_login()).json()["dsInfo"]


async def test_no_session_is_421_and_a_dead_one_401(
    sim: Simulator, address: Address, browser: Browser
) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        fresh = Browser(http, address.endpoints)
        fresh.database = browser.database
        assert (await fresh.call("zones/list", {})).status_code == 421
        validate = await fresh.setup("/validate")
        assert validate.status_code == 421
        assert "Missing X-APPLE-WEBAUTH-TOKEN cookie" in validate.text
    sim.expire("web-token")
    assert (await browser.call("zones/list", {})).status_code == 401
    assert (await browser.account_login()).status_code == 200
    assert (await browser.call("zones/list", {})).status_code == 200
    await browser.setup("/logout", {"trustBrowser": True, "allBrowsers": False})
    assert (await browser.call("zones/list", {})).status_code == 421


async def test_database_answers_reissue_the_web_token(browser: Browser) -> None:
    before = browser.http.cookies["X-APPLE-WEBAUTH-TOKEN"]
    for _ in range(6):
        await browser.ask("zones/list", {})
    assert browser.http.cookies["X-APPLE-WEBAUTH-TOKEN"] != before
    await browser.ask("zones/list", {})


async def test_advanced_data_protection() -> None:
    async with at_home(Account(advanced_data_protection=True)) as (sim, browser):
        await browser.sign_in(sim.account)
        assert (await browser.call("zones/list", {})).status_code == 423
        state = (await browser.setup("/requestWebAccessState")).json()
        assert state == {"isICDRSDisabled": True, "isDeviceConsentedForPCS": False}
        ask = {"appName": "photos", "derivedFromUserAction": True}
        assert (await browser.setup("/requestPCS", ask)).json()["status"] == "failure"
        assert (await browser.setup("/requestPCS", ask)).json()["status"] == "success"
        assert (await browser.call("zones/list", {})).status_code == 200
        sim.advance(3700)
        assert (await browser.call("zones/list", {})).status_code == 423


# -- accounts of other kinds -----------------------------------------------------------------------

CODE = {"securityCode": {"code": "123456"}}
DEVICE = "/verify/trusteddevice/securitycode"


@pytest.mark.parametrize("header", ["X-Apple-EDP", "X-Apple-PDP"])
async def test_escrow_makes_trust_last(header: EscrowHeader) -> None:
    async with at_home(Account(escrow=header)) as (sim, browser):
        challenge = await browser.password(sim.account)
        assert challenge.status_code == 409 and header in challenge.headers
        assert (await browser.escrow(sim.account.password)).status_code == 400  # no code yet
        accepted = await browser.auth("POST", DEVICE, CODE)
        assert accepted.status_code == 409 and header in accepted.headers
        assert accepted.json()["securityCode"]["valid"] is True
        before = browser.session_token
        assert (await browser.escrow(sim.account.password)).status_code == 200
        assert browser.session_token != before
        assert (await browser.auth("GET", "/2sv/trust")).status_code == 204

        challenge = await browser.password(sim.account)  # with the trust token
        assert challenge.status_code == 409 and header in challenge.headers
        assert (await browser.escrow(sim.account.password)).status_code == 200
        assert (await browser.account_login()).json()["hsaTrustedBrowser"] is True


async def test_without_escrow_a_trust_token_is_as_good_as_none() -> None:
    async with at_home(Account(escrow="X-Apple-EDP")) as (sim, browser):
        await browser.password(sim.account)
        await browser.auth("POST", DEVICE, CODE)
        assert (await browser.auth("GET", "/2sv/trust")).status_code == 204
        await browser.password(sim.account)
        assert (await browser.escrow(sim.account.password)).status_code == 400


async def test_escrow_is_verified() -> None:
    async with at_home(Account(escrow="X-Apple-EDP")) as (sim, browser):
        await browser.password(sim.account)
        await browser.auth("POST", DEVICE, CODE)
        word = sim.account.password
        assert (await browser.escrow("wrong")).status_code == 401
        assert (await browser.escrow(word, name=sim.account.apple_id)).status_code == 401
        assert (await browser.escrow(word, key=b"k" * 32)).status_code == 401
        assert (await browser.escrow(word)).status_code == 200
        assert (await browser.escrow(word)).status_code == 400  # it is over


async def test_a_code_accepted_with_412() -> None:
    async with at_home(KINDS["code-412"].account) as (sim, browser):
        await browser.password(sim.account)
        accepted = await browser.auth("POST", DEVICE, CODE)
        assert accepted.status_code == 412
        assert accepted.json()["securityCode"]["valid"] is True
        assert (await browser.auth("GET", "/2sv/trust")).status_code == 204


async def test_a_stronger_password_is_wanted() -> None:
    async with at_home(KINDS["stronger-password"].account) as (sim, browser):
        answer = await browser.password(sim.account)
        assert (answer.status_code, answer.json()) == (412, {"authType": "hsa2"})


async def test_sent_to_the_other_region_with_302() -> None:
    async with at_home(KINDS["other-region"].account) as (sim, browser):
        await browser.password(sim.account)
        answer = await browser.account_login()
        assert (answer.status_code, answer.json()) == (302, {"domainToUse": "iCloud.com.cn"})


async def test_something_to_be_done_on_icloud_com() -> None:
    async with at_home(KINDS["repair"].account) as (sim, browser):
        await browser.password(sim.account)
        await browser.auth("POST", DEVICE, CODE)
        assert (await browser.account_login()).json()["isRepairNeeded"] is True
        assert "X-APPLE-WEBAUTH-REPAIR" in browser.http.cookies
        assert "X-APPLE-WEBAUTH-TOKEN" not in browser.http.cookies
        assert (await browser.call("zones/list", {})).status_code == 421


async def test_a_database_that_is_not_active() -> None:
    async with at_home(KINDS["inactive"].account) as (sim, browser):
        await browser.password(sim.account)
        services = (await browser.account_login()).json()["webservices"]
        assert services["ckdatabasews"]["status"] == "suspended"


async def test_a_device_s_consent_ends() -> None:
    async with at_home(KINDS["consent"].account) as (sim, browser):
        await browser.sign_in(sim.account)
        for _ in range(2):
            state = (await browser.setup("/requestWebAccessState")).json()
            assert state == {"isICDRSDisabled": True, "isDeviceConsentedForPCS": False}
            await browser.setup("/enableDeviceConsentForPCS")
            state = (await browser.setup("/requestWebAccessState")).json()
            assert state["isDeviceConsentedForPCS"] is True
            left = state["deviceConsentForPCSExpiry"] / 1000 - sim.cloud.clock.wall()
            assert 3500 < left <= 3600
            sim.advance(3700)


@pytest.mark.parametrize("mode", ["sms", "voice"])
async def test_a_code_by_phone_is_handed_in_as_it_was_asked_for(
    sim: Simulator, stranger: Browser, mode: str
) -> None:
    sim.faults.switch(non_fteu_required=True)
    await stranger.password(sim.account)
    bare, whole = {"id": 1}, {"id": 1, "nonFTEU": True}
    ask, hand_in = "/verify/phone", "/verify/phone/securitycode"
    other = {"sms": "voice", "voice": "sms"}[mode]
    for body, status in (
        ({"phoneNumber": bare, "mode": mode}, 412),
        ({"phoneNumber": whole, "mode": mode}, 200),
    ):
        assert (await stranger.auth("PUT", ask, body)).status_code == status
    for body, status in (
        ({"phoneNumber": bare, "mode": mode, **CODE}, 412),
        ({"phoneNumber": whole, "mode": other, **CODE}, 400),
        ({"phoneNumber": whole, "mode": mode, **CODE}, 200),
    ):
        assert (await stranger.auth("POST", hand_in, body)).status_code == status


async def test_the_older_way_to_push_is_gone(sim: Simulator, stranger: Browser) -> None:
    await stranger.password(sim.account)
    assert (await stranger.auth("PUT", "/verify/trusteddevice")).status_code == 405


def test_every_kind_of_account_is_listed_in_help() -> None:
    for command in ("simulator", "demo"):
        shown = CliRunner().invoke(icloudfs, [command, "--help"]).output
        for name, kind in KINDS.items():
            assert f"{name}  " in shown
            assert " ".join(kind.says.split()) in " ".join(shown.split())


# -- trust -----------------------------------------------------------------------------------------

DAY = 86_400.0


def _trust_ends(browser: Browser) -> float:
    """The ``Expires`` of the cookie that says how long the browser is trusted."""
    (cookie,) = (c for c in browser.http.cookies.jar if "HSA-TRUST" in c.name)
    assert cookie.expires is not None
    return float(cookie.expires)


async def test_the_trust_cookie_ends_when_the_trust_does(sim: Simulator, browser: Browser) -> None:
    now = sim.cloud.clock.wall()
    assert _trust_ends(browser) == pytest.approx(now + 30 * DAY, abs=60)
    sim.advance(10 * DAY)
    await browser.account_login()
    assert _trust_ends(browser) == pytest.approx(now + 30 * DAY, abs=60)


async def test_trust_is_good_only_at_the_address_where_it_was_got(
    sim: Simulator, browser: Browser
) -> None:
    sim.move_to("café")
    assert (await browser.password(sim.account)).status_code == 409
    sim.move_to("home")
    assert (await browser.password(sim.account)).status_code == 200


@pytest.mark.parametrize(
    ("renewal", "live", "after_sign_in"),
    [("live", 204, 204), ("sign-in", 401, 204), ("never", 401, 401)],
)
async def test_trust_is_made_young_as_the_account_has_it(
    renewal: TrustRenewal, live: int, after_sign_in: int
) -> None:
    async with at_home(Account(trust_renewal=renewal)) as (sim, browser):
        await browser.sign_in(sim.account)
        first = browser.trust_token
        sim.advance(10 * DAY)
        assert (await browser.auth("GET", "/2sv/trust")).status_code == live
        assert (browser.trust_token != first) == (live == 204)
        assert (await browser.password(sim.account)).status_code == 200
        assert (await browser.auth("GET", "/2sv/trust")).status_code == after_sign_in
        assert (browser.trust_token != first) == (after_sign_in == 204)


async def test_trust_that_is_made_young_in_vain() -> None:
    async with at_home(Account(trust_renewal="worthless")) as (sim, browser):
        await browser.sign_in(sim.account)
        assert (await browser.auth("GET", "/2sv/trust")).status_code == 204
        assert (await browser.account_login()).status_code == 421
    async with at_home(Account(trust_renewal="unchanged")) as (sim, browser):
        await browser.sign_in(sim.account)
        ends = _trust_ends(browser)
        sim.advance(10 * DAY)
        assert (await browser.auth("GET", "/2sv/trust")).status_code == 204
        await browser.account_login()
        assert _trust_ends(browser) == pytest.approx(ends, abs=2)


async def test_a_code_may_be_asked_for_although_the_trust_is_good(
    sim: Simulator, browser: Browser
) -> None:
    sim.faults.switch(trust_overlooked=True)
    assert (await browser.password(sim.account)).status_code == 409
    assert (await browser.account_login()).json()["hsaTrustedBrowser"] is True


async def test_every_answer_tells_the_time(sim: Simulator, browser: Browser) -> None:
    def told(answer: httpx.Response) -> float:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()

    assert told(await browser.setup("/validate")) == pytest.approx(time.time(), abs=60)
    sim.advance(3600)
    sim.tell_time(-600)
    assert told(await browser.setup("/validate")) == pytest.approx(time.time() + 3000, abs=60)
