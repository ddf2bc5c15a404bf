from __future__ import annotations

import gzip
import logging
import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from icloudfs.apple import transport as module
from icloudfs.apple.cookies import StoredCookie
from icloudfs.apple.endpoints import GLOBAL, Endpoints
from icloudfs.apple.network import MOST_INTERIM
from icloudfs.apple.retry import Dropped
from icloudfs.apple.session import Session
from icloudfs.apple.transport import Transport
from icloudfs.errors import ConfigError, IcloudfsError, Offline, ProtocolError
from tests.apple.loopback import loopback, reply

KEEP: dict[str, object] = {"Connection": "keep-alive"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def certificates_loaded_once() -> None:
    """Here they are loaded by every client, as in earnest."""


@contextmanager
def raising_offline(words: str) -> Iterator[None]:
    with pytest.raises(Offline, match=words):
        yield


async def get(transport: Transport, url: str, session: Session | None = None) -> module.Answer:
    return await transport.request("test", "GET", url, session or Session(), answer_timeout=0.3)


async def test_an_exchange() -> None:
    async with loopback(lambda _: reply(headers=KEEP, body=b'{"a":1}')) as server:
        transport = Transport(Endpoints.at(server.url))
        for _ in range(3):
            answer = await get(transport, server.url)
        await transport.aclose()
    assert (answer.status, answer.json()) == (200, {"a": 1})
    assert server.connections == 1
    assert b"Mozilla/5.0" in server.heads[0]
    assert server.heads[0].startswith(b"GET / HTTP/1.1\r\n")
    assert (transport.meter.calls, transport.meter.received) == (3, 21)
    assert transport.meter.by_call == {"test": 3}


async def test_cookies_of_every_answer_come_back_and_only_once() -> None:
    sent = 'T="a=~";Path=/;HttpOnly'
    async with loopback(lambda _: reply("500 Oops", {"Set-Cookie": sent})) as server:
        transport, session = Transport(Endpoints.at(server.url)), Session()
        await get(transport, server.url, session)
        await get(transport, server.url, session)
        await transport.aclose()
    assert session.cookies.names() == {"T"}
    assert server.heads[1].lower().count(b"cookie:") == 1
    assert b'T="a=~"\r\n' in server.heads[1]


async def test_dropping_the_pool_makes_new_connections_and_spares_exchanges() -> None:
    async with loopback(lambda _: reply(headers=KEEP, body=b"x" * 1000)) as server:
        transport = Transport(Endpoints.at(server.url))
        await get(transport, server.url)
        async with transport.stream(
            server.url, Session(), headers={}, idle_timeout=1.0
        ) as under_way:
            await transport.drop_pool(0)
            await transport.drop_pool(0)  # another task that saw the same pool
            assert transport.pool_number == 1
            assert await under_way.aread() == b"x" * 1000
        await get(transport, server.url)
        await transport.aclose()
    assert server.connections == 2


async def test_nobody_listens() -> None:
    transport = Transport(Endpoints.at("http://127.0.0.1:9"))
    with raising_offline("no connection to 127.0.0.1"):
        await get(transport, "http://127.0.0.1:9/")
    await transport.aclose()


async def test_a_connection_that_breaks() -> None:
    async with loopback(lambda _: None) as server:
        transport = Transport(Endpoints.at(server.url))
        with pytest.raises(Dropped):
            await get(transport, server.url)
        await transport.aclose()


async def test_an_answer_that_never_ends() -> None:
    answer = reply(headers={"Content-Length": 10}, body=b"x")
    async with loopback(lambda _: answer, stall=True) as server:
        transport = Transport(Endpoints.at(server.url))
        with raising_offline("in time"), trio.fail_after(3):
            await get(transport, server.url)
        await transport.aclose()


async def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 100)
    async with loopback(lambda _: reply(body=b"x" * 200)) as server:
        transport = Transport(Endpoints.at(server.url))
        with pytest.raises(ProtocolError, match="long"):
            await get(transport, server.url)
        await transport.aclose()


# -- answers without measure -----------------------------------------------------------------------


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 9)


async def answered(answer: bytes, *, stall: bool = False) -> module.Answer:
    async with loopback(lambda _: answer, stall=stall) as server:
        transport = Transport(Endpoints.at(server.url))
        try:
            return await get(transport, server.url)
        finally:
            await transport.aclose()


async def test_an_answer_may_be_compressed() -> None:
    body = b'{"a":1}' + bytes(3_000_000)
    for name in ("gzip", "x-gzip", "GZIP"):
        coded = reply(headers={"Content-Encoding": name}, body=gzipped(body))
        assert (await answered(coded)).body == body
    assert (await answered(reply(headers={"Content-Encoding": "gzip"}))).body == b""
    async with loopback(lambda _: reply(body=b"{}")) as server:
        transport = Transport(Endpoints.at(server.url))
        await get(transport, server.url)
        await transport.aclose()
    assert b"Accept-Encoding: gzip\r\n" in server.heads[0]


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,gzip,gzip", "deflate", "br", "zstd", "x"])
async def test_only_one_coding_is_undone(coding: str) -> None:
    twice = gzipped(gzipped(b"{}"))
    with pytest.raises(ProtocolError, match="coded"):
        await answered(reply(headers={"Content-Encoding": coding}, body=twice))


async def test_what_inflates_without_end_is_given_up_at_the_limit() -> None:
    bomb = gzipped(bytes(64 << 20))
    assert len(bomb) < 100_000
    coded = reply(headers={"Content-Encoding": "gzip"}, body=bomb)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="long"):
            await answered(coded)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * module.LARGEST_ANSWER


async def test_what_is_behind_a_compressed_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 100_000)
    for extra, fits in ((1000, True), (200_000, False)):
        coded = reply(headers={"Content-Encoding": "gzip"}, body=gzipped(b"{}") + bytes(extra))
        if fits:
            assert (await answered(coded)).body == b"{}"
        else:
            with pytest.raises(ProtocolError, match="long"):
                await answered(coded)


@pytest.mark.parametrize(
    "body", [b"not gzip at all", gzipped(b"x" * 99)[:12] + b"y" * 50], ids=["none", "spoilt"]
)
async def test_what_cannot_be_inflated(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="decompressed"):
        await answered(reply(headers={"Content-Encoding": "gzip"}, body=body))


async def endlessly(begin: bytes, again: bytes, every: float) -> tuple[Exception, float]:
    """Served an answer that begins so and goes on for ever, by a client; what it raises and the longest
    time in which nothing else had its turn."""
    stalled = 0.0
    caught: Exception | None = None

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(begin)
            with suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(again)
                    await trio.sleep(every)

    async def watch() -> None:
        nonlocal stalled
        while True:
            before = trio.current_time()
            await trio.sleep(0.005)
            stalled = max(stalled, trio.current_time() - before - 0.005)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        nursery.start_soon(watch)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        transport = Transport(Endpoints.at(url))
        with trio.fail_after(10):
            try:
                await get(transport, url)
            except IcloudfsError as error:
                caught = error
        await transport.aclose()
        nursery.cancel_scope.cancel()
    assert caught is not None
    return caught, stalled


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_an_answer_that_trickles_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_ANSWER_TIMEOUT", 0.5)
    error, _ = await endlessly(CHUNKED, b"1\r\nx\r\n", every=0.02)
    assert isinstance(error, Offline)
    assert "in time" in str(error)


async def test_an_answer_that_pours_for_ever() -> None:
    for again in (b"1\r\nx\r\n" * 20_000, b"2000\r\n" + b"x" * 0x2000 + b"\r\n"):
        error, stalled = await endlessly(CHUNKED, again, every=0)
        assert isinstance(error, ProtocolError)
        assert stalled < 0.5, "others have their turn"


async def test_answers_that_are_none_yet_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    error, stalled = await endlessly(interim, interim * 5000, every=0)
    assert isinstance(error, Dropped)
    assert stalled < 0.5
    error, _ = await endlessly(interim, interim, every=0.01)
    assert isinstance(error, Dropped)
    monkeypatch.setattr(module, "HEAD_TIMEOUT", 0.3)
    error, _ = await endlessly(b"HTTP/1.1 200 OK\r\n", b"X", every=0.02)
    assert isinstance(error, Offline)
    some = interim * MOST_INTERIM + reply(body=b"{}")
    assert (await answered(some)).body == b"{}"


async def test_a_head_that_never_ends_is_no_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT", 0.2)
    async with loopback(lambda _: b"HTTP/1.1 200 OK\r\n", stall=True) as server:
        transport = Transport(Endpoints.at(server.url))
        with raising_offline("in time"), trio.fail_after(3):
            async with transport.stream(server.url, Session(), headers={}, idle_timeout=30):
                pass
        await transport.aclose()


async def test_a_header_that_breaks_http_is_not_quoted() -> None:
    async with loopback(lambda _: b"HTTP/1.1 200 OK\r\nX-Secret\x00: s3cret\r\n\r\n") as server:
        transport = Transport(Endpoints.at(server.url))
        with pytest.raises(Offline) as caught:
            await get(transport, server.url)
        await transport.aclose()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# -- certificates ----------------------------------------------------------------------------------


def authority(directory: Path) -> tuple[ssl.SSLContext, Path]:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    file = directory / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return context, file


async def test_ssl_cert_file_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, ca = authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    async with loopback(lambda _: reply(body=b"{}"), tls=tls) as server:
        transport = Transport(Endpoints.at(server.url))
        assert (await get(transport, server.url)).status == 200
        await transport.drop_pool(0)
        assert (await get(transport, server.url)).status == 200
        await transport.aclose()


async def test_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    tls, _ = authority(tmp_path)
    async with loopback(lambda _: reply(body=b"{}"), tls=tls) as server:
        transport = Transport(Endpoints.at(server.url))
        with raising_offline("certificate of 127.0.0.1"):
            await get(transport, server.url)
        await transport.aclose()
    assert not server.heads


def test_a_certificate_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        Transport(GLOBAL)


async def test_https_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    async with loopback(lambda _: reply("403 Forbidden")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        transport = Transport(GLOBAL)
        with pytest.raises(Offline):
            await get(transport, "https://setup.icloud.com/setup/ws/1/validate")
        await transport.aclose()
    assert proxy.heads[0].startswith(b"CONNECT setup.icloud.com:443 HTTP/1.1\r\n")


def test_a_proxy_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://x")
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        Transport(GLOBAL)


# -- silence ---------------------------------------------------------------------------------------


async def test_nothing_secret_is_logged_even_if_someone_asks_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    session = Session()
    async with loopback(lambda _: reply(headers={"Set-Cookie": "U=s3cret-new"})) as server:
        session.cookies.replace([StoredCookie("T", "s3cret-old", "127.0.0.1", host_only=True)])
        transport = Transport(Endpoints.at(server.url))
        await get(transport, f"{server.url}/?dsid=s3cret-dsid", session)
        await transport.aclose()
    assert b"s3cret-old" in server.heads[0]
    assert "cookies now: Cookies(T, U)" in caplog.text
    assert "GET test at 127.0.0.1: 200" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr((session, transport.meter, session.cookies))


def test_an_answers_repr_holds_no_body() -> None:
    answer = module.Answer(200, httpx.Headers({"scnt": "s3cret"}), b"s3cret")
    assert "s3cret" not in repr(answer)
