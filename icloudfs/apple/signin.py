"""Signing in: a password, then a code, then Apple's trust.

The steps are those of facts/sign-in.md §1.3 to §1.6, for accounts with two-factor authentication and
without. ``sign_in`` does it all; ``begin`` and ``finish`` are its halves, for a code that is typed into
another process later: what must survive between them is in the session, so save it.

Nothing here touches a password beyond ``srp``, and every answer's tokens go straight into the session.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx
import msgspec
import trio

from icloudfs.apple import retry, srp, wire
from icloudfs.apple.retry import TryLater, busy
from icloudfs.apple.session import Session, now_ms
from icloudfs.apple.transport import Answer, Transport
from icloudfs.errors import (
    AccountLocked,
    LoginNeeded,
    NotSupported,
    ProtocolError,
    WrongCode,
    WrongPassword,
)

log = logging.getLogger(__name__)

CODE_TRIES = 3
"""Wrong codes that one sign-in takes; Apple locks an account that sends many."""
CODE_LENGTH = 6
_FRESH_EXCHANGES = 3  # draws until nobody can differ about leading zeros; 1 in 128 needs a second
_JSON = "application/json"


# -- what a person is asked ------------------------------------------------------------------------


@dataclass(frozen=True)
class Phone:
    """A trusted phone number."""

    id: int
    number: str
    """With most digits hidden, e.g. ``(•••) •••-••42``."""
    non_fteu: bool | None = None
    """``nonFTEU``, to be echoed when a text is asked for."""


@dataclass(frozen=True)
class Challenge:
    """Apple wants a code. It was sent to ``sent_to``, or pushed to the devices if ``pushed``."""

    phones: tuple[Phone, ...] = ()
    has_devices: bool = True
    """Whether there are trusted devices that show a code."""
    pushed: bool = False
    sent_to: Phone | None = None
    wrong: bool = False
    """The last code was refused."""
    tries_left: int = CODE_TRIES


@dataclass(frozen=True, repr=False)
class DeviceCode:
    """The code that a trusted device showed."""

    code: str


@dataclass(frozen=True, repr=False)
class PhoneCode:
    """The code that came to a phone."""

    code: str
    phone: Phone


@dataclass(frozen=True)
class AskPhone:
    """Send a code to this phone, by text or by a call; then ask again."""

    phone: Phone
    voice: bool = False


@dataclass(frozen=True)
class AskDevices:
    """Push a code to the trusted devices once more; then ask again."""


Code = DeviceCode | PhoneCode
CodeAnswer = Code | AskPhone | AskDevices


class CodeSource(Protocol):
    """Whoever can ask the person. Raise anything, LoginNeeded for instance, to give up."""

    async def code(self, challenge: Challenge) -> CodeAnswer: ...


# -- the whole and its halves ----------------------------------------------------------------------


async def sign_in(
    transport: Transport, session: Session, apple_id: str, password: str, codes: CodeSource
) -> None:
    """Sign in to the identity service; afterwards ``account.account_login`` opens the account.

    Raises WrongPassword, WrongCode (after ``CODE_TRIES``), AccountLocked, Throttled, NotSupported,
    Offline, ProtocolError, and what ``codes`` raises.
    """
    challenge = await begin(transport, session, apple_id, password)
    while challenge is not None:
        challenge = await _one_answer(transport, session, challenge, codes)


async def begin(
    transport: Transport, session: Session, apple_id: str, password: str
) -> Challenge | None:
    """Prove the password. None: signed in. Else a code is needed and was asked to be pushed."""
    if await authenticate(transport, session, apple_id, password):
        return await challenge_of(transport, session)
    return None


async def finish(transport: Transport, session: Session, code: Code) -> None:
    """Hand in the code of a sign-in that ``begin`` started, here or in an earlier process.

    Raises WrongCode (another may be tried), LoginNeeded (nothing was begun, or too long ago), and
    the rest as ``sign_in`` does.
    """
    if not session.code_requested_at:
        raise LoginNeeded("No sign-in is waiting for a code.")
    await _submit(transport, session, code)
    await _trust(transport, session)


async def _one_answer(
    transport: Transport, session: Session, challenge: Challenge, codes: CodeSource
) -> Challenge | None:
    """Ask the person once and do what they say; the next challenge, or None when signed in."""
    match await codes.code(challenge):
        case AskDevices():
            pushed = await push(transport, session)
            return replace(challenge, pushed=pushed, sent_to=None, wrong=False)
        case AskPhone(phone=phone, voice=voice):
            await send_to_phone(transport, session, phone, voice=voice)
            return replace(challenge, sent_to=phone, wrong=False)
        case DeviceCode() | PhoneCode() as code:
            try:
                await finish(transport, session, code)
            except WrongCode:
                if challenge.tries_left <= 1:
                    raise
                return replace(challenge, wrong=True, tries_left=challenge.tries_left - 1)
            return None


# -- the password ----------------------------------------------------------------------------------


async def authenticate(
    transport: Transport, session: Session, apple_id: str, password: str
) -> bool:
    """Prove the password; whether a second factor is needed. Sends no code to anyone.

    Raises WrongPassword for service error -20101 and for nothing else.
    """
    account_name = apple_id.strip().lower()  # mixed case fails the proof (§1.4)
    session.code_requested_at = 0
    await _seed(transport, session)
    attempt = await _prove(transport, session, account_name, password)
    if _is_wrong_password(attempt.answer) and attempt.salt[:1] == b"\0":
        # Half of the known clients strip the salt's leading zeros; which half Apple agrees with is
        # unknown, and only accounts with such a salt can tell (§1.4).
        attempt = await _prove(transport, session, account_name, password, strip_salt=True)
    return await _conclude(transport, session, attempt.answer)


@dataclass(frozen=True, repr=False)
class _Attempt:
    answer: Answer
    salt: bytes


@dataclass(frozen=True, repr=False)
class _Hello:
    """``signin/init``'s answer: the numbers, and ``c``, which is echoed unread."""

    numbers: srp.ServerHello
    cookie: Any


async def _seed(transport: Transport, session: Session) -> None:
    """Visit the sign-in page as a browser does: it sets scnt, the session id and the attributes.

    Half of the known clients leave this step out and sign in all the same (§1.3), so whatever it
    answers is no reason to stop.
    """
    query = httpx.QueryParams(
        {
            "frame_id": session.client_id,
            "language": "en_US",
            "skVersion": "7",
            "iframeId": session.client_id,
            "client_id": wire.WIDGET_KEY,
            "redirect_uri": transport.endpoints.home,
            "response_type": "code",
            "response_mode": "web_message",
            "state": session.client_id,
            "authVersion": "latest",
        }
    )
    await _idmsa(transport, session, "GET", f"/authorize/signin?{query}")


async def _prove(
    transport: Transport,
    session: Session,
    account_name: str,
    password: str,
    *,
    strip_salt: bool = False,
) -> _Attempt:
    """One complete exchange. Begins again, for free, while its numbers could be misread."""
    for _ in range(_FRESH_EXCHANGES):
        exchange = srp.Exchange()
        hello = await _init(transport, session, account_name, exchange)
        proof = await trio.to_thread.run_sync(
            _compute, exchange, account_name, password, hello.numbers, strip_salt
        )
        if not proof.is_ambiguous:
            break
    answer = await _complete(transport, session, account_name, hello, proof)
    return _Attempt(answer, hello.numbers.salt)


def _compute(
    exchange: srp.Exchange,
    account_name: str,
    password: str,
    hello: srp.ServerHello,
    strip_salt: bool,
) -> srp.Proof:
    """In a thread: 20,000 rounds take about 15 ms, a million would take most of a second."""
    if not strip_salt:
        return exchange.prove(account_name, password, hello)
    derived = srp.derive_key(password, hello.salt, hello.iterations, hello.protocol)
    return exchange.prove_with_key(account_name, derived, hello.salt.lstrip(b"\0"), hello.public)


async def _init(
    transport: Transport, session: Session, account_name: str, exchange: srp.Exchange
) -> _Hello:
    """``signin/init``. A 401 means stale scnt or cookies, never the password: begin anew, once."""
    body = {
        "a": _base64(exchange.public),
        "accountName": account_name,
        "protocols": ["s2k", "s2k_fo"],
    }
    answer = await _patiently(transport, session, "POST", "/signin/init", body)
    if _status(answer) == 401:
        log.info("the sign-in service wants a fresh start")
        session.adopt(session.begin_anew())
        await _seed(transport, session)
        answer = await _patiently(transport, session, "POST", "/signin/init", body)
    if _status(answer) != 200:
        raise _refusal(answer, "the sign-in")
    return _hello(answer)


def _hello(answer: Answer) -> _Hello:
    found = answer.json()
    protocol, iterations = found.get("protocol"), found.get("iteration")
    if protocol not in ("s2k", "s2k_fo") or not isinstance(iterations, int) or "c" not in found:
        raise ProtocolError("Apple's answer to the sign-in is in an unknown form.")
    try:
        salt = base64.b64decode(found["salt"], validate=True)
        public = base64.b64decode(found["b"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise ProtocolError("Apple's answer to the sign-in is in an unknown form.") from None
    return _Hello(srp.ServerHello(salt, iterations, protocol, public), found["c"])


async def _complete(
    transport: Transport, session: Session, account_name: str, hello: _Hello, proof: srp.Proof
) -> Answer:
    return await _idmsa(
        transport,
        session,
        "POST",
        "/signin/complete?isRememberMeEnabled=true",
        {
            "accountName": account_name,
            "c": hello.cookie,
            "m1": _base64(proof.m1),
            "m2": _base64(proof.m2),
            "rememberMe": True,
            "trustTokens": [session.trust_token] if session.trust_token else [],
        },
    )


async def _conclude(transport: Transport, session: Session, answer: Answer) -> bool:
    """What ``signin/complete`` said: whether a second factor is needed, or an error."""
    match _status(answer):
        case 200:
            return False
        case 409:
            _refuse_unknown_factors(answer.json())
            return True
        case 412:
            await _repair(transport, session)
            return False
        case _ if _is_wrong_password(answer):
            raise WrongPassword("Apple does not accept the Apple ID or its password.")
        case _:
            raise _refusal(answer, "the sign-in")


async def _repair(transport: Transport, session: Session) -> None:
    """An account without two-factor authentication: decline Apple's offer to set it up (§1.3)."""
    answer = await _idmsa(transport, session, "POST", "/repair/complete", {})
    if not 200 <= _status(answer) < 300:
        raise _refusal(answer, "the sign-in of an account without two-factor authentication")


# -- the second factor -----------------------------------------------------------------------------


async def challenge_of(transport: Transport, session: Session) -> Challenge:
    """What Apple wants to see, with a code pushed to the devices if there are any (§1.5).

    Since iOS 26.4 the password alone no longer makes them show one. Raises NotSupported for
    accounts that take a security key only.
    """
    answer = await _patiently(transport, session, "GET", "", accept=_JSON)
    if _status(answer) not in (200, 201, 409):
        raise _refusal(answer, "the request for a code")
    options = _options(answer)
    _refuse_unknown_factors(options)
    _refuse_exhausted(options)
    phones, has_devices = _phones(options), _has_devices(options)
    pushed = has_devices and await push(transport, session)
    if _wants_bridge(options) and not pushed and not phones:
        raise NotSupported(
            "Apple offers this account only a kind of code that icloudfs cannot ask for.",
            hint="Get a code on a device: Settings, your name, Sign-In & Security. Or add a "
            "trusted phone number at https://account.apple.com.",
        )
    session.code_requested_at = now_ms()
    session.code_phone = 0
    return Challenge(phones=phones, has_devices=has_devices, pushed=pushed)


async def push(transport: Transport, session: Session) -> bool:
    """Ask the trusted devices to show a code; whether Apple agreed.

    A refusal is no error: a code can still be had in a device's settings, or by text.
    """
    answer = await _idmsa(transport, session, "PUT", "/verify/trusteddevice/securitycode")
    agreed = _status(answer) in (200, 202, 204, 409)
    if not agreed:
        log.warning("Apple did not push a code to the devices (HTTP %d)", _status(answer))
    session.code_phone = 0
    return agreed


async def send_to_phone(
    transport: Transport, session: Session, phone: Phone, *, voice: bool = False
) -> None:
    """Send a code to a trusted phone, by text or by a call. Raises Throttled and ProtocolError."""
    number: dict[str, Any] = {"id": phone.id}
    if phone.non_fteu is not None:
        number["nonFTEU"] = phone.non_fteu
    body = {"phoneNumber": number, "mode": "voice" if voice else "sms"}
    answer = await _patiently(transport, session, "PUT", "/verify/phone", body)
    if _status(answer) not in (200, 202, 204, 409):
        raise _refusal(answer, "the request for a code by phone")
    session.code_requested_at = now_ms()
    session.code_phone = phone.id


async def _submit(transport: Transport, session: Session, code: Code) -> None:
    digits = re.sub(r"[\s-]", "", code.code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        raise WrongCode(f"A code has {CODE_LENGTH} digits.")
    # A text, not a number: leading zeros matter (§1.5).
    body: dict[str, Any] = {"securityCode": {"code": digits}}
    path = "/verify/trusteddevice/securitycode"
    if isinstance(code, PhoneCode):
        body |= {"phoneNumber": {"id": code.phone.id}, "mode": "sms"}
        path = "/verify/phone/securitycode"
    _judge_code(await _idmsa(transport, session, "POST", path, body))


def _judge_code(answer: Answer) -> None:
    """Accepted: 2xx, and since mid-2026 also 409 with a session token or ``valid`` (§1.5)."""
    status, found = _status(answer), answer.json()
    if wire.WRONG_CODE in _service_errors(answer) or _find(found, "securityCode", "valid") is False:
        raise WrongCode("Apple does not accept the code.")
    if 200 <= status < 300:
        return
    if status == 409 and (
        answer.headers.get("X-Apple-Session-Token") or _find(found, "securityCode", "valid") is True
    ):
        return
    if status == 401:
        raise LoginNeeded("The sign-in that was waiting for this code is no longer valid.")
    raise _refusal(answer, "the code")


async def _trust(transport: Transport, session: Session) -> None:
    """``2sv/trust``: the token that spares the code for about 30 days (§1.6)."""
    answer = await _patiently(transport, session, "GET", "/2sv/trust")
    if not 200 <= _status(answer) < 300:
        raise _refusal(answer, "the request to trust this computer")
    session.code_requested_at = 0
    session.code_phone = 0


def _refuse_unknown_factors(options: dict[str, Any]) -> None:
    if _find_any(options, "fsaChallenge") is not None:
        raise NotSupported(
            "This account asks for a security key, which icloudfs cannot use.",
            hint="Codes from a device work only without security keys: they can be removed at "
            "https://account.apple.com under Sign-In and Security.",
        )
    if (options.get("authType") or options.get("auth_type")) == "hsa":
        raise NotSupported(
            "This account uses the old two-step verification, which icloudfs does not know.",
            hint="Change to two-factor authentication on an iPhone, iPad or Mac, then use a "
            "device code.",
        )


def _refuse_exhausted(options: dict[str, Any]) -> None:
    limits = _find_any(options, "securityCode")
    if not isinstance(limits, dict):
        return
    if limits.get("securityCodeLocked"):
        raise AccountLocked("Apple takes no codes for this account for now.")
    if limits.get("tooManyCodesSent") or limits.get("tooManyCodesValidated"):
        log.warning("Apple says that too many codes were sent or tried lately")


def _options(answer: Answer) -> dict[str, Any]:
    """``GET /auth``: JSON, or a page with the JSON in ``<script class="boot_args">`` (§1.5)."""
    if found := answer.json():
        return found
    page = answer.body.decode("utf-8", "replace")
    for attributes, content in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S | re.I):
        if "boot_args" in attributes:
            try:
                inner = msgspec.json.decode(content.strip())
            except msgspec.DecodeError:
                continue
            if isinstance(inner, dict):
                return inner
    raise ProtocolError("Apple's offer of ways to get a code is in an unknown form.")


def _phones(options: dict[str, Any]) -> tuple[Phone, ...]:
    """All trusted numbers, in any of the three forms; a single one may stand alone."""
    many = _find_any(options, "trustedPhoneNumbers")
    one = _find_any(options, "trustedPhoneNumber")
    found = many if isinstance(many, list) and many else [one]
    return tuple(
        Phone(
            id=entry["id"],
            number=_hidden_number(entry),
            non_fteu=entry["nonFTEU"] if isinstance(entry.get("nonFTEU"), bool) else None,
        )
        for entry in found
        if isinstance(entry, dict) and isinstance(entry.get("id"), int)
    )


def _hidden_number(entry: dict[str, Any]) -> str:
    for key in ("numberWithDialCode", "obfuscatedNumber"):
        if isinstance(entry.get(key), str) and entry[key]:
            return str(entry[key])
    return f"…{entry.get('lastTwoDigits', '')}"


def _has_devices(options: dict[str, Any]) -> bool:
    if _find_any(options, "noTrustedDevices") is True:
        return False
    return _find_any(options, "hasTrustedDevices") is not False


def _wants_bridge(options: dict[str, Any]) -> bool:
    return str(_find_any(options, "authInitialRoute") or "").startswith("auth/bridge")


# -- requests to the identity service --------------------------------------------------------------


async def _patiently(
    transport: Transport,
    session: Session,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    accept: str = "application/json, text/javascript",
) -> Answer:
    """A request that may be repeated, repeated while Apple asks to wait.

    The proof and the codes are not sent this way: each try of those counts.
    """

    async def attempt() -> Answer:
        answer = await _idmsa(transport, session, method, path, body, accept)
        if _status(answer) in (429, 503):
            raise _throttled(answer)
        return answer

    return await retry.with_patience(attempt)


async def _idmsa(
    transport: Transport,
    session: Session,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    accept: str = "application/json, text/javascript",
) -> Answer:
    answer = await transport.request(
        path.partition("?")[0] or "/auth",
        method,
        f"{transport.endpoints.auth}{path}",
        session,
        headers=_headers(transport, session, accept),
        body=None if body is None else msgspec.json.encode(body),
    )
    _harvest(session, answer.headers)
    return answer


def _headers(transport: Transport, session: Session, accept: str) -> dict[str, str]:
    """§1.2. What Apple has sent is echoed, the latest of each."""
    origin = transport.endpoints.auth_origin
    headers = {
        "Accept": accept,
        "Content-Type": _JSON,
        "Origin": origin,
        "Referer": f"{origin}/",
        "X-Apple-Widget-Key": wire.WIDGET_KEY,
        "X-Apple-OAuth-Client-Id": wire.WIDGET_KEY,
        "X-Apple-OAuth-Client-Type": "firstPartyAuth",
        "X-Apple-OAuth-Redirect-URI": transport.endpoints.home,
        "X-Apple-OAuth-Require-Grant-Code": "true",
        "X-Apple-OAuth-Response-Mode": "web_message",
        "X-Apple-OAuth-Response-Type": "code",
        "X-Apple-OAuth-State": session.client_id,
        "X-Apple-Frame-Id": session.client_id,
    }
    for name, attribute in _ECHOED.items():
        if value := getattr(session, attribute):
            headers[name] = value
    return headers


_ECHOED = {
    "scnt": "scnt",
    "X-Apple-ID-Session-Id": "session_id",
    "X-Apple-Auth-Attributes": "auth_attributes",
}
_HARVESTED = {
    **_ECHOED,
    "X-Apple-ID-Account-Country": "account_country",
    "X-Apple-Session-Token": "session_token",
}


def _harvest(session: Session, headers: httpx.Headers) -> None:
    """Keep what Apple sent, from errors too (§1.2)."""
    for name, attribute in _HARVESTED.items():
        if value := headers.get(name):
            setattr(session, attribute, value)
    if trust := headers.get("X-Apple-TwoSV-Trust-Token"):
        session.trust_token = trust
        session.trusted_at = now_ms()


def _status(answer: Answer) -> int:
    """The real status: with 200 it may be in ``X-Apple-I-Rscd`` (§1.9)."""
    real = answer.headers.get("X-Apple-I-Rscd", "")
    if answer.status == 200 and re.fullmatch(r"[1-5][0-9]{2}", real):
        return int(real)
    return answer.status


def _service_errors(answer: Answer) -> frozenset[str]:
    """Codes such as ``-20101``; bodies name the list in either of two ways."""
    codes = {answer.headers.get("X-Apple-I-Ercd", "")}
    found = answer.json()
    for key in ("serviceErrors", "service_errors"):
        entries = found.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                codes.add(str(entry.get("code", "")))
    return frozenset(codes - {""})


def _is_wrong_password(answer: Answer) -> bool:
    return _status(answer) in (401, 403) and wire.WRONG_PASSWORD in _service_errors(answer)


def _refusal(answer: Answer, what: str) -> Exception:
    """The error for an answer that is not what ``what`` needed."""
    status, errors = _status(answer), _service_errors(answer)
    if wire.ACCOUNT_LOCKED in errors:
        return AccountLocked(
            "Apple has locked this account.", hint="Unlock it at https://iforgot.apple.com."
        )
    if status in (403, 429) or status >= 500:
        return _throttled(answer).error
    named = f", service error {', '.join(sorted(errors))}" if errors else ""
    return ProtocolError(f"Apple refused {what} (HTTP {status}{named}).")


def _throttled(answer: Answer) -> TryLater:
    return busy(
        f"Apple refuses sign-ins for now (HTTP {_status(answer)}).",
        retry.retry_after(answer.headers),
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _find(found: dict[str, Any], *path: str) -> Any:
    """The value at ``path``, at the top or wrapped in ``phoneNumberVerification``."""
    for top in (found, found.get("phoneNumberVerification")):
        value: Any = top
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


_WRAPPERS = ("direct", "twoSV", "phoneNumberVerification", "bridgeInitiateData")


def _find_any(found: dict[str, Any], key: str) -> Any:
    """The value of ``key`` at the top or inside of any wrapper that Apple uses; None if absent."""
    if found.get(key) is not None:
        return found[key]
    for wrapper in _WRAPPERS:
        inner = found.get(wrapper)
        if isinstance(inner, dict) and (value := _find_any(inner, key)) is not None:
            return value
    return None
