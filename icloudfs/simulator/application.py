"""The application: one set of services behind every door.

Requests are told apart by path; at the doors where clients use Apple's host names the host has to be
the right one as well. The whole of the plain door is one origin.
"""

from __future__ import annotations

from email.utils import formatdate

import trio

from icloudfs.simulator import content, database, identity, setup, streams
from icloudfs.simulator.account import Account, Doorkeeper
from icloudfs.simulator.calls import asked
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.content import Content
from icloudfs.simulator.control import ROOT as CONTROL_ROOT
from icloudfs.simulator.control import Control
from icloudfs.simulator.database import CloudKit
from icloudfs.simulator.faults import Faults, answered, in_transit, instead, wrong_answer
from icloudfs.simulator.identity import Identity
from icloudfs.simulator.message import BadRequestError, Request, Response, json_response
from icloudfs.simulator.phone import Phone
from icloudfs.simulator.setup import Setup
from icloudfs.simulator.streams import Streams
from icloudfs.simulator.traffic import Call, Traffic

_HOSTS = {
    "signin": "idmsa.",
    "setup": "setup.",
    "content": "cvws.",
    "streams": "p61-sharedstreams.",
}
"""What the real host of a kind of call begins with; all others live at a database host."""


class Application:
    """The simulated iCloud, as its doors see it."""

    def __init__(self, cloud: Cloud, account: Account, phone: Phone, latency: float) -> None:
        self.latency = latency
        """Seconds that every call takes longer."""
        self.faults = Faults()
        self.traffic = Traffic()
        self.keeper = Doorkeeper(account, cloud.clock)
        self._clock = clock = cloud.clock
        self._identity = Identity(self.keeper, self.faults, clock)
        self._setup = Setup(self.keeper, self.faults, clock)
        self._content = Content(cloud.storehouse, self.keeper, self.faults, clock)
        self._cloudkit = CloudKit(
            cloud, self.keeper, self._content, self.faults, self._setup.web_token
        )
        self._streams = Streams(
            cloud, self.keeper, self._content, self.faults, self._cloudkit.refusal
        )
        self._control = Control(cloud, self.keeper, phone, self.faults, self.traffic, self._content)

    async def answer(self, request: Request) -> Response:
        if request.path.startswith(CONTROL_ROOT):
            return await self._control.answer(request)
        response = await self._answer(request)
        response.headers.append(("Date", formatdate(self._clock.told(), usegmt=True)))
        return response

    async def _answer(self, request: Request) -> Response:
        kind = _kind(request.path)
        what = asked(request)
        call = self._begin(request, kind, what.name)
        await self._wait(kind, call)
        wrong = wrong_answer(self.faults, kind, call, what)
        response = instead(self.faults, kind, call, what)
        if response is None:
            response = await self._true_answer(request, kind)
        if wrong is not None:
            response = answered(wrong, response, what)
        return in_transit(self.faults, response, kind, call, what)

    def sent(self, request: Request, response: Response, body_bytes: int) -> None:
        if isinstance(request.call, Call):
            self.traffic.end(request.call, response.status, body_bytes)

    def _begin(self, request: Request, kind: str, name: str) -> Call:
        call = Call(
            kind=kind,
            name=name,
            method=request.method,
            path=request.path,
            range=request.headers.get("range", ""),
            client=request.headers.get("user-agent", ""),
        )
        endpoint = request.path.removeprefix(database.ROOT)
        if kind == "content":
            blob = self._content.blob(request)
            call.checksum = blob.checksum if blob is not None else ""
            endpoint = "content"
        self.traffic.begin(call, endpoint)
        request.call = call
        return call

    async def _wait(self, kind: str, call: Call) -> None:
        seconds = self.latency
        fault = self.faults.strike("delay", kind, checksum=call.checksum, path=call.path)
        if fault is not None:
            seconds += fault.number("seconds", 1.0)
        if seconds > 0:
            await trio.sleep(seconds)

    async def _true_answer(self, request: Request, kind: str) -> Response:
        if request.at_apple and not _right_host(request.host, kind):
            return json_response({"reason": "Misdirected Request"}, 421)
        try:
            match kind:
                case "signin":
                    # the key derivation behind a sign-in takes a while, once
                    return await trio.to_thread.run_sync(self._identity.answer, request)
                case "setup":
                    return self._setup.answer(request)
                case "content":
                    return await self._content.answer(request)
                case "streams":
                    return self._streams.answer(request)
                case "home":
                    return _home(request)
                case _:
                    return self._cloudkit.answer(request)
        except BadRequestError as error:
            body = {"serverErrorCode": "BAD_REQUEST", "reason": str(error)}
            return json_response(body, 400)
        except (AttributeError, TypeError, ValueError):
            # valid JSON of another shape than the endpoint takes
            body = {"serverErrorCode": "BAD_REQUEST", "reason": "malformed request"}
            return json_response(body, 400)


def _kind(path: str) -> str:
    """One of faults.KINDS, or ``home``."""
    if path.startswith(identity.ROOT):
        return "signin"
    if path.startswith(setup.ROOT):
        return "setup"
    if path.startswith(content.ROOT):
        return "content"
    if streams.call_of(path):
        return "streams"
    if not path.startswith(database.ROOT):
        return "home"
    if path.endswith("/records/lookup"):
        return "lookup"
    if path.endswith(("/changes/zone", "/changes/database", "/zones/list")):
        return "changes"
    return "query"


def _right_host(host: str, kind: str) -> bool:
    if kind == "home":
        return True
    begins = _HOSTS.get(kind)
    return host.startswith(begins) if begins else "-ckdatabasews." in host


def _home(request: Request) -> Response:
    """www.icloud.com itself: nothing that a client needs."""
    if request.path in ("", "/"):
        page = b"<!DOCTYPE html><html><head><title>iCloud</title></head></html>"
        return Response(200, [("Content-Type", "text/html;charset=UTF-8")], page)
    return Response(404, [("Content-Type", "text/html")], b"<html>Not Found</html>")
