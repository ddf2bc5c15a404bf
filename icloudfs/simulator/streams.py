"""``sharedstreams``: the service of shared albums of the older kind (facts/cloudkit.md §1.13)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from icloudfs.simulator.account import Doorkeeper
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.content import Content
from icloudfs.simulator.faults import Faults
from icloudfs.simulator.message import Json, Request, Response, json_response
from icloudfs.simulator.stream import Stream

MOST_AT_ONCE = 100
"""Photos on a page, whatever is asked for."""

_PATH = re.compile(r"/([^/]+)/sharedstreams/(webget\w+)")


def call_of(path: str) -> str:
    """The call that a path means, such as ``webgetassets``; '' if it is not one of this service."""
    found = _PATH.fullmatch(path)
    return found[2] if found else ""


class Streams:
    """Answers ``/<dsid>/sharedstreams/…``."""

    def __init__(
        self,
        cloud: Cloud,
        keeper: Doorkeeper,
        content: Content,
        faults: Faults,
        refusal: Callable[[Request], Response | None],
    ) -> None:
        self._cloud = cloud
        self._keeper = keeper
        self._content = content
        self._faults = faults
        self._refusal = refusal
        """What there is to say to a request without a session."""

    def answer(self, request: Request) -> Response:
        """Raises BadRequestError and ValueError."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        found = _PATH.fullmatch(request.path)
        dsid, call = (found[1], found[2]) if found else ("", "")
        if call == "webgetalbumslist":
            if dsid != self._keeper.account.dsid:
                return _error(403, "this is another account's")
            albums = [_shown(album, request) for album in self._cloud.streams.values()]
            return json_response({"albums": albums})
        album = self._cloud.streams.get(str(request.json().get("albumguid", "")))
        if album is None or album.owner != dsid:
            return _error(404, "no such album")
        match call:
            case "webgetassetcount":
                return json_response({"albumassetcount": len(album.photos())})
            case "webgetassets":
                return json_response({"records": self._page(album, request)})
        return _error(404, "no such call")

    def _page(self, album: Stream, request: Request) -> list[Json]:
        """Raises ValueError for numbers that are none; they come as text."""
        body = request.json()
        start, limit = int(body.get("offset", "0")), int(body.get("limit", str(MOST_AT_ONCE)))
        if start < 0 or limit < 0:
            raise ValueError("negative")
        end = start + limit if self._faults.switches.stream_limit_counts else limit
        link = self._content.link(request, album.guid, str(uuid.uuid4()))
        page = album.photos()[start : max(start, min(end, start + MOST_AT_ONCE))]
        return [record for asset in page for record in album.wire(asset, link)]


def _shown(album: Stream, request: Request) -> Json:
    here = f"https://{request.host}:443" if request.at_apple else request.here
    return {
        "albumguid": album.guid,
        "ownerdsid": album.owner,
        "albumlocation": f"{here}/{album.owner}/sharedstreams/",
        "albumctag": album.ctag,
        "sharingtype": "owned" if album.mine else "subscribed",
        "iswebuploadsupported": True,
        "publicurl": None,
        "attributes": {
            "name": album.title,
            "creationDate": str(album.created),
            "allowcontributions": True,
            "ispublic": False,
        },
    }


def _error(status: int, reason: str) -> Response:
    return json_response({"error": reason}, status)
