"""Answers without measure or end: too large, too many, too slow, or leading on for ever.

Each is made of the true answer. What leads on gives the first true page again and again, so that a client
which follows is never told that its place is wrong.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from icloudfs.simulator.message import Delivery, Json, Response, json_response

WITHOUT_MEASURE: dict[str, str] = {
    "bomb": "64 MiB of blanks, compressed",
    "coded-twice": "the true answer, compressed twice",
    "endless": "blanks, for ever",
    "trickle": "20 blanks a second, for ever",
    "interim": "answers of status 103, for ever",
    "many": "the true answer with a million empty entries in its list",
    "long": "the true answer with texts of two million characters",
    "cookies": "the true answer with 300 cookies that nobody asked for",
    "wait-never": "503 with a Retry-After of 0",
    "wait-ages": "503 with a Retry-After of thirty years",
}
"""What is too large or too slow in itself."""

WITHOUT_END: dict[str, str] = {
    "again": "the first true answer, whatever place is asked for",
    "circle": "the same, each leading on to the other of two places",
    "onward": "the same, each leading on to a place of its own",
    "hollow": "no records, each answer leading on to a place of its own",
}
"""What is never over."""

_LISTS = ("records", "zones", "batch", "albums")
_LONG = "x" * 2_000_000


class Leading:
    """What one fault has answered so far."""

    def __init__(self) -> None:
        self.first: dict[object, bytes] = {}
        """The first true answer, by what was asked for."""
        self.places: Iterator[int] = itertools.count()


def excessive(way: str, truth: Response, asked: object, leading: Leading) -> Response:
    """The true answer, made excessive."""
    if way in WITHOUT_END:
        return _leading_on(way, truth, asked, leading)
    body = bytes(truth.body)
    match way:
        case "bomb":
            return Response(truth.status, [*truth.headers, ("Content-Encoding", "gzip")], _bomb())
        case "coded-twice":
            coded = gzip.compress(gzip.compress(body))
            named = ("Content-Encoding", "gzip, gzip")
            return Response(truth.status, [*truth.headers, named], coded)
        case "endless":
            return Response(truth.status, truth.headers, pieces=itertools.repeat(b" " * 65536))
        case "trickle":
            slowly = Delivery(bytes_per_second=20)
            return Response(truth.status, truth.headers, b" " * 20_000, delivery=slowly)
        case "interim":
            return Response(truth.status, truth.headers, body, delivery=Delivery(interim=True))
        case "cookies":
            more = [("Set-Cookie", f"unasked-{n}={'x' * 100};Path=/") for n in range(300)]
            return Response(truth.status, [*truth.headers, *more], truth.body)
        case "wait-never":
            return Response(503, [("Retry-After", "0")])
        case "wait-ages":
            return Response(503, [("Retry-After", str(10**9))])
    return _larger(way, truth)


def _larger(way: str, truth: Response) -> Response:
    answer = _object(truth)
    if way == "many":
        key = next((key for key in _LISTS if key in answer), "records")
        entries = msgspec.Raw(b"[" + b"{}," * 999_999 + b"{}]")
        return json_response(answer | {key: entries}, truth.status)
    for record in _records(answer):
        record["reason"] = _LONG
    return json_response(answer | {"reason": _LONG, "syncToken": _LONG}, truth.status)


def _leading_on(way: str, truth: Response, asked: object, leading: Leading) -> Response:
    body = leading.first.setdefault(asked, bytes(truth.body))
    answer = _object(Response(truth.status, body=body))
    if way == "again":
        return json_response(answer)
    number = next(leading.places)
    place = f"place {number % 2 if way == 'circle' else number}"
    if "zones" in answer:
        answer |= {"syncToken": place, "moreComing": True}
        for zone in answer["zones"]:
            zone |= {"syncToken": place, "moreComing": True}
            if way == "hollow" and "records" in zone:
                zone["records"] = []
    elif "records" in answer:
        answer["continuationMarker"] = place
        if way == "hollow":
            answer["records"] = []
    return json_response(answer)


def _records(answer: Json) -> Iterator[Json]:
    for part in (answer, *(answer.get("zones") or []), *(answer.get("batch") or [])):
        yield from (part.get("records") or [])[:3]


def _object(response: Response) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (64 << 20), 6)
