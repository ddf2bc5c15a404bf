"""What can go wrong, on demand.

A fault belongs to a kind of call and stays for a number of calls or until it is cleared. Some change
the answer as a whole (its status, its body, how it is delivered); others are heeded where the answer is
made. Both are listed in FAULTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from icloudfs.simulator.excess import WITHOUT_END, WITHOUT_MEASURE, Leading, excessive
from icloudfs.simulator.message import Delivery, Json, Response, json_response
from icloudfs.simulator.traffic import Call

KINDS = ("signin", "setup", "query", "changes", "lookup", "content", "streams")
"""The kinds of call. Counts and ``zones/list`` belong to ``query`` and ``changes``."""

TINY_BODY = b"501 Unimplemented"
"""The 17 bytes that content answers with status 200 when cookies are missing (facts/cloudkit.md §1.9)."""
HTML_BODY = b"<html><head><title>Service Unavailable</title></head><body>Oops</body></html>\n"

FAULTS: dict[str, str] = {
    # the answer as a whole
    "answer": "answer in a `way`, one of WAYS or excess, or a status; maybe with a CloudKit `code`, a `reason`",
    "status": "answer with `status`, maybe `retry_after` seconds, maybe a `body`",
    "try-again": "HTTP 200 with serverErrorCode `code` (TRY_AGAIN_LATER), maybe `retry_after`",
    "html": "HTTP 200 with an HTML page",
    "json": "HTTP 200 with a JSON error",
    "tiny": "HTTP 200 with a body of 17 bytes",
    "drop": "close the connection: before the answer, or `after` so many bytes of its body",
    "truncate": "the right Content-Length, but close `after` so many bytes (half the body)",
    "short": "a shorter body of `after` bytes (half) with a Content-Length that matches it",
    "flip": "one byte `at` an offset (the middle) is wrong",
    "delay": "answer `seconds` later",
    "throttle": "send `bytes_per_second`",
    "stall": "send `after` bytes (none), then nothing, for ever",
    "no-range": "ignore Range: 200 with the whole content",
    # where the answer is made
    "gone": "content: 410",
    "record-error": "query, changes, lookup: the first record comes as an error `code`",
    "orphans": "query: the first `count` masters are left out",
    "partial": "query, changes, lookup: records (one `record`, one `type`) with the fields to `keep`, or none",
    "untrue": "query, changes, lookup: `records` say that they are deleted (in changes also those that did not"
    " change), or other `fields`, or another `size` of each content",
    "missing-url": "query, changes, lookup: no downloadURL",
    "wrong-url": "query, changes, lookup: `url` for every downloadURL",
    "missing-filename": "query, changes, lookup: no filenameEnc",
    "count": "query: counts are wrong `by` so many, and by so many `percent`; or `told` as a number, as null,"
    " absent, refused, or nothing",
    "gap": "query: `length` (100) positions of a list from `at` (100) on give nothing",
    "blank-token": "query, changes: the sync token is blank",
    "short-page": "query: a page of a list has `positions` (40) at most",
    "reject-token": "changes: `code` (BAD_REQUEST), `reason` in each zone that sent a token, or as the whole"
    " answer, with a `status`",
    "empty-page": "changes: no records, the same token, moreComing",
    "split": "changes: pages end between a master and its asset",
    "asset-only": "changes: masters are left out",
    "zone-error": "changes: every zone comes as an error `code`",
}


WAYS: dict[str, str] = {
    "no-list": "the true answer without its list (records, zones, batch)",
    "null-list": "the true answer, its list null",
    "empty-list": "the true answer, its list empty and nothing after it",
    "no-inner-list": "the true answer, the parts of its list (zones, batch) without their records",
    "error": 'HTTP 200 with {"error": ...}',
    "html": "HTTP 200 with an HTML page",
    "nothing": "HTTP 200 without a body",
    "silence": "the connection is closed without an answer",
    "bad-value": "the true answer, a `value` of BAD_VALUES for the first of its values (or first `key`)",
    "bad-name": "the same, for the name of its first record, or of its first zone",
    "bad-token": "the same, for its sync token",
    "bad-cookie": "the true answer, with cookies that no request can carry",
    "bad-headers": "the true answer, with headers that no request can carry, and others without any sense",
    "nested-error": "HTTP 400 with an error that is nested ten thousand levels deep",
    "much-later": "HTTP 503 with a `retryAfter` of 401 digits",
}
"""Wrong answers that are no status; any three digits are one."""

BAD_VALUES: dict[str, bytes] = {
    "no number": b"NaN",
    "lone surrogate": b'"\\ud83d IMG"',
    "other half": b'"\\ude00"',
    "control": b'"IMG\x01\n.JPG"',
    "escape": b'"\\x41"',
    "no UTF-8": b'"IMG \xff\xfe"',
    "overflow": b"1e999",
    "digits": b"9" * 5000,
    "nesting": b"[" * 20_000 + b"]" * 20_000,
    "nested objects": b'{"value":' * 5000 + b"1" + b"}" * 5000,
}
"""What no strict reader takes for a value, as it is on the wire."""

_LISTS = ("records", "zones", "batch", "albums")


class UnknownFaultError(ValueError):
    """There is no such fault, or no such kind of call."""


class Asked(NamedTuple):
    """One request, by what it asks for: see ``calls``."""

    name: str
    zones: frozenset[str] = frozenset()
    """Names of the zones that it is about."""
    parent: str = ""
    """The album or folder that it is about."""


@dataclass
class Fault:
    """One fault that is set."""

    kind: str
    name: str
    times: int | None = None
    """How often it strikes; None until it is cleared."""
    skip: int = 0
    """So many calls pass first."""
    checksum: str = ""
    """Only this content, if given."""
    path: str = ""
    """Only calls whose path ends so, if given."""
    call: str = ""
    """Only calls of this name, if given: see ``calls``."""
    zone: str = ""
    """Only calls about this zone, among others perhaps, if given."""
    parent: str = ""
    """Only calls about this album or folder, if given."""
    details: Json = field(default_factory=dict)
    leading: Leading = field(default_factory=Leading)

    def told(self) -> Json:
        """As it was set, without what it has answered since."""
        return {name: value for name, value in vars(self).items() if name != "leading"}

    def is_for(self, checksum: str, path: str, asked: Asked | None) -> bool:
        """Whether a call is among those that the fault was set for."""
        if asked is None:
            if self.call or self.zone or self.parent:
                return False
        elif (
            self.call not in ("", asked.name)
            or self.parent not in ("", asked.parent)
            or (self.zone and self.zone not in asked.zones)
        ):
            return False
        return self.checksum in ("", checksum) and path.endswith(self.path)

    def number(self, key: str, default: float) -> float:
        value = self.details.get(key)
        return default if value is None else float(value)


@dataclass
class Switches:
    """How this iCloud behaves where Apple is known to behave differently at times."""

    code_accepted_with_409: bool = False
    """A right code is answered 409 with ``securityCode.valid`` (since mid-2026)."""
    push_required: bool = False
    """A device code counts only after the PUT that asks for it (since iOS 26.4)."""
    no_trusted_devices: bool = False
    security_key: bool = False
    """The account has security keys: the 409 and GET /auth carry ``fsaChallenge``."""
    strict_scnt: bool = False
    """Sign-in answers 401 to any ``scnt`` but the newest."""
    salt_begins_with_zero: bool = False
    b_begins_with_zero: bool = False
    """SRP's B begins with 00, as it does in one sign-in of 256."""
    s_begins_with_zero: bool = False
    """SRP's S begins with 00."""
    unpadded_a_too: bool = False
    """Clients that hash an A which begins with 00 without its zeros, as pyicloud and icloudpd do, sign
    in, too. Apple refuses them (facts/sign-in.md §6.4): one sign-in of 256, which a test cannot choose."""
    non_fteu_required: bool = False
    """Requests about a phone that do not repeat its ``nonFTEU`` get 412 (facts/sign-in.md §6.5)."""
    wrapped_auth_state: bool = False
    """GET /auth as JSON wraps its data in ``phoneNumberVerification``."""
    camel_case_errors: bool = True
    """``serviceErrors``; the older spelling is ``service_errors``."""
    rscd_instead_of_status: bool = False
    """signin/complete answers 200 with the truth in ``X-Apple-I-Rscd``."""
    trust_overlooked: bool = False
    """signin/complete asks for a code although the trust token is good; accountLogin does not (§6.3)."""
    certificate_expired: bool = False
    """The TLS door shows one; it is made when a host is first asked for."""
    certificate_not_yet_valid: bool = False
    account_locked: bool = False
    wrong_region: bool = False
    """accountLogin names the other region's domain, whatever was asked."""
    terms_update_needed: bool = False
    web_access_forbidden: bool = False
    content_needs_cookies: bool = False
    """Content without cookies gets the 17-byte body."""
    indexing: bool = False
    """CheckIndexingState says RUNNING, though lists are whole, as it does to fresh sessions at times. Of a
    library that is being indexed indeed: ``Cloud.index_for``."""
    relations_count: bool = True
    """Relations count towards the 200 records of an album's page: 66 photos (facts/cloudkit.md §1.12)."""
    markers: bool = True
    """A page of photos that is not the last one has a ``continuationMarker``."""
    lookup_maximum: int = 200
    """Most names of one look-up; Apple's limit is not published, and lies between 200 and 400."""
    shared_lists: bool = False
    """A shared library offers all the lists of kinds, not only that of favourites."""
    albums_unlisted: bool = False
    """The zone of a shared album has no list at all: 400 to CPLAssetAndMasterByAddedDate as well."""
    stream_limit_counts: bool = False
    """``limit`` of webgetassets is a number of photos; without it, the position to stop before."""
    masters_repeated: bool = False
    """A master with several assets on a page is listed once for each of them."""


class Faults:
    """The faults that are set, and the switches."""

    def __init__(self) -> None:
        self._set: list[Fault] = []
        self.switches = Switches()

    def set(
        self,
        kind: str,
        name: str,
        *,
        times: int | None = None,
        skip: int = 0,
        checksum: str = "",
        path: str = "",
        call: str = "",
        zone: str = "",
        parent: str = "",
        **details: Any,
    ) -> Fault:
        """Let ``name`` strike the next ``times`` calls of ``kind`` (``*`` is all of them).

        Raises UnknownFaultError.
        """
        if kind != "*" and kind not in KINDS:
            raise UnknownFaultError(f"no such kind of call: {kind}")
        if name not in FAULTS:
            raise UnknownFaultError(f"no such fault: {name}")
        if name == "answer" and not _is_way(str(details.get("way", ""))):
            raise UnknownFaultError(f"no such way to answer: {details.get('way')}")
        fault = Fault(kind, name, times, skip, checksum, path, call, zone, parent, details)
        self._set.append(fault)
        return fault

    def switch(self, **values: bool | int) -> None:
        """Change switches by name. Raises UnknownFaultError."""
        for name, value in values.items():
            if not hasattr(self.switches, name):
                raise UnknownFaultError(f"no such switch: {name}")
            setattr(self.switches, name, value)

    def clear(self, kind: str | None = None) -> None:
        """Forget the faults of a kind; without one forget all, and reset the switches."""
        if kind is None:
            self._set.clear()
            self.switches = Switches()
        else:
            self._set = [fault for fault in self._set if fault.kind != kind]

    @property
    def active(self) -> list[Fault]:
        return list(self._set)

    def strike(
        self,
        name: str,
        kind: str,
        *,
        checksum: str = "",
        path: str = "",
        asked: Asked | None = None,
    ) -> Fault | None:
        """The fault of that name for this call, if one is due; it counts as having struck."""
        for fault in self._set:
            if fault.name != name or fault.kind not in (kind, "*"):
                continue
            if not fault.is_for(checksum, path, asked):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._set.remove(fault)
            return fault
        return None


# -- faults of the answer as a whole --------------------------------------------------------------

_INSTEAD = ("status", "try-again", "html", "json", "tiny")
_IN_TRANSIT = ("drop", "truncate", "short", "flip", "throttle", "stall")


def _is_way(way: str) -> bool:
    known = way in WAYS or way in WITHOUT_MEASURE or way in WITHOUT_END
    return known or (len(way) == 3 and way.isdecimal())


def wrong_answer(faults: Faults, kind: str, call: Call, asked: Asked) -> Fault | None:
    """The fault ``answer``, if it is due for this call."""
    return faults.strike("answer", kind, checksum=call.checksum, path=call.path, asked=asked)


def instead(faults: Faults, kind: str, call: Call, asked: Asked) -> Response | None:
    """The answer that takes the place of the true one, if a fault says so."""
    for name in _INSTEAD:
        fault = faults.strike(name, kind, checksum=call.checksum, path=call.path, asked=asked)
        if fault is not None:
            return _answer(fault)
    return None


def answered(fault: Fault, truth: Response, asked: Asked) -> Response:
    """A true answer, made wrong in the fault's way."""
    way = str(fault.details["way"])
    if way in WITHOUT_MEASURE or way in WITHOUT_END:
        return excessive(way, truth, asked, fault.leading)
    match way:
        case "no-list" | "null-list" | "empty-list" | "no-inner-list":
            return _without_list(truth, way)
        case "error":
            return json_response({"error": fault.details.get("reason", "internal error")})
        case "html":
            return Response(200, [("Content-Type", "text/html; charset=UTF-8")], HTML_BODY)
        case "nothing":
            return Response(200)
        case "silence":
            return Response(delivery=Delivery(no_answer=True))
        case "bad-value" | "bad-name" | "bad-token":
            return _with_bad_value(truth, _KEYS[way], fault.details)
        case "bad-cookie":
            lines = [("Set-Cookie", line) for line in BAD_COOKIES]
            return replace(truth, headers=[*truth.headers, *lines])
        case "bad-headers":
            kept = [one for one in truth.headers if one[0].lower() not in _SPOILED]
            return replace(truth, headers=[*kept, *BAD_HEADERS])
        case "nested-error":
            deep = b"[" * 10_000 + b"]" * 10_000
            return Response(400, body=b'{"serverErrorCode":%b,"reason":%b}' % (deep, deep))
        case "much-later":
            return Response(
                503, body=b'{"serverErrorCode":"THROTTLED","retryAfter":1%b}' % (b"0" * 400)
            )
    return _refusal(int(way), fault.details)


def _refusal(status: int, details: Json) -> Response:
    """With a CloudKit error as its body, if the fault names a code; else without a word."""
    if "code" not in details:
        return Response(status, [("Content-Type", "text/plain")])
    reason = details.get("reason", "simulated")
    return json_response({"serverErrorCode": details["code"], "reason": reason}, status)


def _without_list(truth: Response, way: str) -> Response:
    """An answer that has no list, such as one of the sign-in service, becomes an empty object."""
    try:
        answer = msgspec.json.decode(truth.body)
    except msgspec.DecodeError:
        answer = {}
    lists = [key for key in _LISTS if key in answer]
    if not lists:
        return json_response({}, truth.status)
    if way == "no-inner-list":
        for part in (part for key in lists for part in answer[key]):
            part.pop("records", None)
    else:
        for key in (*lists, "continuationMarker", "moreComing"):
            answer.pop(key, None)
        if way != "no-list":
            answer |= {key: None if way == "null-list" else [] for key in lists}
    return json_response(answer, truth.status)


BAD_COOKIES = (
    "X-APPLE-SECRET=p\xe4ss;Path=/",
    "X-APPLE-N\xe4me=1;Path=/",
    "X-APPLE-Tab=a\tb;Path=/",
    f"X-APPLE-Late=1;Path=/;Max-Age={'9' * 400}",
    f"X-APPLE-Later=1;Path=/;Max-Age={'9' * 5000}",
    "X-APPLE-When=1;Path=/;Expires=Tue,99-Foo-99999999999 99:99:99 GMT",
)
BAD_HEADERS = [
    *(
        (name, "m\xfcll\xff")
        for name in ("scnt", "X-Apple-ID-Session-Id", "X-Apple-Auth-Attributes")
    ),
    *((name, "m\xfcll\xff") for name in ("X-Apple-Session-Token", "X-Apple-TwoSV-Trust-Token")),
    ("X-Apple-ID-Account-Country", "\xdcSA"),
    ("X-Apple-I-Ercd", "\xb2" * 3),
    ("X-Apple-I-Rscd", "\xb9\xb2\xb3"),
    ("Retry-After", "9" * 5000),
    ("Date", f"Mon, 01 Jan {'9' * 400} 00:00:00 GMT"),
]
_SPOILED = frozenset(name.lower() for name, _ in BAD_HEADERS)

_KEYS = {
    "bad-value": ("value",),
    "bad-name": ("recordName", "zoneName"),
    "bad-token": ("syncToken",),
}
_MARK = "the place of the bad value"


def _with_bad_value(truth: Response, keys: Sequence[str], details: Json) -> Response:
    """``value`` in the place of the first value that has one of the keys, or the ``key`` that is named. An
    object without any loses its first value."""
    try:
        answer = msgspec.json.decode(truth.body)
    except msgspec.DecodeError:
        return truth
    wanted = (details["key"],) if "key" in details else keys
    if not any(_replace_first(answer, key) for key in wanted):
        if not isinstance(answer, dict) or not answer or "key" in details:
            return truth
        answer[next(iter(answer))] = _MARK
    bad = BAD_VALUES[str(details.get("value", "no number"))]
    body = msgspec.json.encode(answer).replace(f'"{_MARK}"'.encode(), bad)
    return Response(truth.status, truth.headers, body)


def _replace_first(part: Any, key: str) -> bool:
    if isinstance(part, dict) and key in part:
        part[key] = _MARK
        return True
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return any(_replace_first(one, key) for one in inner)


def _answer(fault: Fault) -> Response:
    match fault.name:
        case "status":
            headers = [("Content-Type", "text/plain")]
            if "retry_after" in fault.details:
                headers.append(("Retry-After", str(fault.details["retry_after"])))
            body = str(fault.details.get("body", "")).encode()
            return Response(int(fault.number("status", 503)), headers, body)
        case "try-again":
            code = fault.details.get("code", "TRY_AGAIN_LATER")
            body_json: Json = {"serverErrorCode": code, "reason": "Sync zone CAS Op-Lock failed"}
            if "retry_after" in fault.details:
                body_json["retryAfter"] = fault.details["retry_after"]
            return json_response(body_json)
        case "html":
            return Response(200, [("Content-Type", "text/html; charset=UTF-8")], HTML_BODY)
        case "json":
            return json_response({"error": "internal", "reason": "something went wrong"})
        case _:
            return Response(200, [("Content-Type", "application/octet-stream")], TINY_BODY)


def in_transit(faults: Faults, response: Response, kind: str, call: Call, asked: Asked) -> Response:
    """The answer as it survives its way to the client."""
    for name in _IN_TRANSIT:
        fault = faults.strike(name, kind, checksum=call.checksum, path=call.path, asked=asked)
        if fault is not None:
            response = _damaged(response, fault)
    return response


def _damaged(response: Response, fault: Fault) -> Response:
    body = response.body
    half = int(fault.number("after", len(body) // 2))
    delivery = response.delivery or Delivery()
    match fault.name:
        case "drop":
            if "after" in fault.details:
                delivery.stop_after = half
            else:
                delivery.no_answer = True
        case "truncate":
            delivery.stop_after = half
        case "short":
            body = body[:half]
        case "flip" if body:
            at = int(fault.number("at", len(body) // 2)) % len(body)
            body = b"".join((body[:at], bytes([body[at] ^ 0xFF]), body[at + 1 :]))
        case "throttle":
            delivery.bytes_per_second = fault.number("bytes_per_second", 65536)
        case "stall":
            delivery.stall_after = int(fault.number("after", 0))
    return Response(response.status, response.headers, body, response.pieces, delivery)
