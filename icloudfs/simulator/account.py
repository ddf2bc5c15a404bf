"""The account, and everything that proves one is signed in to it."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Literal

from icloudfs.simulator import srp
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.faults import Switches

_DAY = 86_400.0


@dataclass(frozen=True)
class TrustedPhone:
    """A phone number that codes can be sent to."""

    id: int
    number: str
    """With the dial code; nearly all digits are bullets, as Apple shows them."""
    last_two: str
    non_fteu: bool = True
    """``nonFTEU``, which requests about this number have to repeat (facts/sign-in.md §6.5)."""


EscrowHeader = Literal["X-Apple-EDP", "X-Apple-PDP"]


TrustRenewal = Literal["live", "sign-in", "never", "worthless", "unchanged"]
"""Trust is made young on a live session; only right after a sign-in; not at all; by a token that accountLogin
then refuses; by one that ends when the old one does."""


@dataclass(frozen=True)
class Account:
    """An Apple account. Lifetimes are in seconds."""

    apple_id: str = "alice@example.com"
    password: str = field(default="correct horse battery", repr=False)
    code: str = field(default="123456", repr=False)
    """The code that devices and text messages show."""
    region: Literal["global", "china"] = "global"
    two_factor: Literal["hsa2", "none"] = "hsa2"
    protocol: Literal["s2k", "s2k_fo"] = "s2k"
    iteration: int = 20064
    escrow: EscrowHeader | None = None
    """Wants the password proved a second time, and says so with this header (§6.1)."""
    code_accepted_with: Literal[204, 409, 412] = 204
    """The status that a right code is answered with; beside 204 comes ``valid: true`` (§6.2)."""
    elsewhere: Literal[200, 302] | None = None
    """accountLogin names the other region's domain, with this status, whatever was asked."""
    repair_needed: bool = False
    """Has something to do on icloud.com first: a cookie that repairs, and none that opens (§6.2)."""
    database_status: str = "active"
    """``webservices.ckdatabasews.status``."""
    stronger_password_wanted: bool = False
    """signin/complete answers 412 although there are two factors (§6.2)."""
    advanced_data_protection: bool = False
    approval_asks: int = 1
    """With Advanced Data Protection: so many requests until the device approves."""
    late_keys: int = 0
    """With Advanced Data Protection: so many requests for keys come before the device has sent them."""
    phones: tuple[TrustedPhone, ...] = (
        TrustedPhone(1, "+1 (•••) •••-••42", "42"),
        TrustedPhone(2, "+49 ••• •••••17", "17"),
    )
    dsid: str = "1000000042"
    country: str = "USA"
    trust_lifetime: float = 30 * _DAY
    photos: bool = True
    """False: iCloud Photos was never switched on, and there is no library."""
    trust_renewal: TrustRenewal = "live"
    """What ``2sv/trust`` gives without a code (facts/sign-in.md §6.3)."""
    web_token_lifetime: float = 14 * _DAY
    pcs_lifetime: float = 3600.0
    url_lifetime: float = 900.0


@dataclass
class SignIn:
    """One attempt to sign in, known by its ``X-Apple-ID-Session-Id``."""

    id: str
    scnt: str = ""
    older_scnts: set[str] = field(default_factory=set)
    auth_attributes: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    password_given: bool = False
    complete: bool = False
    """The second factor was given too, or none is needed."""
    escrow_open: bool = False
    """The second factor was given, and the password has to be proved once more."""
    proof: Literal["", "trust", "code"] = ""
    """What stood for the second factor, until ``2sv/trust`` has been called once."""
    pushed: bool = False
    texted: dict[int, str] = field(default_factory=dict)
    """The phones that a code was sent to, and how: ``sms`` or ``voice``."""


@dataclass
class Pending:
    """A sign-in between init and complete, known by its ``c``."""

    sign_in: SignIn
    exchange: srp.Exchange
    a_public: bytes
    known: bool = True
    """Whether the account exists; if not, no proof will do."""


class Registry:
    """Tokens by kind, each with the moment it expires."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, dict[str, float]] = {}

    def mint(self, kind: str, lifetime: float) -> str:
        """A new token, valid for ``lifetime`` seconds."""
        return self.mint_until(kind, self._clock.wall() + lifetime)

    def mint_until(self, kind: str, until: float) -> str:
        """A new token, valid until then, in seconds since the epoch."""
        token = secrets.token_urlsafe(60) + "=" + "~" + secrets.token_urlsafe(4)
        self._until.setdefault(kind, {})[token] = until
        return token

    def valid(self, kind: str, token: str | None) -> bool:
        return bool(token) and self.until(kind, token) > self._clock.wall()

    def until(self, kind: str, token: str | None) -> float:
        """When it ends, in seconds since the epoch; 0 for one that is not known."""
        return self._until.get(kind, {}).get(token or "", 0)

    def latest(self, kind: str) -> float:
        """When the last one of a kind ends, in seconds since the epoch; 0 if there is none."""
        return max(self._until.get(kind, {}).values(), default=0)

    def forget(self, kind: str, token: str) -> None:
        self._until.get(kind, {}).pop(token, None)

    def expire(self, kind: str) -> int:
        """Make every token of a kind worthless; how many there were."""
        return len(self._until.pop(kind, {}))


TOKEN_KINDS = ("web-token", "trust", "session-token", "trusted-session-token", "pcs", "web-login")


class Doorkeeper:
    """Who is signed in: sign-ins under way, and the tokens handed out."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self.account = account
        self.tokens = Registry(clock)
        self.pending: dict[str, Pending] = {}
        self.terms_accepted = False
        self.address = "home"
        """Where the clients are on the internet: a trust token is good only where it was got (§6.3)."""
        self._got_at: dict[str, str] = {}
        self._sign_ins: dict[str, SignIn] = {}
        self._salt = _salt(account, zero=False)
        self._zero_salt = _salt(account, zero=True)
        self._verifiers: dict[bytes, int] = {}
        self._clock = clock
        self.consented_until = 0.0
        """When a device's approval ends, in seconds since the epoch."""
        self.consent_asks = 0
        self.key_asks = 0
        self.user_actions = 0
        """Requests for keys that claim to come from something that the person did."""

    @property
    def consented(self) -> bool:
        """Whether a device has approved access with Advanced Data Protection."""
        return self._clock.wall() < self.consented_until

    def consent(self) -> None:
        """A device approves, for about an hour (§1.8)."""
        self.consented_until = self._clock.wall() + self.account.pcs_lifetime
        self.consent_asks = self.key_asks = 0

    def mint_trust(self, until: float) -> str:
        """A trust token for the address where the clients are; ``until`` is in seconds since the epoch."""
        token = self.tokens.mint_until("trust", until)
        self._got_at[token] = self.address
        return token

    def trusts(self, token: str | None) -> bool:
        """From another address it is refused as one that has expired."""
        return self.tokens.valid("trust", token) and self._got_at.get(token or "") == self.address

    def salt(self, switches: Switches) -> bytes:
        """The account's salt: the same for ever, as Apple's is."""
        return self._zero_salt if switches.salt_begins_with_zero else self._salt

    def verifier(self, salt: bytes) -> int:
        """v for a salt; the key derivation is slow on purpose, so it is done once."""
        if salt not in self._verifiers:
            account = self.account
            key = srp.derived_key(account.password, salt, account.iteration, account.protocol)
            self._verifiers[salt] = srp.verifier(key, salt)
        return self._verifiers[salt]

    def sign_in(self, session_id: str | None) -> SignIn | None:
        """The sign-in of that id; a new one without an id; None if the id is not known."""
        if session_id:
            return self._sign_ins.get(session_id)
        made = SignIn(secrets.token_hex(32).upper())
        self._sign_ins[made.id] = made
        return made

    def expire(self, what: str) -> int:
        """End sessions of a kind: one of TOKEN_KINDS, ``sign-ins`` or ``all``. Raises ValueError."""
        if what == "all":
            return self.expire("sign-ins") + sum(self.tokens.expire(k) for k in TOKEN_KINDS)
        if what == "sign-ins":
            count = len(self._sign_ins)
            self._sign_ins.clear()
            return count
        if what not in TOKEN_KINDS:
            raise ValueError(f"no such kind of session: {what}")
        if what == "pcs":
            self.consent_asks = 0
            self.consented_until = 0.0
        return self.tokens.expire(what)


def _salt(account: Account, *, zero: bool) -> bytes:
    raw = hashlib.sha256(b"salt" + account.apple_id.lower().encode()).digest()[:16]
    first = b"\0" if zero else bytes([raw[0] | 1])
    return first + raw[1:]
