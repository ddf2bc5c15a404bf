"""The photos of somebody who never was: twenty years, evenly, each a function of its number alone.

What phones make, in about the shares that libraries have of it: 1.5 files a photo, names that a counter of
four digits gives, a few favourites, hidden and deleted ones, and albums of whole events.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from icloudfs.apple.records import Album, Asset, Master, Record, Relation, Resource

_YEARS = 20
_DAY = 86_400_000
"""Milliseconds."""

_NAMES = 10_000
"""A phone counts from IMG_0000 to IMG_9999 and begins again: a big library has many of each."""

_AN_EVENT = 50
_EVENTS_AN_ALBUM_EVENT = 12
"""One of so many events is put into an album."""
_ALBUMS = 300

_FAVORITE, _HIDDEN, _DELETED, _EDITED = 30, 5, 5, 150
"""Of a thousand photos."""

Contents = dict[str, tuple[str, int]]
"""By wire prefix: type and bytes of a middling one."""


class _Kind(NamedTuple):
    percent: int
    extension: str
    contents: Contents
    subtype_v2: int = 0


_HEIC: Contents = {"resOriginal": ("public.heic", 1_800_000)}
_LIVE: Contents = _HEIC | {"resOriginalVidCompl": ("com.apple.quicktime-movie", 3_000_000)}
_JPEG: Contents = {"resOriginal": ("public.jpeg", 3_500_000)}
_MOVIE: Contents = {"resOriginal": ("com.apple.quicktime-movie", 60_000_000)}
_SCREENSHOT: Contents = {"resOriginal": ("public.png", 900_000)}
_RAW: Contents = _JPEG | {"resOriginalAlt": ("com.adobe.raw-image", 30_000_000)}

_KINDS = (
    _Kind(40, "HEIC", _HEIC),
    _Kind(30, "HEIC", _LIVE, subtype_v2=2),
    _Kind(12, "JPG", _JPEG),
    _Kind(8, "MOV", _MOVIE),
    _Kind(7, "PNG", _SCREENSHOT, subtype_v2=3),
    _Kind(3, "JPG", _RAW),
)
_BY_PERCENT = [kind for kind in _KINDS for _ in range(kind.percent)]
assert len(_BY_PERCENT) == 100

_EDIT: Contents = {"resJPEGFull": ("public.jpeg", 2_500_000)}
_EDIT_OF_LIVE: Contents = _EDIT | {"resVidFull": ("com.apple.quicktime-movie", 2_800_000)}
_EDIT_OF_MOVIE: Contents = {"resVidFull": ("com.apple.quicktime-movie", 40_000_000)}


class Life:
    """A library that grew evenly until a moment, in milliseconds since the epoch."""

    def __init__(self, photos: int, until: int) -> None:
        span = _YEARS * 365 * _DAY
        self._first = until - span
        self._step = span / photos

    def records(self, number: int) -> Iterator[Record]:
        """What iCloud has of a photo. An album comes with the first photo that is in it."""
        chance = blake2b(number.to_bytes(8, "big"), digest_size=24).digest()
        name = str(UUID(bytes=chance[:16])).upper()
        kind = _BY_PERCENT[int.from_bytes(chance[16:18], "big") % 100]
        taken = self._first + int(number * self._step)
        originals = _resources(number, kind.contents)
        master = originals["resOriginal"].checksum
        edited = _happens(_EDITED, chance[18:20])
        yield Master(
            master,
            filename=f"IMG_{number % _NAMES:04}.{kind.extension}",
            uti=originals["resOriginal"].uti,
            resources=originals,
            width=4032,
            height=3024,
            created=taken,
            modified=taken,
        )
        yield Asset(
            name,
            master=master,
            taken=taken,
            added=taken,
            time_zone="GMT",
            favorite=_happens(_FAVORITE, chance[20:22]),
            hidden=_happens(_HIDDEN, chance[22:24]),
            deleted=_happens(_DELETED, chance[21:23]),
            subtype_v2=kind.subtype_v2,
            adjustment="com.apple.photo" if edited else "",
            resources=_resources(number, _edit(kind)) if edited else {},
            created=taken,
            modified=taken,
        )
        yield from _membership(number, name, taken)


def _happens(in_thousand: int, chance: bytes) -> bool:
    return int.from_bytes(chance, "big") % 1000 < in_thousand


def _edit(kind: _Kind) -> Contents:
    if kind.contents is _MOVIE:
        return _EDIT_OF_MOVIE
    return _EDIT_OF_LIVE if kind.contents is _LIVE else _EDIT


def _resources(number: int, contents: Contents) -> dict[str, Resource]:
    return {
        prefix: Resource(_checksum(f"{number} {prefix}"), size + number % 100_003, uti)
        for prefix, (uti, size) in contents.items()
    }


def _checksum(identity: str) -> str:
    """As Apple's look: 21 bytes that begin with 1."""
    return b64encode(b"\x01" + blake2b(identity.encode(), digest_size=20).digest()).decode()


def _membership(number: int, asset: str, when: int) -> Iterator[Record]:
    event, place = divmod(number, _AN_EVENT)
    turn, rest = divmod(event, _EVENTS_AN_ALBUM_EVENT)
    if rest:
        return
    album = str(UUID(int=turn % _ALBUMS)).upper()
    if place == 0 and turn < _ALBUMS:
        yield Album(album, title=f"Album {turn:03}", created=when, modified=when)
    yield Relation(f"{asset}-IN-{album}", album, asset, created=when)
