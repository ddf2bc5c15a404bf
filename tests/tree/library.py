"""A state database to put records into, page by page, as sync does; every page is checked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from icloudfs.apple.records import (
    Album,
    Asset,
    Master,
    Record,
    Relation,
    Resource,
    Tombstone,
    Zone,
)
from icloudfs.state import catalogue
from icloudfs.state.database import create
from icloudfs.sync.pages import Tree, store_page
from icloudfs.tree.changes import Change
from icloudfs.tree.directory import Directory
from icloudfs.tree.layout import View
from icloudfs.tree.placing import Placing
from icloudfs.tree.settling import settle
from tests.tree import invariants

NOW = 1_717_243_200_000
"""2024-06-01 12:00 UTC, ms."""
DAY = 86_400_000
ALL_VIEWS = frozenset(View)


def checksum(text: str) -> str:
    """Something like Apple's ``fileChecksum``."""
    return base64.b64encode(b"\x01" + hashlib.sha1(text.encode()).digest()).decode()


def resource(text: str, uti: str = "public.heic", size: int = 1000) -> Resource:
    return Resource(checksum(text), size, uti)


def master(name: str, filename: str = "IMG_0001.HEIC", **more: Any) -> Master:
    """A photo's file; ``more``: ``live``, ``raw`` add resources, others are the record's fields."""
    uti = more.pop("uti", "public.heic")
    resources = {"resOriginal": resource(name, uti)}
    if more.pop("live", False):
        resources["resOriginalVidCompl"] = resource(name + "live", "com.apple.quicktime-movie")
    if more.pop("raw", False):
        resources["resOriginalAlt"] = resource(name + "raw", "com.adobe.raw-image")
    fields = {"created": NOW, "modified": NOW} | more
    return Master(name, filename, uti, resources, **fields)


def asset(name: str, of: str = "", **more: Any) -> Asset:
    """A photo in the library; ``edited`` is what its edited rendition is made of."""
    edited = more.pop("edited", "")
    resources = {"resJPEGFull": resource(edited, "public.jpeg")} if edited else {}
    fields = {"taken": NOW, "added": NOW, "created": NOW, "modified": NOW} | more
    return Asset(name, of or f"M{name}", resources=resources, **fields)


def photo(name: str, filename: str = "IMG_0001.HEIC", **more: Any) -> list[Record]:
    """A master and its asset; ``live`` and ``raw`` are the master's, the rest the asset's."""
    file = {key: more.pop(key) for key in ("live", "raw", "uti") if key in more}
    return [master(f"M{name}", filename, **file), asset(name, **more)]


def album(name: str, title: str = "", parent: str = "", kind: int = 0, **more: Any) -> Album:
    return Album(name, title or name, kind, parent, **({"created": NOW, "modified": NOW} | more))


def member(of: str, who: str, created: int = NOW, *, deleted: bool = False) -> Relation:
    return Relation(f"{who}-IN-{of}", of, who, created=created, deleted=deleted)


def tombstone(name: str) -> Tombstone:
    return Tombstone(name)


class Library:
    """One database; ``zones`` by name, PrimarySync made at once."""

    def __init__(
        self, directory: Path, *, listed: bool = True, views: frozenset[View] = ALL_VIEWS
    ) -> None:
        self.connection: apsw.Connection = create(directory / "library.db")
        self.views = views
        self.now = NOW
        self.zones: dict[str, int] = {}
        self.changes: list[Change] = []
        """Those of the last page."""
        self.add_zone("PrimarySync", listed=listed)

    def add_zone(self, name: str, *, listed: bool = True) -> None:
        zone = catalogue.add_zone(self.connection, Zone("private", name))
        self.zones[name] = zone
        if listed:
            catalogue.set_listed(self.connection, zone)

    def page(self, *records: Record | Iterable[Record], zone: str = "PrimarySync") -> None:
        """Store one page in a transaction, then check everything."""
        flat = [r for some in records for r in ([some] if not isinstance(some, list) else some)]
        stored = catalogue.zone_by_id(self.connection, self.zones[zone])
        tree = Tree(self.views, lambda: self.now)
        before = invariants.snapshot(self.connection)
        with self.connection:
            self.changes = store_page(self.connection, tree, stored, flat).changes  # type: ignore[arg-type]
        self.check(before)

    def settle(self, zone: str = "PrimarySync", *, limit: int = 2) -> None:
        """The end of a first listing."""
        ended = 1
        while ended:
            before = invariants.snapshot(self.connection)
            with self.connection:
                placing = Placing(
                    self.connection,
                    views=self.views,
                    now=self.now,
                    first_listing=True,
                    final_names=True,
                )
                ended = settle(self.connection, placing, limit)
                self.changes = placing.finish()
            self.check(before)
        catalogue.set_listed(self.connection, self.zones[zone])

    def check(self, before: invariants.Snapshot) -> None:
        invariants.check(self.connection, self.views, self.now)
        invariants.check_changes(before, invariants.snapshot(self.connection), self.changes)

    def paths(self, below: str = "") -> list[str]:
        """Every file's path, sorted; those below a directory alone if one is given."""
        directory = Directory(self.connection)
        found = []
        for (ino,) in self.connection.execute("SELECT ino FROM inode WHERE asset IS NOT NULL"):
            found += directory.places(int(str(ino)))
        return sorted(p for p in found if p.startswith(below))

    def named(self, name: str, below: str = "Library") -> list[str]:
        """The names of a photo's files in one view, sorted."""
        directory = Directory(self.connection)
        rows = self.connection.execute(
            "SELECT i.ino FROM inode i JOIN asset a ON a.id = i.asset WHERE a.name = ?", (name,)
        ).fetchall()
        places = [path for (ino,) in rows for path in directory.places(int(str(ino)))]
        return sorted(p.rpartition("/")[2] for p in places if p.startswith(below + "/"))

    def tree(self) -> dict[str, tuple[int, str, int]]:
        """Path → (size, checksum, nlink) of every file, and (0, '', nlink) of every directory."""
        directory = Directory(self.connection)
        found = {}
        for ino, size, total, nlink in self.connection.execute(
            "SELECT ino, size, coalesce(checksum, ''), nlink FROM inode"
        ):
            for path in directory.places(int(str(ino))):
                found[path] = (int(str(size)), str(total), int(str(nlink)))
        return found
