"""A server on this machine that answers exactly what a test tells it to, byte for byte."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio


class Loopback:
    """Where it listens, and the heads of the requests that came."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.heads: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def loopback(
    answer: Callable[[bytes], bytes | None],
    *,
    tls: ssl.SSLContext | None = None,
    stall: bool = False,
) -> AsyncIterator[Loopback]:
    """Serve until the block ends. An answer without ``Connection: keep-alive`` in its head closes.

    ``stall``: keep the connection open after the answer, without another byte.
    """
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    server = Loopback(port, "http" if tls is None else "https")

    async def serve(stream: trio.SocketStream) -> None:
        server.connections += 1
        talk: trio.abc.Stream = stream
        if tls is not None:
            talk = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        try:
            async with talk:
                await _converse(talk, server, answer, stall)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client hung up, as some tests want

    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    try:
        yield server
    finally:
        nursery.cancel_scope.cancel()
        # Not shown the test's exception, the nursery does not wrap it in a group.
        await manager.__aexit__(None, None, None)


async def _converse(
    talk: trio.abc.Stream,
    server: Loopback,
    answer: Callable[[bytes], bytes | None],
    stall: bool,
) -> None:
    while True:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await talk.receive_some(65536)
            if not piece:
                return
            head += piece
        server.heads.append(head)
        reply = answer(head)
        if reply is None:
            return
        await talk.send_all(reply)
        if stall:
            await trio.sleep_forever()
        if b"connection: keep-alive" not in reply.partition(b"\r\n\r\n")[0].lower():
            return


def reply(
    status: str = "200 OK", headers: dict[str, object] | None = None, body: bytes = b""
) -> bytes:
    """An answer with a right Content-Length, unless ``headers`` says otherwise."""
    lines: dict[str, object] = {"Content-Length": len(body)}
    lines |= {"Content-Type": "application/octet-stream", **(headers or {})}
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"HTTP/1.1 {status}\r\n{written}\r\n".encode() + body
