"""Staying signed in: the session and Apple's trust are made young again before they run out.

Half of a life is left for it, so a computer that runs never asks for a code (facts/sign-in.md §6.3). The
session is opened anew by ``accountLogin``; the trust is renewed by ``2sv/trust``, on the live session where
Apple does it there, else right after a whole sign-in with the kept password. Everything happens to a copy,
and what is held is given up only for what ``accountLogin`` accepted: whatever goes wrong in between, and
wherever it is cut off, nothing is lost.
"""

from __future__ import annotations

import logging
from typing import Literal

from icloudfs.apple import account, signin
from icloudfs.apple.account import SessionRefused
from icloudfs.apple.session import Session
from icloudfs.apple.transport import Transport
from icloudfs.errors import LoginNeeded, ProtocolError, WrongPassword

log = logging.getLogger(__name__)

HOUR = 3_600_000
DAY = 24 * HOUR
"""Milliseconds. The kept password is used at most once in so many."""
_LONGEST_PAUSE = 8 * DAY
_WORTH_IT = HOUR
"""Milliseconds that a new trust must last longer than the old one."""

Due = Literal["trust", "session"]


def due(session: Session, now: int) -> Due | None:
    """What is past half of its life at ``now``, ms since the epoch. Who renews the trust renews both."""
    if not session.is_usable or now < session.no_renewal_before:
        return None
    if session.trust_token and now >= half_way(session.trusted_at, session.trusted_until):
        return "trust"
    if session.lasts_until and now >= half_way(session.opened_at, session.lasts_until):
        return "session"
    return None


def half_way(begin: int, end: int) -> int:
    """Ms since the epoch."""
    return (begin + end) // 2


def may_sign_in(session: Session, now: int) -> bool:
    """Whether the kept password may be used by ourselves."""
    return now - session.signed_in_alone_at >= DAY


def pause(refusals: int) -> int:
    """Milliseconds until the next try, after so many in a row that Apple refused: one day, two, four, eight."""
    return min(DAY << max(refusals - 1, 0), _LONGEST_PAUSE)


async def of_session(transport: Transport, held: Session) -> Session | None:
    """The session opened anew; None if ``accountLogin`` refuses. Raises what it raises."""
    draft = held.copy()
    return draft if await _is_accepted(transport, draft) else None


async def on_live_session(transport: Transport, held: Session) -> Session | None:
    """The session with a new trust, got on the session as it is; None if Apple refuses, or for no gain.

    Raises Throttled, Offline, and what ``accountLogin`` raises.
    """
    draft = held.copy()
    renewed = await signin.renew_trust(transport, draft)
    held.go_on_after(draft)
    if not renewed:
        log.info("Apple does not renew its trust on the live session")
        return None
    if not await _is_accepted(transport, draft):
        return None
    return draft if lasts_longer(draft, held) else None


async def by_sign_in(
    transport: Transport, held: Session, apple_id: str, password: str
) -> Session | None:
    """A new session, from a whole sign-in, with a new trust if Apple gives one then; None if Apple refuses, or
    asks for a code. None is sent to anybody.

    Raises Throttled, Offline, AccountLocked, NotSupported, and what ``accountLogin`` raises.
    """
    draft = held.begin_anew()
    try:
        if await signin.authenticate(transport, draft, apple_id, password):
            log.info("Apple wants a code at a sign-in that was to renew its trust")
            return None
        trusted = draft.copy()
        if await signin.renew_trust(transport, trusted) and await _is_accepted(transport, trusted):
            return trusted
        log.info("Apple does not renew its trust after a sign-in")
    except (WrongPassword, ProtocolError, LoginNeeded) as error:
        log.warning("%s", error)
        return None
    return draft if await _is_accepted(transport, draft) else None


def lasts_longer(draft: Session, held: Session) -> bool:
    """Whether the trust in ``draft`` was worth the trouble."""
    return draft.trusted_until >= held.trusted_until + _WORTH_IT


async def _is_accepted(transport: Transport, draft: Session) -> bool:
    try:
        await account.account_login(transport, draft)
    except SessionRefused as error:
        log.info("Apple does not open the account with what was renewed: %s", error)
        return False
    return True
