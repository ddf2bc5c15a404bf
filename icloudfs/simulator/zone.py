"""A zone: its records, its append-only change log, its indexes.

The log is a list of record names in the order of their changes. When a record changes again its older
entry is superseded and skipped from then on, so a reader meets each record once, at its latest
position: that is the compaction seen in real histories, long runs of nothing included
(facts/cloudkit.md §1.7). A token is a position in the log, hence deterministic and reusable.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from icloudfs.simulator import rows, synctoken
from icloudfs.simulator.indexing import Indexing
from icloudfs.simulator.message import Json
from icloudfs.simulator.rows import Album, Area, Asset, Gone, Link, Master, Relation, Row, Wanted

SCANNED_PER_PAGE = 1000
"""Log entries that one page of changes looks at; superseded ones count."""
_FIRST_POSITION = 190_000
"""Where counters begin, so that tokens look like those of a library that has lived."""
_FIRST_TAG = 200_000

Key = tuple[float, str]
Holding = Literal["library", "album", "other"]
"""What a zone is: a photo library, a shared album, or neither."""


class Index:
    """Asset names in the order of a number, greatest first; kept sorted once it has been asked for."""

    def __init__(self, number: Callable[[Asset], float | None]) -> None:
        self._number = number
        self._keys: list[Key] | None = None

    def names(self, assets: Callable[[], Iterable[Asset]]) -> list[Key]:
        """Every entry as (negated number, name), sorted."""
        if self._keys is None:
            self._keys = sorted(k for a in assets() if (k := self._key(a)) is not None)
        return self._keys

    def changed(self, old: Asset | None, new: Asset | None) -> None:
        """Keep order while one asset changes, appears or goes."""
        if self._keys is None:
            return
        before = self._key(old) if old is not None else None
        after = self._key(new) if new is not None else None
        if before == after:
            return
        if before is not None:
            at = bisect.bisect_left(self._keys, before)
            if at < len(self._keys) and self._keys[at] == before:
                del self._keys[at]
        if after is not None:
            bisect.insort(self._keys, after)

    def _key(self, asset: Asset) -> Key | None:
        number = self._number(asset)
        return None if number is None else (-number, asset.name)


def _taken(asset: Asset) -> float:
    return float(asset.taken) if asset.taken is not None else 0.0


def is_visible(asset: Asset) -> bool:
    """Whether it is in the list of all photos."""
    return not asset.deleted and not asset.hidden and asset.stands_alone


def _when(test: Callable[[Asset], bool]) -> Callable[[Asset], float | None]:
    return lambda asset: _taken(asset) if is_visible(asset) and test(asset) else None


INDEXES: dict[str, Callable[[Asset], float | None]] = {
    "all": _when(lambda _: True),
    "added": lambda a: float(a.added) if is_visible(a) else None,
    "FAVORITE": _when(lambda a: bool(a.favorite)),
    "VIDEO": _when(lambda a: a.video),
    "SLOMO": _when(lambda a: a.subtype == 100),
    "TIMELAPSE": _when(lambda a: a.subtype == 101),
    "PANORAMA": _when(lambda a: a.subtype == 1),
    "SCREENSHOT": _when(lambda a: a.subtype_v2 == 3),
    "LIVE": _when(lambda a: a.subtype_v2 == 2),
    "DEPTH": _when(lambda a: bool(a.render_type & 2)),
    "EXPOSURE": _when(lambda a: bool(a.render_type & 4)),
    "ANIMATED": _when(lambda a: a.animated),
    "bursts": lambda a: _taken(a) if a.burst and not a.deleted and not a.hidden else None,
    "hidden": lambda a: _taken(a) if a.hidden and not a.deleted and a.stands_alone else None,
    "deleted": lambda a: float(a.trashed) if a.deleted else None,
}
"""What each index holds, and the number it is ordered by (facts/cloudkit.md §1.7)."""


@dataclass(frozen=True)
class Page:
    """A page of the change log."""

    rows: list[Row]
    position: int
    more: bool


class Zone:
    """One photo library, or one of the zones that are none."""

    def __init__(self, name: str, owner: str, area: Area, *, holding: Holding = "library") -> None:
        self.name = name
        self.owner = owner
        self.area: Area = area
        self.holding: Holding = holding
        self.closed = ""
        """The code that answers every call about it, if it is still named and no longer readable."""
        self.indexing: Indexing | None = None
        """Set for a library that Apple is, or was, indexing."""
        self.device = "9DD8A0C1B2E34F5566778899AABBCCDD00112233445566778899AABBCCDDEEFF"
        self.identity = synctoken.zone_id(owner, name)
        self.rows: dict[str, Row] = {}
        self._tags: dict[str, int] = {}
        self._next_tag = _FIRST_TAG
        self._log: list[str | None] = []
        self._latest: dict[str, int] = {}
        self._indexes = {key: Index(number) for key, number in INDEXES.items()}
        self._members: dict[str, dict[str, Relation]] = {}
        self._albums: dict[str, Album] = {}

    # -- what is in it ---------------------------------------------------------------------------

    @property
    def photos(self) -> bool:
        """Whether it has the indexes of a photo library."""
        return self.holding == "library"

    @property
    def wire_id(self) -> Json:
        """``zoneID``."""
        return {
            "zoneName": self.name,
            "ownerRecordName": self.owner,
            "zoneType": "REGULAR_CUSTOM_ZONE",
        }

    def asset(self, name: str) -> Asset:
        """The asset of that name. Raises KeyError."""
        row = self.rows.get(name)
        if not isinstance(row, Asset):
            raise KeyError(f"no asset {name!r} in {self.name}")
        return row

    def master(self, name: str) -> Master | None:
        row = self.rows.get(name)
        return row if isinstance(row, Master) else None

    def album(self, name: str) -> Album:
        """The album or folder of that name. Raises KeyError."""
        row = self.rows.get(name)
        if not isinstance(row, Album):
            raise KeyError(f"no album {name!r} in {self.name}")
        return row

    def assets(self) -> Iterator[Asset]:
        return (row for row in self.rows.values() if isinstance(row, Asset))

    def albums(self) -> Iterator[Album]:
        return iter(list(self._albums.values()))

    def relations(self, album: str) -> list[Relation]:
        """The members of an album, in the order they were put there."""
        return list(self._members.get(album, {}).values())

    def relations_of(self, asset: str) -> list[Relation]:
        """Every album membership of an asset."""
        name = "-IN-"
        return [
            relation
            for album, members in self._members.items()
            if (relation := members.get(f"{asset}{name}{album}")) is not None
        ]

    def assets_of(self, master: str) -> list[Asset]:
        """Every asset that points at a master."""
        return [asset for asset in self.assets() if asset.master == master]

    # -- changing it -----------------------------------------------------------------------------

    def put(self, row: Row) -> None:
        """Add a record, or change it; either is one entry in the log."""
        old = self.rows.get(row.name)
        self.rows[row.name] = row
        self._log_change(row.name)
        self._reindex(old, row)

    def bury(self, name: str) -> None:
        """Delete a record for good: a tombstone in the log."""
        old = self.rows.get(name)
        gone = Gone(name, bare=isinstance(old, Relation))
        self.rows[name] = gone
        self._log_change(name)
        self._reindex(old, gone)

    def lose(self, name: str) -> None:
        """Let a record be gone without a trace, not even a tombstone. Raises KeyError."""
        old = self.rows.pop(name)
        self._log[self._latest.pop(name)] = None
        self._reindex(old, Gone(name))

    def amend(self, row: Row) -> None:
        """Change a record without a word in the log, as happens to masters on restore."""
        self.rows[row.name] = row

    def compact(self, pages: int) -> None:
        """Add a run of superseded entries that reads as so many empty pages."""
        self._log.extend([None] * (pages * SCANNED_PER_PAGE))

    def _log_change(self, name: str) -> None:
        before = self._latest.get(name)
        if before is not None:
            self._log[before] = None
        self._latest[name] = len(self._log)
        self._log.append(name)
        self._next_tag += 1
        self._tags[name] = self._next_tag

    def _reindex(self, old: Row | None, new: Row) -> None:
        if isinstance(old, Album):
            self._albums.pop(old.name, None)
        if isinstance(new, Album):
            self._albums[new.name] = new
        if isinstance(old, Relation):
            self._members.get(old.album, {}).pop(old.name, None)
        if isinstance(new, Relation):
            self._members.setdefault(new.album, {})[new.name] = new
        before = old if isinstance(old, Asset) else None
        after = new if isinstance(new, Asset) else None
        if before is not None or after is not None:
            for index in self._indexes.values():
                index.changed(before, after)

    # -- the log ---------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The newest position of the log."""
        return len(self._log)

    def token(self, position: int | None = None) -> str:
        """The sync token for a position; the newest without one."""
        at = self.position if position is None else position
        return synctoken.encode(synctoken.ZONE_TYPE, _FIRST_POSITION + at, self.identity)

    def position_of(self, token: str) -> int:
        """Raises BadTokenError."""
        newest = _FIRST_POSITION + self.position
        counter = synctoken.decode(token, synctoken.ZONE_TYPE, self.identity, newest)
        if counter < _FIRST_POSITION:
            raise synctoken.BadTokenError(synctoken.UNKNOWN_TYPE)
        return counter - _FIRST_POSITION

    def changes(self, since: int, limit: int) -> Page:
        """What changed after a position: at most ``limit`` records, maybe none and yet more to come."""
        found: list[Row] = []
        at = since
        end = min(len(self._log), since + SCANNED_PER_PAGE)
        while at < end and len(found) < limit:
            name = self._log[at]
            at += 1
            if name is not None:
                found.append(self.rows[name])
        return Page(found, at, at < len(self._log))

    # -- indexes ---------------------------------------------------------------------------------

    def ranked(self, index: str) -> list[Key]:
        """The entries of one of INDEXES, rank 0 first. Not to be changed."""
        return self._indexes[index].names(self.assets)

    def ranked_members(self, album: str, *, by_position: bool = False) -> list[Asset]:
        """The visible members of an album: by date, newest first, or as they were arranged."""
        relations = self.relations(album)
        if by_position:
            relations.sort(key=lambda r: (r.position, r.name))
        found = [a for r in relations if isinstance(a := self.rows.get(r.asset), Asset)]
        visible = [a for a in found if is_visible(a)]
        if not by_position:
            visible.sort(key=lambda a: (-_taken(a), a.name))
        return visible

    # -- the wire --------------------------------------------------------------------------------

    def wire(self, row: Row, wanted: Wanted, link: Link) -> Json:
        """A record in its envelope (facts/cloudkit.md §1.6)."""
        tag = _base36(self._tags.get(row.name, _FIRST_TAG))
        if isinstance(row, Gone) and row.bare:
            return {"recordName": row.name, "deleted": True}
        if isinstance(row, Gone):
            return {
                "recordName": row.name,
                "recordType": None,
                "recordChangeTag": tag,
                "deleted": True,
            }
        zone = self.wire_id
        return {
            "recordName": row.name,
            "recordType": rows.record_type(row),
            "fields": rows.fields(row, wanted, link, zone),
            "pluginFields": {},
            "recordChangeTag": tag,
            "created": self._stamp(row.created),
            "modified": self._stamp(row.modified),
            "deleted": False,
            "zoneID": zone,
            **rows.envelope(row),
        }

    def _stamp(self, moment: int) -> Json:
        return {"timestamp": moment, "userRecordName": self.owner, "deviceID": self.device}


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    out = ""
    while number:
        number, digit = divmod(number, 36)
        out = digits[digit] + out
    return out
