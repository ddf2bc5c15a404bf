"""Connections, against servers of this machine that speak TLS as OpenSSL does."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpcore
import httpx
import pytest
import trio
import trustme

from icloudfs.apple.network import (
    PIECE,
    UNACKNOWLEDGED,
    Network,
    TLSConnection,
    use_large_pieces,
)

CONTENT = random.Random(1).randbytes(3 * PIECE + 17)
HOST = "127.0.0.1"
Talk = Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def server(authority: trustme.CA, talk: Talk, name: str = HOST) -> AsyncIterator[int]:
    """The port of a server that has a certificate for ``name``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await talk(tls)
        except trio.BrokenResourceError:
            pass  # the client would not have it
        finally:
            await trio.aclose_forcefully(tls)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def connect(port: int, trust: ssl.SSLContext) -> httpcore.AsyncNetworkStream:
    stream = await Network().connect_tcp(HOST, port, timeout=1.0)
    return await stream.start_tls(trust, HOST, timeout=1.0)


async def test_what_is_sent_arrives_both_ways(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    heard = bytearray()

    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        while len(heard) < len(CONTENT):
            heard.extend(await tls.receive_some())
        await tls.send_all(CONTENT)

    async with server(authority, talk) as port:
        stream = await connect(port, trust)
        assert isinstance(stream, TLSConnection)
        await stream.write(CONTENT, timeout=1.0)
        came, pieces = b"", 0
        while piece := await stream.read(1, timeout=1.0):
            assert len(piece) <= PIECE
            came, pieces = came + piece, pieces + 1
        await stream.aclose()
    assert bytes(heard) == came == CONTENT
    assert pieces < len(CONTENT) // (16 << 10) // 2


async def test_the_kernel_is_told_when_to_give_up(
    authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    """``tests/systemd`` takes the network away."""

    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        await tls.do_handshake()

    async with server(authority, talk) as port:
        stream = await connect(port, trust)
        given = stream.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
        )
        await stream.aclose()
    assert given == UNACKNOWLEDGED * 1000


async def test_a_cancelled_read_loses_nothing(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        for at in range(0, len(CONTENT), 50_000):
            await tls.send_all(CONTENT[at : at + 50_000])
            await trio.sleep(0.002)

    async with server(authority, talk) as port:
        stream = await connect(port, trust)
        came = b""
        while len(came) < len(CONTENT):
            with trio.move_on_after(0.001):
                came += await stream.read(PIECE)
        await stream.aclose()
    assert came == CONTENT


async def test_silence_ends_a_read_in_time(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        await tls.do_handshake()
        await trio.sleep_forever()

    async with server(authority, talk) as port:
        stream = await connect(port, trust)
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(PIECE, timeout=0.05)
        await stream.aclose()


@pytest.mark.parametrize("fault", ["stranger", "another name"])
async def test_a_certificate_that_does_not_verify_is_refused(
    authority: trustme.CA, trust: ssl.SSLContext, fault: str
) -> None:
    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        await tls.do_handshake()

    issuer = trustme.CA() if fault == "stranger" else authority
    name = HOST if fault == "stranger" else "elsewhere.example"
    async with server(issuer, talk, name) as port:
        with pytest.raises(httpcore.ConnectError) as raised:
            await connect(port, trust)
    assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_server_that_talks_no_tls_or_hangs_up(trust: ssl.SSLContext) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        with pytest.raises(httpcore.ConnectError):
            await connect(listeners[0].socket.getsockname()[1], trust)
        nursery.cancel_scope.cancel()


async def test_nobody_listens() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(httpcore.ConnectError):
        await Network().connect_tcp(HOST, port, timeout=1.0)


async def test_damaged_records_are_an_error_and_no_content(
    authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    async def talk(tls: trio.SSLStream[trio.SocketStream]) -> None:
        await tls.send_all(b"good")
        await tls.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))

    async with server(authority, talk) as port:
        stream = await connect(port, trust)
        assert await stream.read(PIECE, timeout=1.0) == b"good"
        with pytest.raises(httpcore.ReadError):
            await stream.read(PIECE, timeout=1.0)
        await stream.aclose()


async def test_every_connection_of_a_client_is_made_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when httpx or httpcore keep their things elsewhere: then ``use_large_pieces`` does nothing."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with httpx.AsyncClient() as client:
        use_large_pieces(client)
        transports = [client._transport, *filter(None, client._mounts.values())]
        assert len(transports) > 1
        for transport in transports:
            pool = getattr(transport, "_pool", None)
            assert isinstance(getattr(pool, "_network_backend", None), Network)
