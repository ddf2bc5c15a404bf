"""Content: signed URLs that expire, ranges (facts/cloudkit.md §1.9)."""

from __future__ import annotations

import base64
import hmac
import re
import secrets

import trio

from icloudfs.apple.wire import WEB_TOKEN
from icloudfs.simulator.account import Doorkeeper
from icloudfs.simulator.blobs import Blob, Storehouse
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.faults import TINY_BODY, Faults
from icloudfs.simulator.message import Request, Response
from icloudfs.simulator.rows import Link

ROOT = "/B/"
_OCTETS = ("Content-Type", "application/octet-stream")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Content:
    """Hands out URLs and answers them."""

    def __init__(
        self, storehouse: Storehouse, keeper: Doorkeeper, faults: Faults, clock: Clock
    ) -> None:
        self._storehouse = storehouse
        self._keeper = keeper
        self._faults = faults
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def link(self, request: Request, zone: str, request_uuid: str) -> Link:
        """What makes the URLs of one answer: all expire at the same second and name that answer."""
        if request.at_apple:
            china = ".cn" if request.host.endswith(".cn") else ""
            base = f"https://cvws.icloud-content.com{china}"
        else:
            base = request.here
        expires = int(self._clock.wall() + self._keeper.account.url_lifetime)
        key = self._key
        behind = f"&fl=&r={request_uuid}-1&ckc=com.apple.photos.cloud&ckz={zone}&y=1&p=10&s="
        before = f"?o=AsimulatedObject&v=1&x=3&a=CAsimulatedAuthorization&e={expires}&k="

        def link(blob: Blob) -> str:
            path = blob.path
            wrapping = base64.urlsafe_b64encode(blob.wrapping_key).rstrip(b"=").decode("ascii")
            signature = _signature(key, path, str(expires))
            return f"{base}{ROOT}{path}/${{f}}{before}{wrapping}{behind}{signature}"

        return link

    def blob(self, request: Request) -> Blob | None:
        """The content that a URL names, whether or not the URL is still good."""
        name = request.path.removeprefix(ROOT).split("/", 1)[0]
        try:
            raw = base64.urlsafe_b64decode(name)
        except ValueError:
            return None
        return self._storehouse.find(raw[1:21])

    async def answer(self, request: Request) -> Response:
        """The content, or the part of it that is asked for."""
        if request.method not in ("GET", "HEAD"):
            return Response(405)
        blob = self.blob(request)
        checksum = blob.checksum if blob is not None else ""
        withdrawn = self._faults.strike("gone", "content", checksum=checksum, path=request.path)
        if blob is None or withdrawn or not self._is_good(request, blob):
            return Response(410, [("Content-Type", "text/html")], b"<html>Gone</html>")
        if self._faults.switches.content_needs_cookies and not self._signed_in(request):
            return Response(200, [_OCTETS], TINY_BODY)
        body = await self.bytes_of(blob)
        ranged = request.headers.get("range", "")
        if ranged and self._faults.strike("no-range", "content", checksum=checksum):
            ranged = ""
        return _ranged(body, ranged)

    async def bytes_of(self, blob: Blob) -> bytes:
        """The whole content; made in a thread if it is not in memory."""
        body = self._storehouse.kept(blob)
        if body is None:
            body = await trio.to_thread.run_sync(blob.content)
            self._storehouse.keep(blob, body)
        return body

    def _is_good(self, request: Request, blob: Blob) -> bool:
        query = request.query
        expires = query.get("e", "")
        signed = hmac.compare_digest(
            _signature(self._key, blob.path, expires), query.get("s", "").encode().decode()
        )
        return signed and expires.isdigit() and int(expires) >= self._clock.wall()

    def _signed_in(self, request: Request) -> bool:
        return self._keeper.tokens.valid("web-token", request.cookies.get(WEB_TOKEN))


def _signature(key: bytes, path: str, expires: str) -> str:
    raw = hmac.digest(key, f"{path}{expires}".encode(), "sha1")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _ranged(body: bytes, ranged: str) -> Response:
    """200 with everything, 206 with a part, or 416. Several ranges at once get everything."""
    headers = [
        _OCTETS,
        ("Accept-Ranges", "bytes"),
        ("Content-Disposition", 'attachment; filename="%24%7Bf%7D"'),
    ]
    match = _RANGE.fullmatch(ranged.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return Response(200, headers, body)
    size = len(body)
    first, last = match.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if begin >= size or begin > end:
        return Response(416, [*headers, ("Content-Range", f"bytes */{size}")])
    headers.append(("Content-Range", f"bytes {begin}-{end}/{size}"))
    return Response(206, headers, memoryview(body)[begin : end + 1])
