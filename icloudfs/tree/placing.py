"""Making the tree equal to what iCloud says.

``Placing`` lives for one transaction. It is told which photos and albums a page of records touched, works
out where each belongs now (``layout``) under which name (``claims``), compares that with the entries that
are there, and changes what differs. So it does not matter in which order records come, or how often; a
page that is applied twice changes nothing the second time.

Invariants, at the end of a transaction:

* a directory has an entry if and only if it has children; the root always is;
* ``nlink`` of a file is the number of its entries, of a directory 2 and one for each directory in it;
* whatever changed is in ``changes``, in an order the kernel can be told.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from typing import Any

import apsw
import msgspec

from icloudfs.apple.records import ROOT_FOLDERS
from icloudfs.tree import layout, names, numbers
from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged
from icloudfs.tree.claims import WHOLE_LIBRARY, Claims
from icloudfs.tree.directory import ROOT
from icloudfs.tree.layout import FileOf, Photo, Resources, View
from icloudfs.tree.names import Stem

_DIRECTORY_MODE = stat.S_IFDIR | 0o555
_FILE_MODE = stat.S_IFREG | 0o444
_PRIVATE = 0o700  # what is left of a mode in Hidden and Recently Deleted

_DEEPEST = 64
"""Folders within folders; more is a loop in the records."""

_PHOTO = """
SELECT a.id, z.name, a.name, a.taken, a.added, a.zone_offset, a.favorite, a.hidden, a.deleted,
       a.expunged, a.subtype, a.subtype_v2, a.burst, a.burst_flags, a.adjustment, a.render_type,
       a.created, a.modified, a.resources, m.resources, coalesce(m.filename, ''),
       coalesce(m.uti, ''), coalesce(m.modified, 0), a.zone
  FROM asset a JOIN zone z ON z.id = a.zone
  LEFT JOIN master m ON m.zone = a.zone AND m.name = a.master
 WHERE a.id = ?
"""

_decode_resources = msgspec.json.Decoder(Resources).decode


class Placed(msgspec.Struct, frozen=True):
    """A directory that a photo belongs to, and the scope that its name there is judged in."""

    directory: int
    scope: int


class Placing:
    """Applies changes to the tree within the caller's transaction."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        views: frozenset[View],
        now: int,
        first_listing: bool = False,
    ) -> None:
        """``now`` in milliseconds since the epoch. During a ``first_listing`` the times of
        directories are those of their youngest photo; later they grow with every change."""
        self._connection = connection
        self._execute: Callable[..., Any] = connection.execute
        self._claims = Claims(connection)
        self._views = views
        self._now = now
        self._first_listing = first_listing
        self._known_directories: set[int] = set()
        self._changed_directories: dict[int, int] = {}  # inode → second of the change
        self._left: set[int] = set()  # directories that lost an entry: they may be empty now
        self.changes: list[Change] = []
        self._ensure_root()

    # -- photos ----------------------------------------------------------------------------------

    def place_photos(self, assets: Iterable[int]) -> None:
        """Put each photo (by its id in the database) where it belongs, or take it away."""
        for asset in assets:
            row = self._execute(_PHOTO, (asset,)).fetchone()
            if row is None:
                self._remove_photo(asset)
            else:
                *fields, zone = row
                self._place(_photo(fields), zone)

    def claim_in_order(self, scope: int, assets: Iterable[int]) -> set[int]:
        """Let photos claim their names in a scope anew, in this order. Which of them hold others now.

        The entries are not touched yet: ``withdraw_photos`` and ``place_photos`` do that.
        """
        before = {asset: self._claims.held(scope, asset) for asset in assets}
        for asset in before:
            self._claims.release_in(scope, asset)
        for asset in before:
            *fields, _ = self._execute(_PHOTO, (asset,)).fetchone()
            photo = _photo(fields)
            stem = layout.stem(photo)
            files = list(layout.files(photo, stem))
            if files:
                _Naming(self._claims, photo, stem, files).names_in(scope)
        return {asset for asset, held in before.items() if self._claims.held(scope, asset) != held}

    def withdraw_photos(self, assets: Iterable[int]) -> None:
        """Take away every entry of these photos; ``place_photos`` makes them again."""
        for asset in assets:
            entries = self._execute(
                "SELECT d.parent, d.name, d.ino, i.ctime FROM dirent d JOIN inode i ON i.ino = d.ino"
                " WHERE i.asset = ?",
                (asset,),
            ).fetchall()
            for parent, name, ino, ctime in entries:
                self._remove_entry(parent, name, ino, ctime * 1000)

    def _place(self, photo: Photo, zone: int) -> None:
        stem = layout.stem(photo)
        files = list(layout.files(photo, stem))
        self._describe(photo, stem, files)
        inodes = self._update_inodes(photo, files)
        wanted: dict[tuple[int, bytes], int] = {}
        naming = _Naming(self._claims, photo, stem, files)
        if files:
            month = self._month_directory(photo)
            # Photos that are out of sight claim their names too: they may come back.
            naming.names_in(month)
            naming.names_in(WHOLE_LIBRARY)
            for place in self._places(photo, zone, month):
                for file, name in zip(files, naming.names_in(place.scope), strict=True):
                    wanted[place.directory, name] = inodes[file.rendition]
        self._claims.release(photo.id, keep=naming.scopes)
        self._make_entries(photo, inodes, wanted)

    def _describe(self, photo: Photo, stem: Stem, files: list[FileOf]) -> None:
        """Keep what the ``assets`` view and ``settle`` look for."""
        original = next((f for f in files if f.rendition == "original"), None)
        plain = f"{stem.text}.{stem.extension}"
        self._execute(
            "UPDATE asset SET checksum = ?1, filename = ?2, stem = ?3, month = ?4 WHERE id = ?5"
            " AND (checksum, filename, stem, month) <> (?1, ?2, ?3, ?4)",
            (
                original.content.checksum if original else "",
                plain if files else "",
                names.fold(stem.text),
                self._month_directory(photo),
                photo.id,
            ),
        )

    def _update_inodes(self, photo: Photo, files: list[FileOf]) -> dict[str, int]:
        """An inode for each file, with the attributes it has now. Returns rendition → number."""
        existing = {
            rendition: (ino, *rest)
            for ino, rendition, *rest in self._execute(
                "SELECT ino, rendition, mode, size, mtime, ctime, checksum FROM inode"
                " WHERE asset = ?",
                (photo.id,),
            )
        }
        inodes: dict[str, int] = {}
        for file in files:
            attributes = (
                _FILE_MODE if layout.is_visible(photo) else _FILE_MODE & (~0o777 | _PRIVATE),
                file.content.size,
                _mtime(photo),
                max(photo.modified, photo.master_modified) // 1000,
                file.content.checksum,
            )
            old = existing.pop(file.rendition, None)
            if old is None:
                inodes[file.rendition] = self._create_inode(photo, file, attributes)
                continue
            ino, *before = old
            inodes[file.rendition] = ino
            if tuple(before) != attributes:
                self._execute(
                    "UPDATE inode SET mode = ?, size = ?, mtime = ?, ctime = ?, checksum = ?"
                    " WHERE ino = ?",
                    (*attributes, ino),
                )
                self.changes.append(InodeChanged(ino, content=before[-1] != attributes[-1]))
        for ino, *_ in existing.values():
            self._remove_inode(ino, photo.modified)
        return inodes

    def _create_inode(
        self, photo: Photo, file: FileOf, attributes: tuple[int, int, int, int, str]
    ) -> int:
        ino = numbers.of_file(photo.zone_name, photo.name, file.rendition, photo.seniority)
        while self._inode_exists(ino):
            ino += 1
        mode, size, mtime, ctime, checksum = attributes
        self._execute(
            "INSERT INTO inode VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)",
            (ino, mode, size, mtime, ctime, photo.id, file.rendition, checksum),
        )
        return ino

    def _inode_exists(self, ino: int) -> bool:
        return self._execute("SELECT 1 FROM inode WHERE ino = ?", (ino,)).fetchone() is not None

    def _places(self, photo: Photo, zone: int, month: int) -> Iterable[Placed]:
        if layout.is_visible(photo):
            if not photo.is_burst_reject and layout.library(photo) in self._views:
                self._make_path(layout.library(photo), *layout.month(photo))
                yield Placed(month, month)
            if View.ALBUMS in self._views:
                for directory in self._album_directories(zone, photo.name):
                    yield Placed(directory, directory)
            if photo.burst and View.BURSTS in self._views:
                burst = self._make_path(View.BURSTS, layout.burst_directory(photo.burst))
                yield Placed(burst, WHOLE_LIBRARY)
        for view in layout.smart_views(photo, self._now):
            if view in self._views:
                yield Placed(self._make_path(view), WHOLE_LIBRARY)

    def _make_entries(
        self, photo: Photo, inodes: dict[str, int], wanted: dict[tuple[int, bytes], int]
    ) -> None:
        for rendition, ino in inodes.items():
            there = {
                (parent, name)
                for parent, name in self._execute(
                    "SELECT parent, name FROM dirent WHERE ino = ?", (ino,)
                )
            }
            mine = {place for place, number in wanted.items() if number == ino}
            if there == mine:
                continue
            for parent, name in there - mine:
                self._remove_entry(parent, name, ino, photo.modified)
            for parent, name in mine - there:
                self._add_entry(parent, self._free_name(parent, name, photo, rendition), ino, photo)
            self._set_nlink(ino, len(mine))

    def _free_name(self, parent: int, name: bytes, photo: Photo, rendition: str) -> bytes:
        """``name``, unless somebody else's entry has it: then one that nobody can have.

        Claims keep names apart; this is for what they cannot see, such as a photo whose own name is
        IMG_1-edited.JPG beside an IMG_1.HEIC that is edited later.
        """
        taken = self._execute(
            "SELECT 1 FROM dirent WHERE parent = ? AND name = ?", (parent, name)
        ).fetchone()
        if taken is None:
            return name
        text, _, extension = name.decode().rpartition(".")
        return f"{text[:200]}_{names.suffix_of(photo.name + rendition)}.{extension}".encode()

    def _add_entry(self, parent: int, name: bytes, ino: int, photo: Photo) -> None:
        self._execute("INSERT INTO dirent VALUES (?, ?, ?)", (parent, name, ino))
        self._directory_changed(parent, photo.modified)
        self.changes.append(EntryAdded(parent, name, ino))

    def _remove_entry(self, parent: int, name: bytes, ino: int, when: int) -> None:
        self._execute("DELETE FROM dirent WHERE parent = ? AND name = ?", (parent, name))
        self._directory_changed(parent, when)
        self._left.add(parent)
        self.changes.append(EntryRemoved(parent, name, ino))

    def _set_nlink(self, ino: int, nlink: int) -> None:
        self._execute("UPDATE inode SET nlink = ? WHERE ino = ?", (nlink, ino))
        self.changes.append(InodeChanged(ino))

    def _remove_photo(self, asset: int) -> None:
        """The asset is gone from the database; so are its files and claims."""
        rows = self._execute("SELECT ino, ctime FROM inode WHERE asset = ?", (asset,)).fetchall()
        for ino, ctime in rows:
            self._remove_inode(ino, ctime * 1000)
        self._claims.release(asset)

    def _remove_inode(self, ino: int, when: int) -> None:
        entries = self._execute("SELECT parent, name FROM dirent WHERE ino = ?", (ino,)).fetchall()
        for parent, name in entries:
            self._remove_entry(parent, name, ino, when)
        self._execute("DELETE FROM inode WHERE ino = ?", (ino,))

    # -- albums ----------------------------------------------------------------------------------

    def place_albums(self, zone: int, albums: Iterable[str]) -> None:
        """Put the directories of these albums and folders, and all in them, where they belong."""
        for album in albums:
            self._place_album(zone, album, depth=0)

    def _place_album(self, zone: int, album: str, depth: int) -> None:
        if depth > _DEEPEST:
            return
        directory = self._album_number(zone, album)
        there = self._execute(
            "SELECT parent, name FROM dirent WHERE ino = ?", (directory,)
        ).fetchone()
        path = self._album_path(zone, album)
        if there is not None and path is not None:
            self._move_directory(directory, there, path)
        self._place_members(zone, album)
        for (child,) in self._execute(
            "SELECT name FROM album WHERE zone = ? AND parent = ?", (zone, album)
        ).fetchall():
            self._place_album(zone, child, depth + 1)

    def _place_members(self, zone: int, album: str) -> None:
        self.place_photos(
            asset
            for (asset,) in self._execute(
                "SELECT a.id FROM relation r JOIN asset a ON a.zone = r.zone AND a.name = r.asset"
                " WHERE r.zone = ? AND r.album = ?",
                (zone, album),
            ).fetchall()
        )

    def _move_directory(
        self, directory: int, there: tuple[int, bytes], path: list[tuple[int, str]]
    ) -> None:
        """Give a directory that is shown the parent and the name that its record has now."""
        parent = self._make_album_directories(path[:-1])
        name = path[-1][1].encode()
        if there == (parent, name):
            return
        self._remove_entry(*there, directory, self._now)
        self._count_subdirectories(there[0])
        self._execute("INSERT INTO dirent VALUES (?, ?, ?)", (parent, name, directory))
        self._directory_changed(parent, self._now)
        self._count_subdirectories(parent)
        self.changes.append(EntryAdded(parent, name, directory))

    def _album_directories(self, zone: int, asset: str) -> list[int]:
        """The directories of all albums that show the asset, made if need be."""
        albums = self._execute(
            "SELECT r.album FROM relation r JOIN album b ON b.zone = r.zone AND b.name = r.album"
            " WHERE r.zone = ? AND r.asset = ? AND b.kind = 0",
            (zone, asset),
        ).fetchall()
        directories = []
        for (album,) in albums:
            path = self._album_path(zone, album)
            if path is not None:
                directories.append(self._make_album_directories(path))
        return directories

    def _album_path(self, zone: int, album: str) -> list[tuple[int, str]] | None:
        """(inode, name) from the top folder down to the album; None if it is not shown.

        A folder that is not known yet, or that contains itself, is passed over: better an album at
        the top than one that nobody can find.
        """
        path: list[tuple[int, str]] = []
        seen: set[str] = set()
        while album not in ROOT_FOLDERS and album not in seen:
            seen.add(album)
            row = self._execute(
                "SELECT parent, deleted, dirname FROM album WHERE zone = ? AND name = ?",
                (zone, album),
            ).fetchone()
            if row is None:
                break
            parent, deleted, dirname = row
            if deleted:
                return None
            path.append((self._album_number(zone, album), dirname or self._name_album(zone, album)))
            album = parent
        return path[::-1] or None

    def _name_album(self, zone: int, album: str) -> str:
        """Give an album its directory name: its title, numbered if a sibling has that. Kept."""
        title, parent = self._execute(
            "SELECT title, parent FROM album WHERE zone = ? AND name = ?", (zone, album)
        ).fetchone()
        taken = {
            names.fold(dirname)
            for (dirname,) in self._execute(
                "SELECT dirname FROM album WHERE zone = ? AND parent = ? AND name <> ?"
                " AND dirname <> '' AND NOT deleted",
                (zone, parent, album),
            )
        }
        base = names.sanitise(title) or "Untitled"
        number = 1
        while names.fold(names.numbered(base, number)) in taken:
            number += 1
        dirname = names.numbered(base, number)
        self._execute(
            "UPDATE album SET dirname = ? WHERE zone = ? AND name = ?", (dirname, zone, album)
        )
        return dirname

    def _album_number(self, zone: int, album: str) -> int:
        (name,) = self._execute("SELECT name FROM zone WHERE id = ?", (zone,)).fetchone()
        return album_number(name, album)

    def _make_album_directories(self, path: list[tuple[int, str]]) -> int:
        parent = self._make_path(View.ALBUMS)
        for ino, name in path:
            self._make_directory(ino, parent, name)
            parent = ino
        return parent

    # -- directories -----------------------------------------------------------------------------

    def _month_directory(self, photo: Photo) -> int:
        return path_number(layout.library(photo), *layout.month(photo))

    def _make_path(self, *path: str) -> int:
        """The directory at this path below the root, made if need be."""
        parent = ROOT
        for depth, name in enumerate(path, start=1):
            ino = path_number(*path[:depth])
            self._make_directory(ino, parent, name)
            parent = ino
        return parent

    def _make_directory(self, ino: int, parent: int, name: str) -> None:
        if ino in self._known_directories:
            return
        self._known_directories.add(ino)
        if self._inode_exists(ino):
            return
        private = parent == ROOT and name in layout.PRIVATE_VIEWS
        mode = stat.S_IFDIR | _PRIVATE if private else _DIRECTORY_MODE
        self._execute(
            "INSERT INTO inode VALUES (?, ?, 4096, 0, 0, 2, NULL, NULL, NULL)", (ino, mode)
        )
        self._execute("INSERT INTO dirent VALUES (?, ?, ?)", (parent, name.encode(), ino))
        self._count_subdirectories(parent)
        self._directory_changed(parent, 0 if self._first_listing else self._now)
        self.changes.append(EntryAdded(parent, name.encode(), ino))

    def _ensure_root(self) -> None:
        self._execute(
            "INSERT OR IGNORE INTO inode VALUES (?, ?, 4096, 0, 0, 2, NULL, NULL, NULL)",
            (ROOT, _DIRECTORY_MODE),
        )

    def _directory_changed(self, ino: int, when: int) -> None:
        """An entry came or went; ``when`` in milliseconds since the epoch."""
        second = when // 1000
        self._changed_directories[ino] = max(self._changed_directories.get(ino, 0), second)

    def _count_subdirectories(self, ino: int) -> None:
        self._execute(
            "UPDATE inode SET nlink = 2 + (SELECT count(*) FROM dirent"
            " WHERE parent = ?1 AND ino >= ?2) WHERE ino = ?1",
            (ino, numbers.FIRST_DIRECTORY),
        )

    def finish(self) -> list[Change]:
        """Remove directories that became empty, date the others; what changed in all."""
        while self._left:
            self._remove_if_empty(self._left.pop())
        if self._first_listing:
            self._date_ancestors()
        for ino, second in self._changed_directories.items():
            # A directory's time must move whenever an entry does: updatedb and NFS clients look at
            # nothing else.
            at_least = "mtime" if self._first_listing else "mtime + 1"
            self._execute(
                f"UPDATE inode SET mtime = max({at_least}, ?1), ctime = max({at_least}, ?1)"
                " WHERE ino = ?2",
                (second, ino),
            )
            self.changes.append(InodeChanged(ino))
        self._changed_directories.clear()
        return self.changes

    def _date_ancestors(self) -> None:
        """In a first listing the years are as young as their months, and so up to the root."""
        for directory, second in list(self._changed_directories.items()):
            ino = directory
            while ino != ROOT:
                row = self._execute("SELECT parent FROM dirent WHERE ino = ?", (ino,)).fetchone()
                if row is None:
                    break
                (ino,) = row
                self._directory_changed(ino, second * 1000)

    def _remove_if_empty(self, directory: int) -> None:
        if directory == ROOT:
            return
        child = self._execute(
            "SELECT 1 FROM dirent WHERE parent = ? LIMIT 1", (directory,)
        ).fetchone()
        entry = self._execute(
            "SELECT parent, name FROM dirent WHERE ino = ?", (directory,)
        ).fetchone()
        if child is not None or entry is None:
            return
        parent, name = entry
        self._remove_entry(parent, name, directory, self._now)
        self._execute("DELETE FROM inode WHERE ino = ?", (directory,))
        self._count_subdirectories(parent)
        self._known_directories.discard(directory)
        self._changed_directories.pop(directory, None)


def _photo(fields: list[Any]) -> Photo:
    *plain, own, masters, filename, uti, modified = fields
    resources = None if masters is None else _decode_resources(masters)
    return Photo(*(*plain, _decode_resources(own), resources, filename, uti, modified))


def _mtime(photo: Photo) -> int:
    """When it was taken, in whole seconds: thumbnailers compare whole seconds (facts/desktop.md §0.4)."""
    taken = photo.taken if photo.taken is not None else photo.seniority
    return taken // 1000


class _Naming:
    """The names of one photo's files, scope by scope."""

    def __init__(self, claims: Claims, photo: Photo, stem: Stem, files: list[FileOf]) -> None:
        suffix = names.suffix_of(photo.name)
        self._claims = claims
        self._asset = photo.id
        self._plain = [names.file_name(stem, f.rendition, f.extension) for f in files]
        self._suffixed = [names.file_name(stem, f.rendition, f.extension, suffix) for f in files]
        self._plain_keys = [names.fold(name) for name in self._plain]
        self._suffixed_keys = [names.fold(name) for name in self._suffixed]
        self._decided: dict[int, list[bytes]] = {}

    @property
    def scopes(self) -> Iterable[int]:
        """The scopes that were asked for."""
        return self._decided.keys()

    def names_in(self, scope: int) -> list[bytes]:
        """One name for each file, in their order."""
        if scope not in self._decided:
            held = self._claims.decide(scope, self._asset, self._plain_keys, self._suffixed_keys)
            self._decided[scope] = [
                (plain if key in held else suffixed).encode()
                for plain, key, suffixed in zip(
                    self._plain, self._plain_keys, self._suffixed, strict=True
                )
            ]
        return self._decided[scope]


def album_number(zone: str, album: str) -> int:
    """The inode number of an album's or a folder's directory, by the names of both records."""
    return numbers.of_directory("album", zone, album)


def path_number(*path: str) -> int:
    """The inode number of a directory that is not an album's, by its path below the root."""
    return numbers.of_directory("path", *path)
