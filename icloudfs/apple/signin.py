"""Signing in: a password, then a code, then Apple's trust.

The steps are those of facts/sign-in.md §1.3 to §1.6, for accounts with two-factor authentication and
without. ``sign_in`` does it all; ``authenticate``, ``challenge_of`` and ``finish`` are its parts, for a
code that is typed into another process later: what must survive between them is in the session, so save
it.

``idmsa`` sends the requests, ``proof`` and ``escrow`` deal with the password; what Apple says to be
recognised by goes straight into the session.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import httpx
import msgspec

from icloudfs.apple import escrow, idmsa, lenient, proof, retry, srp, wire
from icloudfs.apple.idmsa import SignInOver
from icloudfs.apple.proof import Hello
from icloudfs.apple.session import Session, now_ms
from icloudfs.apple.transport import LARGEST_OBJECT, Answer, Transport
from icloudfs.errors import (
    AccountLocked,
    LoginNeeded,
    NotSupported,
    ProtocolError,
    Throttled,
    WrongCode,
    WrongPassword,
)

log = logging.getLogger(__name__)

CODE_TRIES = 3
"""Wrong codes that one sign-in takes; Apple locks an account that sends many."""
CODE_LENGTH = 6
idmsa.JSON = "application/json"


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
    by_call: bool = False
    """It was spoken to ``sent_to``, not written."""
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


PasswordSource = Callable[[], Awaitable[str | None]]
"""Where a password comes from, such as the keyring; None if there is none."""


class CodeSource(Protocol):
    """Whoever can ask the person. Raise anything, LoginNeeded for instance, to give up."""

    async def code(self, challenge: Challenge) -> CodeAnswer: ...


# -- the whole and its halves ----------------------------------------------------------------------


async def sign_in(
    transport: Transport,
    session: Session,
    apple_id: str,
    password: str,
    codes: CodeSource,
    *,
    with_trust: bool = True,
) -> bool:
    """Sign in to the identity service; whether that took a code. Afterwards ``account.account_login``
    opens the account. Without trust it always does: that is for the account that Apple does not open
    although its sign-in service wanted no code.

    Raises WrongPassword, WrongCode (after ``CODE_TRIES``), AccountLocked, Throttled, NotSupported,
    Offline, ProtocolError, and what ``codes`` raises.
    """
    needs_code = await authenticate(transport, session, apple_id, password, with_trust=with_trust)
    if needs_code or not with_trust:
        await give_code(transport, session, password, codes)
        return True
    return False


async def give_code(
    transport: Transport, session: Session, password: str, codes: CodeSource
) -> None:
    """What follows when the password is proved and a code is wanted. Raises as ``sign_in`` does."""

    async def at_hand() -> str:
        return password

    try:
        challenge: Challenge | None = await challenge_of(transport, session)
        while challenge is not None:
            challenge = await _one_answer(transport, session, challenge, codes, at_hand)
    except SignInOver as error:
        raise LoginNeeded(str(error), hint="Enter the code within a few minutes.") from None


async def finish(
    transport: Transport,
    session: Session,
    code: Code | None,
    password: PasswordSource | None = None,
) -> None:
    """Hand in the code of a sign-in that ``challenge_of`` began, here or in an earlier process.

    ``password`` is asked for accounts that want it proved once more (§6.1), before the code is spent
    where that is known. A sign-in whose code was accepted before needs no other one. Raises WrongCode
    (another may be tried), LoginNeeded (there is no password, no code, or nothing was begun; SignInOver
    if too long ago), and the rest as ``sign_in`` does. What was reached is in the session, so save it.
    """
    if not session.code_requested_at:
        raise SignInOver("No sign-in is waiting for a code.")
    try:
        await _finish(transport, session, code, password or _nobody)
    except SignInOver:
        session.forget_code()
        raise


async def _finish(
    transport: Transport, session: Session, code: Code | None, password: PasswordSource
) -> None:
    known = await _password_once_more(password) if session.escrow_owed else None
    if not session.code_accepted:
        if code is None:
            raise LoginNeeded("The sign-in waits for its code.", hint=_WITH_CODE)
        await _submit(transport, session, code)
    if session.escrow_owed:
        known = known or await _password_once_more(password)
        await _settle(transport, session, known)
    await _trust(transport, session)


_WITH_CODE = "Give it with: icloudfs login --code 123456 (the code you got)."


async def _nobody() -> None:
    return None


async def _password_once_more(password: PasswordSource) -> str:
    if found := await password():
        return found
    raise LoginNeeded(
        "Apple wants the password once more, beside the code.",
        hint="Give it with --password-file or ICLOUDFS_PASSWORD.",
    )


async def _settle(transport: Transport, session: Session, password: str) -> None:
    """Where Apple refuses the proof, and not the password, the sign-in goes on: it is worth less
    trust, and no less access."""
    try:
        await escrow.settle(transport, session, password)
    except ProtocolError as error:
        log.warning("%s A code will be asked for at the next sign-in.", error)
        session.escrow_owed = False


async def _one_answer(
    transport: Transport,
    session: Session,
    challenge: Challenge,
    codes: CodeSource,
    password: PasswordSource,
) -> Challenge | None:
    """Ask the person once and do what they say; the next challenge, or None when signed in."""
    match await codes.code(challenge):
        case AskDevices():
            pushed = await push(transport, session)
            return replace(challenge, pushed=pushed, sent_to=None, wrong=False)
        case AskPhone(phone=phone, voice=voice):
            await send_to_phone(transport, session, phone, voice=voice)
            return replace(challenge, sent_to=phone, by_call=voice, wrong=False)
        case DeviceCode() | PhoneCode() as code:
            try:
                await finish(transport, session, code, password)
            except WrongCode:
                if challenge.tries_left <= 1:
                    raise
                return replace(challenge, wrong=True, tries_left=challenge.tries_left - 1)
            return None


# -- the password ----------------------------------------------------------------------------------


async def authenticate(
    transport: Transport,
    session: Session,
    apple_id: str,
    password: str,
    *,
    with_trust: bool = True,
) -> bool:
    """Prove the password; whether a second factor is needed. Sends no code to anyone.

    The trust token is sent along unless ``with_trust`` is false. Raises WrongPassword for service
    error -20101 and for nothing else, AccountLocked, NotSupported, Throttled, Offline, ProtocolError.
    """
    account_name = apple_id.strip().lower()  # mixed case fails the proof (§1.4)
    session.forget_code()
    tokens = [session.trust_token] if session.trust_token and with_trust else []
    await _seed(transport, session)
    answer = await _prove(transport, session, account_name, password, tokens)
    if idmsa.status_of(answer) == 409 and escrow.is_wanted(answer):
        if tokens and await _is_settled(transport, session, password):
            return False
        session.escrow_owed = True  # a code first, then the password once more (§6.1)
    return await _conclude(transport, session, answer, account_name)


async def _is_settled(transport: Transport, session: Session, password: str) -> bool:
    """Whether the password, proved once more, is all that the trust token lacked.

    A token that has expired is answered in the same words; then only a code helps.
    """
    try:
        await escrow.settle(transport, session, password)
    except (WrongPassword, SignInOver, ProtocolError) as error:
        log.info("the trust token is not taken: %s", error)
        return False
    return True


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
    await idmsa.send(transport, session, "GET", f"/authorize/signin?{query}")


async def _prove(
    transport: Transport,
    session: Session,
    account_name: str,
    password: str,
    trust_tokens: list[str],
) -> Answer:
    """The exchange of ``signin/init`` and ``signin/complete``; what the latter answered."""

    async def init(body: dict[str, Any]) -> Hello:
        return await _init(transport, session, body)

    async def complete(body: dict[str, Any], _: srp.Proof) -> Answer:
        body |= {"accountName": account_name, "rememberMe": True, "trustTokens": trust_tokens}
        path = "/signin/complete?isRememberMeEnabled=true"
        return await idmsa.send(transport, session, "POST", path, body)

    return await proof.prove(account_name, password, init, complete)


async def _init(transport: Transport, session: Session, body: dict[str, Any]) -> Hello:
    """``signin/init``. A 401 means stale scnt or cookies, never the password: begin anew, once."""
    answer = await idmsa.patiently(transport, session, "POST", "/signin/init", body)
    if idmsa.status_of(answer) == 401:
        log.info("the sign-in service wants a fresh start")
        session.adopt(session.begin_anew())
        await _seed(transport, session)
        answer = await idmsa.patiently(transport, session, "POST", "/signin/init", body)
    if idmsa.status_of(answer) != 200:
        raise idmsa.refusal(answer, "the sign-in")
    return proof.hello(answer)


async def _conclude(
    transport: Transport, session: Session, answer: Answer, account_name: str
) -> bool:
    """What ``signin/complete`` said: whether a second factor is needed, or an error."""
    match idmsa.status_of(answer):
        case 200:
            return False
        case 409:
            _refuse_unknown_factors(answer.json())
            return True
        case 412:
            _refuse_weak_password(session, answer)
            await _repair(transport, session)
            return False
        case _ if idmsa.is_wrong_password(answer):
            raise WrongPassword("Apple does not accept the Apple ID or its password.")
        case 403 if wire.ACCOUNT_LOCKED not in idmsa.service_errors(answer):
            raise _stranger(answer, account_name)
        case _:
            raise idmsa.refusal(answer, "the sign-in")


def _stranger(answer: Answer, account_name: str) -> Throttled:
    """403 without a service error is Apple's answer to an Apple ID that it does not know (§6.2); but it
    turns away with it who comes too often as well (§1.9), so more tries must not follow at once."""
    return Throttled(
        f"Apple does not know the Apple ID {account_name}, or takes no sign-ins for now (HTTP 403).",
        hint="Check the Apple ID first, then its password. If both are right, wait a while: more "
        "tries lengthen the lock-out.",
        retry_after=retry.retry_after(answer.headers),
    )


def _refuse_weak_password(session: Session, answer: Answer) -> None:
    """412 on an account with two factors, which is what holds a trust token, too (§6.2)."""
    found = answer.json()
    kind = found.get("authType") or found.get("auth_type")
    if kind == "hsa2" or (kind is None and session.trust_token):
        raise AccountLocked(
            "Apple demands a stronger password for this account.",
            hint="Change it on an iPhone, iPad or Mac, or at https://account.apple.com.",
        )


async def _repair(transport: Transport, session: Session) -> None:
    """An account without two-factor authentication: decline Apple's offer to set it up (§1.3)."""
    answer = await idmsa.send(transport, session, "POST", "/repair/complete", {})
    if not 200 <= idmsa.status_of(answer) < 300:
        raise idmsa.refusal(answer, "the sign-in of an account without two-factor authentication")


# -- the second factor -----------------------------------------------------------------------------


async def challenge_of(transport: Transport, session: Session) -> Challenge:
    """What Apple wants to see, with a code pushed to the devices if there are any (§1.5).

    Since iOS 26.4 the password alone no longer makes them show one. Raises NotSupported for
    accounts that take a security key only.
    """
    answer = await idmsa.patiently(transport, session, "GET", "", accept=idmsa.JSON)
    if idmsa.status_of(answer) not in (200, 201, 409):
        raise idmsa.refusal(answer, "the request for a code")
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
    return Challenge(phones=phones, has_devices=has_devices, pushed=pushed)


async def push(transport: Transport, session: Session) -> bool:
    """Ask the trusted devices to show a code; whether Apple agreed.

    A refusal is no error: a code can still be had in a device's settings, or by text.
    """
    answer = await idmsa.send(transport, session, "PUT", "/verify/trusteddevice/securitycode")
    agreed = idmsa.status_of(answer) in (200, 202, 204, 409)
    if not agreed:
        log.warning("Apple did not push a code to the devices (HTTP %d)", idmsa.status_of(answer))
    session.code_phone = 0
    return agreed


async def send_to_phone(
    transport: Transport, session: Session, phone: Phone, *, voice: bool = False
) -> None:
    """Send a code to a trusted phone, by text or by a call. Raises Throttled and ProtocolError."""
    body = _number_and_mode(phone, voice=voice)
    answer = await idmsa.patiently(transport, session, "PUT", "/verify/phone", body)
    if idmsa.status_of(answer) not in (200, 202, 204, 409):
        raise idmsa.refusal(answer, "the request for a code by phone")
    session.code_requested_at = now_ms()
    session.code_phone, session.code_non_fteu = phone.id, phone.non_fteu
    session.code_by_call = voice


async def _submit(transport: Transport, session: Session, code: Code) -> None:
    digits = re.sub(r"[\s-]", "", code.code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        raise WrongCode(f"A code has {CODE_LENGTH} digits.")
    # A text, not a number: leading zeros matter (§1.5).
    body: dict[str, Any] = {"securityCode": {"code": digits}}
    path = "/verify/trusteddevice/securitycode"
    if isinstance(code, PhoneCode):
        body |= _by_phone(session, code.phone)
        path = "/verify/phone/securitycode"
    answer = await idmsa.send(transport, session, "POST", path, body)
    _judge_code(answer)
    session.code_accepted = True
    session.escrow_owed = escrow.is_wanted(answer)


def _by_phone(session: Session, phone: Phone) -> dict[str, Any]:
    """The phone and the mode exactly as the code was asked for, which another process may have done:
    some accounts get 412 without ``nonFTEU`` (§6.5)."""
    if phone.id != session.code_phone:
        return _number_and_mode(phone, voice=False)
    if phone.non_fteu is None:
        phone = replace(phone, non_fteu=session.code_non_fteu)
    return _number_and_mode(phone, voice=session.code_by_call)


def _number_and_mode(phone: Phone, *, voice: bool) -> dict[str, Any]:
    number: dict[str, Any] = {"id": phone.id}
    if phone.non_fteu is not None:
        number["nonFTEU"] = phone.non_fteu
    return {"phoneNumber": number, "mode": "voice" if voice else "sms"}


def _judge_code(answer: Answer) -> None:
    """``valid`` decides, whatever the status: accepted codes were seen with 409 and 412 (§6.1, §6.2).
    Without it 2xx is accepted, and 409 with a session token (§1.5)."""
    status, valid = idmsa.status_of(answer), _find(answer.json(), "securityCode", "valid")
    if valid is True:
        return
    if valid is False or wire.WRONG_CODE in idmsa.service_errors(answer):
        raise WrongCode("Apple does not accept the code.")
    if 200 <= status < 300 or (status == 409 and answer.headers.get("X-Apple-Session-Token")):
        return
    if status == 401:
        raise SignInOver("The sign-in that was waiting for this code is no longer valid.")
    raise idmsa.refusal(answer, "the code")


async def renew_trust(transport: Transport, session: Session) -> bool:
    """``2sv/trust`` without a code (facts/sign-in.md §6.3); whether a token came. Raises Throttled, Offline.

    Only ``accountLogin`` tells what the token is worth: keep the old one until then.
    """
    before = session.trust_token
    answer = await idmsa.patiently(transport, session, "GET", "/2sv/trust")
    status = idmsa.status_of(answer)
    if status >= 500:
        raise idmsa.throttled(answer).error
    return 200 <= status < 300 and session.trust_token != before


async def _trust(transport: Transport, session: Session) -> None:
    """``2sv/trust``: the token that spares the code for about 30 days (§1.6)."""
    answer = await idmsa.patiently(transport, session, "GET", "/2sv/trust")
    if idmsa.status_of(answer) == 401:
        raise SignInOver("The sign-in that was waiting for its end is no longer valid.")
    if not 200 <= idmsa.status_of(answer) < 300:
        raise idmsa.refusal(answer, "the request to trust this computer")
    session.forget_code()


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
    for attributes, content in islice(_scripts(answer.body), _MOST_SCRIPTS):
        if b"boot_args" in attributes and len(content) <= LARGEST_OBJECT:
            try:
                inner = msgspec.json.decode(content.strip())
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(inner, dict):
                offered: dict[str, Any] = lenient.pruned(inner)
                return offered
    raise ProtocolError("Apple's offer of ways to get a code is in an unknown form.")


_MOST_SCRIPTS = 1000


def _scripts(page: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Attributes and content of a page's scripts. Each byte is looked at once, whatever the page looks like."""
    folded, at = page.lower(), 0
    while (begin := folded.find(b"<script", at)) >= 0:
        opened = folded.find(b">", begin)
        end = folded.find(b"</script>", opened)
        if opened < 0 or end < 0:
            return
        yield page[begin + len(b"<script") : opened], page[opened + 1 : end]
        at = end


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
