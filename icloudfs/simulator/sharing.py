"""Shared albums, as people use them on their phones: facts/cloudkit.md §1.13.

Those that are made since 2026 are zones, in the private database for their owner and in the shared one for
everybody else. Older ones, "legacy" here, are known to a service of their own and leave nothing behind when
something is removed. Either is named by what identifies it on the wire: its zone, its ``albumguid``.
"""

from __future__ import annotations

import random
from typing import Any

from msgspec.structs import replace

from icloudfs.apple.wire import SHARED_ALBUM_PREFIX
from icloudfs.simulator.camera import Camera, Kind
from icloudfs.simulator.clock import Clock
from icloudfs.simulator.cloud import Cloud, Database
from icloudfs.simulator.library import Developer, LibraryPlan, Spec
from icloudfs.simulator.rows import SHARE_RECORD, Other, Share, encrypted, timestamp
from icloudfs.simulator.stream import Stream
from icloudfs.simulator.zone import Zone

_OTHER_DSID = "1000000077"
_FIRST_NUMBER = 20_000_000
_FIRST_OF_OLD = 30_000_000
"""Where shots are numbered from, so that they are unlike any of the library and of the phone."""
_WITHDRAWN = ("ZONE_NOT_FOUND", "ACCESS_DENIED", "NOT_FOUND")
_DAY = 86_400_000
_KINDS: tuple[Kind, ...] = ("heic", "jpeg", "live", "video", "screenshot", "heic")


class Sharing:
    """What the account's owner, and the other people in an album, do. Unknown albums raise KeyError."""

    def __init__(
        self,
        cloud: Cloud,
        camera: Camera,
        seed: int,
        clock: Clock | None = None,
        number: int = _FIRST_NUMBER,
    ) -> None:
        self._cloud = cloud
        self._clock = clock or cloud.clock
        self._developer = Developer(camera, random.Random(f"sharing {number} {seed}"))
        self._developer.taken_so_far = number
        self._someone = f"_{random.Random(f'someone {seed}').getrandbits(128):032x}"

    def create_shared_album(self, title: str, *, theirs: bool = False, legacy: bool = False) -> str:
        """A new album: made here, or ``theirs`` that one has been invited to and has joined."""
        now = self._clock.tick()
        if legacy:
            return self._create_stream(title, now, theirs=theirs)
        owner = self._someone if theirs else self._cloud.owner
        others = self._cloud.owner if theirs else self._someone
        database = self._cloud.shared if theirs else self._cloud.private
        name = SHARED_ALBUM_PREFIX + self._developer.uuid()
        zone = database.add(Zone(name, owner, database.area, holding="album"))
        zone.put(
            Share(
                created=now,
                modified=now,
                title=title,
                short_guid=self._developer.uuid().replace("-", "")[:22],
                people=(owner, others),
                reader=self._cloud.owner,
            )
        )
        return name

    def add_to_shared_album(
        self,
        album: str,
        kind: Kind = "heic",
        filename: str = "",
        *,
        by_another: bool = False,
        **details: Any,
    ) -> str:
        """Add a photo; its CPLAsset's name. ``details`` are fields of Spec.

        In a modern album a CPLPost comes along.
        """
        stream, zone = self._album(album)
        now = self._clock.tick()
        people = (self._cloud.owner, self._someone)
        if stream is not None:
            people = (self._cloud.dsid, _OTHER_DSID)
        details["contributor"] = people[by_another]
        spec = Spec(kind=kind, filename=filename, **details)
        _, asset = self._developer.develop(zone, spec, now)
        if stream is None:
            self._remark(zone, "CPLPost", {"postTimestamp": timestamp(now)})
        return asset.name

    def remove_from_shared_album(self, album: str, asset: str) -> str:
        """Both records stay, ``isDeleted``; of a legacy album they are gone."""
        stream, zone = self._album(album)
        row = zone.asset(asset)
        now = self._clock.tick()
        if stream is not None:
            zone.bury(asset)
            zone.bury(row.master)
            return asset
        if (master := zone.master(row.master)) is not None:
            zone.put(replace(master, modified=now, deleted=True, trashed=now))
        zone.put(replace(row, modified=now, deleted=True, trashed=now))
        return asset

    def comment_in_shared_album(self, album: str, text: str) -> str:
        """Say something about it, and like it: a CPLTextComment, a CPLReact. Modern albums only."""
        zone = self._modern(album)
        self._clock.tick()
        self._remark(zone, "CPLTextComment", {"commentText": encrypted(text.encode())})
        self._remark(zone, "CPLReact", {})
        return album

    def rename_shared_album(self, album: str, title: str) -> str:
        stream, zone = self._album(album)
        now = self._clock.tick()
        if stream is not None:
            stream.rename(title)
        else:
            zone.put(replace(self._share(zone), modified=now, title=title))
        return album

    def leave_shared_album(self, album: str) -> str:
        """Leave it, or delete it if it is one's own."""
        stream, zone = self._album(album)
        self._clock.tick()
        if stream is not None:
            del self._cloud.streams[album]
        else:
            self._database(zone).remove(album)
        return album

    def withdraw_shared_album(self, album: str, code: str = "ZONE_NOT_FOUND") -> str:
        """Its owner shuts us out: from then on the album answers ``code``.

        ZONE_NOT_FOUND: the zone is gone. ACCESS_DENIED: it is still named, and every call about it is
        refused. NOT_FOUND: its share record is gone, the photos are there. Raises ValueError for another.
        A legacy album is listed no more, whatever the code.
        """
        if code not in _WITHDRAWN:
            raise ValueError(f"an album is withdrawn by one of {', '.join(_WITHDRAWN)}")
        if album in self._cloud.streams:
            return self.leave_shared_album(album)
        zone = self._modern(album)
        self._clock.tick()
        match code:
            case "ACCESS_DENIED":
                zone.closed = code
            case "NOT_FOUND":
                zone.lose(SHARE_RECORD)
            case _:
                self._database(zone).remove(album)
        return album

    # -- finding and making ----------------------------------------------------------------------

    def _create_stream(self, title: str, now: int, *, theirs: bool) -> str:
        guid = self._developer.uuid()
        owner = _OTHER_DSID if theirs else self._cloud.dsid
        self._cloud.streams[guid] = Stream(guid, owner, title, now, mine=not theirs)
        return guid

    def _remark(self, zone: Zone, kind: str, fields: dict[str, Any]) -> None:
        now = self._clock.record()
        name = self._developer.uuid()
        zone.put(Other(name=name, created=now, modified=now, type=kind, fields=fields))

    def _album(self, album: str) -> tuple[Stream | None, Zone]:
        """The legacy album, if it is one, and the zone of its records."""
        stream = self._cloud.streams.get(album)
        return stream, stream.records if stream is not None else self._modern(album)

    def _modern(self, album: str) -> Zone:
        zone = self._cloud.zone(album)
        if zone.holding != "album":
            raise KeyError(f"{album} is no shared album")
        return zone

    def _database(self, zone: Zone) -> Database:
        return self._cloud.private if zone.area == "private" else self._cloud.shared

    def _share(self, zone: Zone) -> Share:
        row = zone.rows.get(SHARE_RECORD)
        if not isinstance(row, Share):
            raise KeyError(f"{zone.name} is not shared any more")
        return row


def add_shared_albums(plan: LibraryPlan, cloud: Cloud) -> None:
    """What the plan wants of shared albums, as people have made and filled them in the last months."""
    albums = plan.shared_albums
    if albums is None:
        albums = 2 if plan.with_oddities else 0
    camera = Camera(cloud.storehouse, plan.seed, drawn=False)
    before = Clock(plan.now - 100 * _DAY)
    people = Sharing(cloud, camera, plan.seed, before, _FIRST_OF_OLD)
    for number in range(albums):
        for legacy in (False, True):
            _fill_one(people, number, before, legacy=legacy)


def _fill_one(people: Sharing, number: int, clock: Clock, *, legacy: bool) -> None:
    """An album with photos of two people, one of which was taken out again."""
    title = f"{('Grandma', 'Climbing')[number % 2]} {'then' if legacy else 'now'}"
    album = people.create_shared_album(title, theirs=number % 2 == 1, legacy=legacy)
    added = []
    for place, kind in enumerate(_KINDS):
        clock.advance(_DAY / 1000)
        added.append(people.add_to_shared_album(album, kind, by_another=place % 2 == 1))
    people.remove_from_shared_album(album, added[-1])
    if not legacy:
        people.comment_in_shared_album(album, "How they have grown!")
