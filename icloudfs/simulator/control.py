"""The control door: everything a test in another process can do, as JSON over HTTP.

It lies below ``/simulator/`` at the plain door, needs no session, and is neither counted nor faulted.
"""

# ruff: noqa: ARG002 — handlers share one signature, whatever each of them needs

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import msgspec

from icloudfs.simulator import manifest
from icloudfs.simulator.account import Doorkeeper
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.content import Content
from icloudfs.simulator.faults import Faults, UnknownFaultError
from icloudfs.simulator.message import BadRequestError, Request, Response, json_response
from icloudfs.simulator.phone import Phone
from icloudfs.simulator.sharing import Sharing
from icloudfs.simulator.traffic import Traffic

ROOT = "/simulator/"

PHONE_METHODS = frozenset(name for name in vars(Phone) if not name.startswith("_"))
SHARING_METHODS = frozenset(name for name in vars(Sharing) if not name.startswith("_"))

Handler = Callable[[Request, str], Awaitable[Response]]


class Control:
    """Answers everything below ``/simulator/``."""

    def __init__(
        self,
        cloud: Cloud,
        keeper: Doorkeeper,
        phone: Phone,
        faults: Faults,
        traffic: Traffic,
        content: Content,
    ) -> None:
        self._cloud = cloud
        self._keeper = keeper
        self._phone = phone
        self._faults = faults
        self._traffic = traffic
        self._content = content
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "manifest"): self._manifest,
            ("GET", "counts"): self._counts,
            ("GET", "albums"): self._albums,
            ("GET", "shared-albums"): self._shared_albums,
            ("GET", "content"): self._raw_content,
            ("GET", "traffic"): self._show_traffic,
            ("POST", "traffic"): self._reset_traffic,
            ("POST", "phone"): self._act,
            ("GET", "faults"): self._show_faults,
            ("POST", "faults"): self._set_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "switches"): self._switch,
            ("POST", "clock"): self._advance,
            ("POST", "indexing"): self._index,
            ("POST", "sessions"): self._expire,
            ("POST", "address"): self._move,
        }

    async def answer(self, request: Request) -> Response:
        word, _, rest = request.path.removeprefix(ROOT).partition("/")
        handler = self._handlers.get((request.method, word))
        if handler is None:
            return _problem(404, f"no control called {request.method} {word!r}")
        try:
            return await handler(request, rest)
        except (BadRequestError, UnknownFaultError, TypeError, ValueError, OSError) as error:
            return _problem(400, str(error))
        except KeyError as error:
            return _problem(404, str(error.args[0]))

    # -- the truth -------------------------------------------------------------------------------

    async def _manifest(self, request: Request, rest: str) -> Response:
        headers = [("Content-Type", "application/x-ndjson")]
        return Response(200, headers, pieces=manifest.lines(self._cloud))

    async def _counts(self, request: Request, rest: str) -> Response:
        return json_response(manifest.counts(self._cloud))

    async def _albums(self, request: Request, rest: str) -> Response:
        return json_response(manifest.albums(self._cloud))

    async def _shared_albums(self, request: Request, rest: str) -> Response:
        return json_response(manifest.shared_albums(self._cloud))

    async def _raw_content(self, request: Request, rest: str) -> Response:
        blob = self._cloud.storehouse.find_checksum(rest)
        if blob is None:
            return _problem(404, "no such content")
        body = await self._content.bytes_of(blob)
        digest = hashlib.sha256(body).hexdigest()
        kind = ("Content-Type", "application/octet-stream")
        return Response(200, [kind, ("X-SHA256", digest)], body)

    # -- traffic ---------------------------------------------------------------------------------

    async def _show_traffic(self, request: Request, rest: str) -> Response:
        shown = self._traffic.as_json()
        if request.query.get("log") == "no":
            del shown["log"]
        return json_response(shown)

    async def _reset_traffic(self, request: Request, rest: str) -> Response:
        self._traffic.reset()
        return json_response({})

    # -- the phone -------------------------------------------------------------------------------

    async def _act(self, request: Request, rest: str) -> Response:
        if rest not in PHONE_METHODS | SHARING_METHODS:
            return _problem(404, f"the phone cannot {rest!r}")
        actor = self._phone.sharing if rest in SHARING_METHODS else self._phone
        method: Callable[..., Any] = getattr(actor, rest)
        return json_response({"result": msgspec.to_builtins(method(**request.json()))})

    # -- faults, time, sessions ------------------------------------------------------------------

    async def _show_faults(self, request: Request, rest: str) -> Response:
        return json_response(
            {
                "faults": [fault.told() for fault in self._faults.active],
                "switches": asdict(self._faults.switches),
            }
        )

    async def _set_fault(self, request: Request, rest: str) -> Response:
        body = request.json()
        kind, name = body.pop("kind", "*"), body.pop("fault", "")
        return json_response(self._faults.set(kind, name, **body).told())

    async def _clear_faults(self, request: Request, rest: str) -> Response:
        self._faults.clear(rest or None)
        return json_response({})

    async def _switch(self, request: Request, rest: str) -> Response:
        self._faults.switch(**request.json())
        return json_response(asdict(self._faults.switches))

    async def _advance(self, request: Request, rest: str) -> Response:
        clock, body = self._cloud.clock, request.json()
        clock.advance(float(body.get("seconds", 0)))
        clock.told_off = float(body.get("told_off", clock.told_off))
        return json_response({"wall": clock.wall(), "record": clock.record()})

    async def _index(self, request: Request, rest: str) -> Response:
        """For ``seconds`` Apple is still indexing every library; 0: it has just finished."""
        body = request.json()
        self._cloud.index_for(float(body.get("seconds", 0)), str(body.get("state", "RUNNING")))
        return json_response({})

    async def _expire(self, request: Request, rest: str) -> Response:
        if rest != "expire":
            return _problem(404, "sessions can be expired, nothing else")
        return json_response({"expired": self._keeper.expire(str(request.json().get("what")))})

    async def _move(self, request: Request, rest: str) -> Response:
        self._keeper.address = str(request.json().get("address"))
        return json_response({"address": self._keeper.address})


def _problem(status: int, message: str) -> Response:
    return json_response({"error": message}, status)
