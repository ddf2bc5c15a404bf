"""The phone: what a person does to the library, as the change log shows it.

Every action logs exactly the records that facts/cloudkit.md §1.7 ("Delta shapes") lists for it. Record
names are returned, so that a test can find what it made. Unknown names raise KeyError.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from icloudfs.apple.wire import PRIMARY_ZONE, SHARED_ZONE_PREFIX
from icloudfs.simulator.camera import Camera, Kind
from icloudfs.simulator.cloud import Cloud
from icloudfs.simulator.library import (
    SLOMO_EDIT,
    Developer,
    Spec,
    edit_of,
    library_info,
    relation,
    shared_quota,
)
from icloudfs.simulator.rows import (
    NOT_PICKED,
    PICKED,
    ROOT_FOLDER,
    Album,
    Asset,
    Forms,
    Gone,
    Master,
    Row,
)
from icloudfs.simulator.sharing import Sharing
from icloudfs.simulator.zone import Zone

_FIRST_NUMBER = 10_000_000
"""Where the phone's shots are numbered from, so that they are unlike any of the library."""


_SLO_MO = 100
"""``assetSubtype``."""


class Added(msgspec.Struct, frozen=True):
    """A photo that was added."""

    asset: str
    """CPLAsset recordName."""
    master: str
    """CPLMaster recordName: the original's ``fileChecksum``."""
    zone: str = PRIMARY_ZONE


class Phone:
    """One of the account's devices. Every method is done when it returns."""

    def __init__(self, cloud: Cloud, camera: Camera, seed: int) -> None:
        self._cloud = cloud
        self._developer = Developer(camera, random.Random(f"phone {seed}"))
        self._developer.taken_so_far = _FIRST_NUMBER
        self.sharing = Sharing(cloud, camera, seed)
        """What it does with shared albums."""

    # -- photos ----------------------------------------------------------------------------------

    def add_photo(
        self,
        kind: Kind = "heic",
        filename: str = "",
        taken: int | None = None,
        albums: Iterable[str] = (),
        zone: str = PRIMARY_ZONE,
        **details: Any,
    ) -> Added:
        """Take a photo. ``taken`` is in ms since the epoch; ``details`` are fields of Spec.

        CPLMaster + CPLAsset + CPLLibraryInfo; in a shared library both name their contributor and
        CPLSharedLibraryQuota follows.
        """
        if kind not in get_args(Kind):
            raise KeyError(f"no kind of photo is called {kind!r}")
        library = self._cloud.zone(zone)
        if zone.startswith(SHARED_ZONE_PREFIX):
            details.setdefault("contributor", self._cloud.owner)
        if "keywords" in details:
            details["keywords"] = tuple(details["keywords"])
        spec = Spec(kind=kind, filename=filename, taken=taken, **details)
        master, asset = self._developer.develop(library, spec, self._cloud.clock.tick())
        self._account_for(library)
        for album in albums:
            self.add_to_album(asset.name, album)
        return Added(asset.name, master.name, zone)

    def add_burst(self, frames: int = 5, picked: int = 2, kind: Kind = "jpeg") -> list[Added]:
        """Take a burst; one frame stands for it."""
        burst = self._developer.uuid()
        return [
            self.add_photo(
                kind,
                burst=burst,
                burst_flags=PICKED if frame == picked else NOT_PICKED,
            )
            for frame in range(frames)
        ]

    def edit(self, asset: str) -> str:
        """Edit a photo or movie: the asset alone, with its new renditions."""
        zone, row = self._find(asset)
        master = zone.master(row.master)
        if master is None:
            raise KeyError(f"{asset} has no master")
        version = self._cloud.clock.tick() % 1_000_000
        made = self._developer.renditions(master, row.taken or 0, version)
        self._change(zone, row, adjustment=edit_of(video=master.video), resources=made)
        return asset

    def revert(self, asset: str) -> str:
        """Undo every edit: the asset alone, without renditions but those that a device makes by itself."""
        zone, row = self._find(asset)
        master = zone.master(row.master)
        if row.subtype == _SLO_MO and master is not None:
            number = self._cloud.clock.tick() % 1_000_000
            made = self._developer.ramped(number, master.filename)
            self._change(zone, row, adjustment=SLOMO_EDIT, resources=made)
            return asset
        return self._update(asset, adjustment="", resources=(), render_type=0)

    def favorite(self, asset: str) -> str:
        return self._update(asset, favorite=1)

    def unfavorite(self, asset: str) -> str:
        return self._update(asset, favorite=0)

    def hide(self, asset: str) -> str:
        return self._update(asset, hidden=1)

    def unhide(self, asset: str) -> str:
        return self._update(asset, hidden=0)

    def caption(self, asset: str, text: str) -> str:
        """Give it a title."""
        return self._update(asset, caption=text)

    def keywords(self, asset: str, words: Iterable[str]) -> str:
        return self._update(asset, keywords=tuple(words))

    def redate(self, asset: str, taken: int, offset: int = 0) -> str:
        """Change when it was taken: ms since the epoch, seconds east of UTC."""
        return self._update(asset, taken=taken, offset=offset)

    def duplicate(self, asset: str) -> Added:
        """iOS's Duplicate: a new asset of the same master, which is sent again."""
        zone, row = self._find(asset)
        now = self._cloud.clock.tick()
        twin = replace(row, name=self._developer.uuid(), created=now, modified=now, added=now)
        master = zone.master(row.master)
        if master is not None:
            zone.put(master)
        zone.put(twin)
        self._account_for(zone)
        return Added(twin.name, twin.master, zone.name)

    # -- the bin ---------------------------------------------------------------------------------

    def delete(self, asset: str) -> str:
        """Move to Recently Deleted: master and asset, both ``isDeleted``, all fields kept."""
        zone, row = self._find(asset)
        now = self._cloud.clock.tick()
        self._mark_master(zone, row, deleted=True)
        zone.put(
            replace(row, modified=now, deleted=True, restored=False, trashed=now, trash_reason=1)
        )
        self._account_for(zone)
        return asset

    def restore(self, asset: str, *, as_null: bool = False) -> str:
        """Take it out of Recently Deleted: the asset alone, ``isDeleted`` absent.

        What is written to restore it is ``isDeleted`` and ``isExpunged`` null (facts/cloudkit.md §1.12), which
        in CloudKit removes a field; ``as_null``, it comes back as it was written. pyicloud reads no null.
        """
        zone, row = self._find(asset)
        if (master := zone.master(row.master)) is not None and master.deleted:
            zone.amend(replace(master, deleted=False, trashed=0))
        return self._update(
            asset,
            deleted=False,
            restored=as_null,
            trashed=0,
            trash_reason=None,
            deleted_by="",
        )

    def purge(self, asset: str) -> str:
        """Delete for good: tombstones; the master's only if no other asset needs it."""
        zone, row = self._find(asset)
        self._cloud.clock.tick()
        for membership in zone.relations_of(asset):
            zone.bury(membership.name)
        zone.bury(asset)
        if zone.master(row.master) is not None and not zone.assets_of(row.master):
            zone.bury(row.master)
        self._account_for(zone)
        return asset

    # -- albums ----------------------------------------------------------------------------------

    def create_album(
        self, title: str, parent: str | None = None, kind: int = 0, zone: str = PRIMARY_ZONE
    ) -> str:
        """A new album, in a folder or at the top; its record name."""
        library = self._cloud.zone(zone)
        now = self._cloud.clock.tick()
        position = 1024 + max((album.position for album in library.albums()), default=0)
        name = self._developer.uuid()
        library.put(
            Album(
                name=name,
                created=now,
                modified=now,
                title=title,
                kind=kind,
                parent=parent or ROOT_FOLDER,
                position=position,
            )
        )
        return name

    def create_folder(self, title: str, parent: str | None = None) -> str:
        return self.create_album(title, parent, kind=3)

    def rename_album(self, album: str, title: str) -> str:
        return self._update_album(album, title=title)

    def move_album(self, album: str, parent: str | None) -> str:
        """Into another folder; None is the top."""
        return self._update_album(album, parent=parent or ROOT_FOLDER)

    def delete_album(self, album: str, *, for_good: bool = False) -> str:
        """``isDeleted``, or a tombstone; its memberships become tombstones either way."""
        zone = self._zone_of(album)
        for member in zone.relations(album):
            zone.bury(member.name)
        now = self._cloud.clock.tick()
        if for_good:
            zone.bury(album)
        else:
            zone.put(replace(zone.album(album), modified=now, deleted=True, trashed=now))
        return album

    def add_to_album(self, asset: str, album: str) -> str:
        """CPLAlbum and the new relation; neither asset nor master. The photo may be of another library
        than the album: the relation is in the album's zone (facts/cloudkit.md §1.12)."""
        zone = self._zone_of(album)
        self._find(asset)
        now = self._cloud.clock.tick()
        position = 1024 * (1 + len(zone.relations(album)))
        made = relation(asset, album, now, position)
        zone.put(replace(zone.album(album), modified=now))
        zone.put(made)
        return made.name

    def remove_from_album(self, asset: str, album: str) -> str:
        """A tombstone of the relation, and CPLAlbum."""
        zone = self._zone_of(album)
        name = f"{asset}-IN-{album}"
        if name not in zone.rows or isinstance(zone.rows[name], Gone):
            raise KeyError(f"{asset} is not in {album}")
        zone.bury(name)
        return self._update_album(album) and name

    def post(self, asset: str) -> str:
        """Add to a shared album: the asset alone, with its sharing fields."""
        return self._update(asset, last_shared=self._cloud.clock.record())

    # -- the shared library ----------------------------------------------------------------------

    def create_shared_zone(self, *, mine: bool = True) -> str:
        """A shared library: in the private database if it is ours, else in the shared one."""
        database = self._cloud.private if mine else self._cloud.shared
        owner = self._cloud.owner if mine else "_" + self._developer.uuid().replace("-", "").lower()
        name = SHARED_ZONE_PREFIX + self._developer.uuid()
        zone = database.add(Zone(name, owner, database.area))
        zone.put(library_info(zone, self._cloud.clock.tick()))
        return name

    def remove_shared_zone(self, zone: str | None = None) -> str:
        """The shared library ends, or we leave it."""
        name = zone or self._shared_zone().name
        for database in (self._cloud.private, self._cloud.shared):
            if name in database.zones:
                database.remove(name)
        return name

    def share(self, asset: str, zone: str | None = None) -> Added:
        """Move a photo into the shared library: it goes from one zone and appears in the other."""
        home, row = self._find(asset)
        there = self._cloud.zone(zone) if zone else self._shared_zone()
        return self._move(home, row, there, self._cloud.owner)

    def unshare(self, asset: str) -> Added:
        """Move a photo back: both records ``isDeleted`` there, ``trashReason`` 0; new ones here."""
        there, row = self._find(asset)
        home = self._cloud.zone(PRIMARY_ZONE)
        master = self._leave(there, row)
        return self._arrive(home, master, row, contributor="")

    def move(self, asset: str, zone: str, *, traceless: bool = False) -> Added:
        """Move a photo into another library under its own name, so that it stays in its albums.

        Where it was both records stay as ``isDeleted``, ``trashReason`` 0, or, ``traceless``, there are
        tombstones.
        """
        home, row = self._find(asset)
        there = self._cloud.zone(zone)
        if there is home:
            raise KeyError(f"{asset} is in {zone} already")
        shared = zone.startswith(SHARED_ZONE_PREFIX)
        master = home.master(row.master)
        added = self._arrive(there, master, row, self._cloud.owner if shared else "", name=asset)
        if not traceless:
            self._leave(home, row)
        else:
            home.bury(asset)
            if master is not None and not home.assets_of(master.name):
                home.bury(master.name)
            self._account_for(home)
        return added

    def _leave(self, zone: Zone, row: Asset) -> Master | None:
        """Both records ``isDeleted``, and that it was moved."""
        now = self._cloud.clock.tick()
        master = self._mark_master(zone, row, deleted=True)
        zone.put(
            replace(
                row,
                modified=now,
                deleted=True,
                restored=False,
                trashed=now,
                trash_reason=0,
                deleted_by=self._cloud.owner,
            )
        )
        return master

    def _move(self, home: Zone, row: Asset, there: Zone, contributor: str) -> Added:
        master = home.master(row.master)
        added = self._arrive(there, master, row, contributor)
        self.purge(row.name)
        return added

    def _arrive(
        self, there: Zone, master: Master | None, row: Asset, contributor: str, name: str = ""
    ) -> Added:
        now = self._cloud.clock.tick()
        if master is not None:
            there.put(
                replace(master, modified=now, deleted=False, trashed=0, contributor=contributor)
            )
        arrived = replace(
            row,
            name=name or self._developer.uuid(),
            created=now,
            modified=now,
            contributor=contributor,
        )
        there.put(arrived)
        self._account_for(there)
        return Added(arrived.name, arrived.master, there.name)

    def write_otherwise(self, asset: str, forms: Forms, *, master: bool = False) -> str:
        """Let fields of the asset, or of its master, come in another form (``rows.Forms``)."""
        zone, row = self._find(asset)
        self._cloud.clock.tick()
        file = zone.master(row.master) if master else None
        if file is not None:
            zone.put(replace(file, modified=self._cloud.clock.record(), forms=forms))
            return asset
        return self._update(asset, forms=forms)

    # -- the log itself --------------------------------------------------------------------------

    def compact(self, pages: int, zone: str = PRIMARY_ZONE) -> int:
        """Let the log have a run of superseded entries that reads as so many empty pages."""
        self._cloud.zone(zone).compact(pages)
        return pages

    def touch(self, record: str, zone: str = PRIMARY_ZONE) -> str:
        """Let a record come again in the changes though nothing about it changed."""
        library = self._cloud.zone(zone)
        library.put(library.rows[record])
        return record

    # -- finding and changing --------------------------------------------------------------------

    def _find(self, asset: str) -> tuple[Zone, Asset]:
        """Where the photo is now: what it left behind in another library counts only if it is nowhere."""
        found = [
            (zone, row)
            for zone in self._cloud.zones()
            if isinstance(row := zone.rows.get(asset), Asset)
        ]
        if not found:
            raise KeyError(f"no asset {asset!r}")
        return next(((zone, row) for zone, row in found if not row.deleted), found[0])

    def _zone_of(self, album: str) -> Zone:
        for zone in self._cloud.zones():
            if isinstance(zone.rows.get(album), Album):
                return zone
        raise KeyError(f"no album {album!r}")

    def _shared_zone(self) -> Zone:
        for zone in self._cloud.zones():
            if zone.name.startswith(SHARED_ZONE_PREFIX):
                return zone
        raise KeyError("there is no shared library")

    def _update(self, asset: str, **changes: Any) -> str:
        zone, row = self._find(asset)
        self._cloud.clock.tick()
        self._change(zone, row, **changes)
        return asset

    def _change(self, zone: Zone, row: Asset, **changes: Any) -> None:
        changed: Row = replace(row, modified=self._cloud.clock.record(), **changes)
        zone.put(changed)

    def _update_album(self, album: str, **changes: Any) -> str:
        zone = self._zone_of(album)
        zone.put(replace(zone.album(album), modified=self._cloud.clock.tick(), **changes))
        return album

    def _mark_master(self, zone: Zone, row: Asset, *, deleted: bool) -> Master | None:
        """Send the master again; it is marked only if no other asset of it stays."""
        master = zone.master(row.master)
        if master is None:
            return None
        others = [a for a in zone.assets_of(row.master) if a.name != row.name and not a.deleted]
        now = self._cloud.clock.record()
        gone = deleted and not others
        zone.put(replace(master, modified=now, deleted=gone, trashed=now if gone else 0))
        return master

    def _account_for(self, zone: Zone) -> None:
        now = self._cloud.clock.record()
        zone.put(library_info(zone, now))
        if zone.name.startswith(SHARED_ZONE_PREFIX):
            zone.put(shared_quota(zone, now))
