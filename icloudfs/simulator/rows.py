"""The records of a zone as the simulator keeps them, and as the wire shows them.

A row is a small immutable value; its wire form is built when a page is. The fields and their types are
those of facts/cloudkit.md §1.6, §1.8, §1.12 and §1.13. Times are milliseconds since the epoch, offsets
seconds east of UTC, lengths seconds (on the wire milliseconds).
"""

from __future__ import annotations

import base64
import plistlib
import uuid
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from icloudfs.simulator.blobs import Blob
from icloudfs.simulator.message import Json

Wanted = frozenset[str] | None
"""``desiredKeys``; None asks for everything."""
Link = Callable[[Blob], str]
"""Makes the fresh ``downloadURL`` of a content."""
Area = Literal["private", "shared"]
"""Which of the two databases a zone lives in."""
NameForm = Literal["bytes", "string", "missing"]
"""How ``filenameEnc`` comes: ENCRYPTED_BYTES, STRING, or not at all."""

ROOT_FOLDER = "----Root-Folder----"
PROJECT_ROOT_FOLDER = "----Project-Root-Folder----"

SHARE_RECORD = "cloudkit.zoneshare"

KEPT_IN_TRASH = 30 * 86_400_000
"""How long what was deleted can be had back, in milliseconds."""

NOT_PICKED = 0b10
PICKED = 0b10100
"""``burstFlags``: bit 1 is "not selected"; bits 2 and 4 are "default pick" and "key"."""


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One ``res<Size>Res`` field with its siblings."""

    prefix: str
    """``resOriginal``, ``resJPEGThumb`` …"""
    blob: Blob
    uti: str
    width: int
    height: int

    @property
    def tells_file_size(self) -> bool:
        """Whether ``res…FileSize`` comes along, as it does with originals and videos."""
        return self.prefix.startswith(("resOriginal", "resVid"))


Forms = dict[str, Any]
"""Fields that come in another form than usual: None is not at all, a whole field with its ``value`` stands
in the place of the usual one, and anything else changes parts of the usual value (None: without it)."""


class Master(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """CPLMaster."""

    name: str
    created: int
    modified: int
    filename: str
    filename_form: NameForm = "bytes"
    uti: str
    uti_missing: bool = False
    resources: tuple[Resource, ...]
    orientation: int = 1
    taken: int = 0
    video: bool = False
    frame_rate: int = 0
    deleted: bool = False
    trashed: int = 0
    """When it was deleted."""
    contributor: str = ""
    forms: Forms = {}


class Asset(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """CPLAsset."""

    name: str
    master: str
    created: int
    modified: int
    taken: int | None
    added: int
    offset: int = 0
    time_zone: str = "GMT"
    favorite: int | None = None
    """None until it was ever touched: then the field is absent."""
    hidden: int | None = None
    deleted: bool = False
    restored: bool = False
    """Taken out of the trash again, and its fields come as the null that was written."""
    trashed: int = 0
    trash_reason: int | None = None
    deleted_by: str = ""
    subtype: int = 0
    subtype_v2: int = 0
    hdr: int = 0
    burst: str = ""
    burst_flags: int = 0
    adjustment: str = ""
    render_type: int = 0
    resources: tuple[Resource, ...] = ()
    orientation: int = 1
    duration: float = 0.0
    clip: float = 0.0
    """Of a live photo's video."""
    caption: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    latitude: float | None = None
    longitude: float | None = None
    video: bool = False
    animated: bool = False
    contributor: str = ""
    last_shared: int = 0
    forms: Forms = {}

    @property
    def stands_alone(self) -> bool:
        """Not a frame of a burst that another frame stands for."""
        return not self.burst or self.burst_flags & NOT_PICKED == 0


class Album(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """CPLAlbum. ``kind`` is ``albumType``: 0 album, 3 folder, 6 smart album."""

    name: str
    created: int
    modified: int
    title: str
    kind: int = 0
    parent: str = ROOT_FOLDER
    position: int = 0
    deleted: bool = False
    trashed: int = 0


class Relation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """CPLContainerRelation: an asset in an album."""

    name: str
    created: int
    modified: int
    album: str
    asset: str
    position: int = 0
    key: bool = False


class Other(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record of a type that means nothing here: CPLLibraryInfo, CPLMemory, CPLPerson …"""

    name: str
    created: int
    modified: int
    type: str
    fields: dict[str, Any] = {}


class Share(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """cloudkit.share: what a modern shared album is called, and who takes part (facts/cloudkit.md §1.13)."""

    name: str = SHARE_RECORD
    created: int
    modified: int
    title: str
    short_guid: str
    """What the album's web address ends with."""
    people: tuple[str, ...]
    """``userRecordName`` of everyone in it, its owner first."""
    reader: str
    """Which of them reads this."""


class Gone(msgspec.Struct, frozen=True, gc=False):
    """A tombstone."""

    name: str
    bare: bool = False
    """It says its name and nothing else, as a relation's does (facts/cloudkit.md §1.12)."""


Row = Master | Asset | Album | Relation | Share | Other | Gone

RECORD_TYPES: dict[type, str] = {
    Master: "CPLMaster",
    Asset: "CPLAsset",
    Album: "CPLAlbum",
    Relation: "CPLContainerRelation",
    Share: "cloudkit.share",
}


def record_type(row: Row) -> str | None:
    """``recordType``; a tombstone's is null."""
    if isinstance(row, Other):
        return row.type
    return RECORD_TYPES.get(type(row))


def fields(row: Row, wanted: Wanted, link: Link, zone: Json) -> Json:
    """``fields`` on the wire; ``zone`` is the zoneID that references carry."""
    match row:
        case Master():
            made = _master(row, wanted, link)
        case Asset():
            made = _asset(row, wanted, link, zone)
        case Album():
            made = _album(row)
        case Relation():
            made = _relation(row)
        case Share():
            made = _share(row)
        case Other():
            made = dict(row.fields)
        case Gone():
            return {}
    if isinstance(row, Master | Asset):
        _change_forms(made, row.forms)
    if wanted is None:
        return made
    return {key: made[key] for key in made if key in wanted}


def envelope(row: Row) -> Json:
    """What a record says outside its ``fields``, beyond what every record does.

    ``expirationTime`` is in seconds since the epoch, where all else is in milliseconds.
    """
    match row:
        case Master() | Asset() | Album() if row.deleted and row.trashed:
            return {"expirationTime": (row.trashed + KEPT_IN_TRASH) // 1000}
        case Share():
            everyone = [_participant(row, person) for person in row.people]
            return {
                "shortGUID": row.short_guid,
                "publicPermission": "NONE",
                "participants": everyone,
                "owner": everyone[0],
                "currentUserParticipant": _participant(row, row.reader),
            }
        case _:
            return {}


def _participant(row: Share, person: str) -> Json:
    return {
        "participantId": str(uuid.uuid5(uuid.NAMESPACE_OID, row.short_guid + person)).upper(),
        "userIdentity": {"userRecordName": person},
        "type": "OWNER" if person == row.people[0] else "USER",
        "acceptanceStatus": "ACCEPTED",
        "permission": "READ_WRITE",
    }


def _share(row: Share) -> Json:
    return {
        "cloudkit.title": string(row.title),
        "cloudkit.type": string("photos_sharedcollections"),
    }


def _change_forms(made: Json, forms: Forms) -> None:
    for key, form in forms.items():
        if form is None:
            made.pop(key, None)
        elif "value" in form:
            made[key] = form
        elif key in made:
            changed = made[key]["value"] | form
            kept = {part: value for part, value in changed.items() if value is not None}
            made[key] = made[key] | {"value": kept}


def _master(row: Master, wanted: Wanted, link: Link) -> Json:
    made: Json = {
        "originalOrientation": int64(row.orientation),
        "dataClassType": int64(2 if row.video else 1),
        "importDate": timestamp(row.created),
        "originalCreationDate": timestamp(row.taken),
        "recordModificationDate": timestamp(row.modified),
    }
    if row.filename_form == "bytes":
        made["filenameEnc"] = encrypted(row.filename.encode())
    elif row.filename_form == "string":
        made["filenameEnc"] = string(row.filename)
    if not row.uti_missing:
        made["itemType"] = string(row.uti)
    if row.video:
        made["videoFrameRate"] = int64(row.frame_rate)
    _mark_deleted(made, row)
    if row.contributor:
        made["contributors"] = _contributors(row.contributor)
    _add_resources(made, row.resources, wanted, link)
    return made


def _mark_deleted(made: Json, row: Master | Asset | Album) -> None:
    if row.deleted:
        made["isDeleted"] = int64(1)
        if row.trashed:
            made["dateExpunged"] = timestamp(row.trashed + KEPT_IN_TRASH)


def _asset(row: Asset, wanted: Wanted, link: Link, zone: Json) -> Json:
    made: Json = {
        "addedDate": timestamp(row.added),
        "timeZoneOffset": int64(row.offset),
        "timeZoneNameEnc": encrypted(row.time_zone.encode()),
        "isExpunged": int64(0),
        "orientation": int64(row.orientation),
        "duration": int64(round(row.duration * 1000)),
        "assetSubtype": int64(row.subtype),
        "assetSubtypeV2": int64(row.subtype_v2),
        "assetHDRType": int64(row.hdr),
        "burstFlags": int64(row.burst_flags),
        "adjustmentRenderType": int64(row.render_type),
        "customRenderedValue": int64(0),
        "recordModificationDate": timestamp(row.modified),
    }
    if row.master:
        reference = {"recordName": row.master, "action": "DELETE_SELF", "zoneID": zone}
        made["masterRef"] = {"value": reference, "type": "REFERENCE"}
    if row.taken is not None:
        made["assetDate"] = timestamp(row.taken)
    if row.favorite is not None:
        made["isFavorite"] = int64(row.favorite)
    if row.hidden is not None:
        made["isHidden"] = int64(row.hidden)
    _mark_deleted(made, row)
    if row.restored:
        made["isDeleted"] = made["isExpunged"] = int64(None)
    if row.trash_reason is not None:
        made["trashReason"] = int64(row.trash_reason)
    if row.deleted_by:
        made["deletedBy"] = {"value": {"recordName": row.deleted_by}, "type": "REFERENCE"}
    if row.burst:
        made["burstId"] = string(row.burst)
        made["burstFlagsExt"] = int64(row.burst_flags)
    if row.adjustment:
        made["adjustmentType"] = string(row.adjustment)
    if row.contributor:
        made["contributors"] = _contributors(row.contributor)
    if row.last_shared:
        made["lastSharedDate"] = timestamp(row.last_shared)
        made["shareCount"] = int64(1)
        made["sharedSyncSharingStateEnc"] = encrypted(b"1")
    _add_words(made, row)
    if row.subtype_v2 == 2:
        made["vidComplVisibilityState"] = int64(0)
        made["vidComplDurValue"] = int64(round(row.clip * 600))
        made["vidComplDurScale"] = int64(600)
        made["vidComplDispValue"] = int64(600)
        made["vidComplDispScale"] = int64(600)
    _add_resources(made, row.resources, wanted, link)
    return made


def _add_words(made: Json, row: Asset) -> None:
    if row.caption:
        made["captionEnc"] = encrypted(row.caption.encode())
    if row.description:
        made["extendedDescEnc"] = encrypted(row.description.encode())
    if row.keywords:
        made["keywordsEnc"] = encrypted(plistlib.dumps(list(row.keywords), fmt=plistlib.FMT_BINARY))
    if row.latitude is not None and row.longitude is not None:
        place = {
            "lat": row.latitude,
            "lon": row.longitude,
            "alt": 35.0,
            "speed": 0.0,
            "course": -1.0,
            "horzAcc": 12.0,
            "vertAcc": 6.0,
            "timestamp": "",
        }
        made["locationEnc"] = encrypted(plistlib.dumps(place, fmt=plistlib.FMT_BINARY))


def _album(row: Album) -> Json:
    made: Json = {
        "albumType": int64(row.kind),
        "position": int64(row.position),
        "sortType": int64(0),
        "sortTypeExt": int64(0),
        "sortAscending": int64(1),
        "parentId": string(row.parent),
        "recordModificationDate": timestamp(row.modified),
    }
    if row.title:
        made["albumNameEnc"] = encrypted(row.title.encode())
    if row.name in (ROOT_FOLDER, PROJECT_ROOT_FOLDER):
        del made["parentId"]
    _mark_deleted(made, row)
    return made


def _relation(row: Relation) -> Json:
    return {
        "containerId": string(row.album),
        "itemId": string(row.asset),
        "position": int64(row.position),
        "isKeyAsset": int64(int(row.key)),
        "recordModificationDate": timestamp(row.modified),
    }


def _add_resources(made: Json, resources: tuple[Resource, ...], wanted: Wanted, link: Link) -> None:
    for resource in resources:
        prefix, blob = resource.prefix, resource.blob
        key = prefix + "Res"
        if wanted is None or key in wanted:
            checksum = blob.checksum
            made[key] = {
                "value": {
                    "fileChecksum": checksum,
                    "size": blob.size,
                    "wrappingKey": base64.b64encode(blob.wrapping_key).decode("ascii"),
                    "referenceChecksum": base64.b64encode(blob.reference).decode("ascii"),
                    "downloadURL": link(blob),
                },
                "type": "ASSETID",
            }
        made[prefix + "FileType"] = string(resource.uti)
        made[prefix + "Fingerprint"] = string(blob.checksum)
        made[prefix + "Width"] = int64(resource.width)
        made[prefix + "Height"] = int64(resource.height)
        if resource.tells_file_size:
            made[prefix + "FileSize"] = int64(blob.size)


def int64(value: int | None) -> Json:
    return {"value": value, "type": "INT64"}


def timestamp(value: int) -> Json:
    return {"value": value, "type": "TIMESTAMP"}


def string(value: str) -> Json:
    return {"value": value, "type": "STRING"}


def encrypted(value: bytes) -> Json:
    """ENCRYPTED_BYTES: base64 of the plain bytes, since the server decrypts for the web."""
    return {"value": base64.b64encode(value).decode("ascii"), "type": "ENCRYPTED_BYTES"}


def _contributors(user: str) -> Json:
    return {"value": [{"recordName": user, "action": "NONE"}], "type": "REFERENCE_LIST"}
