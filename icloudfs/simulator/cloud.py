"""All that the simulated iCloud holds: two databases of zones, contents, and the record clock."""

from __future__ import annotations

from collections.abc import Iterator

from icloudfs.apple.wire import PRIMARY_ZONE, SHARED_ZONE_PREFIX
from icloudfs.simulator import synctoken
from icloudfs.simulator.blobs import Storehouse
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.indexing import Indexing
from icloudfs.simulator.rows import Area, Asset
from icloudfs.simulator.stream import Stream
from icloudfs.simulator.zone import Zone, is_visible

_LIBRARIES = (PRIMARY_ZONE, SHARED_ZONE_PREFIX)
_FIRST_POSITION = 4_000


class Database:
    """The private or the shared database: zones, and a log of which of them changed."""

    def __init__(self, area: Area, owner: str) -> None:
        self.area: Area = area
        self.zones: dict[str, Zone] = {}
        self._owner = owner
        self._identity = synctoken.zone_id(owner, f"database/{area}")
        self._removed: dict[str, tuple[Zone, int]] = {}
        self._known: dict[str, tuple[int, int]] = {}
        """For each zone its log position when last looked at, and when that was in our own log."""
        self._position = _FIRST_POSITION
        self._calls = 0

    def add(self, zone: Zone) -> Zone:
        self.zones[zone.name] = zone
        self._removed.pop(zone.name, None)
        return zone

    def remove(self, name: str) -> None:
        """Take a zone away. Raises KeyError."""
        zone = self.zones.pop(name)
        self._known.pop(name, None)
        self._position += 1
        self._removed[name] = (zone, self._position)

    def token(self) -> str:
        """A token for now. No two calls give the same one (facts/cloudkit.md §1.7)."""
        self._notice()
        self._calls += 1
        kind = synctoken.DATABASE_TYPE
        return synctoken.encode(kind, self._position, self._identity, self._calls)

    def changed_since(self, token: str | None) -> tuple[list[Zone], list[Zone]]:
        """The zones that changed, and those that went away. Raises BadTokenError."""
        self._notice()
        since = 0
        if token:
            kind = synctoken.DATABASE_TYPE
            since = synctoken.decode(token, kind, self._identity, self._position)
        changed = [z for z in self.zones.values() if self._known[z.name][1] > since]
        removed = [zone for zone, at in self._removed.values() if token and at > since]
        return changed, removed

    def _notice(self) -> None:
        """Bring our own log up to date with what the zones have logged."""
        for zone in self.zones.values():
            known = self._known.get(zone.name)
            if known is None or known[0] != zone.position:
                self._position += 1
                self._known[zone.name] = (zone.position, self._position)


class Cloud:
    """Everything Apple stores for one account."""

    def __init__(self, now: int, owner: str) -> None:
        self.clock = Clock(now)
        self.owner = owner
        """The account's ``userRecordName``."""
        self.dsid = ""
        """Its number, which stands for it where there are no databases."""
        self.storehouse = Storehouse()
        self.private = Database("private", owner)
        self.shared = Database("shared", owner)
        self.streams: dict[str, Stream] = {}
        """Shared albums of the older kind, which are in no database, by ``albumguid``."""

    def database(self, area: str) -> Database | None:
        return {"private": self.private, "shared": self.shared}.get(area)

    def zones(self) -> Iterator[Zone]:
        yield from self.private.zones.values()
        yield from self.shared.zones.values()

    def index_for(self, seconds: float, state: str = "RUNNING") -> None:
        """Apple indexes every library for so many seconds from now on, and says so with ``state``;
        0 seconds: it has just finished."""
        for zone in self.zones():
            zone.indexing = Indexing(self.clock.wall() + seconds, state)

    def indexing(self, zone: Zone) -> Indexing | None:
        """How far Apple is with a library; None if all its indexes are finished."""
        indexing = zone.indexing
        return None if indexing is None or indexing.until <= self.clock.wall() else indexing

    def remove_libraries(self) -> None:
        """What is left are the zones of an account that has never had photos in iCloud."""
        for database in (self.private, self.shared):
            for name in [n for n in database.zones if n.startswith(_LIBRARIES)]:
                database.remove(name)

    def zone(self, name: str) -> Zone:
        """The zone of that name, in either database. Raises KeyError."""
        for zone in self.zones():
            if zone.name == name:
                return zone
        raise KeyError(f"no zone {name!r}")

    def members(self, zone: Zone, album: str) -> list[tuple[Zone, Asset]]:
        """The visible photos of an album, each with its library.

        An own album may hold photos of the shared library: the relation is in the album's zone, the asset
        of that name in another one (facts/cloudkit.md §1.12). No list gives these.
        """
        own = [(zone, asset) for asset in zone.ranked_members(album)]
        known = {asset.name for _, asset in own}
        names = [r.asset for r in zone.relations(album) if r.asset not in known]
        return own + [found for name in names if (found := self._visible(name)) is not None]

    def _visible(self, name: str) -> tuple[Zone, Asset] | None:
        for zone in self.zones():
            row = zone.rows.get(name)
            if isinstance(row, Asset) and is_visible(row):
                return zone, row
        return None
