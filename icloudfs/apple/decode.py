"""Reading CloudKit's answers.

The envelope is typed; the fields of a record are read one by one and forgivingly, since a value that
Apple leaves out or writes in another type must not cost the photo (facts/cloudkit.md §1.6 and §1.8, each
case there is recorded). A value that is no JSON costs its field (``lenient``). A record that cannot be read at
all becomes ``Refused`` with a reason, and with its name if that can be found: it is never silently missing,
and nothing in an answer can raise anything but ProtocolError.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from icloudfs.apple import checksum as apple
from icloudfs.apple import lenient, plists
from icloudfs.apple.lenient import BROKEN, has_broken
from icloudfs.apple.records import (
    SUBSTITUTES,
    UNKNOWN_SIZE,
    Album,
    Asset,
    Master,
    Other,
    Record,
    Refused,
    Relation,
    Resource,
    Tombstone,
)
from icloudfs.errors import ProtocolError

T = TypeVar("T")


class Unreadable(ProtocolError):
    """An answer without what it was asked for: no JSON, or no list of records, zones or counts.

    It is no empty list. The same question may be answered in full (facts/state-tracking.md §4.5).
    """


UNREADABLE = "UNREADABLE"
"""``Refused.code`` of a record that we could not make sense of ourselves."""

MOST_PARTS = 400_000
"""Objects and arrays of one answer; a page of 200 records has 30,000."""
LARGEST_RECORD = 1 << 20
"""Bytes of one record; with all keys Apple's have 6,000."""
LONGEST_TEXT = 10_000
"""Characters of a title, a caption or a file name. What is behind them is dropped."""
LONGEST_URL = 8192
MOST_RESOURCES = 64
"""Contents of one record; Apple's have a dozen."""
LARGEST_CONTENT = 1 << 40
"""Bytes of one content. What is said to be larger counts as not told, or the sizes of all files together would
be more than a number can hold."""
LONGEST_TOKEN = 16 << 10
"""Characters of a token or a marker; Apple's have some hundreds."""
LONGEST_REASON = 1000

MOST_COUNTED = 100_000_000
"""Photos that an index may be said to hold: ten times what the largest library would."""

NOT_ANSWERED = "NOT_ANSWERED"
"""``Refused.code`` of a record that was asked for by name, and that the answer leaves out."""

INCOMPLETE = "INCOMPLETE"
"""``Refused.code`` of a record that came without ``fields``."""

# -- desiredKeys -----------------------------------------------------------------------------------


def _resource_keys(*prefixes: str) -> tuple[str, ...]:
    return tuple(
        f"{prefix}{part}" for prefix in prefixes for part in ("Res", "FileType", "FileSize")
    )


LISTING_KEYS: tuple[str, ...] = (
    # CPLMaster
    "filenameEnc",
    "itemType",
    *_resource_keys("resOriginal", "resOriginalAlt", "resOriginalVidCompl"),
    "resOriginalWidth",
    "resOriginalHeight",
    # CPLAsset
    "masterRef",
    "assetDate",
    "addedDate",
    "timeZoneOffset",
    "timeZoneNameEnc",
    "isFavorite",
    "isHidden",
    "isDeleted",
    "isExpunged",
    "assetSubtype",
    "assetSubtypeV2",
    "burstId",
    "burstFlags",
    "adjustmentType",
    "adjustmentRenderType",
    "orientation",
    "duration",
    "vidComplDurValue",
    "vidComplDurScale",
    "captionEnc",
    "extendedDescEnc",
    "keywordsEnc",
    "locationEnc",
    "locationV2Enc",
    "locationLatitude",
    "locationLongitude",
    *_resource_keys("resJPEGFull", "resVidFull", "resVidCompl"),
    "resJPEGFullWidth",
    "resJPEGFullHeight",
    "resVidFullWidth",
    "resVidFullHeight",
)
"""All that a Master and an Asset need for the tree. Previews are left out: they double a page."""

ALBUM_KEYS: tuple[str, ...] = (
    "albumNameEnc",
    "albumType",
    "parentId",
    "position",
    "isDeleted",
)

RELATION_KEYS: tuple[str, ...] = ("containerId", "itemId", "position", "isDeleted")

CHANGE_KEYS: tuple[str, ...] = tuple(dict.fromkeys((*LISTING_KEYS, *ALBUM_KEYS, *RELATION_KEYS)))
"""For ``changes/zone``, where all types come mixed."""

DOWNLOAD_KEYS: tuple[str, ...] = _resource_keys(
    "resOriginal", "resOriginalAlt", "resOriginalVidCompl", "resVidCompl", *SUBSTITUTES
)
"""For look-ups before a download: every content of the record with a fresh URL, nothing else."""

RECORD_KEYS: tuple[str, ...] = tuple(dict.fromkeys((*CHANGE_KEYS, *DOWNLOAD_KEYS)))
"""For look-ups of records whose original cannot be had: all that may stand in its place, too."""

# -- the envelope ----------------------------------------------------------------------------------


class Page(msgspec.Struct, frozen=True):
    """One page of records."""

    records: tuple[Record, ...] = ()
    token: str = ""
    """``syncToken``: where ``changes/zone`` goes on from."""
    marker: str = ""
    """``continuationMarker``: where the same query goes on; empty at its end."""


class RawPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page whose records are still JSON, so that they can be read a few at a time."""

    records: list[msgspec.Raw]
    sync_token: str | None = None
    continuation_marker: str | None = None


class RawZoneID(msgspec.Struct, frozen=True, rename="camel"):
    zone_name: str = ""
    owner_record_name: str | None = None


class RawZone(msgspec.Struct, frozen=True):
    """One entry of ``zones[]`` in ``zones/list``, ``changes/database`` and ``changes/zone``."""

    zone_id: RawZoneID = msgspec.field(name="zoneID", default=RawZoneID())
    sync_token: str | None = msgspec.field(name="syncToken", default=None)
    more_coming: bool | None = msgspec.field(name="moreComing", default=None)
    deleted: bool | None = None
    records: list[msgspec.Raw] | None = None
    error: str | None = msgspec.field(name="serverErrorCode", default=None)
    reason: str | None = None


class RawZones(msgspec.Struct, frozen=True, rename="camel"):
    zones: list[RawZone]
    sync_token: str | None = None
    more_coming: bool | None = None


class RawCounts(msgspec.Struct, frozen=True):
    """One entry of ``batch[]``; without records if that query alone was refused."""

    records: list[msgspec.Raw] | None = None


class RawBatch(msgspec.Struct, frozen=True):
    batch: list[RawCounts]


_anything = msgspec.json.Decoder(dict[str, Any])


class Reader(Generic[T]):
    """Reads the answers to one kind of call."""

    def __init__(self, kind: type[T], understood: Callable[[dict[str, Any]], T | None]) -> None:
        """``understood``: the same of an object whose values may be BROKEN; None if its list is missing."""
        self._decoder = msgspec.json.Decoder(kind)
        self._understood = understood

    def __call__(self, body: bytes) -> T:
        """Raises Unreadable."""
        try:
            return self.strictly(body)
        except Unreadable:
            return self.leniently(body)

    def strictly(self, body: bytes) -> T:
        """Raises Unreadable for the least of mistakes."""
        _refuse_too_much(body)
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable(f"CloudKit's answer cannot be read: {_short(error)}.") from None

    def leniently(self, body: bytes) -> T:
        """What can be read of an answer that has values in it which are none. Slow: see ``lenient``.

        Raises Unreadable for what has no list, or not the structure of JSON.
        """
        _refuse_too_much(body)
        try:
            answer = lenient.read(body, unread=("records",))
        except lenient.NoJson:
            raise Unreadable("CloudKit's answer cannot be read: it is no JSON.") from None
        found = self._understood(answer) if isinstance(answer, dict) else None
        if found is None:
            why = _told(answer) or "it has no list"
            raise Unreadable(f"CloudKit's answer cannot be read: {why}.")
        return found


def _refuse_too_much(body: bytes) -> None:
    """Each part costs sixty bytes of memory, and three of the answer."""
    if body.count(b"{") + body.count(b"[") > MOST_PARTS:
        raise Unreadable("CloudKit's answer cannot be read: it has too many parts.")


def _told(answer: object) -> str:
    """What an answer without its list says in its place; empty if it says nothing."""
    if not isinstance(answer, dict):
        return ""
    told = (short(answer.get(key)) for key in ("error", "serverErrorCode", "reason"))
    return ", ".join(filter(None, told))[:200]


def _page_of(answer: dict[str, Any]) -> RawPage | None:
    records = answer.get("records")
    if not isinstance(records, list):
        return None
    return RawPage(records, _text_in(answer, "syncToken"), _text_in(answer, "continuationMarker"))


def _zones_of(answer: dict[str, Any]) -> RawZones | None:
    zones = answer.get("zones")
    if not isinstance(zones, list):
        return None
    found = [_zone_of(zone) if isinstance(zone, dict) else RawZone() for zone in zones]
    return RawZones(found, _text_in(answer, "syncToken"), _bool_in(answer, "moreComing"))


def _zone_of(zone: dict[str, Any]) -> RawZone:
    named, records, error = (zone.get(key) for key in ("zoneID", "records", "serverErrorCode"))
    named = named if isinstance(named, dict) else {}
    return RawZone(
        RawZoneID(_text_in(named, "zoneName") or "", _text_in(named, "ownerRecordName")),
        sync_token=_text_in(zone, "syncToken"),
        more_coming=_bool_in(zone, "moreComing"),
        deleted=_bool_in(zone, "deleted"),
        records=records if isinstance(records, list) else None,
        error=error if error is None or isinstance(error, str) else UNREADABLE,
        reason=_text_in(zone, "reason"),
    )


def _batch_of(answer: dict[str, Any]) -> RawBatch | None:
    batch = answer.get("batch")
    if not isinstance(batch, list):
        return None
    parts = (part.get("records") if isinstance(part, dict) else None for part in batch)
    return RawBatch([RawCounts(part if isinstance(part, list) else None) for part in parts])


def _text_in(answer: dict[str, Any], key: str) -> str | None:
    found = answer.get(key)
    return found if isinstance(found, str) else None


def _bool_in(answer: dict[str, Any], key: str) -> bool | None:
    found = answer.get(key)
    return found if isinstance(found, bool) else None


read_page = Reader(RawPage, _page_of)
"""The answer to ``records/query`` and ``records/lookup``."""
read_zones = Reader(RawZones, _zones_of)
"""The answer to ``zones/list`` and both ``changes``."""
read_batch = Reader(RawBatch, _batch_of)
"""The answer to ``internal/records/query/batch``."""


def decode_page(body: bytes) -> Page:
    """The whole of ``read_page`` at once. Raises ProtocolError."""
    raw = read_page(body)
    return Page(
        records=tuple(decode_records(raw.records)),
        token=token(raw.sync_token),
        marker=marker(raw.continuation_marker),
    )


def token(told: str | None) -> str:
    """A ``syncToken``. Blank ones occur and are none (facts/cloudkit.md §1.12). Raises Unreadable."""
    return _place_in_line(told).strip()


def marker(told: str | None) -> str:
    """A ``continuationMarker``; empty if there is none. Raises Unreadable."""
    return _place_in_line(told)


def _place_in_line(told: str | None) -> str:
    """It is kept, and sent back as it came."""
    if told and len(told) > LONGEST_TOKEN:
        raise Unreadable("CloudKit's answer cannot be read: its token has no measure.")
    return told or ""


def decode_records(raws: Iterable[msgspec.Raw]) -> Iterator[Record]:
    return (decode_record(raw) for raw in raws)


# -- one record ------------------------------------------------------------------------------------

Fields = dict[str, Any]


def decode_record(raw: msgspec.Raw | bytes) -> Record:
    """One element of ``records[]``. Never raises: what cannot be read is ``Refused``."""
    if (size := memoryview(raw).nbytes) > LARGEST_RECORD:
        return Refused(_name_alone(raw), UNREADABLE, f"the record has {size} bytes")
    try:
        record = _anything.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_damaged(raw)
    name = record.get("recordName")
    if not isinstance(name, str) or not name:
        return _nameless("the record has no name")
    return _decode_named(name, record)


class _Named(msgspec.Struct):
    name: str = msgspec.field(name="recordName", default="")


_named = msgspec.json.Decoder(_Named)


def _name_alone(raw: msgspec.Raw | bytes) -> str:
    """Of a record that is not worth reading; empty if it has none."""
    try:
        return _named.decode(raw).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        name = (_object(raw) or {}).get("recordName")
        return name if isinstance(name, str) else ""


def _nameless(why: str) -> Refused:
    return Refused(name="", code=UNREADABLE, reason=why)


def _decode_damaged(raw: msgspec.Raw | bytes) -> Record:
    """A record with values that cannot be read: the fields with them count as not come."""
    record = _object(raw)
    if record is None:
        return _nameless("the record is no JSON object")
    name, fields = record.get("recordName"), record.get("fields")
    if not isinstance(name, str) or not name:
        return _nameless("the record's name cannot be read")
    broken = [key for key in _DECIDE if has_broken(record.get(key)) and key != "fields"]
    if fields is BROKEN:
        broken.append("fields")
    elif isinstance(fields, dict):
        lost = [key for key, entry in fields.items() if has_broken(entry)]
        broken += [key for key in lost if key in _DECIDE]
        record["fields"] = {key: entry for key, entry in fields.items() if key not in lost}
    if broken:
        return Refused(name=name, code=UNREADABLE, reason=f"its {broken[0]} cannot be read")
    found = _decode_named(name, record)
    if isinstance(found, Master | Asset | Album):
        return msgspec.structs.replace(found, damaged=True)
    return found


_DECIDE = frozenset(
    {"serverErrorCode", "recordType", "deleted", "fields", "isDeleted", "isExpunged", "isHidden"}
)
"""By these a record is what it is, is there, and may be shown."""


def _object(raw: msgspec.Raw | bytes) -> dict[str, Any] | None:
    """A JSON object, with BROKEN in the place of values that are none; None if it is no object."""
    try:
        found = lenient.read(bytes(raw))
    except lenient.NoJson:
        return None
    return found if isinstance(found, dict) else None


def index_count(raw: msgspec.Raw) -> tuple[str, int | None]:
    """An ``IndexCountResult``: the index's id and its ``itemCount``; None if it has none that can be true."""
    record = _object(raw) or {}
    name, fields = record.get("recordName"), record.get("fields")
    count = _whole(_value(fields, "itemCount")) if isinstance(fields, dict) else None
    possible = count is not None and 0 <= count <= MOST_COUNTED
    return name if isinstance(name, str) else "", count if possible else None


def indexing_state(raw: msgspec.Raw) -> tuple[str, int | None] | None:
    """What ``CheckIndexingState`` answers: the state, and progress in hundredths; None if neither."""
    fields = (_object(raw) or {}).get("fields")
    if not isinstance(fields, dict) or not (state := _text(fields, "state").strip()):
        return None
    return state, _whole(_value(fields, "progress"))


def _decode_named(name: str, record: dict[str, Any]) -> Record:
    if code := record.get("serverErrorCode"):
        return Refused(name, short(code) or UNREADABLE, short(record.get("reason")))
    kind, fields = record.get("recordType"), record.get("fields")
    if record.get("deleted") is True or (kind is None and not fields):
        return Tombstone(name=name)
    if not isinstance(fields, dict):
        if isinstance(kind, str) and kind in _SAY_NOTHING_WITHOUT_FIELDS:
            return Refused(name=name, code=INCOMPLETE, reason="the record came without its fields")
        fields = {}
    match kind:
        case "CPLMaster":
            return _master(name, record, fields)
        case "CPLAsset":
            return _asset(name, record, fields)
        case "CPLAlbum":
            return _album(name, record, fields)
        case "CPLContainerRelation":
            return _relation(name, record, fields)
        case str():
            return Other(name=name, type=kind)
        case _:
            return Refused(name=name, code=UNREADABLE, reason="the record's type is not a text")


_SAY_NOTHING_WITHOUT_FIELDS = frozenset({"CPLMaster", "CPLAsset", "CPLAlbum"})
"""A relation says all of it in its name."""

_ATTRIBUTES = {
    "filenameEnc": "filename",
    "itemType": "uti",
    "resOriginalFileType": "uti",
    "resOriginalWidth": "width",
    "resOriginalHeight": "height",
    "masterRef": "master",
    "assetDate": "taken",
    "addedDate": "added",
    "timeZoneOffset": "time_zone_offset",
    "timeZoneNameEnc": "time_zone",
    "isFavorite": "favorite",
    "isHidden": "hidden",
    "isDeleted": "deleted",
    "isExpunged": "expunged",
    "assetSubtype": "subtype",
    "assetSubtypeV2": "subtype_v2",
    "burstId": "burst",
    "burstFlags": "burst_flags",
    "adjustmentType": "adjustment",
    "adjustmentRenderType": "render_type",
    "orientation": "orientation",
    "resJPEGFullWidth": "width",
    "resJPEGFullHeight": "height",
    "resVidFullWidth": "width",
    "resVidFullHeight": "height",
    "duration": "duration",
    "vidComplDurValue": "duration",
    "captionEnc": "caption",
    "extendedDescEnc": "description",
    "keywordsEnc": "keywords",
    "locationEnc": "location",
    "locationV2Enc": "location",
    "locationLatitude": "location",
    "albumNameEnc": "title",
    "albumType": "kind",
    "parentId": "parent",
    "position": "position",
}
"""What each field is called in ``records``; ``location`` is latitude, longitude and altitude."""


def _came(fields: Fields) -> frozenset[str]:
    """``records.Came``. A field whose value is null came: it says that there is none. Not so of the master:
    every photo has one, and without it there would be nothing to show."""
    found: list[str] = []
    for key, entry in fields.items():
        if entry is None or (isinstance(entry, dict) and "value" in entry):
            if attribute := _ATTRIBUTES.get(key):
                found.append(attribute)
            elif key.endswith("Res"):
                found.append(key.removesuffix("Res"))
    if "time_zone" in found:
        found.append("time_zone_offset")  # the zone tells it, if nothing else does
    if "master" in found and not _reference(fields, "masterRef"):
        found.remove("master")
    return frozenset(found)


def _master(name: str, record: dict[str, Any], fields: Fields) -> Master:
    return Master(
        name=name,
        filename=_text(fields, "filenameEnc"),
        uti=_text(fields, "itemType") or _text(fields, "resOriginalFileType"),
        resources=_resources(fields),
        width=_number(fields, "resOriginalWidth"),
        height=_number(fields, "resOriginalHeight"),
        created=_when(record, "created"),
        modified=_when(record, "modified"),
        came=_came(fields),
        deleted=_flag(fields, "isDeleted"),
    )


def _asset(name: str, record: dict[str, Any], fields: Fields) -> Asset:
    latitude, longitude, altitude = _place(fields)
    taken = _date(_value(fields, "assetDate"))
    time_zone = _text(fields, "timeZoneNameEnc")
    return Asset(
        name=name,
        master=_reference(fields, "masterRef"),
        taken=taken,
        added=_date(_value(fields, "addedDate")),
        time_zone_offset=_time_zone_offset(fields, time_zone, taken),
        time_zone=time_zone,
        favorite=_flag(fields, "isFavorite"),
        hidden=_flag(fields, "isHidden"),
        deleted=_flag(fields, "isDeleted"),
        expunged=_flag(fields, "isExpunged"),
        subtype=_number(fields, "assetSubtype"),
        subtype_v2=_number(fields, "assetSubtypeV2"),
        burst=_text(fields, "burstId"),
        burst_flags=_number(fields, "burstFlags"),
        adjustment=_text(fields, "adjustmentType"),
        render_type=_number(fields, "adjustmentRenderType"),
        orientation=_number(fields, "orientation"),
        width=_number(fields, "resJPEGFullWidth") or _number(fields, "resVidFullWidth"),
        height=_number(fields, "resJPEGFullHeight") or _number(fields, "resVidFullHeight"),
        duration=_duration(fields),
        caption=_text(fields, "captionEnc"),
        description=_text(fields, "extendedDescEnc"),
        keywords=_keywords(fields),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        resources=_resources(fields),
        created=_when(record, "created"),
        modified=_when(record, "modified"),
        came=_came(fields),
    )


def _album(name: str, record: dict[str, Any], fields: Fields) -> Album:
    return Album(
        name=name,
        title=_text(fields, "albumNameEnc"),
        kind=_number(fields, "albumType"),
        parent=_reference(fields, "parentId"),
        position=_number(fields, "position"),
        deleted=_flag(fields, "isDeleted"),
        created=_when(record, "created"),
        modified=_when(record, "modified"),
        came=_came(fields),
    )


def _relation(name: str, record: dict[str, Any], fields: Fields) -> Relation | Refused:
    asset_in_name, joint, album_in_name = name.partition("-IN-")
    asset = _reference(fields, "itemId") or (asset_in_name if joint else "")
    album = _reference(fields, "containerId") or album_in_name
    if not asset or not album:
        return Refused(
            name=name, code=UNREADABLE, reason="it says not which asset is in which album"
        )
    return Relation(
        name=name,
        album=album,
        asset=asset,
        position=_number(fields, "position"),
        deleted=_flag(fields, "isDeleted"),
        created=_when(record, "created"),
    )


# -- resources -------------------------------------------------------------------------------------


def _resources(fields: Fields) -> dict[str, Resource]:
    """Keyed by prefix: ``resOriginalRes`` and its siblings become ``resOriginal``."""
    found: dict[str, Resource] = {}
    for key in fields:
        if key.startswith("res") and key.endswith("Res") and len(found) < MOST_RESOURCES:
            prefix = key.removesuffix("Res")
            resource = _resource(
                _value(fields, key),
                _text(fields, f"{prefix}FileType"),
                _number(fields, f"{prefix}FileSize"),
            )
            if resource is not None:
                found[prefix] = resource
    return found


def _resource(value: object, uti: str, file_size: int) -> Resource | None:
    """None for one without a checksum, which could not be keyed. ``file_size``: ``res…FileSize`` or 0."""
    if not isinstance(value, dict):
        return None
    checksum, size, url = value.get("fileChecksum"), value.get("size"), value.get("downloadURL")
    if not isinstance(checksum, str) or not checksum:
        return None
    return Resource(
        checksum=checksum,
        size=_size(checksum, _whole(size) or 0, file_size),
        uti=uti,
        url=url if isinstance(url, str) and len(url) <= LONGEST_URL else "",
    )


def _size(checksum: str, size: int, file_size: int) -> int:
    """Bytes of a content. A size of 0 occurs with bytes behind it (facts/cloudkit.md §1.13), so it is
    believed only of the content that nothing is the checksum of."""
    if 0 < size <= LARGEST_CONTENT:
        return size
    if 0 < file_size <= LARGEST_CONTENT:
        return file_size
    return 0 if size == 0 and apple.matches(checksum, _EMPTY) else UNKNOWN_SIZE


_EMPTY = apple.new_digest().digest()


# -- single values ---------------------------------------------------------------------------------

_INT64 = range(-(2**63), 2**63)

# A day inside of what calendars reach, so that adding any time zone's offset stays possible. Apple
# writes the year 1, "the distant past", where it has no date.
_DATES = range(-62_135_596_800_000 + 86_400_000, 253_402_214_400_000)
_DAY = 86_400  # seconds


def _value(fields: Fields, key: str) -> Any:
    entry = fields.get(key)
    return entry.get("value") if isinstance(entry, dict) else None


def _whole(value: object) -> int | None:
    """A whole number that fits 64 bits: also written as bool, as 3.0, or as a text."""
    try:
        match value:
            case bool() | int():
                number = int(value)
            case float() if value.is_integer():
                number = int(value)
            case str() if len(value) <= 20:
                number = int(value)
            case _:
                return None
    except ValueError:
        return None
    return number if number in _INT64 else None


def _number(fields: Fields, key: str) -> int:
    return _whole(_value(fields, key)) or 0


def _flag(fields: Fields, key: str) -> bool:
    """INT64 0/1 or a bool; absent is false."""
    return bool(_whole(_value(fields, key)))


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _date(value: object) -> int | None:
    """Milliseconds since the epoch, also as a text, or ISO 8601; None for what is no date or beyond any
    calendar."""
    number = _date_in(value) if isinstance(value, str) else _finite(value)
    if number is None or int(number) not in _DATES:
        return None
    return int(number)


_LONGEST_DATE = 40  # characters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _date_in(text: str) -> float | None:
    if len(text) > _LONGEST_DATE:
        return None
    try:
        if re.fullmatch(r"-?[0-9]+(\.[0-9]*)?", text.strip()):
            return float(text)
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _when(record: dict[str, Any], key: str) -> int:
    stamp = record.get(key)
    return (_date(stamp.get("timestamp")) or 0) if isinstance(stamp, dict) else 0


def _time_zone_offset(fields: Fields, zone: str, taken: int | None) -> int:
    """Seconds east of UTC: as told, else those of the zone at that moment, else 0."""
    offset = _whole(_value(fields, "timeZoneOffset"))
    if offset is None:
        return _offset_in(zone, taken) if zone and taken is not None else 0
    return offset if -_DAY < offset < _DAY else 0


_FROM_UTC = re.compile(r"(?:GMT|UTC)?([+-])([0-9]{1,2}):?([0-9]{2})?")


def _offset_in(zone: str, taken: int) -> int:
    if match := _FROM_UTC.fullmatch(zone):
        seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
        return (-seconds if match[1] == "-" else seconds) if seconds < _DAY else 0
    rules = _rules_of(zone)
    if rules is None:
        return 0
    offset = (_EPOCH + timedelta(milliseconds=taken)).astimezone(rules).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@lru_cache(maxsize=512)
def _rules_of(zone: str) -> ZoneInfo | None:
    """Of the machine's time zone database; None for a zone that it does not have."""
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return None


def _duration(fields: Fields) -> float:
    """Seconds. ``duration`` is milliseconds, and 0 for a live photo, whose video's length is a fraction
    (facts/cloudkit.md §1.12)."""
    milliseconds = _finite(_value(fields, "duration")) or 0.0
    if milliseconds > 0:
        return milliseconds / 1000
    length, scale = _number(fields, "vidComplDurValue"), _number(fields, "vidComplDurScale")
    return length / scale if length > 0 and scale > 0 else 0.0


def _text(fields: Fields, key: str) -> str:
    """ENCRYPTED_BYTES (base64 of UTF-8), or STRING, or empty. Never with a lone surrogate."""
    value = _value(fields, key)
    if not isinstance(value, str):
        return ""
    if fields[key].get("type") == "ENCRYPTED_BYTES":
        return _bytes(value).decode("utf-8", "replace")[:LONGEST_TEXT]
    return value[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


_STANDARD = str.maketrans("-_", "+/")


def _bytes(text: str) -> bytes:
    """Base64 in either alphabet, with or without padding; empty for what is none."""
    bare = text.translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _reference(fields: Fields, key: str) -> str:
    """A record's name: in a REFERENCE, or as a plain STRING."""
    value = _value(fields, key)
    if isinstance(value, dict):
        value = value.get("recordName")
    return value if isinstance(value, str) else ""


# -- property lists --------------------------------------------------------------------------------


def _plist(fields: Fields, key: str) -> Any:
    value = _value(fields, key)
    return plists.read(_bytes(value)) if isinstance(value, str) else None


def _keywords(fields: Fields) -> tuple[str, ...]:
    found = _plist(fields, "keywordsEnc")
    if not isinstance(found, list):
        return ()
    return tuple(word for word in found if isinstance(word, str))


def _place(fields: Fields) -> tuple[float | None, float | None, float | None]:
    """Latitude, longitude (degrees) and altitude (metres)."""
    for key in ("locationEnc", "locationV2Enc"):
        found = _plist(fields, key)
        if isinstance(found, dict):
            # Recorded records say "lon", some clients look for "lng".
            latitude = _degrees(found.get("lat"), 90)
            longitude = _degrees(found.get("lon", found.get("lng")), 180)
            if latitude is not None and longitude is not None:
                return latitude, longitude, _finite(found.get("alt"))
    latitude = _degrees(_value(fields, "locationLatitude"), 90)
    longitude = _degrees(_value(fields, "locationLongitude"), 180)
    if latitude is None or longitude is None:
        return None, None, None
    return latitude, longitude, None


def _degrees(value: object, limit: float) -> float | None:
    number = _finite(value)
    return number if number is not None and abs(number) <= limit else None


def short(told: object) -> str:
    """What Apple says of an error, as text that can be kept and logged; empty for nothing, and for what is no
    text."""
    return str(told)[:LONGEST_REASON] if isinstance(told, str | int) and told else ""


def _short(error: BaseException) -> str:
    return str(error)[:200]
