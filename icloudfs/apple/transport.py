"""HTTP as Apple's servers are spoken to: one pool of connections, and nothing secret in any log.

Certificates are always verified: against ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where those are set, else
against the bundle that httpx brings. ``HTTPS_PROXY`` and ``NO_PROXY`` are honoured. Redirects are not
followed: nothing in Apple's protocol needs one, and one could lead the session's tokens elsewhere.
"""

from __future__ import annotations

import logging
import ssl
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any, cast

import httpx
import msgspec
import trio

from icloudfs import descriptors
from icloudfs.apple import clock, lenient
from icloudfs.apple.endpoints import Endpoints
from icloudfs.apple.network import use_large_pieces
from icloudfs.apple.retry import Dropped
from icloudfs.apple.session import Session
from icloudfs.errors import ConfigError, Offline, ProtocolError, TooManyOpenFiles, WrongClock

log = logging.getLogger(__name__)

USER_AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15"
)
"""A browser's, since Apple's web services expect one."""

CONNECT_TIMEOUT = 10.0  # seconds
ANSWER_TIMEOUT = 30.0  # seconds without a byte
WHOLE_ANSWER_TIMEOUT = 120.0
"""Seconds for an answer that is read whole, however steadily it comes; one that goes on for ever is none."""
HEAD_TIMEOUT = 75.0
"""Seconds for the head of any answer, from the first try to connect."""
LARGEST_ANSWER = 16 * 2**20
"""Bytes of an answer that is read whole, decompressed; a page of 200 records is about one million."""
LARGEST_OBJECT = 1 << 20
"""Bytes of such an answer that is read as one object: of the sign-in, of the account, an error."""
MOST_PIECES = 20_000
"""Pieces of such an answer: each costs as much as a thousand bytes."""
_INFLATED_AT_ONCE = 256 << 10
_PARTS_AT_ONCE = 16
"""Bytes that are decompressed at once, and how many such parts, or pieces as they came, until others have their
turn."""

_LARGEST_MENDED = 256 << 10  # bytes of an object in which values are that are none

_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer that has been read whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is anything else, as error pages are, or larger than any
        object is that is read whole. A value that is none is left out, and so is what is nested too deep."""
        if len(self.body) > LARGEST_OBJECT:
            return {}
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = self._what_can_be_read()
        return lenient.pruned(found) if isinstance(found, dict) else {}

    def _what_can_be_read(self) -> object:
        if len(self.body) > _LARGEST_MENDED:
            return None
        try:
            return lenient.read(self.body)
        except lenient.NoJson:
            return None


@dataclass
class Meter:
    """How much was asked of Apple since the process began; for ``status`` and for tests."""

    calls: int = 0
    """Requests to the sign-in, set-up and database services."""
    received: int = 0
    """Bytes of their answers."""
    downloads: int = 0
    """Requests for contents."""
    downloaded: int = 0
    """Bytes of contents."""
    by_call: dict[str, int] = field(default_factory=dict)
    """Requests by name, e.g. ``changes/zone``."""

    def count(self, call: str, received: int) -> None:
        self.calls += 1
        self.received += received
        self.by_call[call] = self.by_call.get(call, 0) + 1


class _Pool:
    """One httpx client. A retired one closes when its last exchange is over."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._in_flight = 0
        self._retired = False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[httpx.AsyncClient]:
        self._in_flight += 1
        try:
            yield self.client
        finally:
            self._in_flight -= 1
            if self._retired and not self._in_flight:
                await self.client.aclose()

    async def retire(self) -> None:
        self._retired = True
        if not self._in_flight:
            await self.client.aclose()


class Transport:
    """Sends requests for a session and takes the cookies of every answer into it."""

    def __init__(
        self, endpoints: Endpoints, *, inner: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """``inner`` replaces the network, for tests. Raises ConfigError for a bad environment."""
        silence_http_libraries()
        self.endpoints = endpoints
        self.meter = Meter()
        self._inner = inner
        self._trust = _trust()
        self._pool = _Pool(self._new_client())
        self.pool_number = 0
        """How often the pool has been dropped."""
        self.clock_off: int | None = None
        """How far this computer's clock is ahead, as ``Session.clock_off``; None before the first answer."""

    async def aclose(self) -> None:
        await self._pool.retire()

    async def drop_pool(self, seen: int) -> None:
        """Forget all connections, unless another task has since ``pool_number`` was ``seen``.

        The cure for 421: a kept connection may lead to the wrong partition (facts/sign-in.md
        §1.9). Exchanges under way end on their old connections.
        """
        if seen != self.pool_number:
            return
        old, self._pool = self._pool, _Pool(self._new_client())
        self.pool_number += 1
        log.debug("dropped the connection pool")
        await old.retire()

    async def request(
        self,
        call: str,
        method: str,
        url: str,
        session: Session,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> Answer:
        """One exchange, read whole. ``call`` names it in the log and the meter.

        ``answer_timeout``: seconds without a byte. Raises Offline (Dropped if a connection broke
        half way; also after ``WHOLE_ANSWER_TIMEOUT``) and ProtocolError (an answer beyond ``LARGEST_ANSWER``).
        """
        began = time.monotonic()
        timeout = httpx.Timeout(answer_timeout, connect=CONNECT_TIMEOUT)
        coded = {**(headers or {}), "Accept-Encoding": "gzip"}
        with _in_time(url, WHOLE_ANSWER_TIMEOUT):
            async with self._exchange(method, url, session, coded, body, timeout) as response:
                answer = Answer(response.status_code, response.headers, await _whole(response))
        self.meter.count(call, len(answer.body))
        log.debug(
            "%s %s at %s: %d, %d bytes, %.0f ms",
            method,
            call,
            response.url.host,
            answer.status,
            len(answer.body),
            1000 * (time.monotonic() - began),
        )
        return answer

    @asynccontextmanager
    async def stream(
        self, url: str, session: Session, *, headers: Mapping[str, str], idle_timeout: float
    ) -> AsyncIterator[httpx.Response]:
        """An answer to be read piece by piece, as it is on the wire. Raises as ``request`` does,
        also while the caller reads from it; ``idle_timeout`` is seconds without a byte."""
        timeout = httpx.Timeout(idle_timeout, connect=CONNECT_TIMEOUT)
        identity = {**headers, "Accept-Encoding": "identity"}
        self.meter.downloads += 1
        async with self._exchange("GET", url, session, identity, None, timeout) as response:
            yield response

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        session: Session,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        timeout: httpx.Timeout,
    ) -> AsyncIterator[httpx.Response]:
        with _in_our_words(url), self._comparing_clocks(session):
            all_headers = dict(headers or {})
            if cookies := session.cookies.header_for(url):
                all_headers["Cookie"] = cookies
            async with self._pool.used() as client, AsyncExitStack() as stack:
                with _in_time(url, HEAD_TIMEOUT):
                    response = await stack.enter_async_context(
                        client.stream(
                            method, url, headers=all_headers, content=body, timeout=timeout
                        )
                    )
                self._take_cookies(url, response, session)
                self._look_at_clock(response, session)
                yield response

    def _look_at_clock(self, response: httpx.Response, session: Session) -> None:
        """The session keeps it for those who ask no network. Not to the second: it is written for this."""
        off = clock.seconds_off(response.headers)
        if off is None:
            return
        if off and not self.clock_off:
            log.warning("%s", clock.sentence(off))
        self.clock_off = off
        if not off or abs(off - session.clock_off) > clock.LIMIT:
            session.clock_off = off

    @contextmanager
    def _comparing_clocks(self, session: Session) -> Iterator[None]:
        """A certificate of another time is the clock's fault, unless it was right a moment ago."""
        try:
            yield
        except httpx.ConnectError as error:
            trouble = _certificate_trouble(error)
            off = clock.off_by_certificate(trouble) if trouble is not None else 0
            if not off or self.clock_off == 0:
                raise
            session.clock_off = self.clock_off or off
            raise WrongClock(
                f"{clock.sentence(session.clock_off)} It says {time.strftime('%F %R')}, and by that the"
                f" certificate of {error.request.url.host} {_NOT_VALID[off]}."
            ) from None

    def _take_cookies(self, url: str, response: httpx.Response, session: Session) -> None:
        before = session.cookies.names()
        session.cookies.harvest(url, response.headers.get_list("Set-Cookie"))
        if session.cookies.names() != before:
            log.debug("cookies now: %r", session.cookies)

    def _new_client(self) -> httpx.AsyncClient:
        try:
            client = httpx.AsyncClient(
                http1=True,
                http2=False,
                verify=self._trust,
                trust_env=True,
                follow_redirects=False,
                limits=_LIMITS,
                transport=self._inner,
                headers={"User-Agent": USER_AGENT},
                cookies=_NoJar(),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise ConfigError(
                "The proxy named by HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used."
            ) from error
        use_large_pieces(client)
        return client


def silence_http_libraries() -> None:
    """Keep httpx and httpcore from logging: addresses, headers and with them cookies and tokens."""
    for name in ("httpx", *(f"httpcore.{part}" for part in _HTTPCORE_PARTS)):
        logging.getLogger(name).disabled = True


_HTTPCORE_PARTS = ("connection", "http11", "http2", "proxy", "socks")


def _trust() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "SSL_CERT_FILE or SSL_CERT_DIR names no readable certificates."
        ) from error


class _NoJar(CookieJar):
    """Takes nothing, and reads nothing: cookies are the session's, and httpx would send its own as well."""

    def extract_cookies(self, response: object, request: object) -> None:
        pass


async def _whole(response: httpx.Response) -> bytes:
    """The body, decompressed here: httpx would apply as many codings as are named, and know no limit."""
    host, received, taken, parts = response.url.host, 0, 0, 0
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if _is_coded(response) else None
    body = bytearray()
    arriving = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
    async with aclosing(arriving) as pieces:
        async for piece in pieces:
            received, taken = received + len(piece), taken + 1
            for part in (piece,) if stream is None else _inflated(stream, piece, host):
                body += part
                parts += 1
                if parts % _PARTS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
                _refuse_excess(host, max(received, len(body)), taken)
            _refuse_excess(host, received, taken)
    if stream is not None and received and not stream.eof:
        raise ProtocolError(f"An answer of {host} cannot be decompressed.")
    return bytes(body)


def _refuse_excess(host: str, size: int, pieces: int) -> None:
    if size > LARGEST_ANSWER or pieces > MOST_PIECES:
        raise ProtocolError(f"An answer of {host} is unreasonably long.")


def _is_coded(response: httpx.Response) -> bool:
    """Whether the body is gzip's, which is all that was asked for, and once. Raises ProtocolError."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return False
    if coding in ("gzip", "x-gzip"):
        return True
    raise ProtocolError(
        f"An answer of {response.url.host} is coded in a way that was not asked for."
    )


def _inflated(stream: Any, piece: bytes, host: str) -> Iterator[bytes]:
    """What ``piece`` becomes, a little at a time. What is behind the end of the stream is dropped."""
    while piece and not stream.eof:
        try:
            yield stream.decompress(piece, _INFLATED_AT_ONCE)
        except zlib.error:
            raise ProtocolError(f"An answer of {host} cannot be decompressed.") from None
        piece = stream.unconsumed_tail


@contextmanager
def _in_time(url: str, seconds: float) -> Iterator[None]:
    """Raises Offline if it takes longer."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise Offline(f"No whole answer from {httpx.URL(url).host} in time.") from None


class _in_our_words:  # noqa: N801 (reads as a statement)
    """Turns httpx's exceptions into ours. Their texts can quote headers, so none is passed on."""

    def __init__(self, url: str) -> None:
        self._host = httpx.URL(url).host

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case httpx.ConnectError() if _certificate_trouble(error) is not None:
                raise Offline(
                    f"The certificate of {self._host} could not be verified.",
                    hint="If your network inspects TLS, set SSL_CERT_FILE to its certificate.",
                ) from None
            case httpx.ConnectError() if descriptors.are_lacking():
                raise TooManyOpenFiles("Too many files are open.") from None
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
                raise Offline(f"There is no connection to {self._host}.") from None
            case httpx.ReadError() | httpx.WriteError() | httpx.RemoteProtocolError():
                raise Dropped(f"The connection to {self._host} broke off.") from None
            case httpx.TimeoutException():
                raise Offline(f"No answer from {self._host} in time.") from None
            case httpx.DecodingError():
                raise ProtocolError(f"An answer of {self._host} cannot be decompressed.") from None
            case UnicodeError():
                raise ProtocolError(
                    f"What Apple gave to be sent to {self._host} cannot be sent."
                ) from None
            case httpx.HTTPError() | httpx.InvalidURL():
                raise Offline(f"{self._host} cannot be reached ({type(error).__name__}).") from None


_NOT_VALID = {-clock.UNKNOWN: "is not valid yet", clock.UNKNOWN: "has expired"}


def _certificate_trouble(error: BaseException) -> ssl.SSLCertVerificationError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
