"""What a request asks for, by name: every kind of call that a client of iCloud makes.

Path and method tell most of them apart; the queries of the database differ only in their bodies. The names
are what a fault, a test or the traffic log says.
"""

from __future__ import annotations

from collections.abc import Iterator

from icloudfs.simulator import content, database, identity, setup, streams
from icloudfs.simulator.database import COUNTS, LISTS
from icloudfs.simulator.faults import Asked
from icloudfs.simulator.message import BadRequestError, Json, Request

SIGN_IN_CALLS = (
    "authorize/signin",
    "signin/init",
    "signin/complete",
    "auth",
    "verify/trusteddevice/securitycode",
    "2sv/trust",
)
"""Of the sign-in service, by path; those of an ordinary account, in their order."""

SETUP_CALLS = ("accountLogin", "validate")

DATABASE_CALLS = (
    "changes/database",
    "changes/zone",
    "zones/list",
    "counts",
    "indexing",
    *(f"list:{index}" for index in ("all", "bursts", "hidden", "deleted")),
    "albums",
    "folder",
    "members",
    "lookup",
)
"""Of the photo database: ``counts`` are those of lists, ``folder`` is the albums in one."""

CONTENT_CALLS = ("content",)

STREAM_CALLS = ("webgetalbumslist", "webgetassetcount", "webgetassets")
"""Of shared albums of the older kind."""


def asked(request: Request) -> Asked:
    """What a request asks for. What is no known call goes by its path."""
    path = request.path
    if path.startswith(identity.ROOT):
        return Asked(path.removeprefix(identity.ROOT).strip("/") or "auth")
    if path.startswith(setup.ROOT):
        return Asked(path.removeprefix(setup.ROOT).strip("/"))
    if path.startswith(content.ROOT):
        return Asked("content")
    if name := streams.call_of(path):
        return Asked(name)
    if not path.startswith(database.ROOT):
        return Asked(path)
    try:
        return _of_database(path.removeprefix(database.ROOT).partition("/")[2], request.json())
    except (BadRequestError, AttributeError, TypeError):
        return Asked(path)  # malformed, which its true answer will say


def _of_database(endpoint: str, body: Json) -> Asked:
    zones = frozenset(_zone_names(body))
    match endpoint:
        case "records/lookup":
            return Asked("lookup", zones)
        case "records/query":
            return _of_query(body.get("query") or {}, zones)
        case "internal/records/query/batch":
            parents = [_counted_album(one) for one in body.get("batch") or []]
            return Asked("counts", zones, next(filter(None, parents), ""))
    return Asked(endpoint, zones)


def _of_query(query: Json, zones: frozenset[str]) -> Asked:
    kind = str(query.get("recordType", ""))
    parent = str(database.filters_of(query).get("parentId") or "")
    if kind == database.ALBUMS:
        return Asked("folder" if parent else "albums", zones, parent)
    if kind in (database.MEMBERS_BY_DATE, database.MEMBERS_BY_POSITION):
        return Asked("members", zones, parent)
    if kind == database.INDEXING:
        return Asked("indexing", zones)
    return Asked(f"list:{LISTS.get(kind, kind)}", zones)


def _counted_album(batch: Json) -> str:
    wanted = database.filters_of(batch.get("query") or {}).get("indexCountID") or [""]
    first = str(wanted[0] if isinstance(wanted, list) else wanted)
    return first.partition(":")[2] if first not in COUNTS else ""


def _zone_names(body: Json) -> Iterator[str]:
    """Of a call about one zone, of ``changes/zone`` and of a batch."""
    for part in (body, *(body.get("zones") or []), *(body.get("batch") or [])):
        if name := (part.get("zoneID") or {}).get("zoneName"):
            yield str(name)
