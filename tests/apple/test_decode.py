"""Every oddity that facts/cloudkit.md §1.6 and §1.8 record, and whatever else JSON can hold."""

from __future__ import annotations

import base64
import json
import plistlib
import struct
import tracemalloc
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icloudfs.apple import checksum, decode
from icloudfs.apple.records import (
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
from tests.apple import wire_records as wire
from tests.apple.wire_records import Json, encrypted, number, plist, text


def read(record: object) -> Record:
    return decode.decode_record(json.dumps(record).encode())


def read_asset(**fields: Json) -> Asset:
    found = read(wire.asset(**fields))
    assert isinstance(found, Asset)
    return found


def read_master(**fields: Json) -> Master:
    found = read(wire.master(**fields))
    assert isinstance(found, Master)
    return found


def test_a_master() -> None:
    assert read_master(resOriginalVidComplRes=wire.resource("vid", 7)) == Master(
        name="AY6c+BsE",
        filename="IMG_0001.HEIC",
        uti="public.heic",
        resources={
            "resOriginal": Resource(
                "AY6c+BsE", 1000, "public.heic", "https://cvws.icloud-content.com/B/x/${f}?e=1"
            ),
            "resOriginalVidCompl": Resource(
                "vid", 7, "", "https://cvws.icloud-content.com/B/x/${f}?e=1"
            ),
        },
        width=4032,
        height=3024,
        created=wire.WHEN,
        modified=wire.WHEN + 1,
        came=frozenset(
            {"filename", "uti", "width", "height", "resOriginal", "resOriginalVidCompl"}
        ),
    )


def test_an_asset() -> None:
    found = read_asset(
        timeZoneNameEnc=encrypted(b"America/Los_Angeles"),
        assetSubtypeV2=number(2),
        burstId=text("burst"),
        duration={"value": 2500.5, "type": "DOUBLE"},
        captionEnc=encrypted("Grüße".encode()),
        extendedDescEnc=text("at the sea"),
        keywordsEnc=plist(["one", "zwei"]),
        locationEnc=plist({"lat": 37.5, "lon": -122.5, "alt": 12.0}),
        resJPEGFullRes=wire.resource("edited"),
        resJPEGFullWidth=number(800),
        resJPEGFullHeight=number(600),
    )
    assert found.master == "AY6c+BsE"
    assert (found.taken, found.added) == (wire.WHEN, wire.WHEN)
    assert (found.time_zone_offset, found.time_zone) == (-25_200, "America/Los_Angeles")
    assert (found.favorite, found.hidden, found.deleted) == (True, False, False)
    assert (found.subtype_v2, found.burst, found.duration) == (2, "burst", 2.5005)
    assert (found.caption, found.description) == ("Grüße", "at the sea")
    assert found.keywords == ("one", "zwei")
    assert (found.latitude, found.longitude, found.altitude) == (37.5, -122.5, 12.0)
    assert found.resources["resJPEGFull"].checksum == "edited"
    assert (found.width, found.height) == (800, 600)
    assert found.adjustment == ""


def test_what_was_restored_says_null() -> None:
    """A restore writes null (facts/cloudkit.md §1.12)."""
    null = {"value": None, "type": "INT64"}
    for kind in ("CPLMaster", "CPLAsset"):
        found = read(wire.envelope(kind, "x", {"isDeleted": null, "isExpunged": null}))
        assert isinstance(found, Master | Asset)
        assert not found.deleted


def test_albums_and_relations() -> None:
    fields = {
        "albumNameEnc": encrypted(b"Sea"),
        "albumType": number(3),
        "parentId": text("----Root-Folder----"),
        "position": number(1024),
        "isDeleted": {"value": True, "type": "INT64"},
    }
    album = read(wire.envelope("CPLAlbum", "al", fields))
    assert isinstance(album, Album)
    assert (album.title, album.kind, album.parent) == ("Sea", 3, "----Root-Folder----")
    assert (album.position, album.deleted) == (1024, True)
    names = {"containerId": text("al"), "itemId": text("as"), "position": number(5)}
    relation = read(wire.envelope("CPLContainerRelation", "as-IN-al", names))
    assert isinstance(relation, Relation)
    assert (relation.album, relation.asset, relation.position) == ("al", "as", 5)


def test_a_relation_that_says_it_in_its_name_alone() -> None:
    relation = read(wire.envelope("CPLContainerRelation", "as-IN-al", {}))
    assert isinstance(relation, Relation)
    assert (relation.asset, relation.album) == ("as", "al")
    assert isinstance(read(wire.envelope("CPLContainerRelation", "x", {})), Refused)


def test_what_is_gone_or_refused() -> None:
    gone = {"recordName": "x", "deleted": True, "recordType": None, "recordChangeTag": "1"}
    assert read(gone) == Tombstone("x")
    assert read(wire.envelope("CPLAsset", "x", {}, deleted=True)) == Tombstone("x")
    assert read({"recordName": "x", "recordType": None}) == Tombstone("x")
    assert read({"recordName": "a-IN-b", "deleted": True}) == Tombstone("a-IN-b")
    refused = {"recordName": "x", "serverErrorCode": "NOT_FOUND", "reason": "Record not found"}
    assert read(refused) == Refused("x", "NOT_FOUND", "Record not found")
    assert read(wire.envelope("CPLMemory", "m", {})) == Other("m", "CPLMemory")


@pytest.mark.parametrize("junk", [None, 3, [], "x", {}, {"recordName": 3}, {"recordName": ""}])
def test_what_is_no_record_is_refused(junk: object) -> None:
    found = read(junk)
    assert isinstance(found, Refused)
    assert found.code == decode.UNREADABLE
    assert found.reason


def test_missing_fields() -> None:
    master = read(wire.envelope("CPLMaster", "m", {}))
    nothing: frozenset[str] = frozenset()
    assert master == Master("m", created=wire.WHEN, modified=wire.WHEN + 1, came=nothing)
    asset = read({"recordName": "a", "recordType": "CPLAsset", "fields": {}})
    assert asset == Asset("a", came=nothing)


@pytest.mark.parametrize("kind", ["CPLMaster", "CPLAsset", "CPLAlbum"])
@pytest.mark.parametrize("fields", [{}, {"fields": None}, {"fields": []}])
def test_a_record_without_fields_is_no_record_with_empty_ones(kind: str, fields: Json) -> None:
    assert isinstance(found := read({"recordName": "a", "recordType": kind, **fields}), Refused)
    assert found.code == decode.INCOMPLETE and found.name == "a"


def test_what_came_and_what_did_not() -> None:
    found = read_asset(
        isFavorite={"value": None, "type": "INT64"},
        adjustmentType=None,  # type: ignore[arg-type]
        captionEnc={"type": "STRING"},
        locationV2Enc=plist({}),
        resJPEGFullRes={"value": None, "type": "ASSETID"},
        resVidMedRes=wire.resource("v"),
    )
    assert found.came is not None
    assert {"favorite", "adjustment", "location", "resJPEGFull", "resVidMed"} <= found.came
    assert found.came.isdisjoint({"caption", "resVidFull", "keywords"})


def test_texts_in_both_types() -> None:
    assert read_master(filenameEnc=text("a b.JPG")).filename == "a b.JPG"
    assert read_master(filenameEnc=encrypted("ä.JPG".encode())).filename == "ä.JPG"
    assert read_master(filenameEnc=encrypted(b"\xff\xfe")).filename == "\ufffd\ufffd"
    broken = {"value": "not base64!", "type": "ENCRYPTED_BYTES"}
    assert read_master(filenameEnc=broken).filename == ""


@pytest.mark.parametrize("value", [1, True, 1.0, "1"])
def test_flags_in_every_type(value: object) -> None:
    assert read_asset(isDeleted=number(value)).deleted
    assert read_master(isDeleted=number(value)).deleted


@pytest.mark.parametrize("value", [0, False, None, "", "no", [], {}, 10**30])
def test_flags_that_are_not_set(value: object) -> None:
    assert not read_asset(isDeleted=number(value)).deleted


@pytest.mark.parametrize(
    "value", [None, "x", True, 10**18, -(10**18), 10**400, -62_135_769_600_000, [], {}]
)
def test_dates_out_of_range_are_no_dates(value: object) -> None:
    assert read_asset(assetDate=number(value)).taken is None


def test_dates_at_the_ends() -> None:
    assert read_asset(assetDate=number(0)).taken == 0
    assert read_asset(assetDate=number(-2_208_988_800_000)).taken == -2_208_988_800_000
    assert read_asset(assetDate=number(1.5)).taken == 1


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("1533021772093", 1_533_021_772_093),
        ("-5", -5),
        ("1533021772093.7", 1_533_021_772_093),
        ("2018-07-31T07:22:52Z", 1_533_021_772_000),
        ("2018-07-31T09:22:52.093+02:00", 1_533_021_772_093),
        ("2018-07-31 07:22:52", 1_533_021_772_000),
        ("9" * 30, None),
        ("9" * 300, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_as_text(value: str, taken: int | None) -> None:
    assert read_asset(assetDate=text(value)).taken == taken


SUMMER, WINTER = 1_720_000_000_000, 1_705_000_000_000  # in 2024


@pytest.mark.parametrize(
    ("zone", "taken", "offset"),
    [
        ("Europe/Berlin", SUMMER, 7200),
        ("Europe/Berlin", WINTER, 3600),
        ("America/New_York", WINTER, -18_000),
        ("Asia/Kathmandu", SUMMER, 20_700),
        ("GMT", SUMMER, 0),
        ("GMT+0530", SUMMER, 19_800),
        ("UTC-8", SUMMER, -28_800),
        ("+02:00", SUMMER, 7200),
        ("GMT+99", SUMMER, 0),
        ("Nowhere/Land", SUMMER, 0),
        ("Europe", SUMMER, 0),
        ("../../etc/passwd", SUMMER, 0),
        ("/etc/passwd", SUMMER, 0),
        ("a\0b", SUMMER, 0),
        ("x" * 5000, SUMMER, 0),
        ("Europe/Berlin", -62_135_500_000_000, 3208),
        ("", SUMMER, 0),
    ],
)
def test_a_time_zone_without_an_offset(zone: str, taken: int, offset: int) -> None:
    fields = {"timeZoneNameEnc": encrypted(zone.encode()), "assetDate": number(taken)}
    record = wire.asset(**fields)
    del record["fields"]["timeZoneOffset"]
    found = read(record)
    assert isinstance(found, Asset)
    assert (found.time_zone, found.time_zone_offset) == (zone, offset)
    told = read_asset(**fields)
    assert told.time_zone_offset == -25_200  # what is told is believed


def test_a_time_zone_without_a_date() -> None:
    zone = encrypted(b"Europe/Berlin")
    nothing = number(None)
    found = read_asset(timeZoneNameEnc=zone, assetDate=nothing, timeZoneOffset=nothing)
    assert (found.taken, found.time_zone_offset) == (None, 0)


def test_durations() -> None:
    assert read_asset(duration=number(20_515)).duration == 20.515
    assert read_asset(duration=number(0)).duration == 0
    assert read_asset(duration=number(-1)).duration == 0
    assert read_asset(duration=text("x")).duration == 0
    of_a_live_photo = {
        "duration": number(0),
        "vidComplDurValue": number(1350),
        "vidComplDurScale": number(600),
    }
    assert read_asset(**of_a_live_photo).duration == 2.25
    assert read_asset(**of_a_live_photo | {"vidComplDurScale": number(0)}).duration == 0
    assert read_asset(**of_a_live_photo | {"duration": number(3000)}).duration == 3


@pytest.mark.parametrize("content", [b"IMG_1???.JPG", b"IMG_12???.JPG", b"IMG_123???.JPG"])
def test_base64_in_other_spellings(content: bytes) -> None:
    usual = base64.b64encode(content).decode()
    other = base64.urlsafe_b64encode(content).decode()
    assert "-" in other or "_" in other
    for spelling in (usual, usual.rstrip("="), other, other.rstrip("=")):
        field = {"value": spelling, "type": "ENCRYPTED_BYTES"}
        assert read_master(filenameEnc=field).filename == content.decode()


def test_property_lists_in_base64_without_padding() -> None:
    place = plist({"lat": 37.5, "lon": -122.5})
    words = plist(["sun", "sea"])
    for field in (place, words):
        field["value"] = str(field["value"]).rstrip("=").replace("+", "-").replace("/", "_")
    found = read_asset(locationEnc=place, keywordsEnc=words)
    assert (found.latitude, found.longitude) == (37.5, -122.5)
    assert found.keywords == ("sun", "sea")


@pytest.mark.parametrize("value", [86_400, -86_400, 10**12, "x", None])
def test_time_zones_out_of_range(value: object) -> None:
    assert read_asset(timeZoneOffset=number(value)).time_zone_offset == 0


def test_places() -> None:
    assert read_asset(locationEnc=plist({"lat": 1.0, "lng": 2.0})).longitude == 2.0
    assert read_asset(locationV2Enc=plist({"lat": 1.0, "lon": 2.0})).latitude == 1.0
    plain = read_asset(locationLatitude=number(1.5), locationLongitude=number(2.5))
    assert (plain.latitude, plain.longitude, plain.altitude) == (1.5, 2.5, None)
    bad_places: list[Any] = [{"lat": 91.0, "lon": 0.0}, {"lat": 1.0}, {"lat": "x", "lon": 1}, [], 3]
    for bad in bad_places:
        assert read_asset(locationEnc=plist(bad)).latitude is None
    xml = encrypted(plistlib.dumps({"lat": 1.0, "lon": 2.0}))
    assert read_asset(locationEnc=xml).latitude == 1.0


@pytest.mark.parametrize("content", [b"", b"bplist00", b"bplist00" + b"\xff" * 60, b"<?xml", b"{}"])
def test_damaged_property_lists(content: bytes) -> None:
    found = read_asset(keywordsEnc=encrypted(content), locationEnc=encrypted(content))
    assert (found.keywords, found.latitude) == ((), None)


def test_resources_without_an_address_stay_and_without_a_checksum_go() -> None:
    bare = {"type": "ASSETID", "value": {"fileChecksum": "c", "size": 5}}
    found = read_master(
        resOriginalRes=bare, resJPEGMedRes=wire.resource("", 5), resSidecarRes=number(3)
    )
    assert found.resources == {"resOriginal": Resource("c", 5, "public.heic")}


@pytest.mark.parametrize("size", [0, -1, None, "many", 2**70])
def test_a_size_that_is_not_told(size: object) -> None:
    found = read_master(resOriginalRes=wire.resource("c", size))
    assert found.resources["resOriginal"].size == UNKNOWN_SIZE
    assert found.original is None
    beside = read_master(resOriginalRes=wire.resource("c", size), resOriginalFileSize=number(7))
    assert beside.resources["resOriginal"].size == 7
    assert beside.original is not None


def test_a_size_of_nothing_is_believed_of_the_content_that_is_nothing() -> None:
    empty = checksum.of(b"")
    found = read_master(resOriginalRes=wire.resource(empty, 0))
    assert found.original is not None
    assert found.original.size == 0
    assert read_master(resOriginalRes=wire.resource(empty, -1)).original is None


@pytest.mark.parametrize("value", [None, {"value": None}, {"value": {"size": 5}}, {"value": 3}])
def test_a_master_without_an_original(value: Json | None) -> None:
    record = wire.master()
    if value is None:
        del record["fields"]["resOriginalRes"]
    else:
        record["fields"]["resOriginalRes"] = value
    found = read(record)
    assert isinstance(found, Master)
    assert (found.original, found.resources) == (None, {})
    assert found.uti == "public.heic"


def test_a_type_that_only_the_original_tells() -> None:
    told = {"itemType": text(""), "resOriginalFileType": text("public.png")}
    assert read_master(**told).uti == "public.png"
    assert read_master(**told | {"itemType": text("public.jpeg")}).uti == "public.jpeg"


def test_a_page() -> None:
    body = {
        "records": [wire.master(), wire.asset(), 3],
        "syncToken": "AQ==",
        "continuationMarker": "m",
    }
    page = decode.decode_page(json.dumps(body).encode())
    assert [type(record) for record in page.records] == [Master, Asset, Refused]
    assert (page.token, page.marker) == ("AQ==", "m")
    assert decode.decode_page(b'{"records":[]}') == decode.Page()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b'{"records":3}',
        b'{"records":null}',
        b"{}",
        b'{"error":"x"}',
        b"\xff",
        b"{",
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode.decode_page(body)


def test_the_zone_error_shape_has_neither_token_nor_more_coming() -> None:
    body = (
        b'{"zones":[{"zoneID":{"zoneName":"PrimarySync"},"serverErrorCode":"BAD_REQUEST",'
        b'"reason":"Unknown sync continuation type"}]}'
    )
    (zone,) = decode.read_zones(body).zones
    assert (zone.error, zone.sync_token, zone.more_coming) == ("BAD_REQUEST", None, None)


def test_the_keys() -> None:
    listing = set(decode.LISTING_KEYS)
    assert not {"resJPEGMedRes", "resJPEGThumbRes", "resVidMedRes"} & listing
    assert {"resOriginalAltRes", "resOriginalVidComplRes", "resVidFullRes", "masterRef"} <= listing
    assert {"resJPEGMedRes", "resJPEGThumbRes", "resVidMedRes"} <= set(decode.DOWNLOAD_KEYS)
    assert {"resOriginalRes", "resJPEGFullRes", "resVidComplRes"} <= set(decode.DOWNLOAD_KEYS)
    assert {"resVidComplRes", "vidComplDurValue", "vidComplDurScale"} <= listing
    assert {*decode.CHANGE_KEYS, *decode.DOWNLOAD_KEYS} == set(decode.RECORD_KEYS)
    assert len(decode.CHANGE_KEYS) == len(set(decode.CHANGE_KEYS))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = st.sampled_from((*decode.CHANGE_KEYS, *decode.DOWNLOAD_KEYS))
FIELD = st.fixed_dictionaries(
    {"value": JUNK, "type": st.sampled_from(["STRING", "ENCRYPTED_BYTES", "INT64"]) | JUNK}
)
KINDS = st.sampled_from(["CPLMaster", "CPLAsset", "CPLAlbum", "CPLContainerRelation"]) | JUNK


@settings(max_examples=120, deadline=None)
@given(KINDS, st.dictionaries(KEYS, FIELD | JUNK, max_size=12) | JUNK, JUNK)
def test_no_value_can_crash_it(kind: Any, fields: Any, junk: Any) -> None:
    record = {"recordName": "r", "recordType": kind, "fields": fields, "created": junk}
    found = decode.decode_record(json.dumps(record).encode())
    assert found.name in ("r", "")
    # What comes out can be stored: text as UTF-8, numbers in 64 bits.
    msgspec.msgpack.encode(found)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | JUNK.map(lambda junk: json.dumps(junk).encode()))
def test_no_bytes_can_crash_it(body: bytes) -> None:
    assert decode.decode_record(body) is not None
    try:
        decode.decode_page(body)
    except ProtocolError as error:
        assert str(error)


def test_deep_nesting_is_refused() -> None:
    assert isinstance(decode.decode_record(b"[" * 100_000), Refused)
    deep = b'{"recordName":"r","fields":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert isinstance(decode.decode_record(deep), Refused)


# -- without measure -------------------------------------------------------------------------------


def overlapping(parts: int, length: int) -> bytes:
    """A binary list of so many texts, which all lie at the same place and have that length."""
    head = b"bplist00"
    count = struct.pack(">H", parts - 1)
    whole = b"\xaf\x11" + count + b"".join(struct.pack(">H", n) for n in range(1, parts))
    word = b"\x5f\x11" + struct.pack(">H", length) + b"x" * length
    at = len(head) + len(whole)
    table = struct.pack(">H", len(head)) + struct.pack(">H", at) * (parts - 1)
    trailer = struct.pack(">6xBBQQQ", 2, 2, parts, 0, at + len(word))
    return head + whole + word + table + trailer


def test_a_list_whose_parts_lie_at_one_place_is_not_read() -> None:
    assert len(plistlib.loads(overlapping(20, 50))) == 19, "as Python reads it"
    tracemalloc.start()
    for bomb in (overlapping(900, 10_000), overlapping(6000, 30_000), overlapping(20, 50)):
        assert read_asset(keywordsEnc=encrypted(bomb)).keywords == ()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_every_honest_list_is_read() -> None:
    words = [f"Stichwort {n} ä" for n in range(400)]
    assert read_asset(keywordsEnc=plist(words)).keywords == tuple(words)
    assert read_asset(keywordsEnc=plist(["a"] * 900)).keywords == ("a",) * 900
    at = {"lat": 1.0, "lon": 2, "alt": 3.5, "timestamp": datetime(2026, 1, 1), "x": [b"y", True]}
    assert read_asset(locationEnc=plist(at)).altitude == 3.5


def test_a_record_without_measure_is_refused_by_its_name() -> None:
    huge = wire.asset(captionEnc=text("x" * (decode.LARGEST_RECORD + 1)))
    found = read(huge)
    assert found == Refused(huge["recordName"], decode.UNREADABLE, found.reason)  # type: ignore[union-attr]
    assert read({"x": "y" * decode.LARGEST_RECORD}).name == ""


def test_texts_and_urls_have_a_measure() -> None:
    asset = read_asset(captionEnc=text("x" * 100_000), extendedDescEnc=encrypted(b"y" * 100_000))
    assert (len(asset.caption), len(asset.description)) == (decode.LONGEST_TEXT,) * 2
    resource = wire.resource("sum", 7)
    resource["value"]["downloadURL"] = "https://cvws.icloud-content.com/" + "x" * decode.LONGEST_URL
    assert read_master(resOriginalRes=resource).resources["resOriginal"].url == ""
    many = {f"res{n}Res": wire.resource("sum", 7) for n in range(1000)}
    assert len(read_master(**many).resources) == decode.MOST_RESOURCES
    long = {"recordName": "x", "serverErrorCode": "C" * 10_000, "reason": "r" * 10_000}
    refused = read(long)
    assert isinstance(refused, Refused)
    assert len(refused.code) == len(refused.reason) == decode.LONGEST_REASON


@pytest.mark.parametrize("part", [b"{}", b"[]", b'{"a":[]}', b"[[[[]]]]"])
def test_an_answer_of_too_many_parts_is_no_list(part: bytes) -> None:
    body = b'{"records":[' + part + (b"," + part) * 2_000_000 + b"]}"
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="too many parts"):
        decode.read_page(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("key", ["syncToken", "continuationMarker"])
def test_a_token_without_measure_is_not_kept(key: str) -> None:
    with pytest.raises(ProtocolError, match="token"):
        decode.decode_page(json.dumps({"records": [], key: "x" * 100_000}).encode())
