"""idmsa, Apple's identity service: how it is spoken to, and what its answers mean.

The headers of facts/sign-in.md §1.2 and §6.7 go out with every request; what Apple sends back to be
recognised by goes straight into the session, from errors too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from icloudfs.apple import retry, wire
from icloudfs.apple.retry import TryLater, busy
from icloudfs.apple.session import Session, now_ms
from icloudfs.apple.transport import USER_AGENT, Answer, Transport
from icloudfs.errors import AccountLocked, IcloudfsError, LoginNeeded, ProtocolError

JSON = "application/json"


class SignInOver(LoginNeeded):
    """The sign-in that waited for a code is no longer valid: begin another one."""

    hint = "Run 'icloudfs login' without --code: Apple sends a new one."


async def patiently(
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
        answer = await send(transport, session, method, path, body, accept)
        if status_of(answer) in (429, 503):
            raise throttled(answer)
        return answer

    return await retry.with_patience(attempt)


async def send(
    transport: Transport,
    session: Session,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    accept: str = "application/json, text/javascript",
) -> Answer:
    """One request. Raises Offline and ProtocolError, as ``Transport.request`` does."""
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


_ALSO_SENT = {
    "X-Apple-I-FD-Client-Info": msgspec.json.encode(
        {"U": USER_AGENT, "L": "en-US", "Z": "GMT+00:00", "V": "1.1", "F": ""}
    ).decode(),
    "X-Apple-Domain-Id": "3",
    "X-Apple-Offer-Security-Upgrade": "1",
    "X-Apple-I-Require-UE": "true",
    "X-Requested-With": "XMLHttpRequest",
}
"""What other clients send besides. No refusal for lack of them is known, and they cost nothing (§6.7)."""


def _headers(transport: Transport, session: Session, accept: str) -> dict[str, str]:
    """§1.2. What Apple has sent is echoed, the latest of each."""
    origin = transport.endpoints.auth_origin
    headers = {
        "Accept": accept,
        "Content-Type": JSON,
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
        **_ALSO_SENT,
    }
    for name, attribute in _ECHOED.items():
        value = getattr(session, attribute)
        if value and wire.is_sendable(value):
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
    """Keep what Apple sent, from errors too (§1.2), if it can be sent back."""
    for name, attribute in _HARVESTED.items():
        value = headers.get(name)
        if value and wire.is_sendable(value):
            setattr(session, attribute, value)
    trust = headers.get("X-Apple-TwoSV-Trust-Token")
    if trust and wire.is_sendable(trust):
        session.trust_token = trust
        session.trusted_at = now_ms()


def status_of(answer: Answer) -> int:
    """The real status: with 200 it may be in ``X-Apple-I-Rscd`` (§1.9)."""
    real = answer.headers.get("X-Apple-I-Rscd", "")
    if answer.status == 200 and re.fullmatch(r"[1-5][0-9]{2}", real):
        return int(real)
    return answer.status


def service_errors(answer: Answer) -> frozenset[str]:
    """Codes such as ``-20101``; bodies name the list in either of two ways."""
    codes = {answer.headers.get("X-Apple-I-Ercd", "")}
    found = answer.json()
    for key in ("serviceErrors", "service_errors"):
        entries = found.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                codes.add(str(entry.get("code", "")))
    return frozenset(code[:_LONGEST_CODE] for code in codes if code)


_LONGEST_CODE = 40  # characters


def is_wrong_password(answer: Answer) -> bool:
    return status_of(answer) in (401, 403) and wire.WRONG_PASSWORD in service_errors(answer)


def refusal(answer: Answer, what: str) -> IcloudfsError:
    """The error for an answer that is not what ``what`` needed."""
    status, errors = status_of(answer), service_errors(answer)
    if wire.ACCOUNT_LOCKED in errors:
        return AccountLocked(
            "Apple has locked this account.", hint="Unlock it at https://iforgot.apple.com."
        )
    if status in (403, 429) or status >= 500:
        return throttled(answer).error
    named = f", service error {', '.join(sorted(errors))}" if errors else ""
    return ProtocolError(f"Apple refused {what} (HTTP {status}{named}).")


def throttled(answer: Answer) -> TryLater:
    return busy(
        f"Apple refuses sign-ins for now (HTTP {status_of(answer)}).",
        retry.retry_after(answer.headers),
    )
