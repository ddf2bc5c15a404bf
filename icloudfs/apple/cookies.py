"""The session's cookies: the rules of browsers, and a form of our own for the session file.

Apple's cookies have quoted values with ``=`` and ``~`` in them, expiry dates without a blank after the
weekday, and are re-issued by database answers too (facts/sign-in.md §1.7). ``http.cookiejar`` gets all
of that right; an empty value, which Apple means as "delete", is handled here.
"""

from __future__ import annotations

import email.message
import re
import time
import urllib.request
from collections.abc import Iterable, Sequence
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from itertools import islice
from typing import cast
from urllib.parse import urlsplit

import msgspec

from icloudfs.apple.endpoints import is_loopback
from icloudfs.apple.wire import is_sendable

MOST = 100
"""Cookies that are kept; Apple sets about thirty."""
LARGEST = 4096
"""Bytes of one with its attributes, as browsers have it; Apple's have a few hundred."""
LARGEST_TOGETHER = 64 << 10
"""Bytes of all names and values: they go out with every request."""
_AGES = re.compile(r"max-age\s*=\s*\S{16}", re.IGNORECASE)
"""A life that no clock can measure; ``http.cookiejar`` fails of it."""


class StoredCookie(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One cookie as the session file keeps it."""

    name: str
    value: str
    domain: str
    path: str = "/"
    host_only: bool = False
    """Goes back to exactly ``domain``, not to hosts under it."""
    secure: bool = False
    http_only: bool = False
    expires: int | None = None
    """Seconds since the epoch; none means until the session is renewed."""

    def __repr__(self) -> str:
        return f"StoredCookie({self.name}, {self.domain})"


class _Policy(DefaultCookiePolicy):
    """Browsers' rules, with this machine counted as a secure channel, as browsers do."""

    def return_ok_secure(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        if not cookie.secure or request.type == "https":
            return True
        return is_loopback(urlsplit(request.full_url).hostname or "")


class _Headers:
    """As much of an HTTP response as ``CookieJar.extract_cookies`` looks at."""

    def __init__(self, set_cookies: Iterable[str]) -> None:
        self._message = email.message.Message()
        for line in set_cookies:
            self._message["Set-Cookie"] = line

    def info(self) -> email.message.Message:
        return self._message


class Cookies:
    """A jar. Its values appear in no ``repr`` and no log."""

    def __init__(self, stored: Iterable[StoredCookie] = ()) -> None:
        self._jar = CookieJar(_Policy())
        self._put(stored)

    def __repr__(self) -> str:
        return f"Cookies({', '.join(sorted(self.names()))})"

    def names(self) -> frozenset[str]:
        """The names of all cookies that are held, whatever host they are for."""
        return frozenset(cookie.name for cookie in self._jar)

    def expires(self, begins: str) -> int:
        """When the last one whose name begins so ends, in ms since the epoch; 0 if there is none."""
        now = int(time.time())
        held = (c for c in self._jar if c.name.startswith(begins) and not c.is_expired(now))
        return max((1000 * (cookie.expires or 0) for cookie in held), default=0)

    def add_missing(self, other: Cookies) -> None:
        """Take from another jar what this one has no cookie of that name for."""
        names = self.names()
        for cookie in other.stored():
            if cookie.name not in names:
                self._jar.set_cookie(_thawed(cookie))

    def header_for(self, url: str) -> str:
        """The ``Cookie`` header for a request to ``url``; empty if there is nothing to send."""
        request = urllib.request.Request(url)
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie") or ""

    def harvest(self, url: str, set_cookies: Iterable[str]) -> bool:
        """Take the ``Set-Cookie`` lines of an answer from ``url``; whether anything changed.

        What no request can carry, or is too large, is not taken, and nothing new when the jar is full: one that
        is held is replaced or deleted all the same.
        """
        lines = [line for line in islice(set_cookies, MOST) if _is_welcome(line)]
        if not lines:
            return False
        before = self.stored()
        request = urllib.request.Request(url)
        for line in lines:  # one by one: what the jar does not understand must not cost the others
            # The jar asks for info().get_all() and nothing else of a response.
            self._jar.extract_cookies(_Headers([line]), request)  # type: ignore[arg-type]
        self._drop_emptied()
        self._drop_what_is_too_much(before)
        return self.stored() != before

    def stored(self) -> tuple[StoredCookie, ...]:
        """All cookies that have not expired, for the session file."""
        now = int(time.time())
        return tuple(_frozen(cookie) for cookie in self._jar if not cookie.is_expired(now))

    def replace(self, stored: Iterable[StoredCookie]) -> None:
        """Hold exactly these."""
        self._jar.clear()
        self._put(stored)

    def _put(self, stored: Iterable[StoredCookie]) -> None:
        """Those that can be sent: an earlier icloudfs kept others as well."""
        for cookie in stored:
            if all(map(is_sendable, (cookie.name, cookie.value, cookie.domain, cookie.path))):
                self._jar.set_cookie(_thawed(cookie))

    def _drop_emptied(self) -> None:
        emptied = [cookie for cookie in self._jar if not (cookie.value or "").strip('"')]
        for cookie in emptied:
            self._jar.clear(cookie.domain, cookie.path, cookie.name)

    def _drop_what_is_too_much(self, held: Sequence[StoredCookie]) -> None:
        known = {(cookie.domain, cookie.path, cookie.name) for cookie in held}
        room, size = MOST, LARGEST_TOGETHER
        for cookie in sorted(self._jar, key=lambda c: (c.domain, c.path, c.name) not in known):
            room, size = room - 1, size - len(cookie.name) - len(cookie.value or "")
            if room < 0 or size < 0:
                self._jar.clear(cookie.domain, cookie.path, cookie.name)


def _is_welcome(line: str) -> bool:
    return len(line) <= LARGEST and is_sendable(line) and not _AGES.search(line)


def _frozen(cookie: Cookie) -> StoredCookie:
    return StoredCookie(
        name=cookie.name,
        value=cookie.value or "",
        domain=cookie.domain,
        path=cookie.path,
        host_only=not cookie.domain_specified,
        secure=bool(cookie.secure),
        http_only=cookie.has_nonstandard_attr("HttpOnly"),
        expires=None if cookie.expires is None else min(cookie.expires, _LATEST),
    )


_LATEST = 2**40
"""Seconds since the epoch: later than any clock says, and fit for every form of the file."""


def _thawed(stored: StoredCookie) -> Cookie:
    return Cookie(
        version=0,
        name=stored.name,
        value=stored.value,
        port=None,
        port_specified=False,
        domain=stored.domain,
        domain_specified=not stored.host_only,
        domain_initial_dot=stored.domain.startswith("."),
        path=stored.path,
        path_specified=True,
        secure=stored.secure,
        expires=stored.expires,
        discard=stored.expires is None,
        comment=None,
        comment_url=None,
        rest=cast("dict[str, str]", {"HttpOnly": None} if stored.http_only else {}),
    )
