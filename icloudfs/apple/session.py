"""The session: what Apple has given us to be recognised by, and the file that keeps it.

``{cookie_directory}/{stem(apple_id)}.session`` is JSON, readable by its owner alone, and replaced
atomically, so that it is whole at every instant. Several processes use it: the daemon renews it, the
command line signs in. Each notices that another has written (``SessionStore.changed``), and a routine
save never overwrites a newer sign-in. Source of the fields: facts/sign-in.md §1.2 and §1.7.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import trio

from icloudfs.apple import wire
from icloudfs.apple.cookies import Cookies, StoredCookie
from icloudfs.errors import ConfigError

log = logging.getLogger(__name__)

_OWNER_ONLY = 0o600
_TRUST = 30 * 86_400_000
"""Milliseconds that Apple trusts a computer for, about (facts/sign-in.md §1.6)."""
_CONSENT = 3_600_000
"""Milliseconds that a device's approval holds, about (facts/sign-in.md §1.8)."""
_RENEWAL_POLL = 0.05  # seconds between two looks at another process's renewal lock


TrustRenewal = Literal["untried", "live", "sign-in", "refused", "no-password"]
"""Whether Apple makes the trust in this computer young again (facts/sign-in.md §6.3): not tried yet; on a live
session; after a sign-in with the kept password; not at all; only a sign-in could, and no password is kept."""


def new_client_id() -> str:
    """A fresh ``auth-<uuid>``: how Apple recognises this installation (§1.2)."""
    return f"auth-{uuid.uuid4()}"


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class _File(msgspec.Struct):
    """The file's own form. Unknown keys are ignored, missing ones have the values here."""

    client_id: str
    account_country: str = ""
    session_id: str = ""
    session_token: str = ""
    trust_token: str = ""
    trusted_at: int = 0
    scnt: str = ""
    auth_attributes: str = ""
    dsid: str = ""
    database: str = ""
    region: str = ""
    validated_at: int = 0
    opened_at: int = 0
    trust_renewal: TrustRenewal = "untried"
    renewal_refusals: int = 0
    no_renewal_before: int = 0
    signed_in_alone_at: int = 0
    clock_off: int = 0
    code_requested_at: int = 0
    code_phone: int = 0
    code_non_fteu: bool | None = None
    code_by_call: bool = False
    code_accepted: bool = False
    escrow_owed: bool = False
    pcs_required: bool = False
    pcs_granted_at: int = 0
    pcs_ends_at: int = 0
    pcs_not_before: int = 0
    cookies: list[StoredCookie] = []
    pending: _File | None = None


@dataclass
class Session:
    """Everything that Apple recognises us by. No value of it appears in its ``repr``."""

    client_id: str = field(default_factory=new_client_id)
    account_country: str = ""
    """Three letters, e.g. ``USA``."""
    session_id: str = ""
    session_token: str = ""
    trust_token: str = ""
    """Spares the second factor for about 30 days (§1.6)."""
    trusted_at: int = 0
    """When the trust token came, ms since the epoch."""
    scnt: str = ""
    auth_attributes: str = ""
    dsid: str = ""
    database: str = ""
    """Base address of the account's database, ``webservices.ckdatabasews.url``."""
    region: str = ""
    validated_at: int = 0
    """When Apple last confirmed the session, ms since the epoch."""
    opened_at: int = 0
    """When ``accountLogin`` last opened the account, ms since the epoch."""
    trust_renewal: TrustRenewal = "untried"
    """How the trust was last made young again, or why it was not."""
    renewal_refusals: int = 0
    """How often in a row it was not."""
    no_renewal_before: int = 0
    """Until when nothing is renewed early, ms since the epoch."""
    signed_in_alone_at: int = 0
    """When the kept password was last used to stay trusted, ms since the epoch."""
    clock_off: int = 0
    """Seconds that this computer's clock was ahead of Apple's at the last contact, if that is a matter
    (``clock.LIMIT``), else 0; ``clock.UNKNOWN`` to either side if only a certificate told."""
    pending: Session | None = None
    """A sign-in that waits for its code, or whose code was good and whose account stays closed: then its trust
    is what is kept. What is held beside it goes on working until then."""
    code_requested_at: int = 0
    """When a sign-in was begun that still waits for its code, ms since the epoch; 0 if none."""
    code_phone: int = 0
    """The phone that this code was sent to; 0 for the trusted devices."""
    code_non_fteu: bool | None = None
    """The ``nonFTEU`` of that phone, to be repeated with the code (§6.5)."""
    code_by_call: bool = False
    """The code was spoken to that phone, not written."""
    code_accepted: bool = False
    """The code was right; what is missing is the password once more, or Apple's trust."""
    escrow_owed: bool = False
    """The sign-in that waits for its code wants the password once more as well (§6.1)."""
    pcs_required: bool = False
    """``webservices.ckdatabasews.pcsRequired``; true for ordinary accounts too (§1.8)."""
    pcs_granted_at: int = 0
    """When a device last approved access with Advanced Data Protection, ms since the epoch."""
    pcs_ends_at: int = 0
    """When that approval ends, ms since the epoch; 0 if Apple did not say (§6.2)."""
    pcs_not_before: int = 0
    """Devices cannot be asked to approve until then, ms since the epoch: Apple said so (§6.2)."""
    cookies: Cookies = field(default_factory=Cookies)

    def __repr__(self) -> str:
        held = [
            name
            for name in ("session_token", "trust_token", "scnt", "database")
            if getattr(self, name)
        ]
        return f"Session(holds {', '.join(held) or 'nothing'}; {self.cookies!r})"

    @property
    def is_usable(self) -> bool:
        """Whether database calls can be tried at all."""
        return bool(self.database and self.dsid)

    @property
    def trusted_until(self) -> int:
        """When a sign-in needs a code again, ms since the epoch; 0 if it does already.

        Apple's cookie says it (§6.3); without one it is about 30 days.
        """
        if not self.trusted_at:
            return 0
        return self.cookies.expires(wire.TRUST_COOKIE) or self.trusted_at + _TRUST

    @property
    def lasts_until(self) -> int:
        """When the database no longer knows us, ms since the epoch; 0 if that is not known."""
        return self.cookies.expires(wire.WEB_TOKEN)

    @property
    def consented_until(self) -> int:
        """About when a device's approval ends or ended, ms since the epoch; 0 if none was given."""
        return self.pcs_ends_at or (self.pcs_granted_at and self.pcs_granted_at + _CONSENT)

    def forget_code(self) -> None:
        """No sign-in waits for a code any more."""
        self.code_requested_at = self.code_phone = 0
        self.code_non_fteu = None
        self.code_by_call = self.code_accepted = self.escrow_owed = False

    def begin_anew(self) -> Session:
        """A session for a fresh sign-in: the same installation and trust, nothing else.

        The trust token is kept whatever happened: without it every sign-in costs the person a
        code (facts/sign-in.md §1.9, 421).
        """
        return Session(
            client_id=self.client_id,
            account_country=self.account_country,
            trust_token=self.trust_token,
            trusted_at=self.trusted_at,
            region=self.region,
            trust_renewal=self.trust_renewal,
            renewal_refusals=self.renewal_refusals,
            no_renewal_before=self.no_renewal_before,
            signed_in_alone_at=self.signed_in_alone_at,
            clock_off=self.clock_off,
        )

    @property
    def newest_trust(self) -> Session:
        """Whose trust a sign-in should try: this session's, or that of a later sign-in which Apple trusts and
        whose account it did not open."""
        pending = self.pending
        if pending is None or pending.code_requested_at or pending.trusted_at <= self.trusted_at:
            return self
        return pending

    def go_on_after(self, draft: Session) -> None:
        """Take over where the conversation with the sign-in service is, and nothing that it came to."""
        self.session_id, self.scnt = draft.session_id, draft.scnt
        self.auth_attributes = draft.auth_attributes

    def copy(self) -> Session:
        """An independent one with the same content."""
        twin = Session()
        twin.adopt(self)
        return twin

    def adopt(self, other: Session) -> None:
        """Become ``other``, for everyone who holds this session."""
        for name in _PLAIN_FIELDS:
            setattr(self, name, getattr(other, name))
        self.cookies.replace(other.cookies.stored())
        self.pending = other.pending.copy() if other.pending is not None else None

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self._frozen()), indent=1)

    def _frozen(self) -> _File:
        plain = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        pending = self.pending._frozen() if self.pending is not None else None
        return _File(**plain, cookies=list(self.cookies.stored()), pending=pending)

    @classmethod
    def from_json(cls, text: bytes) -> Session:
        """Raises msgspec.DecodeError (or its ValidationError) for anything that is not ours."""
        return cls._thawed(msgspec.json.decode(text, type=_File))

    @classmethod
    def _thawed(cls, whole: _File) -> Session:
        plain = {name: getattr(whole, name) for name in _PLAIN_FIELDS}
        pending = cls._thawed(whole.pending) if whole.pending is not None else None
        return cls(**plain, cookies=Cookies(whole.cookies), pending=pending)


_PLAIN_FIELDS = tuple(
    name for name in _File.__struct_fields__ if name not in ("cookies", "pending")
)


def stem(apple_id: str) -> str:
    """The file name's stem for an Apple ID: itself, in lower case, where that is a safe name.

    Anything else gets a few digits of its hash, so that two Apple IDs never share a file.
    """
    name = apple_id.strip().lower()
    safe = re.sub(r"[^a-z0-9._@+-]", "_", name).lstrip(".-") or "account"
    if safe == name and len(safe) <= 200:
        return safe
    return f"{safe[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


_Stamp = tuple[int, int, int]  # inode, mtime in ns, size: another process's write changes the first


class SessionStore:
    """One account's session file, and the session in it (``.session``, one object for good)."""

    def __init__(self, cookie_directory: Path, apple_id: str) -> None:
        self.path = cookie_directory / f"{stem(apple_id)}.session"
        self.session = Session()
        self._stamp: _Stamp | None = None
        self._saved = b""
        self.reload()

    def __repr__(self) -> str:
        return f"SessionStore({self.path}, {self.session!r})"

    def changed(self) -> bool:
        """Whether another process has written, or removed, the file since we last looked."""
        return self._stamp_now() != self._stamp

    def reload(self) -> None:
        """Take the session from the file. A file that cannot be read counts as none.

        A session without a file is a new installation; but one that we hold keeps its client id
        and trust token when its file is gone.
        """
        self._stamp = self._stamp_now()
        found = self._read()
        self.session.adopt(found or self.session.begin_anew())
        self._saved = self.session.to_json() if found else b""

    def save(self) -> None:
        """Write the session, over whatever is there: for the result of a sign-in.

        Raises ConfigError if the directory cannot be written.
        """
        with self._reporting(), self._write_lock():
            self._write()

    def save_if_current(self) -> bool:
        """Write the session unless another process has; then take theirs, and answer False.

        For what changes by itself, such as re-issued cookies: it must not undo a sign-in. Costs
        nothing when there is nothing new.
        """
        if self.session.to_json() == self._saved and not self.changed():
            return True
        with self._reporting(), self._write_lock():
            if self.changed():
                self.reload()
                return False
            self._write()
            return True

    def replace_if_current(self, fresh: Session) -> bool:
        """Keep ``fresh`` in the place of what is held, unless another process has written; then take
        theirs, and answer False."""
        with self._reporting(), self._write_lock():
            if self.changed():
                self.reload()
                return False
            self.session.adopt(fresh)
            self._write()
            return True

    def on_disk(self) -> Session | None:
        """The session in the file, however much of it is in ``session``; None if there is none."""
        return self._read()

    def forget(self) -> None:
        """Remove the file, for a logout. The session in memory becomes a new installation's."""
        with self._reporting(), self._write_lock():
            self.path.unlink(missing_ok=True)
            self._stamp = None
            self._saved = b""
            self.session.adopt(Session())

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """One renewal at a time among all processes; waits for the other one to end."""
        with self._reporting():
            self._make_directory()
            descriptor = self._open_lock(".renewal")
        try:
            while not _try_lock(descriptor):  # noqa: ASYNC110 (held by another process)
                await trio.sleep(_RENEWAL_POLL)
            yield
        finally:
            os.close(descriptor)

    # -- the file ------------------------------------------------------------------------------

    def _read(self) -> Session | None:
        try:
            text = self.path.read_bytes()
            self._tighten()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the session file %s cannot be read: %s", self.path, error.strerror)
            return None
        try:
            return Session.from_json(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The reason could quote the content; that it is damaged is all there is to know.
            log.warning("the session file %s is damaged and counts as none", self.path)
            return None

    def _tighten(self) -> None:
        mode = self.path.stat().st_mode & 0o777
        if mode & 0o077:
            log.warning("the session file %s was readable by others; now it is not", self.path)
            self.path.chmod(_OWNER_ONLY)

    def _write(self) -> None:
        """Temporary file in the same directory, fsync, rename, fsync of the directory."""
        text = self.session.to_json()
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "xb", opener=_owner_only) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _fsync_directory(self.path.parent)
        self._remove_abandoned()
        self._stamp, self._saved = self._stamp_now(), text

    def _remove_abandoned(self) -> None:
        """Temporary files of writers that were killed. The lock says that none is at work."""
        for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            left.unlink(missing_ok=True)

    def _stamp_now(self) -> _Stamp | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    # -- the locks -----------------------------------------------------------------------------

    @contextmanager
    def _write_lock(self) -> Iterator[None]:
        """Held for the few milliseconds of a write, hence waiting for it may block."""
        self._make_directory()
        descriptor = self._open_lock(".lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, suffix: str) -> int:
        path = self.path.with_name(self.path.name + suffix)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)

    def _make_directory(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"The session cannot be kept in {self.path.parent}: {error.strerror}.",
                hint="Choose another directory with --cookie-directory.",
            ) from error


def _try_lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, _OWNER_ONLY)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
