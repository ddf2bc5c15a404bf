"""iCloud, for one account: what the rest of icloudfs talks to.

It owns the connections and the session, and it alone decides what an expired session costs. The order
is that of facts/sign-in.md §1.9, from cheap to dear: new connections (after 421), ``accountLogin`` with
the tokens we have, a sign-in with a kept password (where one is kept), and then LoginNeeded. One renewal
runs at a time, for all callers and all processes; what is held is given up only for what ``accountLogin``
accepted; and once a person is needed, only what costs nobody anything is tried again, once an hour, until the
session file shows that the person has come. What can be renewed before it runs out is in ``renewal``.

A call that is refused while others are answered says nothing of the session: it gets one renewal an hour
and is then refused to its caller alone (``answers``).
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import trio

from icloudfs.apple import account, clock, content, decode, renewal, retry, signin, wire
from icloudfs.apple.account import AccountInfo, CodeWanted, SessionRefused
from icloudfs.apple.cloudkit import CloudKitError, Photos, ZoneGone
from icloudfs.apple.content import Content
from icloudfs.apple.endpoints import Endpoints
from icloudfs.apple.idmsa import SignInOver
from icloudfs.apple.records import Area
from icloudfs.apple.retry import busy
from icloudfs.apple.session import Session, SessionStore, TrustRenewal, now_ms
from icloudfs.apple.signin import Challenge, Code, CodeSource, PasswordSource
from icloudfs.apple.transport import Answer, Meter, Transport
from icloudfs.aside import aside
from icloudfs.errors import (
    AccountLocked,
    ConfigError,
    ConsentNeeded,
    IcloudfsError,
    LoginNeeded,
    NoPhotos,
    NotSupported,
    Offline,
    ProtocolError,
    Throttled,
    WrongClock,
    WrongPassword,
    WrongRegion,
)
from icloudfs.units import duration

log = logging.getLogger(__name__)

RENEWAL_TIMEOUT = 90.0
"""Seconds for one renewal, with its waits."""
SIGN_INS_IN_WINDOW = 3
SIGN_IN_WINDOW = 3600.0
"""At most so many sign-ins by ourselves in so many seconds; Apple takes about ten (§1.9)."""
CONSENT_PAUSE = 900.0
"""Seconds after an approval that did not come before the person's devices are asked again."""
LONGEST_HOLD = 300.0
"""Seconds in which nothing is renewed after Apple asked to wait, be it for longer. Sign-ins have a window of
their own, since each of those lengthens a lock-out (facts/sign-in.md §6.2)."""
SECOND_LOOK = 3600.0
"""Seconds after which the tokens are tried again although a person is needed: what Apple refused to one process
it took from another at the same time (facts/sign-in.md §6.3)."""
_COOKIE_SAVES = 60.0  # seconds at least between two saves of re-issued cookies
_UNEXPLAINED_PAUSE = 1.0  # seconds before the one repetition of a 400 that says nothing
_ONE_CALLS_RENEWALS = 3600.0
"""Seconds between two renewals for the sake of calls that are refused while others are answered."""
_ANSWERS_HOLD = 2.0  # seconds that it is believed that iCloud answers, or that it does not
_PERSON_HOLDS = 30.0  # the same once a person has to sign in: that takes longer to change
_PROBE_TIMEOUT = 15.0  # seconds
_KNOWN_TO_WORK = ("zones/list", "changes/database")
"""Calls that cost little and that every account may make; two, as either may be the one that is refused."""


@dataclass
class _Flight:
    """One renewal or consent under way, and everyone who waits for how it ends."""

    landed: trio.Event = field(default_factory=trio.Event)
    error: IcloudfsError | None = field(default_factory=lambda: Offline("icloudfs is closing."))
    """None once it has succeeded; until then what to say if it is cut off."""


class _Misdirected(SessionRefused):
    """421: the connection leads to the wrong place, or the session is over."""


class _Forbidden(SessionRefused):
    """403: the session is over, or a device must approve, or we come too often."""


class _ConsentRefused(Exception):
    """The database wants a device's approval (Advanced Data Protection)."""


class ICloud:
    """Use it as ``async with ICloud(...) as icloud:``; any number of tasks may call it.

    ``password``: asked for a kept password when the session can be renewed with nothing else.
    """

    def __init__(
        self,
        store: SessionStore,
        endpoints: Endpoints,
        apple_id: str,
        *,
        password: PasswordSource | None = None,
        patience: float = retry.PATIENCE,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.store = store
        self.apple_id = apple_id
        self.patience = patience
        """Seconds that a call goes on while Apple asks to wait, if the caller waits that long."""
        self.on_approval_wanted: Callable[[], None] = lambda: None
        """Called when the person's devices have been asked to approve access, and an answer is waited for."""
        self.photos = Photos(self)
        self._transport = Transport(endpoints, inner=inner)
        self._password = password
        self._nursery: trio.Nursery | None = None
        self._renewals = 0
        self._renewal: _Flight | None = None
        self._consent: _Flight | None = None
        self._refreshing: _Flight | None = None
        self._person_needed: IcloudfsError | None = None
        self._looked_at = -float("inf")
        self._held_off: IcloudfsError | None = None
        self._not_before = -float("inf")
        self._no_consent_before = -float("inf")
        self._sign_ins: deque[float] = deque()
        self._saved_at = -float("inf")
        self._accepted_in = -1
        """The number of renewals when a database call was last accepted."""
        self._asking = trio.Lock()
        self._answered = False
        self._answered_at = -float("inf")
        self._next_for_one_call = -float("inf")

    async def __aenter__(self) -> ICloud:
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._nursery is None:
            return
        self._nursery.cancel_scope.cancel()
        # The nursery is not shown the caller's exception: it would wrap it in a group. Its own
        # tasks raise nothing.
        await self._nursery_manager.__aexit__(None, None, None)
        self._nursery = None
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await self._transport.aclose()
        if self.store.session.is_usable:
            self._save_quietly()

    @property
    def meter(self) -> Meter:
        return self._transport.meter

    @property
    def endpoints(self) -> Endpoints:
        return self._transport.endpoints

    # -- signing in, with a person at hand -----------------------------------------------------

    async def login(
        self, password: str, codes: CodeSource, *, renew_trust: bool = False
    ) -> AccountInfo:
        """Sign in, ask ``codes`` if Apple wants a code, open the account, keep the session.

        A code is asked for last, and also if it is only at the opening that Apple wants one. ``renew_trust``:
        have Apple ask for one although it still trusts this computer, so that its trust begins anew. Raises
        as ``signin.sign_in`` and ``account.account_login`` do.
        """
        opened, draft = await self._by_password(password, renew_trust)
        if opened is not None:
            return opened
        await signin.give_code(self._transport, draft, password, codes)
        return await self._enter_with_code(draft)

    async def begin_login(self, password: str, *, renew_trust: bool = False) -> Challenge | None:
        """The first half of ``login``. None: it is done. Else ``finish_login`` with the code,
        in this process or a later one; what is held goes on working until then."""
        opened, draft = await self._by_password(password, renew_trust)
        if opened is not None:
            return None
        challenge = await signin.challenge_of(self._transport, draft)
        self._wait_with(draft)
        return challenge

    async def finish_login(
        self, code: Code | None, password: PasswordSource | None = None
    ) -> AccountInfo:
        """The second half. After an error it may be called again; a code that was accepted once is
        needed no more. ``password`` is asked if Apple wants it once more, else the kept one is taken.
        """
        self._notice_other_process()
        if self.store.session.pending is None:
            raise SignInOver("No sign-in is waiting for a code.")
        draft = self.store.session.pending.copy()
        try:
            await signin.finish(self._transport, draft, code, password or self._kept_password)
        except IcloudfsError:
            self._wait_with(draft)
            raise
        return await self._enter_with_code(draft)

    async def send_code_to_phone(self, phone: signin.Phone, *, voice: bool = False) -> None:
        """Between the halves: have the code sent to a phone, by text or by a call."""
        if self.store.session.pending is None:
            raise SignInOver("No sign-in is waiting for a code.")
        draft = self.store.session.pending.copy()
        await signin.send_to_phone(self._transport, draft, phone, voice=voice)
        self._wait_with(draft)

    async def _by_password(
        self, password: str, renew_trust: bool
    ) -> tuple[AccountInfo | None, Session]:
        """As far as the password alone goes: the account that it opened, or else the sign-in that has to have
        a code."""
        self._notice_other_process()
        whom = (self.apple_id, password)
        draft = self.store.session.newest_trust.begin_anew()
        if not renew_trust:
            if await signin.authenticate(self._transport, draft, *whom):
                return await self._without_code(draft), draft
            try:
                return await self._enter(draft), draft
            except CodeWanted:
                draft = self.store.session.newest_trust.begin_anew()
        await signin.authenticate(self._transport, draft, *whom, with_trust=False)
        return None, draft

    def _wait_with(self, draft: Session) -> None:
        """Keep a sign-in that waits for its code, beside what is held."""
        self._notice_other_process()
        self.store.session.pending = draft if draft.code_requested_at else None
        self.store.save()

    def _keep_trust(self, draft: Session) -> None:
        """The code was good and the account stays closed: the trust that came of it waits, beside what is held,
        so that the next sign-in needs no other code."""
        self._notice_other_process()
        trusted = draft.begin_anew()
        if trusted.trusted_at > self.store.session.newest_trust.trusted_at:
            self.store.session.pending = trusted
            self.store.save()

    async def _without_code(self, draft: Session) -> AccountInfo | None:
        """Apple has asked for a code: open the account with what may do without one (facts/sign-in.md §6.3).

        With the new session token and the trust that we hold, then with the session on disk; each on new
        connections. None: a person has to be asked.
        """
        for held in (draft if draft.trust_token else None, self.store.on_disk()):
            if held is None or not held.session_token:
                continue
            attempt = held.copy()
            await self._transport.drop_pool(self._transport.pool_number)
            try:
                info = await account.account_login(self._transport, attempt)
            except SessionRefused as error:
                log.info("a code is needed, so far: %s", error)
            else:
                self._keep_entered(attempt)
                return info
        return None

    async def logout(self) -> None:
        """End the session at Apple's side, if that can be reached, and forget it here."""
        try:
            if self.store.session.is_usable:
                await account.logout(self._transport, self.store.session)
        finally:
            self.store.forget()

    async def _enter(self, draft: Session) -> AccountInfo:
        """Open the account, and keep the session. Raises CodeWanted, and AccountLocked where the
        sign-in was good and the account stays closed all the same (§6.2)."""
        try:
            info = await self._open(draft)
        except CodeWanted:
            raise
        except SessionRefused as error:
            raise self._or_the_clock(
                AccountLocked(
                    f"Apple accepts the sign-in and does not open the account ({error}).",
                    hint="Turn on iPhone Settings, your name, iCloud, Access iCloud Data on the Web. An "
                    "account of the other region needs --region. Or it was moved to another of Apple's "
                    "servers (partition) just now: wait an hour.",
                )
            ) from None
        self._keep_entered(draft)
        return info

    def _keep_entered(self, draft: Session) -> None:
        """``draft`` has opened the account: it takes the place of what is held."""
        if draft.trusted_at > self.store.session.trusted_at:
            draft.trust_renewal, draft.renewal_refusals, draft.no_renewal_before = "untried", 0, 0
        draft.pending = None
        self._keep(draft)
        self._person_needed = None
        self._renewals += 1

    async def _enter_with_code(self, draft: Session) -> AccountInfo:
        try:
            return await self._enter(draft)
        except CodeWanted:
            raise AccountLocked(
                "Apple has accepted the code and asks for one again.",
                hint="Sign in at https://www.icloud.com once, do what it asks, then try again.",
            ) from None
        except IcloudfsError:
            self._keep_trust(draft)
            raise

    async def _open(self, draft: Session) -> AccountInfo:
        """``accountLogin`` after a sign-in: refused, once more on new connections, since a kept one
        may lead to the wrong partition (§6.2)."""
        pool = self._transport.pool_number
        try:
            return await account.account_login(self._transport, draft)
        except CodeWanted:
            raise
        except SessionRefused as error:
            log.info("Apple does not open the account (%s); trying new connections", error)
            await self._transport.drop_pool(pool)
            return await account.account_login(self._transport, draft)

    def _keep(self, draft: Session) -> None:
        self.store.session.adopt(draft)
        self.store.save()

    @property
    def clock_trouble(self) -> str:
        """What is wrong with this computer's clock, by Apple's last answer, in a sentence; empty if nothing."""
        return clock.sentence(self._transport.clock_off or 0)

    def _or_the_clock(self, error: IcloudfsError) -> IcloudfsError:
        """``error``, unless this computer's clock is wrong: by that a session ends when it begins, and no
        sign-in helps."""
        if not self.clock_trouble:
            return error
        return WrongClock(f"{self.clock_trouble} That may be why: {error}")

    @property
    def person_needed(self) -> IcloudfsError | None:
        """Why nothing goes on until somebody signs in, if that is so as far as is known."""
        return self._person_needed

    def try_again_now(self) -> None:
        """A person is at hand and wants it: what Apple asked to wait for is asked for at once."""
        self._not_before = -float("inf")

    # -- the session, with nobody at hand ------------------------------------------------------

    async def ensure_session(self) -> None:
        """Have a session that Apple accepts. Costs nothing within ten minutes of the last check.

        Raises LoginNeeded, AccountLocked, NotSupported, WrongRegion, Throttled, Offline,
        ProtocolError.
        """
        self._notice_other_process()
        session, seen = self.store.session, self._renewals
        if account.was_validated_lately(session):
            return
        if session.is_usable and self._person_needed is None:
            try:
                await account.validate(self._transport, session)
            except SessionRefused:
                log.info("the session has expired")
            else:
                self._save_quietly()
                return
        await self._renew(seen)

    async def approve(self, *, patience: float = account.CONSENT_PATIENCE) -> bool:
        """Have a device approve access to photos under Advanced Data Protection, waiting up to
        ``patience`` seconds for the person; False if this account needs none.

        Raises ConsentNeeded when nobody approved, and what ``ensure_session`` raises.
        """
        await self.ensure_session()
        try:
            needed = await account.obtain_consent(
                self._transport, self.store.session, patience=patience
            )
        except SessionRefused:
            raise LoginNeeded("The session expired while a device was to approve.") from None
        self._save_quietly()
        return needed

    def _notice_other_process(self) -> None:
        """Take over a session that was renewed elsewhere, such as by ``icloudfs login``."""
        if self.store.changed():
            self.store.reload()
            self._start_over()

    def _start_over(self) -> None:
        log.info("another process has renewed the session")
        self._renewals += 1
        self._person_needed = None
        self._not_before = self._answered_at = -float("inf")

    async def _renew(self, seen: int, *, thoroughly: bool = False) -> None:
        """Join the renewal under way, or start one, unless one ended since ``seen``.

        It runs in a task of its own, so that a caller who loses patience interrupts nothing.
        ``thoroughly``: ``accountLogin`` has not helped, go straight to the password.
        """
        self._notice_other_process()
        if self._renewals != seen:
            return
        if self._renewal is None:
            self._refuse_storm()
            self._renewal = _Flight()
            self._start(self._fly_renewal, self._renewal, thoroughly)
        await _outcome(self._renewal)

    def _refuse_storm(self) -> None:
        if self._person_needed is not None and not self._may_look_again():
            raise _again(self._person_needed)
        wait = self._not_before - trio.current_time()
        if wait > 0:
            if isinstance(self._held_off, WrongClock):
                raise _again(self._held_off)
            raise Throttled("The session could not be renewed a moment ago.", retry_after=wait)

    def _may_look_again(self) -> bool:
        return trio.current_time() >= self._looked_at + SECOND_LOOK

    async def _fly_renewal(self, flight: _Flight, thoroughly: bool) -> None:
        try:
            with trio.fail_after(RENEWAL_TIMEOUT):
                async with self.store.renewing():
                    await self._renew_alone(thoroughly)
            flight.error = self._person_needed = None
            self._renewals += 1
        except (LoginNeeded, AccountLocked, NoPhotos, NotSupported, WrongRegion) as error:
            log.warning("%s", error)
            flight.error = self._person_needed = error
            self._looked_at = trio.current_time()
        except WrongClock as error:
            log.warning("%s", error)
            flight.error = self._hold_off(error)
        except trio.TooSlowError:
            flight.error = self._hold_off(Throttled("Apple did not renew the session in time."))
        except Offline as error:
            flight.error = error
        except IcloudfsError as error:
            flight.error = self._hold_off(error)
        except Exception as error:
            log.exception("the session could not be renewed")
            flight.error = self._hold_off(ProtocolError(_unforeseen(error)))
        finally:
            self._renewal = None
            flight.landed.set()

    def _hold_off(self, error: IcloudfsError) -> IcloudfsError:
        """Renew nothing for as long as Apple asked for, or a minute. Readers wait for it, so not for long."""
        asked = error.retry_after if isinstance(error, Throttled) else None
        pause = min(asked or retry.LONGEST_PAUSE, LONGEST_HOLD)
        self._not_before = trio.current_time() + pause
        self._held_off = error
        return error

    async def _renew_alone(self, thoroughly: bool) -> None:
        try:
            await self._renew_as_need_be(thoroughly)
        except LoginNeeded as error:
            raise self._or_the_clock(error) from None

    async def _renew_as_need_be(self, thoroughly: bool) -> None:
        """Under the lock that all processes share, with which only one of them renews."""
        if self.store.changed():
            self.store.reload()
            return
        if not thoroughly and await self._open_anew():
            return
        if self._person_needed is not None:
            raise _again(self._person_needed)  # a second look: the password has been tried
        await self._sign_in_again()

    async def _open_anew(self) -> bool:
        """By the tokens: those that we have, then on new connections those on disk, which another process may
        use with success at this moment (facts/sign-in.md §6.3)."""
        for attempt in (self.store.session.copy(), self.store.on_disk()):
            if attempt is None or not attempt.session_token:
                continue
            try:
                await account.account_login(self._transport, attempt)
            except SessionRefused as error:
                log.info("Apple does not renew the session by its tokens: %s", error)
                await self._transport.drop_pool(self._transport.pool_number)
            else:
                self._keep(attempt)
                return True
        return False

    async def _sign_in_again(self) -> None:
        """With the kept password and the trust token; a code would need a person."""
        password = await self._kept_password()
        if not password:
            raise LoginNeeded(
                "The session has expired."
                if self.store.session.session_token
                else "Nobody is signed in."
            )
        self._count_sign_in()
        draft = self.store.session.newest_trust.begin_anew()
        try:
            wants_code = await signin.authenticate(self._transport, draft, self.apple_id, password)
        except WrongPassword:
            raise LoginNeeded("Apple no longer accepts the kept password.") from None
        if wants_code and not draft.trust_token:
            raise _code_needed()
        try:
            # Although a code is asked for: the trust that we hold may do (facts/sign-in.md §6.3).
            await self._open(draft)
        except SessionRefused as error:
            if wants_code or isinstance(error, CodeWanted):
                raise _code_needed() from None
            raise LoginNeeded("Apple did not open the account after a sign-in.") from None
        pending = self.store.session.pending
        draft.pending = pending if pending is not None and pending.code_requested_at else None
        self._keep(draft)

    async def _kept_password(self) -> str | None:
        if self._password is None:
            return None
        try:
            return await self._password()
        except Exception as error:
            # A keyring can fail in many ways, and all mean that there is no password now.
            log.warning("the kept password cannot be had (%s)", type(error).__name__)
            return None

    def _count_sign_in(self) -> None:
        now = trio.current_time()
        while self._sign_ins and self._sign_ins[0] <= now - SIGN_IN_WINDOW:
            self._sign_ins.popleft()
        if len(self._sign_ins) >= SIGN_INS_IN_WINDOW:
            wait = self._sign_ins[0] + SIGN_IN_WINDOW - now
            raise Throttled("Signing in again and again does not help.", retry_after=wait)
        self._sign_ins.append(now)

    # -- before it runs out --------------------------------------------------------------------

    async def stay_signed_in(self) -> None:
        """Make young again what is past half of its life (``renewal``). Costs nothing while nothing is.

        Raises nothing of Apple's: what cannot be renewed works until it runs out, and is tried again later.
        """
        self._notice_other_process()
        if renewal.due(self.store.session, now_ms()) is None or self._person_needed is not None:
            return
        if self._refreshing is None:
            self._refreshing = _Flight()
            self._start(self._fly_refreshing, self._refreshing)
        await self._refreshing.landed.wait()

    async def _fly_refreshing(self, flight: _Flight) -> None:
        try:
            with trio.move_on_after(RENEWAL_TIMEOUT):
                async with self.store.renewing():
                    self._notice_other_process()
                    await self._refresh()
        except IcloudfsError as error:
            log.info("nothing was renewed: %s", error)
        except Exception:
            log.exception("the session could not be renewed")
        finally:
            self._refreshing = None
            flight.landed.set()

    async def _refresh(self) -> None:
        """Under the lock that all processes share."""
        what = renewal.due(self.store.session, now_ms())
        if what is None:
            return
        # On disk before anything is tried: whoever is killed in the middle again and again tries once an hour.
        self.store.session.no_renewal_before = now_ms() + renewal.HOUR
        if not self._saved():
            return
        if what == "trust":
            await self._renew_trust()
        else:
            await self._renew_session()

    async def _renew_session(self) -> None:
        held = self.store.session
        fresh = await renewal.of_session(self._transport, held)
        if fresh is None:
            fresh = await self._by_sign_in()
        if fresh is not None:
            fresh.no_renewal_before = 0
            self._keep_renewed(fresh)

    async def _renew_trust(self) -> None:
        held = self.store.session
        how: TrustRenewal = "live"
        fresh = await renewal.on_live_session(self._transport, held)
        if fresh is None:
            how = "sign-in"
            fresh = await self._by_sign_in()
        if fresh is not None and renewal.lasts_longer(fresh, held):
            fresh.trust_renewal, fresh.renewal_refusals, fresh.no_renewal_before = how, 0, 0
            log.info("Apple trusts this computer anew", extra={"event": "trust.renewed"})
        else:
            fresh = fresh or await renewal.of_session(self._transport, held) or held.copy()
            await self._note_refusal(fresh)
        self._keep_renewed(fresh)

    async def _note_refusal(self, session: Session) -> None:
        kept = await self._kept_password()
        session.trust_renewal = "refused" if kept else "no-password"
        session.renewal_refusals += 1
        session.no_renewal_before = now_ms() + renewal.pause(session.renewal_refusals)
        log.warning(
            "Apple does not renew its trust in this computer: a code will be needed in %s",
            duration((session.trusted_until - now_ms()) / 1000),
            extra={"event": "trust.ends"},
        )

    async def _by_sign_in(self) -> Session | None:
        """Once a day, if a password is kept."""
        held, password = self.store.session, await self._kept_password()
        if not password or not renewal.may_sign_in(held, now_ms()):
            return None
        held.signed_in_alone_at = now_ms()
        if not self._saved():
            return None
        return await renewal.by_sign_in(self._transport, held, self.apple_id, password)

    def _keep_renewed(self, fresh: Session) -> None:
        """Unless another process has written meanwhile: that was a person, or a renewal as good as ours."""
        held = self.store.session
        fresh.pending = held.pending
        fresh.pcs_required, fresh.pcs_granted_at = held.pcs_required, held.pcs_granted_at
        fresh.pcs_ends_at, fresh.pcs_not_before = held.pcs_ends_at, held.pcs_not_before
        fresh.cookies.add_missing(held.cookies)
        if self.store.replace_if_current(fresh):
            self._renewals += 1
        else:
            self._start_over()

    def _saved(self) -> bool:
        """Whether what is held is on disk; False if another process has written, whose session is held now."""
        if self.store.save_if_current():
            return True
        self._start_over()
        return False

    # -- database calls ------------------------------------------------------------------------

    async def database_call(self, area: Area, path: str, body: Mapping[str, Any]) -> bytes:
        """POST ``body`` to ``path`` of an area's database; the body of a good answer.

        Renews the session and waits where Apple asks for it, within ``patience`` and the caller's
        own deadline. Raises as ``cloudkit.Photos`` says.
        """
        encoded = msgspec.json.encode(body)

        async def attempt() -> bytes:
            return await self._accepted(area, path, encoded)

        answer = await retry.with_patience(attempt, patience=self.patience)
        self._person_needed, self._accepted_in = None, self._renewals
        if not self._answered:
            self._answered_at = -float("inf")
        self._save_now_and_then()
        return answer

    async def _accepted(self, area: Area, path: str, body: bytes) -> bytes:
        """Send until the session is accepted: with what we have, then after each remedy once."""
        if not self.store.session.is_usable:
            await self.ensure_session()
        remedies = _Remedies()
        while True:
            seen, pool = self._renewals, self._transport.pool_number
            answer = await self._send(area, path, body)
            try:
                _judge(answer, area)
            except _Misdirected as error:
                if remedies.new_connections():
                    await self._transport.drop_pool(pool)
                elif not await self._cured_alone(remedies, seen, answer, error):
                    await self._remedy(remedies, seen, error)
            except (SessionRefused, _ConsentRefused) as error:
                if await self._cured_alone(remedies, seen, answer, error):
                    continue
                if isinstance(error, _ConsentRefused) or (
                    isinstance(error, _Forbidden) and not remedies.renewal_for_403()
                ):
                    await self._satisfy(remedies, str(error))
                else:
                    await self._remedy(remedies, seen, error)
            except CloudKitError as error:
                if error.code or error.status != 400 or not remedies.patience_with_400():
                    raise
                await trio.sleep(_UNEXPLAINED_PAUSE)
            else:
                return answer.body

    async def _cured_alone(
        self, remedies: _Remedies, seen: int, answer: Answer, error: Exception
    ) -> bool:
        """Where it is this call that is refused and not the session: one renewal for all such calls.

        True once it is over, False if it is the session. Raises CloudKitError if nothing is left to try.
        """
        self._notice_other_process()
        had_worked = self._accepted_in == self._renewals or isinstance(error, _ConsentRefused)
        its_own = self._renewals == seen and (had_worked or remedies.renewed)
        its_own = its_own and await self.answers()
        if self._renewals != seen and remedies.others():
            # Someone renewed it while we were asking: that costs this call no remedy of its own.
            return True
        if not its_own:
            return False
        self._person_needed, self._accepted_in = None, self._renewals
        now = trio.current_time()
        may_renew = now >= self._next_for_one_call or self._renewal is not None
        if may_renew:
            self._next_for_one_call = now + _ONE_CALLS_RENEWALS
        if may_renew and not remedies.renewed:
            remedies.renewed = True
            with suppress(IcloudfsError):
                await self._renew(seen)
            return True
        code, reason, _ = _server_error(answer)
        raise CloudKitError(code, reason, status=answer.status)

    async def answers(self) -> bool:
        """Whether iCloud accepts a call that is known to work; as it was found a moment ago, if it was.

        Never renews anything, and never waits where Apple asks to.
        """
        async with self._asking:
            hold = _ANSWERS_HOLD if self._person_needed is None else _PERSON_HOLDS
            if trio.current_time() >= self._answered_at + hold:
                with trio.move_on_after(_PROBE_TIMEOUT):
                    self._answered = False
                    self._answered = await self._probe()
                self._answered_at = trio.current_time()
            return self._answered

    async def _probe(self) -> bool:
        for path in _KNOWN_TO_WORK:
            try:
                answer = await self._send("private", path, b"{}")
                _judge(answer, "private")
                decode.read_zones(answer.body)
            except (SessionRefused, _ConsentRefused, retry.TryLater, IcloudfsError) as error:
                log.info("%s is not answered either: %s", path, error)
            else:
                return True
        return False

    async def _send(self, area: Area, path: str, body: bytes) -> Answer:
        session = self.store.session
        query = httpx.QueryParams(
            {
                "clientBuildNumber": wire.CLIENT_BUILD_NUMBER,
                "clientMasteringNumber": wire.CLIENT_MASTERING_NUMBER,
                "clientId": session.client_id,
                "dsid": session.dsid,
                "remapEnums": "true",
                "getCurrentSyncToken": "true",
            }
        )
        base = self.endpoints.checked(session.database)
        home = self.endpoints.home
        return await self._transport.request(
            path,
            "POST",
            f"{base}{wire.DATABASE_PATH}/{area}/{path}?{query}",
            session,
            headers={
                "Accept": "application/json",
                "Content-Type": "text/plain",
                "Origin": home,
                "Referer": f"{home}/",
            },
            body=body,
        )

    async def _remedy(self, remedies: _Remedies, seen: int, error: SessionRefused) -> None:
        log.info("CloudKit does not accept the session: %s", error)
        match remedies.next_renewal():
            case "tokens":
                await self._renew(seen)
            case "password":
                await self._renew(seen, thoroughly=True)
            case _:
                raise self._nothing_helps(error)

    def _nothing_helps(self, error: SessionRefused) -> IcloudfsError:
        """The session is as new as it can be, and CloudKit does not take it."""
        needed = self._or_the_clock(LoginNeeded(f"CloudKit does not accept the session: {error}."))
        if isinstance(needed, LoginNeeded):
            self._person_needed, self._looked_at = needed, trio.current_time()
        else:
            self._hold_off(needed)
        return _again(needed)

    async def _satisfy(self, remedies: _Remedies, reason: str) -> None:
        """Have a device approve; one request to the devices for all callers."""
        if not remedies.consent():
            raise ConsentNeeded("iCloud keeps the photos locked although a device has approved.")
        if self._consent is None:
            wait = self._no_consent_before - trio.current_time()
            if wait > 0:
                raise ConsentNeeded("A device must approve access to your photos first.")
            self._consent = _Flight()
            self._start(self._fly_consent, self._consent, reason)
        await _outcome(self._consent)

    async def _fly_consent(self, flight: _Flight, reason: str) -> None:
        try:
            if not await account.obtain_consent(
                self._transport, self.store.session, asked=self.on_approval_wanted
            ):
                # The same words are used to turn away callers who come too often.
                raise Throttled(f"CloudKit refuses access for now: {reason}.")
            flight.error = None
            self._save_quietly()
        except SessionRefused:
            flight.error = LoginNeeded("The session expired while a device was to approve.")
        except IcloudfsError as error:
            if isinstance(error, account.NoPrompt):
                self._save_quietly()  # for the next process, too
            if isinstance(error, ConsentNeeded):
                self._no_consent_before = trio.current_time() + CONSENT_PAUSE
            flight.error = error
        except Exception as error:
            log.exception("the approval could not be had")
            flight.error = ProtocolError(_unforeseen(error))
        finally:
            self._consent = None
            flight.landed.set()

    # -- contents ------------------------------------------------------------------------------

    @asynccontextmanager
    async def download(
        self,
        url: str,
        start: int = 0,
        stop: int | None = None,
        *,
        size: int | None = None,
        idle_timeout: float = content.IDLE_TIMEOUT,
    ) -> AsyncIterator[Content]:
        """``content.download``, waiting where Apple asks to before the first byte came.

        Raises as it does, and Throttled in the place of TryLater.
        """
        async with AsyncExitStack() as stack:

            async def attempt() -> Content:
                return await stack.enter_async_context(
                    content.download(
                        self._transport,
                        self.store.session,
                        url,
                        start,
                        stop,
                        size=size,
                        idle_timeout=idle_timeout,
                    )
                )

            yield await retry.with_patience(attempt, patience=self.patience)

    async def size_of(self, url: str) -> int | None:
        """Bytes of the content behind a download URL, by a request for its first byte; None if the server
        does not say. Raises as ``download``."""
        async with self.download(url, 0, 1) as found:
            return found.total

    # -- the rest ------------------------------------------------------------------------------

    def _start(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        if self._nursery is None:
            raise RuntimeError("ICloud must be entered with 'async with' first")
        self._nursery.start_soon(aside, task, *arguments)

    def _save_now_and_then(self) -> None:
        if trio.current_time() - self._saved_at >= _COOKIE_SAVES:
            self._saved_at = trio.current_time()
            self._save_quietly()

    def _save_quietly(self) -> None:
        """Keep what changed by itself: database answers re-issue cookies, and a restart should
        not cost a renewal. A disk that is full must not fail the call that brought them."""
        try:
            self._saved()
        except ConfigError as error:
            log.warning("%s", error)


class _Remedies:
    """What one call may still try; each is used up once, so that no call can go on for ever."""

    def __init__(self) -> None:
        self._connections = 1
        self._renewals = deque(["tokens", "password"])
        self._others = 2
        self._forbidden = 1
        self.renewed = False
        """Whether a renewal has been tried, for this call or by others meanwhile."""
        self._consents = 1
        self._repetitions = 1

    def new_connections(self) -> bool:
        self._connections -= 1
        return self._connections >= 0

    def others(self) -> bool:
        self.renewed = True
        self._others -= 1
        return self._others >= 0

    def renewal_for_403(self) -> bool:
        self._forbidden -= 1
        return self._forbidden >= 0

    def next_renewal(self) -> str:
        self.renewed = True
        return self._renewals.popleft() if self._renewals else ""

    def consent(self) -> bool:
        self._consents -= 1
        return self._consents >= 0

    def patience_with_400(self) -> bool:
        self._repetitions -= 1
        return self._repetitions >= 0


async def _outcome(flight: _Flight) -> None:
    await flight.landed.wait()
    if flight.error is not None:
        raise _again(flight.error)


def _again(error: IcloudfsError) -> IcloudfsError:
    """A fresh exception of the same kind: one object must not be raised in several tasks."""
    return copy.copy(error)


def _code_needed() -> LoginNeeded:
    return LoginNeeded(
        "Apple wants a new verification code for this computer: its trust has run out, or was got at another"
        " internet address, where alone it holds."
    )


def _unforeseen(error: Exception) -> str:
    return f"Something unforeseen happened while signing in ({type(error).__name__})."


# -- what an answer of the database means ----------------------------------------------------------

_ERROR_WITHIN = 4096  # bytes: an error's body is short, and a page is not worth searching


def _judge(answer: Answer, area: Area) -> None:
    """Nothing for a good answer, else the exception that says what to do (facts/sign-in.md §1.9,
    facts/cloudkit.md §1.10)."""
    status = answer.status
    if status == 200 and b"serverErrorCode" not in answer.body[:_ERROR_WITHIN]:
        return
    code, reason, wait = _server_error(answer)
    if status == 200 and not code:
        return
    wait = retry.retry_after(answer.headers) if wait is None else wait
    if status == 421:
        raise _Misdirected("HTTP 421")
    if area == "shared" and (status == 403 or code in ("AUTHENTICATION_FAILED", "ACCESS_DENIED")):
        # An account may have no shared area; nothing that we could do would change that.
        raise CloudKitError(code, reason, status=status)
    if status in (401, 450) or code == "AUTHENTICATION_FAILED":
        _refuse_security_key(reason)
        raise SessionRefused(f"HTTP {status} {code}".rstrip())
    if code in wire.RETRYABLE_CODES or status == 429 or status >= 500:
        raise busy(f"iCloud is busy ({code or f'HTTP {status}'}).", wait)
    if status == 423 or code == "ACCESS_DENIED" or "private db access disabled" in reason:
        raise _ConsentRefused(reason or f"HTTP {status}")
    if status == 403:
        raise _Forbidden(reason or "HTTP 403")
    if code == "ZONE_NOT_FOUND":
        raise ZoneGone(code, reason, status=status)
    raise CloudKitError(code, reason, status=status)


def _server_error(answer: Answer) -> tuple[str, str, float | None]:
    """``serverErrorCode``, ``reason`` and ``retryAfter`` (seconds) at the top of the body."""
    found = answer.json()
    code, reason, wait = (found.get(key) for key in ("serverErrorCode", "reason", "retryAfter"))
    told = decode.short(code), decode.short(reason or found.get("error"))
    return *told, retry.asked_pause(wait)


def _refuse_security_key(reason: str) -> None:
    if "no auth method found" in reason.lower():
        raise NotSupported(
            "This account asks for a security key, which icloudfs cannot use.",
            hint="Codes from a device work only without security keys: they can be removed at "
            "https://account.apple.com under Sign-In and Security.",
        )
