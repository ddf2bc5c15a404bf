"""The photo library's database calls, typed.

Each method of ``Photos`` is one documented call (facts/cloudkit.md §1.7), except where it says that it
follows pages. How a call survives throttling and an expired session is not decided here but in
``icloud`` and ``retry``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec
import trio

from icloudfs.apple import decode, wire
from icloudfs.apple.course import Course
from icloudfs.apple.decode import (
    ALBUM_KEYS,
    CHANGE_KEYS,
    LISTING_KEYS,
    NOT_ANSWERED,
    RELATION_KEYS,
    Page,
    Unreadable,
)
from icloudfs.apple.records import Album, Area, Record, Refused, Relation, Zone
from icloudfs.errors import ProtocolError

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_NAMES = 50
"""Names in one look-up; more are split over several calls. Apple's limit is not published
(facts/cloudkit.md §1.12)."""
_TOO_MANY = "length is greater than max size"
"""In Apple's reason for refusing a look-up of too many names."""
MOST_ZONES = 10_000
"""Zones of one area, of any kind; each app has some."""
MOST_ALBUMS = 100_000
"""Albums and folders in one folder."""
MOST_RECORDS = 2000
"""Records on one page, of which 200 are asked for."""
_MOST_PAGES = 1000  # of zones or albums
_MOST_EMPTY = 50  # of them that have none, in a row
_AT_ONCE = 10  # records that are read without letting others run
_LARGEST_RECORDS = 128 << 10  # bytes of so many
_LARGEST_AT_ONCE = 2 << 20  # bytes of an answer whose envelope is read without letting others run
_ASKED_AGAIN_AFTER = 0.5  # seconds, where an answer had no list in it

Direction = Literal["ASCENDING", "DESCENDING"]


# -- what is refused -------------------------------------------------------------------------------


class CloudKitError(ProtocolError):
    """CloudKit refused a request with a code of its own."""

    def __init__(self, code: str, reason: str = "", *, status: int = 200) -> None:
        super().__init__(
            f"CloudKit refused a request: {code or f'HTTP {status}'}. {reason}".rstrip()
        )
        self.code = code
        self.reason = reason
        self.status = status

    def __copy__(self) -> CloudKitError:
        """As it is: to be made anew from its sentence would wrap that in another one."""
        same = type(self).__new__(type(self), *self.args)
        same.__dict__.update(self.__dict__)
        return same


class ZoneGone(CloudKitError):
    """The zone does not exist (any more)."""


class ZoneProblem(StrEnum):
    """What is the matter with one zone of ``changes/zone``."""

    BAD_TOKEN = "bad-token"
    """The token is not accepted: drop it and list the zone anew."""
    ZONE_GONE = "zone-gone"
    TRANSIENT = "transient"
    """Anything else; the same request may do later."""


class ZoneError(msgspec.Struct, frozen=True):
    problem: ZoneProblem
    code: str
    reason: str = ""


# -- what is answered ------------------------------------------------------------------------------


class ZoneChanges(msgspec.Struct, frozen=True):
    """One zone of a ``changes/zone`` answer: one page of it, or an error."""

    zone: Zone
    records: tuple[Record, ...] = ()
    token: str = ""
    """Where the next page begins; valid for as long as the zone exists."""
    more_coming: bool = False
    """There are more pages, even if this one is empty."""
    error: ZoneError | None = None


class ChangedZone(msgspec.Struct, frozen=True):
    zone: Zone
    token: str = ""
    """The zone's newest token, as a hint; not where to read from."""
    deleted: bool = False


class IndexingState(msgspec.Struct, frozen=True):
    """How far Apple is with the indexes that lists and counts are read from."""

    state: str
    """FINISHED, or RUNNING, NOT_FINISHED, IN_PROGRESS, or what Apple may think of."""
    progress: int | None = None
    """In hundredths, if it was told."""

    @property
    def finished(self) -> bool:
        return self.state == "FINISHED"


class DatabaseChanges(msgspec.Struct, frozen=True):
    zones: tuple[ChangedZone, ...]
    token: str
    """For the next ``database_changes`` of this area; it changes even when nothing changed."""
    more_coming: bool = False
    whole: bool = True
    """Every zone came with its name. Else the token, which stands for the nameless one as well, is not to be
    kept."""


class _Names(NamedTuple):
    listing: str
    counting: str
    smart_album: str = ""


_SMART = "CPLAssetAndMasterInSmartAlbumByAssetDate"


def _smart(name: str) -> _Names:
    return _Names(_SMART, f"CPLAssetInSmartAlbumByAssetDate:{name}", name.upper())


class Index(Enum):
    """Apple's own lists of photos: each has a list, a count and perhaps a filter."""

    ALL = _Names(
        "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted",
        "CPLAssetByAssetDateWithoutHiddenOrDeleted",
    )
    RECENTLY_ADDED = _Names("CPLAssetAndMasterByAddedDate", "CPLAssetByAddedDate")
    FAVORITES = _smart("Favorite")
    VIDEOS = _smart("Video")
    SLO_MO = _smart("Slomo")
    TIME_LAPSE = _smart("Timelapse")
    PANORAMAS = _smart("Panorama")
    SCREENSHOTS = _smart("Screenshot")
    LIVE = _smart("Live")
    BURSTS = _Names("CPLBurstStackAssetAndMasterByAssetDate", "CPLAssetBurstStackAssetByAssetDate")
    HIDDEN = _Names("CPLAssetAndMasterHiddenByAssetDate", "CPLAssetHiddenByAssetDate")
    RECENTLY_DELETED = _Names(
        "CPLAssetAndMasterDeletedByExpungedDate", "CPLAssetDeletedByExpungedDate"
    )

    @property
    def listing(self) -> str:
        """``recordType`` of its listing."""
        return self.value.listing

    @property
    def count(self) -> str:
        """Its id for ``Photos.counts``."""
        return self.value.counting

    @property
    def smart_album(self) -> str:
        """Value of the ``smartAlbum`` filter; empty if it needs none."""
        return self.value.smart_album


FOLDER = 3
"""``Album.kind`` of a folder."""

_MEMBERS = "CPLContainerRelationLiveByAssetDate"


def member_count_id(album: str) -> str:
    """The id for ``Photos.counts`` of an album's members."""
    return f"CPLContainerRelationNotDeletedByAssetDate:{album}"


def is_library(zone_name: str) -> bool:
    """Whether a zone is a photo library: others are share links (``CMM-``) and apps' own."""
    return zone_name == wire.PRIMARY_ZONE or zone_name.startswith(wire.SHARED_ZONE_PREFIX)


# -- the calls -------------------------------------------------------------------------------------


class Caller(Protocol):
    """Whoever can send a database call and bring back the body of its answer."""

    async def database_call(self, area: Area, path: str, body: Mapping[str, Any]) -> bytes: ...


class Photos:
    """The photo database of one account.

    An answer without its list is asked for once more, and so is one whose first page is empty: an
    empty list is believed when two answers agree.

    Every method may raise LoginNeeded, ConsentNeeded, AccountLocked, Throttled, Offline,
    CloudKitError and ProtocolError; those that name a zone also ZoneGone.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._names_at_once = MOST_NAMES
        """Names in one look-up that iCloud has not refused yet as too many."""

    async def zones(self, area: Area) -> tuple[Zone, ...]:
        """The photo libraries of an area, all pages. An account may have no shared area at all:
        then its refusal is an empty answer."""
        found: list[Zone] = []
        body: dict[str, Any] = {}
        course = Course(most=_MOST_PAGES, most_empty=_MOST_EMPTY)
        while True:
            try:
                page = await self._zones(area, "zones/list", body, in_doubt=not found)
            except CloudKitError as error:
                if area == "private":
                    raise
                log.info("no shared area: %s", error)
                break
            if not all(raw.zone_id.zone_name for raw in page.zones):
                raise Unreadable("CloudKit's list of libraries has one without a name.")
            found += [_zone(area, raw) for raw in page.zones if not raw.deleted]
            if not page.more_coming:
                break
            token = decode.token(page.sync_token)
            _demand_end("list of libraries", course.trouble(token, _zone_names(page)))
            if len(found) > MOST_ZONES:
                raise ProtocolError("iCloud's list of libraries does not end.")
            body = {"syncToken": token}
        return tuple(zone for zone in found if is_library(zone.name))

    async def database_changes(self, area: Area, token: str = "") -> DatabaseChanges:
        """Which zones changed since ``token`` (none: all zones). One page."""
        body = {"syncToken": token} if token else {}
        page = await self._zones(area, "changes/database", body, in_doubt=not token)
        named = [raw for raw in page.zones if raw.zone_id.zone_name]
        return DatabaseChanges(
            zones=tuple(
                ChangedZone(
                    _zone(area, raw), decode.token(raw.sync_token), deleted=bool(raw.deleted)
                )
                for raw in named
            ),
            token=decode.token(page.sync_token),
            more_coming=bool(page.zones if page.more_coming is None else page.more_coming),
            whole=len(named) == len(page.zones),
        )

    async def zone_changes(
        self,
        area: Area,
        zones: Iterable[tuple[Zone, str]],
        keys: Sequence[str] = CHANGE_KEYS,
    ) -> tuple[ZoneChanges, ...]:
        """One page of changes of each zone since its token (none: its whole history).

        A zone whose request failed has an ``error``; the others are good all the same. A zone
        that the answer leaves out, or without its list of records, is reported as TRANSIENT. If the
        whole call is refused as it is for a bad token, each zone is asked for by itself. Where what is
        said may be of the token or of anything else, it is the token if the zone is given without one.
        """
        wanted = dict(zones)
        body = {"zones": [_changes_request(zone, token, keys) for zone, token in wanted.items()]}
        try:
            page = await self._zones(area, "changes/zone", body)
        except CloudKitError as error:
            if not _may_be_of_a_token(error) or not any(wanted.values()):
                raise
            if len(wanted) > 1:
                alone = [await self.zone_changes(area, [one], keys) for one in wanted.items()]
                return tuple(changes for found in alone for changes in found)
            (zone,) = wanted
            if not _is_of_a_token(error) and not await self._is_given_without_token(zone):
                raise
            code = error.code or f"HTTP {error.status}"
            refused = ZoneError(ZoneProblem.BAD_TOKEN, code, error.reason)
            return (ZoneChanges(zone, error=refused),)
        answered = {raw.zone_id.zone_name: raw for raw in page.zones}
        found = [await _changes(zone, answered.get(zone.name)) for zone in wanted]
        return tuple([await self._judged(changes, wanted[changes.zone]) for changes in found])

    async def _judged(self, changes: ZoneChanges, token: str) -> ZoneChanges:
        """The same, its error that of the token where a code that may mean anything means that."""
        error = changes.error
        if error is None or not token or error.code not in _MAY_BE_OF_A_TOKEN:
            return changes
        if not await self._is_given_without_token(changes.zone):
            return changes
        error = msgspec.structs.replace(error, problem=ZoneProblem.BAD_TOKEN)
        return msgspec.structs.replace(changes, error=error)

    async def _is_given_without_token(self, zone: Zone) -> bool:
        """Raises ZoneGone."""
        body = {"zones": [_changes_request(zone, "", ())]}
        try:
            page = await self._zones(zone.area, "changes/zone", body)
        except ZoneGone:
            raise
        except CloudKitError:
            return False
        return any(
            raw.zone_id.zone_name == zone.name and not raw.error and raw.records is not None
            for raw in page.zones
        )

    async def list_page(
        self,
        zone: Zone,
        index: Index,
        start_rank: int,
        marker: str = "",
        *,
        limit: int = wire.PAGE_RECORDS,
        keys: Sequence[str] = LISTING_KEYS,
        direction: Direction = "ASCENDING",
    ) -> Page:
        """One page of an index: masters, then their assets. ASCENDING rank 0 is the newest photo.

        ``limit`` counts records, two for each photo; Apple caps it at 200. The next page begins
        at ``start_rank`` plus the number of photos; ranks shift when photos arrive. A page that is
        shorter than that goes on at its ``marker``, with the same rank (facts/cloudkit.md §1.12).
        """
        filters = [("smartAlbum", index.smart_album)] if index.smart_album else []
        return await self._list(
            zone, index.listing, start_rank, direction, filters, limit, keys, marker
        )

    async def members(
        self,
        zone: Zone,
        album: str,
        start_rank: int,
        marker: str = "",
        *,
        in_doubt: bool = True,
    ) -> Page:
        """One page of an album's relations, which is all that ``records`` holds (with Refused).

        Apple sends their masters and assets along, so that a page holds 66 photos; without their
        fields those say nothing, and they are dropped here. Go on as with ``list_page``. ``in_doubt``: a
        first page that is empty is asked for once more.
        """
        page = await self._list(
            zone,
            _MEMBERS,
            start_rank,
            "ASCENDING",
            [("parentId", album)],
            wire.PAGE_RECORDS,
            RELATION_KEYS,
            marker,
            in_doubt=in_doubt,
        )
        relations = tuple(r for r in page.records if isinstance(r, Relation | Refused))
        return msgspec.structs.replace(page, records=relations)

    async def albums(self, zone: Zone, parent: str | None = None) -> tuple[Album | Refused, ...]:
        """The albums and folders at the top of a zone, or those in one folder; all pages. One that is
        Refused may be either.

        A shared library has no albums and refuses the question: then the answer is empty.
        """
        found: list[Record] = []
        marker = ""
        course = Course(most=_MOST_PAGES, most_empty=_MOST_EMPTY)
        while True:
            try:
                query = _albums_query(parent)
                page = await self._query(
                    zone, query, ALBUM_KEYS, marker=marker, in_doubt=not marker
                )
            except CloudKitError as error:
                if error.code != "BAD_REQUEST" or not zone.name.startswith(wire.SHARED_ZONE_PREFIX):
                    raise
                return ()
            names = {record.name for record in page.records}
            stands_still = page.marker == marker and names <= {record.name for record in found}
            found += page.records
            if not page.marker or stands_still:
                break
            _demand_end("list of albums", course.trouble(page.marker, names))
            if len(found) > MOST_ALBUMS:
                raise ProtocolError("iCloud's list of albums does not end.")
            marker = page.marker
        found = await self._whole_albums(zone, found)
        return tuple(record for record in found if isinstance(record, Album | Refused))

    async def _whole_albums(self, zone: Zone, found: list[Record]) -> list[Record]:
        """The same, those looked up that were refused or do not tell what they are: what is in a folder is
        asked for only if it is known to be one."""
        names = [record.name for record in found if _is_in_doubt(record)]
        if not names:
            return found
        try:
            known = {record.name: record for record in await self.lookup(zone, names, ALBUM_KEYS)}
        except ZoneGone:
            raise
        except CloudKitError as error:
            log.warning("albums that came in part cannot be looked up: %s", error)
            return found
        return [known.get(record.name, record) for record in found]

    async def counts(self, zone: Zone, index_ids: Sequence[str]) -> dict[str, int]:
        """How many photos each index holds (``Index.count``, ``member_count_id``), in one call.

        An index that CloudKit does not know is left out, and asked for once more before it is.
        """
        found = await self._counts(zone, index_ids)
        if missing := [index_id for index_id in index_ids if index_id not in found]:
            found |= await self._counts(zone, missing)
        return found

    async def _counts(self, zone: Zone, index_ids: Sequence[str]) -> dict[str, int]:
        body = {"batch": [_count_request(zone, index_id) for index_id in index_ids]}
        path = "internal/records/query/batch"
        answer = await self._read(decode.read_batch, zone.area, path, body)
        found: dict[str, int] = {}
        for page in answer.batch:
            for raw in page.records or ():
                name, count = decode.index_count(raw)
                if count is not None:
                    found[name] = count
        return found

    async def indexing_state(self, zone: Zone) -> IndexingState | None:
        """How far Apple is with a library's indexes; None if the answer does not say.

        Never a reason to wait: sessions that are new hear of other states while lists are whole
        (facts/cloudkit.md §1.7).
        """
        query = {"query": {"recordType": "CheckIndexingState"}, "zoneID": _zone_id(zone)}
        page = await self._read(decode.read_page, zone.area, "records/query", query)
        told = (decode.indexing_state(raw) for raw in page.records)
        return next((IndexingState(*found) for found in told if found is not None), None)

    async def lookup(
        self, zone: Zone, names: Sequence[str], keys: Sequence[str] | None = None
    ) -> tuple[Record, ...]:
        """These records as they are now, with fresh download URLs; ``keys`` None: all fields.

        In the order of the answer. One that is gone is a Tombstone, or Refused with its code; one that
        two answers leave out is Refused with NOT_ANSWERED, since nothing was said of it.
        iCloud has a maximum of names: if it says that they are too many, half of them are asked for,
        from then on.
        """
        found: list[Record] = []
        begin = 0
        while begin < len(names):
            some = names[begin : begin + self._names_at_once]
            try:
                found += await self._look_up(zone, some, keys)
            except CloudKitError as error:
                if _TOO_MANY not in error.reason or len(some) == 1:
                    raise
                self._names_at_once = min(self._names_at_once, len(some) // 2)
                log.info("iCloud looks up no %d records at once", len(some))
            else:
                begin += len(some)
        return tuple(found)

    async def _look_up(
        self, zone: Zone, names: Sequence[str], keys: Sequence[str] | None
    ) -> list[Record]:
        """One call, and one more for the names that its answer leaves out."""
        found = await self._look_up_once(zone, names, keys)
        if missing := _left_out(names, found):
            found += await self._look_up_once(zone, missing, keys)
        return found + [
            Refused(name, NOT_ANSWERED, "the answer leaves it out")
            for name in _left_out(names, found)
        ]

    async def _look_up_once(
        self, zone: Zone, names: Sequence[str], keys: Sequence[str] | None
    ) -> list[Record]:
        body: dict[str, Any] = {
            "records": [{"recordName": name} for name in names],
            "zoneID": _zone_id(zone),
        }
        if keys is not None:
            body["desiredKeys"] = list(keys)
        page = await self._read(decode.read_page, zone.area, "records/lookup", body)
        found = await _records(page.records)
        return [record for record in found if record.name]  # whose place it took is left out

    # -- the forms of requests -----------------------------------------------------------------

    async def _list(
        self,
        zone: Zone,
        listing: str,
        start_rank: int,
        direction: Direction,
        filters: Iterable[tuple[str, str]],
        limit: int,
        keys: Sequence[str],
        marker: str,
        *,
        in_doubt: bool = True,
    ) -> Page:
        query = {
            "filterBy": [
                _equals("startRank", "INT64", start_rank),
                _equals("direction", "STRING", direction),
                *(_equals(field, "STRING", value) for field, value in filters),
            ],
            "recordType": listing,
        }
        in_doubt = in_doubt and start_rank == 0 and not marker
        return await self._query(zone, query, keys, limit=limit, marker=marker, in_doubt=in_doubt)

    async def _query(
        self,
        zone: Zone,
        query: Mapping[str, Any],
        keys: Sequence[str],
        *,
        limit: int = wire.PAGE_RECORDS,
        marker: str = "",
        in_doubt: bool = False,
    ) -> Page:
        """``in_doubt``: without a record, and a marker that leads on, it is asked for once more."""
        body: dict[str, Any] = {
            "query": query,
            "resultsLimit": limit,
            "desiredKeys": list(keys),
            "zoneID": _zone_id(zone),
        }
        if marker:
            body["continuationMarker"] = marker
        page = await self._read(decode.read_page, zone.area, "records/query", body)
        if in_doubt and not page.records and not page.continuation_marker:
            page = await self._read(decode.read_page, zone.area, "records/query", body)
        return Page(
            records=tuple(await _records(page.records)),
            token=decode.token(page.sync_token),
            marker=decode.marker(page.continuation_marker),
        )

    async def _zones(
        self, area: Area, path: str, body: Mapping[str, Any], *, in_doubt: bool = False
    ) -> decode.RawZones:
        """``in_doubt``: without a zone it is asked for once more."""
        page = await self._read(decode.read_zones, area, path, body)
        if in_doubt and not page.zones:
            page = await self._read(decode.read_zones, area, path, body)
        return page

    async def _read(
        self, read: decode.Reader[T], area: Area, path: str, body: Mapping[str, Any]
    ) -> T:
        """The answer to a call, read. Without its list it is asked for once more."""
        try:
            return await _read(read, await self._caller.database_call(area, path, body))
        except Unreadable as error:
            log.info("%s: %s Asking again.", path, error)
        await trio.sleep(_ASKED_AGAIN_AFTER)
        return await _read(read, await self._caller.database_call(area, path, body))


async def _read(read: decode.Reader[T], body: bytes) -> T:
    """What is larger than any answer should be is read in a thread, beside the mount, and so is one that is not
    all JSON: that is slow. Raises Unreadable."""
    if len(body) > _LARGEST_AT_ONCE:
        return await trio.to_thread.run_sync(read, body)
    try:
        return read.strictly(body)
    except Unreadable:
        return await trio.to_thread.run_sync(read.leniently, body)


def _demand_end(what: str, trouble: str) -> None:
    """Raises ProtocolError where a page leads nowhere."""
    if trouble:
        raise ProtocolError(f"iCloud's {what} does not end ({trouble}).")


def _zone_names(page: decode.RawZones) -> list[str]:
    return [raw.zone_id.zone_name for raw in page.zones]


def _left_out(names: Sequence[str], answered: Iterable[Record]) -> list[str]:
    """Which of these names no record has."""
    known = {record.name for record in answered}
    return [name for name in dict.fromkeys(names) if name not in known]


async def _records(raws: Sequence[msgspec.Raw]) -> list[Record]:
    """Read records a few at a time, so that a big page does not stall the mount.

    Measured on a page of 200 records with all keys (1.06 MB): 7 ms in one piece, of which the
    envelope is 0.5 ms; ten records are 0.4 ms. A thread would be worse than this: it holds the
    interpreter's lock for 5 ms at a time. A record that is larger than ten should be is read in one.
    """
    if len(raws) > MOST_RECORDS:
        raise Unreadable(f"CloudKit's answer cannot be read: it has {len(raws)} records.")
    found: list[Record] = []
    for begin in range(0, len(raws), _AT_ONCE):
        some = raws[begin : begin + _AT_ONCE]
        if sum(memoryview(raw).nbytes for raw in some) > _LARGEST_RECORDS:
            found += [await trio.to_thread.run_sync(decode.decode_record, raw) for raw in some]
        else:
            found += decode.decode_records(some)
        await trio.lowlevel.checkpoint()
    return found


async def _changes(zone: Zone, raw: decode.RawZone | None) -> ZoneChanges:
    if raw is None:
        return ZoneChanges(zone, error=ZoneError(ZoneProblem.TRANSIENT, "NO_ANSWER"))
    if raw.error:
        problem = _ZONE_PROBLEMS.get(raw.error, ZoneProblem.TRANSIENT)
        told = decode.short(raw.error), decode.short(raw.reason)
        return ZoneChanges(zone, error=ZoneError(problem, *told))
    if raw.records is None:
        return ZoneChanges(zone, error=ZoneError(ZoneProblem.TRANSIENT, "NO_RECORDS"))
    return ZoneChanges(
        zone,
        records=tuple(await _records(raw.records)),
        token=decode.token(raw.sync_token),
        more_coming=bool(raw.records if raw.more_coming is None else raw.more_coming),
    )


_ZONE_PROBLEMS = {
    "BAD_REQUEST": ZoneProblem.BAD_TOKEN,
    "SYNC_TOKEN_EXPIRED": ZoneProblem.BAD_TOKEN,
    "INVALID_SYNC_TOKEN": ZoneProblem.BAD_TOKEN,
    "CHANGE_TOKEN_EXPIRED": ZoneProblem.BAD_TOKEN,
    "ZONE_NOT_FOUND": ZoneProblem.ZONE_GONE,
}
_MAY_BE_OF_A_TOKEN = frozenset({"NOT_FOUND", "UNKNOWN_ITEM"})
"""Codes of a zone that do not tell what it is that there is not."""


def _is_of_a_token(error: CloudKitError) -> bool:
    """Whether a whole call was refused because a sync token is not accepted (facts/cloudkit.md §1.12).
    BAD_REQUEST says so only with a reason of a token: it is said of many other things as well."""
    if error.code == "BAD_REQUEST":
        return "continuation" in error.reason or "token" in error.reason.lower()
    return error.status == 410 or _ZONE_PROBLEMS.get(error.code) is ZoneProblem.BAD_TOKEN


def _may_be_of_a_token(error: CloudKitError) -> bool:
    """As ``_is_of_a_token``, where only another question can tell."""
    if isinstance(error, ZoneGone):
        return False
    return (
        _is_of_a_token(error)
        or error.status in (400, 404)
        or error.code
        in (
            "BAD_REQUEST",
            *_MAY_BE_OF_A_TOKEN,
        )
    )


def _zone(area: Area, raw: decode.RawZone) -> Zone:
    return Zone(area, raw.zone_id.zone_name, raw.zone_id.owner_record_name or "")


def _zone_id(zone: Zone) -> dict[str, str]:
    """Apple's form. The owner must be named for shared zones (§1.6)."""
    named = {"zoneName": zone.name}
    if zone.owner:
        named |= {"ownerRecordName": zone.owner}
    return named


def _changes_request(zone: Zone, token: str, keys: Sequence[str]) -> dict[str, Any]:
    request: dict[str, Any] = {
        "zoneID": _zone_id(zone),
        "resultsLimit": wire.PAGE_RECORDS,
        "desiredKeys": list(keys),
    }
    # An empty token would mean "caught up", not "from the beginning" (§1.7).
    if token:
        request["syncToken"] = token
    return request


def _albums_query(parent: str | None) -> dict[str, Any]:
    query: dict[str, Any] = {"recordType": "CPLAlbumByPositionLive"}
    if parent is not None:
        query["filterBy"] = [_equals("parentId", "STRING", parent)]
    return query


def _is_in_doubt(record: Record) -> bool:
    if isinstance(record, Refused):
        return bool(record.name)
    return isinstance(record, Album) and record.came is not None and "kind" not in record.came


def _count_request(zone: Zone, index_id: str) -> dict[str, Any]:
    return {
        "resultsLimit": 1,
        "query": {
            "filterBy": {
                "fieldName": "indexCountID",
                "fieldValue": {"type": "STRING_LIST", "value": [index_id]},
                "comparator": "IN",
            },
            "recordType": "HyperionIndexCountLookup",
        },
        "zoneWide": True,
        "zoneID": _zone_id(zone),
    }


def _equals(field: str, kind: str, value: object) -> dict[str, Any]:
    return {
        "fieldName": field,
        "fieldValue": {"type": kind, "value": value},
        "comparator": "EQUALS",
    }
