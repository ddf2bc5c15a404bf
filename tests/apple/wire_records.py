"""Records in the form that Apple sends them (facts/cloudkit.md §1.6), for the tests."""

from __future__ import annotations

import base64
import plistlib
from typing import Any

Json = dict[str, Any]

WHEN = 1_533_021_772_093


def text(value: str) -> Json:
    return {"value": value, "type": "STRING"}


def number(value: object) -> Json:
    return {"value": value, "type": "INT64"}


def encrypted(value: bytes) -> Json:
    return {"value": base64.b64encode(value).decode(), "type": "ENCRYPTED_BYTES"}


def plist(value: Any) -> Json:
    return encrypted(plistlib.dumps(value, fmt=plistlib.FMT_BINARY))


def resource(checksum: str, size: object = 1000, **more: object) -> Json:
    value = {
        "fileChecksum": checksum,
        "size": size,
        "wrappingKey": "AAAA",
        "referenceChecksum": "BBBB",
        "downloadURL": "https://cvws.icloud-content.com/B/x/${f}?e=1",
    }
    return {"type": "ASSETID", "value": {**value, **more}}


def envelope(kind: str | None, name: str, fields: Json, **more: object) -> Json:
    stamp = {"timestamp": WHEN, "userRecordName": "_bfc6", "deviceID": "9DD8"}
    return {
        "recordName": name,
        "recordType": kind,
        "fields": fields,
        "pluginFields": {},
        "recordChangeTag": "49lb",
        "created": stamp,
        "modified": {**stamp, "timestamp": WHEN + 1},
        "deleted": False,
        "zoneID": {
            "zoneName": "PrimarySync",
            "ownerRecordName": "_bfc6",
            "zoneType": "REGULAR_CUSTOM_ZONE",
        },
        **more,
    }


def master(name: str = "AY6c+BsE", /, **fields: Json) -> Json:
    return envelope(
        "CPLMaster",
        name,
        {
            "filenameEnc": encrypted(b"IMG_0001.HEIC"),
            "itemType": text("public.heic"),
            "resOriginalRes": resource(name),
            "resOriginalFileType": text("public.heic"),
            "resOriginalWidth": number(4032),
            "resOriginalHeight": number(3024),
            **fields,
        },
    )


def asset(name: str = "F2C1", of: str = "AY6c+BsE", /, **fields: Json) -> Json:
    reference = {
        "recordName": of,
        "action": "DELETE_SELF",
        "zoneID": {"zoneName": "PrimarySync"},
    }
    return envelope(
        "CPLAsset",
        name,
        {
            "masterRef": {"value": reference, "type": "REFERENCE"},
            "assetDate": {"value": WHEN, "type": "TIMESTAMP"},
            "addedDate": {"value": WHEN, "type": "TIMESTAMP"},
            "timeZoneOffset": number(-25_200),
            "isFavorite": number(1),
            "isHidden": number(0),
            "adjustmentType": {"value": None, "type": "STRING"},
            **fields,
        },
    )
