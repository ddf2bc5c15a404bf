"""Opening the account: the session token becomes cookies, and we learn where its database is.

Source: facts/sign-in.md §1.7 and §6.2 (accountLogin, validate) and §1.8 (Advanced Data Protection).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import trio

from icloudfs.apple import clock, retry, wire
from icloudfs.apple.retry import busy
from icloudfs.apple.session import Session, now_ms
from icloudfs.apple.transport import Answer, Transport
from icloudfs.errors import (
    AccountLocked,
    ConsentNeeded,
    NoPhotos,
    NotSupported,
    ProtocolError,
    WrongClock,
    WrongRegion,
)

log = logging.getLogger(__name__)

VALIDATION_HOLDS = 600.0
"""Seconds that Apple's word about a session is believed without asking again (kei does so too)."""

CONSENT_POLL = 5.0
"""Seconds between two looks whether a device has approved."""
CONSENT_PATIENCE = 60.0
"""Seconds that we wait for a person to approve on a device."""

NO_PROMPT_PAUSE = 3600.0
"""Seconds before devices are asked again after Apple said that it cannot; it gives no time itself."""

_REPAIR = "X-APPLE-WEBAUTH-REPAIR"
"""What an account that has to be looked after gets in the place of ``wire.WEB_TOKEN``."""
_NO_PROMPT = b"requesting IDMS for arming"
_PCS_COOKIES = frozenset({"X-APPLE-WEBAUTH-PCS-Photos", "X-APPLE-WEBAUTH-PCS-Sharing"})


class SessionRefused(Exception):
    """Apple does not accept the session any more: renew it. Never leaves this package."""


class NoPrompt(ConsentNeeded):
    """Apple cannot ask the devices for approval now, and each try makes it worse (§6.2)."""

    hint = "There were too many sign-ins. Wait an hour or more; each try before makes it worse."


class CodeWanted(SessionRefused):
    """The session is not trusted: only a sign-in with a code helps."""


@dataclass(frozen=True)
class AccountInfo:
    """What ``accountLogin`` and ``validate`` tell about the account."""

    dsid: str
    database: str
    """Base address of the database, ``webservices.ckdatabasews.url``."""
    country: str = ""
    pcs_required: bool = False
    """Says nothing by itself: it is true for ordinary accounts too (§1.8)."""
    has_advanced_protection: bool = False
    """``iCDPEnabled``: a hint, no proof."""


async def account_login(transport: Transport, session: Session) -> AccountInfo:
    """Turn the session token into cookies, and note database and dsid in the session.

    Raises SessionRefused (CodeWanted if only a code helps), WrongRegion, AccountLocked, NoPhotos,
    NotSupported, Throttled, Offline, ProtocolError.
    """
    answer = await _setup(
        transport,
        session,
        "accountLogin",
        {
            "accountCountryCode": session.account_country,
            "dsWebAuthToken": session.session_token,
            "extended_login": True,
            "trustToken": session.trust_token,
        },
    )
    info = _open(transport, session, answer)
    session.opened_at = now_ms()
    return info


async def validate(transport: Transport, session: Session) -> AccountInfo:
    """Ask whether the session still holds. Raises as ``account_login`` does."""
    return _open(transport, session, await _setup(transport, session, "validate", None))


def was_validated_lately(session: Session) -> bool:
    """Whether Apple's last word about this session is fresh enough to do without another."""
    age = now_ms() - session.validated_at
    return session.is_usable and 0 <= age < 1000 * VALIDATION_HOLDS


async def logout(transport: Transport, session: Session, *, all_browsers: bool = False) -> None:
    """End the session at Apple's side. ``trustBrowser`` false also ends the trust in this one."""
    answer = await _setup(
        transport, session, "logout", {"trustBrowser": False, "allBrowsers": all_browsers}
    )
    if answer.status not in (200, 204, 401, 421, 450):
        raise ProtocolError(f"Apple refused the logout (HTTP {answer.status}).")


# -- reading the answer ----------------------------------------------------------------------------


def _open(transport: Transport, session: Session, answer: Answer) -> AccountInfo:
    """The body before the status: it says why, and its status may be anything (§1.1, §6.2)."""
    found = answer.json()
    account = found.get("dsInfo")
    _refuse_other_region(found)
    _refuse_unrepaired(found, answer)
    _refuse_blocked(found, account if isinstance(account, dict) else {})
    if answer.status in (401, 403, 421, 450):
        raise SessionRefused(f"HTTP {answer.status}")
    if answer.status != 200:
        raise ProtocolError(f"Apple refused to open the account (HTTP {answer.status}).")
    if not isinstance(account, dict):
        # Error answers come with status 200 too, and hold no account.
        raise ProtocolError("Apple's answer holds no account.")
    _refuse_untrusted(found, account)
    info = _info(transport, found, account)
    if wire.WEB_TOKEN not in session.cookies.names():
        raise _ended_already(transport) or _unrepaired()
    session.dsid, session.database = info.dsid, info.database
    session.pcs_required = info.pcs_required
    session.region = transport.endpoints.region
    session.validated_at = now_ms()
    return info


def _ended_already(transport: Transport) -> WrongClock | None:
    """By a clock that is far ahead every cookie has expired when it comes."""
    trouble = clock.sentence(transport.clock_off or 0)
    return WrongClock(f"{trouble} By it every session ends when it begins.") if trouble else None


def _refuse_other_region(found: dict[str, Any]) -> None:
    if domain := found.get("domainToUse"):
        region = "china" if str(domain).lower().endswith(".cn") else "global"
        raise WrongRegion(f"This account belongs to {domain}.", hint=f"Use --region {region}.")


def _refuse_unrepaired(found: dict[str, Any], answer: Answer) -> None:
    cookies = answer.headers.get_list("Set-Cookie")
    if found.get("isRepairNeeded") is True or any(c.startswith(f"{_REPAIR}=") for c in cookies):
        raise _unrepaired()


def _unrepaired() -> AccountLocked:
    """Nothing that needs the database's cookie can work for such an account (§6.2)."""
    return AccountLocked(
        "Apple wants something done with this account before it can be used.",
        hint="Sign in at https://www.icloud.com once, do what it asks, then try again.",
    )


def _refuse_blocked(found: dict[str, Any], account: dict[str, Any]) -> None:
    if account.get("locked") is True:
        raise AccountLocked(
            "Apple has locked this account.", hint="Unlock it at https://iforgot.apple.com."
        )
    if account.get("isWebAccessAllowed") is False:
        raise AccountLocked(
            "This account does not allow access to its iCloud data on the web.",
            hint="Turn it on: iPhone Settings, your name, iCloud, Access iCloud Data on the Web.",
        )
    if found.get("termsUpdateNeeded") is True:
        raise AccountLocked(
            "Apple wants its new terms of service accepted first.",
            hint="Sign in at https://www.icloud.com and accept them.",
        )
    if found.get("isUnderMaintenance") is True:
        raise busy("iCloud is under maintenance.").error


def _refuse_untrusted(found: dict[str, Any], account: dict[str, Any]) -> None:
    challenged = found.get("hsaChallengeRequired") is True
    match account.get("hsaVersion"):
        case 2 if challenged or found.get("hsaTrustedBrowser") is not True:
            raise CodeWanted("Apple wants a verification code for this computer")
        case 1 if challenged:
            raise NotSupported(
                "This account uses the old two-step verification, which icloudfs does not know.",
                hint="Change to two-factor authentication on an iPhone, iPad or Mac, then use a "
                "device code.",
            )


def _info(transport: Transport, found: dict[str, Any], account: dict[str, Any]) -> AccountInfo:
    services = found.get("webservices")
    database = services.get("ckdatabasews") if isinstance(services, dict) else None
    url = database.get("url") if isinstance(database, dict) else None
    dsid = account.get("dsid")
    if not isinstance(database, dict) or not isinstance(url, str) or not url:
        raise NoPhotos("This account has no iCloud Photos.")
    if (status := database.get("status")) not in (None, "active"):
        raise AccountLocked(
            f"The photo database of this account is not active: Apple calls it {status!r}.",
            hint="Sign in at https://www.icloud.com once and open Photos there.",
        )
    if not isinstance(dsid, str | int) or not dsid:
        raise ProtocolError("Apple's answer does not say whose account it is.")
    return AccountInfo(
        dsid=str(dsid),
        database=transport.endpoints.checked(url).rstrip("/"),
        country=str(account.get("countryCode") or ""),
        pcs_required=database.get("pcsRequired") is True,
        has_advanced_protection=account.get("iCDPEnabled") is True,
    )


# -- Advanced Data Protection ----------------------------------------------------------------------


async def obtain_consent(
    transport: Transport,
    session: Session,
    *,
    poll: float = CONSENT_POLL,
    patience: float = CONSENT_PATIENCE,
    asked: Callable[[], None] = lambda: None,
) -> bool:
    """Have a device approve access to encrypted photos (§1.8); False if none is needed.

    ``poll`` and ``patience`` are seconds. ``asked`` is called when the devices have been asked, and a
    person is waited for. Raises ConsentNeeded when nobody approved in time,
    NoPrompt when no device can be asked for now, AccountLocked when web access is off,
    SessionRefused, and the rest as ``account_login`` does.
    """
    try:
        return await _obtain_consent(transport, session, poll, patience, asked)
    except NoPrompt:
        if session.pcs_not_before <= now_ms():
            session.pcs_not_before = now_ms() + int(1000 * NO_PROMPT_PAUSE)
        raise


async def _obtain_consent(
    transport: Transport,
    session: Session,
    poll: float,
    patience: float,
    asked: Callable[[], None],
) -> bool:
    with trio.move_on_after(patience):
        state = await _web_access_state(transport, session)
        if state.get("isICDRSDisabled") is not True:
            return False
        if now_ms() < session.pcs_not_before:
            raise _no_prompt()
        if state.get("isDeviceConsentedForPCS") is not True:
            state = await _consented(transport, session, poll, asked)
        await _uploaded(transport, session, poll)
        session.pcs_granted_at = now_ms()
        session.pcs_ends_at = _expiry(state)
        return True
    raise ConsentNeeded("A device must approve access to your photos first.")


async def _consented(
    transport: Transport, session: Session, poll: float, asked: Callable[[], None]
) -> dict[str, Any]:
    """Ask the devices, and wait until the person has approved on one; what Apple says then."""
    await _pcs(transport, session, "enableDeviceConsentForPCS")
    log.warning("waiting for approval on your iPhone, iPad or Mac")
    asked()
    while True:
        await trio.sleep(poll)
        state = await _web_access_state(transport, session)
        if state.get("isDeviceConsentedForPCS") is True:
            return state


def _expiry(state: dict[str, Any]) -> int:
    """``deviceConsentForPCSExpiry`` in ms since the epoch, which Apple may count in seconds; or 0."""
    found = state.get("deviceConsentForPCSExpiry")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1e15:
        return 0
    return int(found if found > 1e11 else 1000 * found)


def _no_prompt() -> NoPrompt:
    return NoPrompt("Apple cannot ask your devices to approve access to your photos for now.")


async def _uploaded(transport: Transport, session: Session, poll: float) -> None:
    """Wait until the device has handed its keys over: both cookies must have come.

    Only the first request comes from something that a person did (§6.2).
    """
    by_person = True
    while True:
        request = {"appName": "photos", "derivedFromUserAction": by_person}
        found = await _pcs(transport, session, "requestPCS", request)
        by_person = False
        if found.get("isWebAccessAllowed") is False:
            _refuse_blocked({}, found)
        if found.get("status") == "success" and session.cookies.names() >= _PCS_COOKIES:
            return
        await trio.sleep(poll)


async def _web_access_state(transport: Transport, session: Session) -> dict[str, Any]:
    return await _pcs(transport, session, "requestWebAccessState")


async def _pcs(
    transport: Transport, session: Session, call: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    query = httpx.QueryParams(
        {
            "clientBuildNumber": wire.CLIENT_BUILD_NUMBER,
            "clientMasteringNumber": wire.CLIENT_MASTERING_NUMBER,
            "clientId": session.client_id,
            "dsid": session.dsid,
        }
    )
    answer = await _setup(transport, session, call, body or {}, query=f"?{query}")
    if answer.status in (401, 421, 450):
        raise SessionRefused(f"HTTP {answer.status}")
    if answer.status != 200:
        raise ProtocolError(f"Apple refused {call} (HTTP {answer.status}).")
    return answer.json()


async def _setup(
    transport: Transport,
    session: Session,
    call: str,
    body: dict[str, Any] | None,
    *,
    query: str = "",
) -> Answer:
    """A request to the set-up service, repeated while Apple asks to wait. No body is ``null``."""
    home = transport.endpoints.home

    async def attempt() -> Answer:
        answer = await transport.request(
            call,
            "POST",
            f"{transport.endpoints.setup}/{call}{query}",
            session,
            headers={
                "Accept": "application/json",
                "Content-Type": "text/plain",
                "Origin": home,
                "Referer": f"{home}/",
            },
            body=msgspec.json.encode(body),
        )
        if answer.status == 500 and _NO_PROMPT in answer.body:
            raise _no_prompt()
        if answer.status == 429 or answer.status >= 500:
            raise busy(f"iCloud is busy (HTTP {answer.status}).", retry.retry_after(answer.headers))
        return answer

    return await retry.with_patience(attempt)
