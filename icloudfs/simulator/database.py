"""CloudKit: zones, changes, queries, look-ups (facts/cloudkit.md §1.6, §1.7, §1.10)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from icloudfs.apple.wire import (
    DATABASE_PATH,
    PAGE_ASSETS,
    PAGE_RECORDS,
    SHARED_ZONE_PREFIX,
    WEB_TOKEN,
)
from icloudfs.simulator.account import Doorkeeper
from icloudfs.simulator.cloud import Cloud, Database
from icloudfs.simulator.content import Content
from icloudfs.simulator.cookies import PCS_COOKIES, Header
from icloudfs.simulator.faults import Faults
from icloudfs.simulator.indexing import FINISHED
from icloudfs.simulator.message import Json, Request, Response, json_response
from icloudfs.simulator.rows import (
    PROJECT_ROOT_FOLDER,
    ROOT_FOLDER,
    Album,
    Asset,
    Gone,
    Master,
    Row,
    Wanted,
    int64,
    string,
)
from icloudfs.simulator.synctoken import BadTokenError, marker, marker_offset
from icloudfs.simulator.zone import INDEXES, Page, Zone

ROOT = DATABASE_PATH + "/"
_REISSUE_EVERY = 6
"""A web token is handed out anew by every sixth answer: 27 of 152 recorded ones did."""

LISTS: dict[str, str] = {
    "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted": "all",
    "CPLAssetAndMasterByAddedDate": "added",
    "CPLBurstStackAssetAndMasterByAssetDate": "bursts",
    "CPLAssetAndMasterHiddenByAssetDate": "hidden",
    "CPLAssetAndMasterDeletedByExpungedDate": "deleted",
}
COUNTS: dict[str, str] = {
    "CPLAssetByAssetDateWithoutHiddenOrDeleted": "all",
    "CPLAssetByAddedDate": "added",
    "CPLAssetBurstStackAssetByAssetDate": "bursts",
    "CPLAssetHiddenByAssetDate": "hidden",
    "CPLAssetDeletedByExpungedDate": "deleted",
}
_SMART_LIST = "CPLAssetAndMasterInSmartAlbumByAssetDate"
_SMART_COUNT = "CPLAssetInSmartAlbumByAssetDate:"
MEMBERS_BY_DATE = "CPLContainerRelationLiveByAssetDate"
MEMBERS_BY_POSITION = "CPLContainerRelationLiveByPosition"
_MEMBERS_COUNT = "CPLContainerRelationNotDeletedByAssetDate:"
ALBUMS = "CPLAlbumByPositionLive"
_COUNT_LOOKUP = "HyperionIndexCountLookup"
INDEXING = "CheckIndexingState"
SHARED_LISTS = frozenset({"all", "added", "FAVORITE"})
"""What a shared library offers (facts/cloudkit.md §1.12)."""

T = TypeVar("T")


_CLOSED = "Access to this zone is not permitted"


class CloudKitError(Exception):
    """An error that is the whole answer to a call."""

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.reason = reason


def _bad_request(reason: str) -> CloudKitError:
    return CloudKitError(400, "BAD_REQUEST", reason)


class _Call:
    """One request to a database: what its handlers need to know."""

    def __init__(self, request: Request, database: Database, endpoint: str) -> None:
        self.request = request
        self.database = database
        self.endpoint = endpoint
        self.body = request.json()
        self.uuid = str(uuid.uuid4())

    @property
    def tokens_wanted(self) -> bool:
        """``getCurrentSyncToken=true``, without which there are none (facts/cloudkit.md §1.6)."""
        return self.request.query.get("getCurrentSyncToken", "").lower() == "true"


class CloudKit:
    """Answers everything below the database path."""

    def __init__(
        self,
        cloud: Cloud,
        keeper: Doorkeeper,
        content: Content,
        faults: Faults,
        web_token: Callable[[Request], Header],
    ) -> None:
        self._cloud = cloud
        self._keeper = keeper
        self._content = content
        self._faults = faults
        self._web_token = web_token
        self._answered = 0
        self._handlers: dict[str, Callable[[_Call], Json]] = {
            "zones/list": self._list_zones,
            "changes/database": self._database_changes,
            "changes/zone": self._zone_changes,
            "records/query": self._query,
            "records/lookup": self._lookup,
            "internal/records/query/batch": self._batch,
        }

    def answer(self, request: Request) -> Response:
        """Raises BadRequestError."""
        area, _, endpoint = request.path.removeprefix(ROOT).partition("/")
        database = self._cloud.database(area)
        handler = self._handlers.get(endpoint)
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        if database is None or handler is None or request.method != "POST":
            return _error(CloudKitError(404, "NOT_FOUND", "no such endpoint"), "")
        call = _Call(request, database, endpoint)
        try:
            response = json_response(handler(call))
        except CloudKitError as error:
            response = _error(error, call.uuid)
        except BadTokenError as error:
            response = _error(_bad_request(str(error)), call.uuid)
        self._add_headers(call, response)
        return response

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request without a session, or without the cookies that open what is stored."""
        token = request.cookies.get(WEB_TOKEN)
        if not token:
            body = {"reason": f"Missing {WEB_TOKEN} cookie", "error": 1}
            return json_response(body, 421)
        if not self._keeper.tokens.valid("web-token", token):
            error = CloudKitError(401, "AUTHENTICATION_FAILED", "Invalid web token")
            return _error(error, str(uuid.uuid4()))
        if self._keeper.account.advanced_data_protection and not self._has_pcs(request):
            body = {"reason": "Missing PCS cookies from the request", "error": 2}
            return json_response(body, 423)
        return None

    def _has_pcs(self, request: Request) -> bool:
        cookies = request.cookies
        return all(self._keeper.tokens.valid("pcs", cookies.get(name)) for name in PCS_COOKIES)

    def _add_headers(self, call: _Call, response: Response) -> None:
        response.headers += [
            ("X-Apple-Request-UUID", call.uuid),
            ("X-Responding-Instance", f"ckdatabasews:{secrets.randbelow(10**8)}:simulator"),
            ("Apple-Originating-System", "UnknownOriginatingSystem"),
            ("via", "icloudedge:simulator:7401:26RC01:Local"),
        ]
        self._answered += 1
        if self._answered % _REISSUE_EVERY == 0:
            response.headers.append(self._web_token(call.request))

    # -- zones and changes -----------------------------------------------------------------------

    def _list_zones(self, call: _Call) -> Json:
        zones = [
            {"zoneID": zone.wire_id, "syncToken": zone.token(), "atomic": True}
            for zone in call.database.zones.values()
        ]
        return {"moreComing": False, "syncToken": call.database.token(), "zones": zones}

    def _database_changes(self, call: _Call) -> Json:
        token = call.body.get("syncToken")
        changed, removed = call.database.changed_since(token)
        zones: list[Json] = [{"zoneID": z.wire_id, "syncToken": z.token()} for z in changed]
        zones += [{"zoneID": zone.wire_id, "deleted": True} for zone in removed]
        return {"syncToken": call.database.token(), "moreComing": False, "zones": zones}

    def _zone_changes(self, call: _Call) -> Json:
        asked = call.body.get("zones")
        if not isinstance(asked, list):
            raise _bad_request("missing required field 'zones'")
        return {"zones": [self._changes_of(call, one) for one in asked]}

    def _changes_of(self, call: _Call, asked: Json) -> Json:
        zone_id = asked.get("zoneID") or {}
        zone = _find_zone(call.database, zone_id)
        if zone is None:
            return {
                "zoneID": zone_id,
                "serverErrorCode": "ZONE_NOT_FOUND",
                "reason": "Zone does not exist",
            }
        if zone.closed:
            return {"zoneID": zone_id, "serverErrorCode": zone.closed, "reason": _CLOSED}
        trouble = self._faults.strike("zone-error", "changes")
        if trouble is not None:
            code = trouble.details.get("code", "TRY_AGAIN_LATER")
            return {"zoneID": zone.wire_id, "serverErrorCode": code, "reason": "simulated"}
        token = asked.get("syncToken")
        if token and (rejected := self._faults.strike("reject-token", "changes")):
            code = rejected.details.get("code", "BAD_REQUEST")
            reason = rejected.details.get("reason", "Unknown sync continuation type")
            if "status" in rejected.details:
                raise CloudKitError(int(rejected.number("status", 400)), code, reason)
            return _bad_zone(zone, reason, code)
        try:
            page = self._page(call, zone, asked)
        except BadTokenError as error:
            return _bad_zone(zone, str(error))
        wanted = _wanted(asked) if "desiredKeys" in asked else _wanted(call.body)
        return {
            "zoneID": zone.wire_id,
            "syncToken": self._token(zone, page.position, "changes"),
            "moreComing": page.more,
            "records": self._wire(call, zone, page.rows, wanted, "changes"),
        }

    def _page(self, call: _Call, zone: Zone, asked: Json) -> Page:
        """Raises BadTokenError."""
        token = asked.get("syncToken")
        if token == "":
            return Page([], zone.position, False)
        since = 0 if token is None else zone.position_of(str(token))
        if self._faults.strike("empty-page", "changes"):
            return Page([], since, True)
        limit = _limit(asked.get("resultsLimit") or call.body.get("resultsLimit"))
        page = zone.changes(since, limit)
        if page.more and self._faults.strike("split", "changes"):
            page = _cut_between(zone, page, since)
        if self._faults.strike("asset-only", "changes"):
            without = [row for row in page.rows if not isinstance(row, Master)]
            page = Page([*without], page.position, page.more)
        return page

    # -- queries ---------------------------------------------------------------------------------

    def _query(self, call: _Call) -> Json:
        return self._one_query(call, call.body)

    def _batch(self, call: _Call) -> Json:
        asked = call.body.get("batch")
        if not isinstance(asked, list):
            raise _bad_request("missing required field 'batch'")
        return {"batch": [self._one_query(call, one) for one in asked]}

    def _one_query(self, call: _Call, body: Json) -> Json:
        zone = _find_zone(call.database, body.get("zoneID") or {})
        if zone is None:
            raise CloudKitError(404, "ZONE_NOT_FOUND", "Zone does not exist")
        if zone.closed:
            raise CloudKitError(403, zone.closed, _CLOSED)
        query = body.get("query") or {}
        kind = str(query.get("recordType", ""))
        filters = filters_of(query)
        if kind == INDEXING:
            answer = self._indexing_state(zone)
        elif kind == _COUNT_LOOKUP:
            answer = self._counts(zone, filters)
        elif not self._has_index(zone, kind):
            raise _bad_request("Index has invalid data")
        elif kind == ALBUMS:
            answer = self._albums(call, zone, body, filters)
        elif kind in (MEMBERS_BY_DATE, MEMBERS_BY_POSITION):
            answer = self._members(call, zone, body, filters, kind)
        else:
            answer = self._list(call, zone, body, filters, kind)
        if call.tokens_wanted:
            answer["syncToken"] = self._token(zone, zone.position, "query")
        return answer

    def _token(self, zone: Zone, position: int, kind: str) -> str:
        return " " if self._faults.strike("blank-token", kind) else zone.token(position)

    def _has_index(self, zone: Zone, kind: str) -> bool:
        """Whether a zone can be asked for a list: a shared album has one at most (facts §1.13)."""
        match zone.holding:
            case "library":
                return kind != ALBUMS or not zone.name.startswith(SHARED_ZONE_PREFIX)
            case "album":
                return LISTS.get(kind) == "added" and not self._faults.switches.albums_unlisted
        return False

    def _indexing_state(self, zone: Zone) -> Json:
        indexing = self._cloud.indexing(zone)
        progress, state = (indexing.progress, indexing.state) if indexing else (100, FINISHED)
        if self._faults.switches.indexing:
            progress, state = 40, "RUNNING"
        fields = {"progress": int64(progress), "state": string(state)}
        return {"records": [_plain_record(zone, INDEXING, INDEXING, fields)]}

    def _counts(self, zone: Zone, filters: Json) -> Json:
        wanted = filters.get("indexCountID") or []
        wrong = self._faults.strike("count", "query")
        percent = wrong.number("percent", 0) if wrong is not None else 0
        lie = int(wrong.number("by", 0 if percent else 1)) if wrong is not None else 0
        indexing = self._cloud.indexing(zone)
        records = []
        for name in wanted if isinstance(wanted, list) else [wanted]:
            true = self._count(zone, str(name))
            known = indexing.size(true) if indexing else true
            count = max(0, known + lie + int(known * percent / 100))
            fields = {"itemCount": int64(count)}
            record = _plain_record(zone, str(name), "IndexCountResult", fields)
            records += _counted_wrong(record, wrong.details if wrong is not None else {})
        return {"records": records}

    def _count(self, zone: Zone, name: str) -> int:
        if not zone.photos:
            return 0
        if name.startswith(_MEMBERS_COUNT):
            # With the photos of other libraries, which the album's list leaves out (facts §1.12).
            return len(self._cloud.members(zone, name.removeprefix(_MEMBERS_COUNT)))
        return _index_count(zone, name)

    def _albums(self, call: _Call, zone: Zone, body: Json, filters: Json) -> Json:
        parent = filters.get("parentId")
        albums = [album for album in zone.albums() if not album.deleted]
        if parent is None:
            roots = (ROOT_FOLDER, PROJECT_ROOT_FOLDER)
            albums = [a for a in albums if a.parent == ROOT_FOLDER or a.name in roots]
        else:
            albums = [a for a in albums if a.parent == parent and a.name != ROOT_FOLDER]
        albums.sort(key=lambda album: (album.position, album.name))
        albums = [*self._indexed(zone, albums)]
        start = _marked(body, ALBUMS, 0)
        limit = _limit(body.get("resultsLimit"))
        page = albums[start : start + limit]
        answer: Json = {"records": self._wire(call, zone, page, _wanted(body), "query")}
        if start + limit < len(albums):
            answer["continuationMarker"] = marker(start + limit, ALBUMS)
        return answer

    def _members(self, call: _Call, zone: Zone, body: Json, filters: Json, kind: str) -> Json:
        album = str(filters.get("parentId", ""))
        if not isinstance(zone.rows.get(album), Album):
            return {"records": []}
        assets = zone.ranked_members(album, by_position=kind == MEMBERS_BY_POSITION)
        each = 3 if self._faults.switches.relations_count else 2
        given = self._given(zone, assets)
        ranks, following = _ranks(body, filters, kind, len(given), each, turned=False)
        ranks, following = self._cut(ranks, following)
        page = [asset for rank in ranks if (asset := given[rank]) is not None]
        if "recordName" in filters:
            page = [a for a in assets if filters["recordName"] in (a.name, a.master)]
        relations = [zone.rows[f"{asset.name}-IN-{album}"] for asset in page]
        rows = [*relations, *self._with_masters(zone, page)]
        answer: Json = {"records": self._wire(call, zone, rows, _wanted(body), "query")}
        self._mark(answer, following, kind)
        return answer

    def _list(self, call: _Call, zone: Zone, body: Json, filters: Json, kind: str) -> Json:
        index = _index(kind, filters)
        if zone.name.startswith(SHARED_ZONE_PREFIX) and not self._is_shared(index):
            raise _bad_request("Index has invalid data")
        keys = self._given(zone, zone.ranked(index))
        turned = index == "deleted"
        ranks, following = _ranks(body, filters, kind, len(keys), 2, turned=turned)
        ranks, following = self._cut(ranks, following)
        page = [zone.asset(key[1]) for rank in ranks if (key := keys[rank]) is not None]
        if "recordName" in filters:
            page, following = _named(zone, str(filters["recordName"]), index), None
        rows = self._with_masters(zone, page) if "AndMaster" in kind else [*page]
        rows = rows[: _limit(body.get("resultsLimit"))]
        answer: Json = {"records": self._wire(call, zone, rows, _wanted(body), "query")}
        self._mark(answer, following, kind)
        return answer

    def _is_shared(self, index: str) -> bool:
        return index in SHARED_LISTS or self._faults.switches.shared_lists

    def _indexed(self, zone: Zone, entries: Sequence[T]) -> Sequence[T]:
        """What of an index is there already."""
        indexing = self._cloud.indexing(zone)
        return entries if indexing is None else indexing.part(entries)

    def _given(self, zone: Zone, entries: Sequence[T]) -> Sequence[T | None]:
        """The positions of a list. One that is None is taken by a record that is gone."""
        there = self._indexed(zone, entries)
        gap = self._faults.strike("gap", "query")
        if gap is None:
            return there
        at = int(gap.number("at", PAGE_ASSETS))
        return [*there[:at], *[None] * int(gap.number("length", PAGE_ASSETS)), *there[at:]]

    def _cut(self, ranks: Sequence[int], following: int | None) -> tuple[Sequence[int], int | None]:
        """The page, shorter than what was asked for if a fault says so."""
        short = self._faults.strike("short-page", "query") if ranks else None
        most = int(short.number("positions", 40)) if short is not None else 0
        if short is None or len(ranks) <= most:
            return ranks, following
        return ranks[:most], ranks[most]

    def _mark(self, answer: Json, following: int | None, kind: str) -> None:
        """Tell where a list goes on, if it does."""
        if following is not None and self._faults.switches.markers:
            answer["continuationMarker"] = marker(following, kind)

    def _with_masters(self, zone: Zone, assets: Sequence[Asset]) -> list[Row]:
        """All masters, then all assets, in the same order (facts/cloudkit.md §1.7)."""
        names = [asset.master for asset in assets]
        if not self._faults.switches.masters_repeated:
            names = list(dict.fromkeys(names))
        masters = [m for name in names if (m := zone.master(name)) is not None]
        left_out = self._faults.strike("orphans", "query")
        if left_out is not None:
            masters = masters[int(left_out.number("count", 1)) :]
        return [*masters, *assets]

    # -- look-ups --------------------------------------------------------------------------------

    def _lookup(self, call: _Call) -> Json:
        zone = _find_zone(call.database, call.body.get("zoneID") or {})
        if zone is None:
            raise CloudKitError(404, "ZONE_NOT_FOUND", "Zone does not exist")
        asked = call.body.get("records")
        if not isinstance(asked, list):
            raise _bad_request("missing required field 'records'")
        if len(asked) > self._faults.switches.lookup_maximum:
            raise _bad_request(
                "BadRequestException: array 'records' length is greater than max size"
            )
        names = [str(one.get("recordName", "")) for one in asked]
        found = [zone.rows.get(name) for name in names]
        if zone.closed:
            found = [None] * len(names)
        present = [row for row in found if row is not None]
        wire = iter(self._wire(call, zone, present, _wanted(call.body), "lookup"))
        records = [
            next(wire) if row is not None else _refused(name, zone.closed)
            for name, row in zip(names, found, strict=True)
        ]
        answer: Json = {"records": records}
        if call.tokens_wanted:
            answer["syncToken"] = zone.token()
        return answer

    # -- records on their way out ----------------------------------------------------------------

    def _wire(
        self, call: _Call, zone: Zone, rows: Sequence[Row], wanted: Wanted, kind: str
    ) -> list[Json]:
        link = self._content.link(call.request, zone.name, call.uuid)
        records = [zone.wire(row, wanted, link) for row in rows]
        if records and self._faults.active:
            self._spoil(call, records, kind)
        return records

    def _spoil(self, call: _Call, records: list[Json], kind: str) -> None:
        path = call.endpoint
        fault = self._faults.strike("record-error", kind, path=path)
        if fault is not None:
            records[0] = {
                "recordName": records[0]["recordName"],
                "serverErrorCode": fault.details.get("code", "TRY_AGAIN_LATER"),
                "reason": "simulated",
            }
        partial = self._faults.strike("partial", kind, path=path)
        if partial is not None:
            for record in records:
                _leave_out_fields(record, partial.details)
        if (untrue := self._faults.strike("untrue", kind, path=path)) is not None:
            _tell_untruth(records, kind, untrue.details)
        if self._faults.strike("missing-url", kind, path=path):
            for record in records:
                _drop_urls(record)
        if (wrong := self._faults.strike("wrong-url", kind, path=path)) is not None:
            for record in records:
                _set_urls(record, str(wrong.details["url"]))
        if self._faults.strike("missing-filename", kind, path=path):
            for record in records:
                record.get("fields", {}).pop("filenameEnc", None)


def _error(error: CloudKitError, request_uuid: str) -> Response:
    body = {"uuid": request_uuid, "serverErrorCode": error.code, "reason": error.reason}
    return json_response(body, error.status)


def _bad_zone(zone: Zone, reason: str, code: str = "BAD_REQUEST") -> Json:
    """A bad token is no HTTP error, and the answer has neither token nor records."""
    return {"zoneID": zone.wire_id, "serverErrorCode": code, "reason": reason}


def _refused(name: str, code: str) -> Json:
    """A record that is not there, or none of ours to read if its zone is closed."""
    if code:
        return {"recordName": name, "serverErrorCode": code, "reason": _CLOSED}
    return {"recordName": name, "serverErrorCode": "NOT_FOUND", "reason": "Record not found"}


def _set_urls(record: Json, url: str) -> None:
    for field in record.get("fields", {}).values():
        if field["type"] == "ASSETID":
            field["value"]["downloadURL"] = url


def _drop_urls(record: Json) -> None:
    for field in record.get("fields", {}).values():
        if field["type"] == "ASSETID":
            field["value"].pop("downloadURL", None)


def _counted_wrong(record: Json, details: Json) -> list[Json]:
    """A count that is ``told`` as null, absent, refused, nothing at all, or a number."""
    match details.get("told", "truly"):
        case "truly":
            pass
        case "absent":
            record["fields"] = {}
        case "refused":
            return [_refused(record["recordName"], "INTERNAL_ERROR")]
        case "nothing":
            return []
        case "null":
            record["fields"]["itemCount"]["value"] = None
        case number:
            record["fields"]["itemCount"]["value"] = number
    return [record]


def _leave_out_fields(record: Json, details: Json) -> None:
    """A record with the fields to ``keep`` alone, or without ``fields`` at all."""
    wanted = (
        details.get("record", record["recordName"]),
        details.get("type", record.get("recordType")),
    )
    if wanted != (record["recordName"], record.get("recordType")) or "fields" not in record:
        return
    if "keep" in details:
        keep = details["keep"]
        record["fields"] = {key: value for key, value in record["fields"].items() if key in keep}
    else:
        del record["fields"]


def _tell_untruth(records: list[Json], kind: str, details: Json) -> None:
    """Some records say what is not so."""
    there = {record["recordName"]: record for record in records}
    for name in details["records"]:
        told = there.get(name)
        if "fields" in details or "size" in details:
            if told is not None:
                told["fields"] |= details.get("fields", {})
                _set_sizes(told, details.get("size"))
        elif told is not None:
            told.clear()
            told |= {"recordName": name, "deleted": True}
        elif kind == "changes":
            records.append({"recordName": name, "deleted": True})


def _set_sizes(record: Json, size: int | None) -> None:
    if size is None:
        return
    for key, field in record["fields"].items():
        if key.endswith("Res"):
            field["value"]["size"] = size
        elif key.endswith("FileSize"):
            field["value"] = size


def _plain_record(zone: Zone, name: str, kind: str, fields: Json) -> Json:
    moment = {"timestamp": 0, "userRecordName": zone.owner, "deviceID": "1"}
    return {
        "recordName": name,
        "recordType": kind,
        "fields": fields,
        "pluginFields": {},
        "recordChangeTag": "0",
        "created": moment,
        "modified": moment,
        "deleted": False,
        "zoneID": zone.wire_id,
    }


def _find_zone(database: Database, zone_id: Json) -> Zone | None:
    """The zone; a shared one only if its owner is named too (facts/cloudkit.md §1.6)."""
    zone = database.zones.get(str(zone_id.get("zoneName", "")))
    if zone is None:
        return None
    owner = zone_id.get("ownerRecordName")
    if owner != zone.owner and (owner or database.area == "shared"):
        return None
    return zone


def _wanted(body: Json) -> Wanted:
    keys = body.get("desiredKeys")
    return frozenset(map(str, keys)) if isinstance(keys, list) else None


def _limit(asked: Any) -> int:
    """Records on a page: never more than 200, whatever is asked for."""
    if not isinstance(asked, int) or asked <= 0:
        return PAGE_RECORDS
    return min(asked, PAGE_RECORDS)


def filters_of(query: Json) -> Json:
    """Values by field name; ``filterBy`` is a list, or one filter alone."""
    given = query.get("filterBy") or []
    listed = given if isinstance(given, list) else [given]
    return {str(one.get("fieldName")): (one.get("fieldValue") or {}).get("value") for one in listed}


def _index(kind: str, filters: Json) -> str:
    """The index that a record type stands for. Raises CloudKitError."""
    if kind == _SMART_LIST:
        name = str(filters.get("smartAlbum", ""))
        if name.isupper() and name in INDEXES:
            return name
        raise _bad_request(f"Unknown smart album: {name}")
    index = LISTS.get(kind) or COUNTS.get(kind)
    if index is None:
        raise _bad_request(f"Type is not marked indexable: {kind}")
    return index


def _index_count(zone: Zone, name: str) -> int:
    if name.startswith(_SMART_COUNT):
        index = name.removeprefix(_SMART_COUNT).upper()
        return len(zone.ranked(index)) if index in INDEXES else 0
    if name == ALBUMS:
        return sum(1 for album in zone.albums() if not album.deleted)
    return len(zone.ranked(COUNTS[name])) if name in COUNTS else 0


def _marked(body: Json, kind: str, start: int) -> int:
    text = body.get("continuationMarker")
    return marker_offset(str(text), kind) if text else start


def _ranks(
    body: Json, filters: Json, kind: str, count: int, each: int, *, turned: bool
) -> tuple[Sequence[int], int | None]:
    """The ranks of a page, and where the next one begins.

    Rank 0 is the newest. ASCENDING goes up from ``startRank``, DESCENDING down from it, towards 0.
    Where ``turned``, DESCENDING counts from the other end instead and goes up, as the one client that
    asks for it expects.
    """
    start = _marked(body, kind, max(0, int(filters.get("startRank") or 0)))
    size = max(1, _limit(body.get("resultsLimit")) // each)
    if each == 2 and "AndMaster" not in kind and not kind.startswith("CPLContainer"):
        size = _limit(body.get("resultsLimit"))
    if filters.get("direction") != "DESCENDING":
        end = min(count, start + size)
        return range(start, end), end if end < count else None
    if turned:
        end = min(count, start + size)
        return [count - 1 - rank for rank in range(start, end)], end if end < count else None
    top = min(start, count - 1)
    bottom = max(-1, top - size)
    return range(top, bottom, -1), bottom if bottom >= 0 else None


def _named(zone: Zone, name: str, index: str) -> list[Asset]:
    """The assets of an index that a ``recordName`` filter means: by their own or their master's name."""
    row = zone.rows.get(name)
    candidates = [row] if isinstance(row, Asset) else zone.assets_of(name)
    return [asset for asset in candidates if INDEXES[index](asset) is not None]


def _cut_between(zone: Zone, page: Page, since: int) -> Page:
    """The same page, ended behind a master whose asset comes next."""
    for at in range(len(page.rows) - 2, 0, -1):
        master, asset = page.rows[at], page.rows[at + 1]
        if isinstance(master, Master) and not isinstance(asset, Gone | Master):
            return zone.changes(since, at + 1)
    return page
