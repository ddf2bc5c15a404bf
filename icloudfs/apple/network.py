"""TCP and TLS as httpcore wants them, by trio and OpenSSL, read in large pieces.

TLS comes in records of 16 KiB. What httpcore has for trio gives out one at a time, and each takes its turn
through four layers: a fast line carries no more than what those can do, 57 MB/s where this does three times
as much. Here everything that has arrived is taken at once; what goes over the wire is the same.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpcore
import httpx
import trio

PIECE = 256 << 10
"""Bytes that are read at once at most."""

UNACKNOWLEDGED = 10.0
"""Seconds after which a connection is dead whose other end confirms nothing of what was sent. On a connection
that stands a network that went away says nothing: whoever uses it next would wait for the whole timeout."""

MOST_INTERIM = 16
"""Answers of a status 1xx before the one that counts; HTTP knows no limit."""
_INTERIM = re.compile(rb"HTTP/1\.[01] 1[0-9]{2}\b")

T = TypeVar("T")


def use_large_pieces(client: httpx.AsyncClient) -> None:
    """Have all connections of ``client`` made here, also those through a proxy.

    httpx has no way to say so when a client is made: its transports keep httpcore's pool to themselves.
    Should a later version keep it elsewhere, nothing but speed is lost, and a test says so.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = Network()


class Network(httpcore.AsyncNetworkBackend):
    """Makes connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _in_httpcores_words(httpcore.ConnectError, httpcore.ConnectTimeout, timeout):
            stream = await trio.open_tcp_stream(host, port, local_address=local_address)
            stream.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNACKNOWLEDGED * 1000)
            )
            for option in socket_options or ():
                stream.setsockopt(*option)
        return Connection(stream)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Interim:
    """Counts the answers of a status 1xx to one request. httpcore takes them all, however many come."""

    def __init__(self) -> None:
        self._count = 0
        self._head = b""
        self._over = False

    def look_at(self, piece: bytes) -> None:
        """Raises httpcore.RemoteProtocolError when there are too many. What follows the head of the real answer
        is not looked at."""
        if self._over:
            return
        self._head += piece
        while _INTERIM.match(self._head):
            _, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                break
            self._head = rest
            self._count += 1
            if self._count > MOST_INTERIM:
                raise httpcore.RemoteProtocolError("too many answers that are none yet")
        is_one = _INTERIM.match(self._head) or len(self._head) < len("HTTP/1.1 100")
        if not is_one or len(self._head) > PIECE:
            self._over, self._head = True, b""


class Connection(httpcore.AsyncNetworkStream):
    """A TCP connection. ``read`` may give more than it is asked for: HTTP/1.1 takes whatever comes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._interim = _Interim()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        with _in_httpcores_words(httpcore.ReadError, httpcore.ReadTimeout, timeout):
            piece = await self._read()
        self._interim.look_at(piece)
        return piece

    async def _read(self) -> bytes:
        return bytes(await self._stream.receive_some(PIECE))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._interim = _Interim()
        with _in_httpcores_words(httpcore.WriteError, httpcore.WriteTimeout, timeout):
            await self._write(buffer)

    async def _write(self, buffer: bytes) -> None:
        await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        tls = TLSConnection(self._stream, ssl_context, server_hostname)
        try:
            with _in_httpcores_words(httpcore.ConnectError, httpcore.ConnectTimeout, timeout):
                await tls.shake_hands()
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise
        return tls

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "socket":
                return self._stream.socket
            case "is_readable":
                return self._stream.socket.is_readable()
            case "client_addr":
                return self._stream.socket.getsockname()
            case "server_addr":
                return self._stream.socket.getpeername()
            case _:
                return None


class TLSConnection(Connection):
    """The same with TLS on it. Certificate and host name are OpenSSL's to check, as the context says."""

    def __init__(
        self, stream: trio.SocketStream, context: ssl.SSLContext, hostname: str | None
    ) -> None:
        super().__init__(stream)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._failure: ssl.SSLError | None = None
        """What the next read is to raise."""

    async def shake_hands(self) -> None:
        """Raises ssl.SSLError, for a certificate that does not verify as well."""
        await self._carry_out(self._tls.do_handshake)
        await self._send_pending()

    async def _read(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        await self._send_pending()
        try:
            first = await self._carry_out(self._tls.read, PIECE)
        except ssl.SSLEOFError:
            return b""  # many servers end so; HTTP tells whether something is missing
        # Nothing is awaited once a record was taken, so that no cancellation can lose it.
        return first + self._what_else_is_here(PIECE - len(first)) if first else b""

    def _what_else_is_here(self, room: int) -> bytes:
        pieces = []
        try:
            while room > 0 and (piece := self._tls.read(room)):
                pieces.append(piece)
                room -= len(piece)
        except ssl.SSLWantReadError:
            pass  # that was all
        except ssl.SSLError as error:
            self._failure = error  # OpenSSL says so once; what came before is good
        return b"".join(pieces)

    async def _write(self, buffer: bytes) -> None:
        """What is little waits for the next read: a request comes in pieces, head, body and end, and would
        go over the wire as so many."""
        if not buffer:
            return
        await self._carry_out(self._tls.write, buffer)
        if self._outgoing.pending > PIECE:
            await self._send_pending()

    async def _carry_out(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Have OpenSSL do something, and give it what it waits for."""
        while True:
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                await self._send_pending()
                if received := await self._stream.receive_some(PIECE):
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()

    async def _send_pending(self) -> None:
        if self._outgoing.pending:
            await self._stream.send_all(self._outgoing.read())

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else super().get_extra_info(info)


@contextmanager
def _in_httpcores_words(
    failure: type[httpcore.NetworkError],
    too_slow: type[httpcore.TimeoutException],
    seconds: float | None,
) -> Iterator[None]:
    try:
        with trio.fail_after(math.inf if seconds is None else seconds):
            yield
    except trio.TooSlowError as error:
        raise too_slow(error) from error
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
        raise failure(error) from error
