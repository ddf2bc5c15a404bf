"""Answers that are not what they say (facts/cloudkit.md §1.9)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import trio

from icloudfs.apple import content
from icloudfs.apple.content import Content, ExpiredURL, Interrupted
from icloudfs.apple.endpoints import GLOBAL, Endpoints
from icloudfs.apple.retry import TryLater
from icloudfs.apple.session import Session
from icloudfs.apple.transport import Transport
from icloudfs.errors import ContentMismatch, ContentUnavailable, Offline, ProtocolError
from tests.apple.loopback import loopback, reply

WHOLE = bytes(range(256)) * 4

Answer = Callable[[bytes], bytes | None]


def range_of(head: bytes) -> tuple[int, int] | None:
    found = re.search(rb"\r\nRange: bytes=([0-9]+)-([0-9]*)\r\n", head, re.I)
    if found is None:
        return None
    return int(found[1]), min(int(found[2] or len(WHOLE)), len(WHOLE) - 1) + 1


def well_behaved(head: bytes) -> bytes:
    asked = range_of(head)
    if asked is None:
        return reply(body=WHOLE)
    start, stop = asked
    headers: dict[str, object] = {"Content-Range": f"bytes {start}-{stop - 1}/{len(WHOLE)}"}
    return reply("206 Partial Content", headers, WHOLE[start:stop])


async def fetch(
    answer: Answer,
    start: int = 0,
    stop: int | None = None,
    *,
    size: int | None = len(WHOLE),
    stall: bool = False,
) -> bytes:
    body = b""
    async with loopback(answer, stall=stall) as server:
        transport = Transport(Endpoints.at(server.url))
        try:
            async with content.download(
                transport,
                Session(),
                f"{server.url}/B/x/${{f}}?e=1",
                start,
                stop,
                size=size,
                idle_timeout=0.2,
            ) as found:
                check(found, start, stop)
                async for chunk in found.chunks():
                    body += chunk
        finally:
            await transport.aclose()
    assert b"GET /B/x/$%7Bf%7D?e=1 HTTP/1.1" in server.heads[0]
    assert b"accept-encoding: identity" in server.heads[0].lower()
    assert transport.meter.downloads == 1
    assert transport.meter.downloaded == len(body)
    return body


def check(found: Content, start: int, stop: int | None) -> None:
    assert found.start == start
    assert found.total in (len(WHOLE), None)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 10), (5, 10), (1000, None), (1000, 5000), (1023, 1024)]
)
async def test_ranges(start: int, stop: int | None) -> None:
    assert await fetch(well_behaved, start, stop) == WHOLE[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (5, 10), (1000, None), (1024, None)])
async def test_a_server_that_ignores_ranges(start: int, stop: int | None) -> None:
    assert await fetch(lambda _: reply(body=WHOLE), start, stop) == WHOLE[start:stop]


async def test_chunked_with_no_length() -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (64, WHOLE[i : i + 64]) for i in range(0, 1024, 64))
    headers: dict[str, object] = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    answer = reply(headers=headers) + chunked + b"0\r\n\r\n"
    assert await fetch(lambda _: answer, 100, 200) == WHOLE[100:200]
    assert await fetch(lambda _: answer, size=None) == WHOLE
    short = reply(headers=headers) + chunked[: 70 * 3] + b"0\r\n\r\n"
    with pytest.raises(Interrupted):
        await fetch(lambda _: short)


async def test_an_empty_content() -> None:
    async with loopback(lambda _: reply()) as server:
        transport = Transport(Endpoints.at(server.url))
        async with content.download(transport, Session(), server.url, size=0) as found:
            assert [chunk async for chunk in found.chunks()] == []
        await transport.aclose()


@pytest.mark.parametrize("status", ["410 Gone", "403 Forbidden", "401 Unauthorized"])
async def test_expired(status: str) -> None:
    with pytest.raises(ExpiredURL):
        await fetch(lambda _: reply(status))


async def test_gone_for_good() -> None:
    with pytest.raises(ContentUnavailable, match="404"):
        await fetch(lambda _: reply("404 Not Found"))


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_busy(status: str) -> None:
    with pytest.raises(TryLater) as caught:
        await fetch(lambda _: reply(status, {"Retry-After": 3}))
    assert caught.value.retry_after == 3.0


async def test_redirects_are_not_followed() -> None:
    with pytest.raises(ContentUnavailable, match="302"):
        await fetch(lambda _: reply("302 Found", {"Location": "http://127.0.0.1:1/"}))


@pytest.mark.parametrize("kind", ["text/html; charset=UTF-8", "application/json"])
async def test_error_pages_with_a_success(kind: str) -> None:
    with pytest.raises(ContentMismatch, match="found"):
        await fetch(lambda _: reply(headers={"Content-Type": kind}, body=WHOLE))


async def test_a_page_that_calls_itself_a_content() -> None:
    page = b"\n<!DOCTYPE html><html>".ljust(len(WHOLE))
    with pytest.raises(ContentMismatch, match="web page"):
        await fetch(lambda _: reply(body=page))


async def test_the_seventeen_bytes() -> None:
    with pytest.raises(ContentMismatch, match=r"Expected 1024 bytes.*17 bytes"):
        await fetch(lambda _: reply(body=b"501 Unimplemented"))
    with pytest.raises(ContentMismatch, match="17 bytes"):
        await fetch(lambda _: reply(body=b"501 Unimplemented"), size=None)


async def test_another_length_than_was_announced() -> None:
    with pytest.raises(ContentMismatch, match="Expected 1024 bytes, found 512"):
        await fetch(lambda _: reply(body=WHOLE[:512]))


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-9/1024",
        "bytes 5-8/1024",
        "bytes 5-10/1024",
        "bytes 5-9/1000",
        "bytes */1024",
        "x",
        "",
    ],
)
async def test_another_range_than_was_asked_for(content_range: str) -> None:
    answer = reply("206 Partial Content", {"Content-Range": content_range}, WHOLE[5:10])
    with pytest.raises(ContentMismatch, match=r"Expected .* found"):
        await fetch(lambda _: answer, 5, 10)


async def test_a_range_with_another_length() -> None:
    answer = reply("206 Partial Content", {"Content-Range": "bytes 5-9/1024"}, WHOLE[5:9])
    with pytest.raises(ContentMismatch, match="Expected 5 bytes, found 4"):
        await fetch(lambda _: answer, 5, 10)


async def test_beyond_the_end() -> None:
    answer = reply("416 Range Not Satisfiable", {"Content-Range": "bytes */1024"})
    with pytest.raises(ContentMismatch, match="1024"):
        await fetch(lambda _: answer, 2000, None)


async def test_compressed() -> None:
    with pytest.raises(ContentMismatch, match="gzip"):
        await fetch(lambda _: reply(headers={"Content-Encoding": "gzip"}, body=WHOLE))


async def test_a_short_body_names_what_came() -> None:
    answer = reply(headers={"Content-Length": 1024}, body=WHOLE[:300])
    with pytest.raises(Interrupted) as caught:
        await fetch(lambda _: answer)
    assert caught.value.received == 300
    assert isinstance(caught.value, Offline)


async def test_silence_ends_by_the_idle_timeout() -> None:
    answer = reply(headers={"Content-Length": 1024}, body=WHOLE[:300])
    with trio.fail_after(3), pytest.raises(Interrupted):
        await fetch(lambda _: answer, stall=True)


async def test_leaving_early_closes_the_connection() -> None:
    async with loopback(well_behaved) as server:
        transport = Transport(Endpoints.at(server.url))
        async with content.download(transport, Session(), f"{server.url}/B") as found:
            async for _ in found.chunks():
                break
        await transport.aclose()


@pytest.mark.parametrize("ranged", [True, False])
async def test_who_stops_at_the_last_byte_leaves_a_connection_for_the_next(ranged: bool) -> None:
    def answer(head: bytes) -> bytes:
        whole = well_behaved(head) if ranged else reply(body=WHOLE)
        return whole.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)

    async with loopback(answer) as server:
        transport = Transport(Endpoints.at(server.url))
        for start in (0, 300, 700) if ranged else (0, 0, 0):
            async with content.download(
                transport, Session(), f"{server.url}/B", start, len(WHOLE), size=len(WHOLE)
            ) as found:
                received = b""
                async for chunk in found.chunks():
                    received += chunk
                    if len(received) == len(WHOLE) - start:
                        break
                assert received == WHOLE[start:]
        await transport.aclose()
    assert server.connections == 1


@pytest.mark.parametrize("url", ["https://evil.example/B", "http://cvws.icloud-content.com/B"])
async def test_urls_that_lead_elsewhere(url: str) -> None:
    transport = Transport(GLOBAL)
    with pytest.raises(ProtocolError, match="unexpected server"):
        async with content.download(transport, Session(), url):
            pass
    await transport.aclose()


@pytest.mark.parametrize(
    "stated",
    [
        f"bytes 0-{'9' * 5000}/*",
        f"bytes {'9' * 5000}-{'9' * 5000}/{'9' * 5000}",
        "bytes \xb2-\xb3/*".encode().decode("latin-1"),
        "x" * 5000,
    ],
)
async def test_a_range_without_any_sense_is_a_mismatch(stated: str) -> None:
    for status in ("206 Partial Content", "416 Range Not Satisfiable"):
        with pytest.raises(ContentMismatch) as caught:
            await fetch(lambda _, s=status: reply(s, {"Content-Range": stated}, b"x"), 0, 10)  # type: ignore[misc]
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "url",
    [
        "https://xn--a.icloud-content.com/B/x",
        "https://xn--zzzzzzzzz99999999.icloud-content.com/B/x",
    ],
)
async def test_a_host_that_idna_refuses_is_no_address(url: str) -> None:
    transport = Transport(GLOBAL)
    with pytest.raises(ProtocolError):
        async with content.download(transport, Session(), url):
            pass
    await transport.aclose()
