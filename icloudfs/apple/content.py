"""Fetching one content: a range of the bytes behind one download URL.

The URLs are signed and short-lived, so an answer is only believed as far as it fits what was asked for:
error pages with status 200, other ranges and short bodies are all on record (facts/cloudkit.md §1.9).
Whether the bytes are the right ones is for their reader to say, with ``checksum``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import httpx
import trio

from icloudfs.apple import retry
from icloudfs.apple.retry import busy
from icloudfs.apple.session import Session
from icloudfs.apple.transport import Meter, Transport
from icloudfs.errors import ContentMismatch, ContentUnavailable, Offline

IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a download counts as broken off."""

_PIECES_AT_ONCE = 64
"""Pieces of a body, each of at least one byte, until others have their turn."""
_ERROR_BODY = 17  # bytes of the body that comes with 200 in the place of the content
_PAGES = (b"<!doctype html", b"<html")


class ExpiredURL(ContentUnavailable):
    """The URL is no longer accepted: look the record up again and go on where it stopped."""


class Interrupted(Offline):
    """The content broke off; what came is good, and the rest can be asked for."""

    def __init__(self, message: str, *, received: int) -> None:
        super().__init__(message)
        self.received = received
        """Bytes that came, counted from where the range began."""


@dataclass(frozen=True)
class _Body:
    """What an answer's body is, in bytes of the content."""

    stop: int | None
    total: int | None
    skip: int
    """Bytes before the first one that was asked for."""
    goes_on: bool
    """It holds more than was asked for, or may do so."""
    ends_there: bool
    """It is known to end with what was asked for: to wait for its end is not to wait for the network."""


class Content:
    """A content that is arriving. ``async for chunk in content.chunks()``, once."""

    def __init__(self, response: httpx.Response, start: int, body: _Body, meter: Meter) -> None:
        self.start = start
        """Offset of the first byte that ``chunks`` gives, as asked for."""
        self.stop = body.stop
        """Offset after the last one; None if the server did not say where the content ends."""
        self.total = body.total
        """Bytes of the whole content, if the server said so."""
        self._response = response
        self._body = body
        self._meter = meter
        self._chunks = self._arriving()

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to ``stop``, as they come: in chunks of up to 64 KiB.

        Raises Interrupted when they break off and ContentMismatch when they are an error page.
        """
        return self._chunks

    async def _arriving(self) -> AsyncGenerator[bytes, None]:
        received, to_skip, pieces_taken = 0, self._body.skip, 0
        wanted = None if self.stop is None else self.stop - self.start
        try:
            # httpx declares an iterator, and it is a generator; it must be closed by us, in order.
            # Without a chunk size: with one, bytes that came would be lost when the rest does not.
            arriving = cast("AsyncGenerator[bytes, None]", self._response.aiter_raw())
            async with aclosing(arriving) as pieces:
                async for piece in pieces:
                    if received == wanted and piece:
                        return  # all that was asked for is here, and what comes has no end
                    chunk = piece[to_skip:]
                    to_skip -= len(piece) - len(chunk)
                    if wanted is not None:
                        chunk = chunk[: wanted - received]
                    if self.start == 0 and received == 0:
                        _refuse_page(chunk)
                    received += len(chunk)
                    self._meter.downloaded += len(chunk)
                    if received == wanted and self._body.ends_there:
                        # Before the last chunk is given: who has every byte asks for no more, and a
                        # connection whose answer was not read to its end is not used again.
                        async for _ in pieces:
                            pass
                    if chunk:
                        yield chunk
                    pieces_taken += 1
                    if pieces_taken % _PIECES_AT_ONCE == 0:
                        await trio.lowlevel.checkpoint()
                    if received == wanted and self._body.goes_on:
                        return
        except httpx.TransportError:
            raise Interrupted(
                f"The download broke off after {received} bytes.", received=received
            ) from None
        if wanted is not None and received < wanted:
            raise Interrupted(
                f"The download ended after {received} of {wanted} bytes.", received=received
            )


@asynccontextmanager
async def download(
    transport: Transport,
    session: Session,
    url: str,
    start: int = 0,
    stop: int | None = None,
    *,
    size: int | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
) -> AsyncIterator[Content]:
    """Ask for the bytes from ``start`` up to, not including, ``stop`` (None: to the end).

    ``size``: bytes of the whole content as the record announced it, if known; checked against the
    answer. ``idle_timeout``: seconds without a byte.

    Raises ExpiredURL, ContentMismatch (naming what was expected and found), ContentUnavailable,
    TryLater (429 and 5xx), ProtocolError (the URL leads elsewhere), Offline.
    """
    if stop is not None and stop <= start:
        raise ValueError(f"no bytes lie between {start} and {stop}")
    transport.endpoints.checked(url)
    headers = {"Accept": "*/*", "Origin": transport.endpoints.home}
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
    async with transport.stream(
        _addressed(url), session, headers=headers, idle_timeout=idle_timeout
    ) as response:
        _refuse_status(response, start, stop)
        _refuse_disguise(response)
        body = (
            _partial(response, start, stop, size)
            if response.status_code == 206
            else _entire(response, start, stop, size)
        )
        content = Content(response, start, body, transport.meter)
        async with aclosing(content._chunks):
            yield content


def _addressed(url: str) -> str:
    """The URL as clients send it: ``${f}`` stands for a file name that nobody fills in (§1.9)."""
    return url.replace("${f}", "$%7Bf%7D")


def _refuse_status(response: httpx.Response, start: int, stop: int | None) -> None:
    status = response.status_code
    match status:
        case 200 | 206:
            return
        case 401 | 403 | 410:
            # 410 is what an expired URL gets. With 401 and 403 the session is to blame, and the
            # look-up of a fresh URL is what renews it.
            raise ExpiredURL(f"The download address has expired (HTTP {status}).")
        case 416:
            raise ContentMismatch(
                f"iCloud has no bytes {start}–{'' if stop is None else stop} of the content, "
                f"only {response.headers.get('Content-Range', 'fewer')[:80]}."
            )
        case _ if status == 429 or status >= 500:
            raise busy(
                f"iCloud does not hand out the content for now (HTTP {status}).",
                retry.retry_after(response.headers),
            )
        case _:
            raise ContentUnavailable(f"iCloud does not have the content (HTTP {status}).")


def _refuse_disguise(response: httpx.Response) -> None:
    """Error pages that call themselves a success. Contents come as octet-stream, unencoded."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/json", "text/json"):
        raise ContentMismatch(f"Expected a photo or video, found {kind}.")
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise ContentMismatch(f"Expected the content as it is stored, found it as {encoding[:80]}.")


def _refuse_page(beginning: bytes) -> None:
    if beginning.lstrip()[:16].lower().startswith(_PAGES):
        raise ContentMismatch("Expected a photo or video, found a web page.")


_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


def _partial(response: httpx.Response, start: int, stop: int | None, size: int | None) -> _Body:
    """A 206, whose ``Content-Range`` must be the range that was asked for."""
    stated = response.headers.get("Content-Range", "")
    match_ = _RANGE.fullmatch(stated.strip())
    if match_ is None:
        raise ContentMismatch(f"Expected bytes from {start}, found the range {stated[:80]!r}.")
    first, last = int(match_[1]), int(match_[2])
    total = size if match_[3] == "*" else int(match_[3])
    _check_size(total, size)
    expected_stop = _earlier(stop, total)
    if first != start or (expected_stop is not None and last + 1 != expected_stop):
        raise ContentMismatch(
            f"Expected bytes {start}–{_last(expected_stop)}, found bytes {first}–{last}."
        )
    length = _content_length(response)
    if length is not None and length != last + 1 - first:
        raise ContentMismatch(f"Expected {last + 1 - first} bytes, found {length}.")
    return _Body(last + 1, total, skip=0, goes_on=False, ends_there=length is not None)


def _entire(response: httpx.Response, start: int, stop: int | None, size: int | None) -> _Body:
    """A 200: the whole content, of which the beginning is skipped if a range was asked for."""
    length = _content_length(response)
    if length == _ERROR_BODY and size != _ERROR_BODY:
        raise ContentMismatch(
            f"Expected {'a content' if size is None else f'{size} bytes'}, found the "
            f"{_ERROR_BODY} bytes of an error."
        )
    _check_size(length, size)
    total = size if length is None else length
    if total is not None and start > total:
        raise ContentMismatch(f"Expected bytes from {start}, found {total} bytes in all.")
    goes_on = total is None or (stop is not None and stop < total)
    ends_there = not goes_on and length is not None
    return _Body(_earlier(stop, total), total, skip=start, goes_on=goes_on, ends_there=ends_there)


def _check_size(found: int | None, announced: int | None) -> None:
    if found is not None and announced is not None and found != announced:
        raise ContentMismatch(f"Expected {announced} bytes, found {found}.")


def _content_length(response: httpx.Response) -> int | None:
    stated = response.headers.get("Content-Length", "")
    return int(stated) if re.fullmatch(r"[0-9]{1,18}", stated) else None


def _earlier(one: int | None, other: int | None) -> int | None:
    known = [offset for offset in (one, other) if offset is not None]
    return min(known, default=None)


def _last(stop: int | None) -> str:
    return "" if stop is None else str(stop - 1)
