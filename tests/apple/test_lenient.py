"""What can be read of JSON that has values in it which are none."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icloudfs.apple import decode, lenient
from icloudfs.apple.lenient import BROKEN, NoJson
from icloudfs.apple.records import Master, Refused, Tombstone
from icloudfs.simulator.faults import BAD_VALUES
from tests.apple import wire_records as wire

VALUES = pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES)
MARK = "the place"

PLAIN = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(
    PLAIN | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PUNCTUATION = st.text(alphabet='[]{}:,"\\ 1a', max_size=40)


def spoiled(value: object, bad: bytes) -> bytes:
    """``value`` as JSON, with ``bad`` wherever it has MARK."""
    return json.dumps(value).encode().replace(f'"{MARK}"'.encode(), bad)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_what_is_json_is_read_as_it_is(value: object) -> None:
    assert lenient.read(json.dumps(value, indent=1).encode()) == value
    assert lenient.read(json.dumps(value, ensure_ascii=False).encode()) == value


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40) | PUNCTUATION.map(str.encode))
def test_nothing_crashes_it(text: bytes) -> None:
    with suppress(NoJson):
        lenient.read(text, unread=("a",))


@VALUES
def test_a_bad_value_is_broken_and_all_around_it_is_read(bad: bytes) -> None:
    found = lenient.read(spoiled({"a": 1, "b": [MARK, 2], "c": {"d": MARK}, "e": "x"}, bad))
    assert (found["a"], found["b"][1], found["e"]) == (1, 2, "x")
    assert lenient.has_broken(found["b"][0]) and lenient.has_broken(found["c"])
    assert not lenient.has_broken(found["a"])
    alone = lenient.read(bad)
    assert alone is BROKEN or lenient.has_broken(alone)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"a":1', b'{"a" 1}', b"[1,]", b"{} x", b'"a', b"]", b'{"a":[}]}', b"{1:2}"],
)
def test_what_has_not_the_structure_is_no_json(text: bytes) -> None:
    with pytest.raises(NoJson):
        lenient.read(text)


@pytest.mark.parametrize(
    "text", [b"[" * 3_000_000, b'[["' + b'\\"' * 1_000_000, b"[[" + b'"' * 1_000_001]
)
def test_it_takes_a_time_in_proportion(text: bytes) -> None:
    began = time.process_time()
    with pytest.raises(NoJson):
        lenient.read(text)
    assert time.process_time() - began < 5


@VALUES
def test_a_record_keeps_what_can_be_read(bad: bytes) -> None:
    record = wire.master()
    record["fields"]["itemType"] = {"value": MARK, "type": "STRING"}
    found = decode.decode_record(spoiled(record, bad))
    whole = decode.decode_record(json.dumps(wire.master()).encode())
    assert isinstance(found, Master) and isinstance(whole, Master)
    assert found.damaged and found.came is not None and whole.came is not None
    assert found.uti == "" or "uti" in found.came  # another field may tell it as well
    assert (found.filename, found.resources) == (whole.filename, whole.resources)


@VALUES
@pytest.mark.parametrize("key", ["recordType", "deleted", "fields", "serverErrorCode"])
def test_what_it_is_has_to_be_read(bad: bytes, key: str) -> None:
    """A type that cannot be read is no tombstone."""
    found = decode.decode_record(spoiled({**wire.master(), key: MARK}, bad))
    assert isinstance(found, Refused) or (key == "fields" and isinstance(found, Master))
    assert not isinstance(found, Master) or found.damaged
    assert found.name == wire.master()["recordName"]


@VALUES
@pytest.mark.parametrize("flag", ["isHidden", "isDeleted", "isExpunged"])
def test_whether_it_may_be_shown_has_to_be_read(bad: bytes, flag: str) -> None:
    record = wire.asset()
    record["fields"][flag] = {"value": MARK, "type": "INT64"}
    found = decode.decode_record(spoiled(record, bad))
    assert isinstance(found, Refused) and found.name == record["recordName"]


@VALUES
def test_without_a_name_it_is_refused(bad: bytes) -> None:
    for record in ({**wire.master(), "recordName": MARK}, MARK):
        found = decode.decode_record(spoiled(record, bad))
        assert isinstance(found, Refused) and not found.name


def test_a_record_with_fields_and_without_a_type_is_no_tombstone() -> None:
    record = {**wire.master(), "recordType": None}
    assert isinstance(decode.decode_record(json.dumps(record).encode()), Refused)
    gone = decode.decode_record(b'{"recordName":"x","recordType":null}')
    assert isinstance(gone, Tombstone)


@VALUES
def test_pages_zones_and_counts_with_bad_values(bad: bytes) -> None:
    page = decode.read_page(spoiled({"records": [{}, MARK], "syncToken": MARK, "x": MARK}, bad))
    assert len(page.records) == 2 and page.sync_token is None
    named: dict[str, Any] = {
        "zoneID": {"zoneName": "PrimarySync"},
        "records": [],
        "moreComing": True,
    }
    body = {"zones": [named, MARK, {**named, "zoneID": MARK}, {**named, "moreComing": MARK}]}
    zones = decode.read_zones(spoiled(body, bad)).zones
    assert [zone.zone_id.zone_name for zone in zones] == ["PrimarySync", "", "", "PrimarySync"]
    assert [zone.more_coming for zone in zones][::3] == [True, None]
    batch = decode.read_batch(spoiled({"batch": [MARK, {"records": [{}]}, {"records": MARK}]}, bad))
    assert batch.batch[1].records is not None
    assert batch.batch[0].records is None


@pytest.mark.parametrize("key", ["syncToken", "moreComing", "zoneID", "serverErrorCode", "deleted"])
def test_a_value_of_another_type_costs_no_other_zone(key: str) -> None:
    named: dict[str, Any] = {"zoneID": {"zoneName": "PrimarySync"}, "records": []}
    body = msgspec.json.encode({"zones": [{**named, key: [3]}, named]})
    first, second = decode.read_zones(body).zones
    assert second.zone_id.zone_name == "PrimarySync"
    assert (first.error == decode.UNREADABLE) == (key == "serverErrorCode")
