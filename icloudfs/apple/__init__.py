"""Apple's side of the wire: endpoints, sign-in, session, CloudKit calls, records, checksums.

``ICloud`` is the way in; the names here are what other packages may use. They are loaded when they are
first asked for: whoever needs only ``records``, ``wire`` or ``checksum`` does not pay a quarter of a
second for the HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icloudfs.apple.account import AccountInfo
    from icloudfs.apple.cloudkit import (
        ChangedZone,
        CloudKitError,
        DatabaseChanges,
        Index,
        Photos,
        ZoneChanges,
        ZoneError,
        ZoneGone,
        ZoneProblem,
        is_library,
        member_count_id,
    )
    from icloudfs.apple.content import Content, ExpiredURL, Interrupted
    from icloudfs.apple.decode import (
        ALBUM_KEYS,
        CHANGE_KEYS,
        DOWNLOAD_KEYS,
        LISTING_KEYS,
        RELATION_KEYS,
        Page,
        decode_page,
        decode_record,
    )
    from icloudfs.apple.endpoints import CHINA, GLOBAL, Endpoints, for_region
    from icloudfs.apple.icloud import ICloud
    from icloudfs.apple.idmsa import SignInOver
    from icloudfs.apple.records import (
        ROOT_FOLDERS,
        Album,
        Area,
        Asset,
        Master,
        Other,
        Record,
        Refused,
        Relation,
        Rendition,
        Resource,
        Tombstone,
        Zone,
    )
    from icloudfs.apple.session import Session, SessionStore, stem
    from icloudfs.apple.signin import (
        AskDevices,
        AskPhone,
        Challenge,
        Code,
        CodeAnswer,
        CodeSource,
        DeviceCode,
        PasswordSource,
        Phone,
        PhoneCode,
    )
    from icloudfs.apple.transport import Meter

__all__ = [
    "ALBUM_KEYS",
    "CHANGE_KEYS",
    "CHINA",
    "DOWNLOAD_KEYS",
    "GLOBAL",
    "LISTING_KEYS",
    "RELATION_KEYS",
    "ROOT_FOLDERS",
    "AccountInfo",
    "Album",
    "Area",
    "AskDevices",
    "AskPhone",
    "Asset",
    "Challenge",
    "ChangedZone",
    "CloudKitError",
    "Code",
    "CodeAnswer",
    "CodeSource",
    "Content",
    "DatabaseChanges",
    "DeviceCode",
    "Endpoints",
    "ExpiredURL",
    "ICloud",
    "Index",
    "Interrupted",
    "Master",
    "Meter",
    "Other",
    "Page",
    "PasswordSource",
    "Phone",
    "PhoneCode",
    "Photos",
    "Record",
    "Refused",
    "Relation",
    "Rendition",
    "Resource",
    "Session",
    "SessionStore",
    "SignInOver",
    "Tombstone",
    "Zone",
    "ZoneChanges",
    "ZoneError",
    "ZoneGone",
    "ZoneProblem",
    "decode_page",
    "decode_record",
    "for_region",
    "is_library",
    "member_count_id",
    "stem",
]

_HOMES = {
    "account": ("AccountInfo",),
    "cloudkit": (
        "ChangedZone",
        "CloudKitError",
        "DatabaseChanges",
        "Index",
        "Photos",
        "ZoneChanges",
        "ZoneError",
        "ZoneGone",
        "ZoneProblem",
        "is_library",
        "member_count_id",
    ),
    "content": ("Content", "ExpiredURL", "Interrupted"),
    "decode": (
        "ALBUM_KEYS",
        "CHANGE_KEYS",
        "DOWNLOAD_KEYS",
        "LISTING_KEYS",
        "RELATION_KEYS",
        "Page",
        "decode_page",
        "decode_record",
    ),
    "endpoints": ("CHINA", "GLOBAL", "Endpoints", "for_region"),
    "icloud": ("ICloud",),
    "idmsa": ("SignInOver",),
    "records": (
        "ROOT_FOLDERS",
        "Album",
        "Area",
        "Asset",
        "Master",
        "Other",
        "Record",
        "Refused",
        "Relation",
        "Rendition",
        "Resource",
        "Tombstone",
        "Zone",
    ),
    "session": ("Session", "SessionStore", "stem"),
    "signin": (
        "AskDevices",
        "AskPhone",
        "Challenge",
        "Code",
        "CodeAnswer",
        "CodeSource",
        "DeviceCode",
        "PasswordSource",
        "Phone",
        "PhoneCode",
    ),
    "transport": ("Meter",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
