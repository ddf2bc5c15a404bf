"""The plain door: HTTP/1.1 on one connection, h11 over a trio stream."""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

import h11
import trio

from icloudfs.simulator.message import Delivery, Request, Response

_READ = 64 * 1024
_PIECE = 256 * 1024
_LARGEST_BODY = 64 * 1024 * 1024


class Answering(Protocol):
    """What a door feeds: the application."""

    async def answer(self, request: Request) -> Response:
        """Make the answer; never raises anything but Cancelled."""

    def sent(self, request: Request, response: Response, body_bytes: int) -> None:
        """Told when an answer has gone out, with the bytes of its body that were written."""


async def serve_connection(
    stream: trio.abc.Stream, application: Answering, scheme: str = "http", tunnelled_host: str = ""
) -> None:
    """Answer requests on ``stream`` until either side closes it."""
    conversation = _Conversation(stream, application, scheme, tunnelled_host)
    try:
        await conversation.run()
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
        pass  # the client went away, or speaks no HTTP: there is no one to tell
    finally:
        await trio.aclose_forcefully(stream)


class _Conversation:
    def __init__(
        self, stream: trio.abc.Stream, application: Answering, scheme: str, tunnelled_host: str
    ) -> None:
        self._stream = stream
        self._application = application
        self._scheme = scheme
        self._tunnelled_host = tunnelled_host
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)

    async def run(self) -> None:
        while True:
            request = await self._next_request()
            if request is None:
                return
            response = await self._application.answer(request)
            if not await self._send(request, response):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _LARGEST_BODY:
                    return None
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._request(head, bytes(body))
            else:
                return None

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._stream.send_all(self._http.send(go_on) or b"")
            self._http.receive_data(bytes(await self._stream.receive_some(_READ)))

    def _request(self, head: h11.Request, body: bytes) -> Request:
        return Request(
            method=head.method.decode("ascii"),
            target=head.target.decode("latin-1"),
            headers={n.decode("latin-1"): v.decode("latin-1") for n, v in head.headers},
            body=body,
            scheme=self._scheme,
            tunnelled_host=self._tunnelled_host,
        )

    async def _send(self, request: Request, response: Response) -> bool:
        """Whether the connection can be used again."""
        delivery = response.delivery or Delivery()
        written = 0
        try:
            if delivery.no_answer:
                return False
            while delivery.interim:
                hint = h11.InformationalResponse(status_code=103, headers=[("Link", "</x>")])
                await self._stream.send_all(self._http.send(hint) or b"")
            await self._send_head(response)
            if request.method == "HEAD" or response.status in (204, 304):
                pass
            elif response.pieces is not None:
                for piece in response.pieces:
                    await self._send_data(piece)
                    written += len(piece)
            else:
                for part in _cut(response.body, delivery):
                    await self._send_data(part)
                    written += len(part)
                    await _pause(len(part), delivery)
                if delivery.stall_after is not None:
                    await self._until_they_hang_up()
                if written < len(response.body):
                    return False
            await self._stream.send_all(self._http.send(h11.EndOfMessage()) or b"")
            return True
        finally:
            self._application.sent(request, response, written)

    async def _until_they_hang_up(self) -> None:
        """Wait, without a word, as long as the client does."""
        while await self._stream.receive_some(_READ):
            pass

    async def _send_head(self, response: Response) -> None:
        headers = list(response.headers)
        if response.pieces is None and response.status not in (204, 304):
            headers.append(("Content-Length", str(len(response.body))))
        head = h11.Response(
            status_code=response.status,
            headers=[(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers],
            reason=_reason(response.status),
        )
        await self._stream.send_all(self._http.send(head) or b"")

    async def _send_data(self, piece: bytes | memoryview) -> None:
        data = self._http.send_with_data_passthrough(h11.Data(data=piece))  # type: ignore[arg-type]
        for part in data or []:
            await self._stream.send_all(part)


def _cut(body: bytes | memoryview, delivery: Delivery) -> list[memoryview]:
    """The pieces of the body that the delivery lets through."""
    whole = memoryview(body)
    limits = [n for n in (delivery.stop_after, delivery.stall_after) if n is not None]
    through = whole[: min(limits)] if limits else whole
    piece = _PIECE
    if delivery.bytes_per_second is not None:
        piece = max(1, min(_PIECE, int(delivery.bytes_per_second / 20)))
    return [through[at : at + piece] for at in range(0, len(through), piece)]


async def _pause(sent: int, delivery: Delivery) -> None:
    if delivery.bytes_per_second is not None:
        await trio.sleep(sent / delivery.bytes_per_second)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
