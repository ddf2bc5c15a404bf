"""Reading the tree: what look-ups, directory pages and opens ask. One indexed query each, inline.

The schema and the shape of the queries are those measured in facts/fuse.md §3: 5.8 µs a look-up, 2.7
million entries a second in pages. A cache in front of them does not pay (facts/fuse.md §0.7).
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import msgspec

from icloudfs.apple.records import Area, Rendition, Zone
from icloudfs.state.catalogue import NAMED
from icloudfs.state.sight import is_visible
from icloudfs.tree import numbers

ROOT = 1
"""Inode number of the mount's root, as FUSE wants it."""


class Inode(msgspec.Struct, frozen=True, array_like=True):
    """What ``stat`` tells of a file or a directory. Times in whole seconds since the epoch."""

    ino: int
    mode: int
    size: int
    mtime: int
    ctime: int
    nlink: int


class File(msgspec.Struct, frozen=True):
    """What it takes to read a file: which content, and which record knows where to download it."""

    ino: int
    size: int
    checksum: str
    rendition: Rendition
    zone: Zone
    master: str
    asset: str

    @property
    def record(self) -> str:
        """The record whose look-up gives a fresh download URL."""
        return self.asset if self.rendition in ON_ASSET else self.master

    @property
    def prefix(self) -> str:
        """The wire prefix of the resource in that record; empty for one that has no prefix of its own."""
        return WIRE_PREFIX.get(self.rendition, "")


WIRE_PREFIX = {
    Rendition.ORIGINAL: "resOriginal",
    Rendition.ALTERNATE: "resOriginalAlt",
    Rendition.LIVE_VIDEO: "resOriginalVidCompl",
    Rendition.EDITED: "resJPEGFull",
    Rendition.EDITED_VIDEO: "resVidFull",
    Rendition.EDITED_LIVE_VIDEO: "resVidCompl",
}
"""Field ``<prefix>Res`` of CPLMaster (the first three) and CPLAsset (facts/cloudkit.md §1.8, §1.12)."""

ON_ASSET = frozenset({Rendition.EDITED, Rendition.EDITED_VIDEO, Rendition.EDITED_LIVE_VIDEO})
"""What the CPLAsset has; all else is the CPLMaster's."""

_FILE = (
    "SELECT i.ino, i.size, i.checksum, i.rendition, z.area, z.name, z.owner, a.master, a.name"
    " FROM asset a JOIN inode i ON i.asset = a.id JOIN zone z ON z.id = a.zone"
)
_NEIGHBOURS = (
    "SELECT i.ino, i.size, i.checksum, i.rendition, z.area, z.name, z.owner, a.master, a.name"
    " FROM (SELECT id, zone, master, name FROM asset"
    " WHERE id {side} (SELECT asset FROM inode WHERE ino = ?1) ORDER BY id {order} LIMIT ?2) a"
    # As they are written: no other order of these tables has a bound.
    " CROSS JOIN inode i ON i.asset = a.id CROSS JOIN zone z ON z.id = a.zone LIMIT ?2"
)
_BEFORE = _NEIGHBOURS.format(side="<", order="DESC")
_AFTER = _NEIGHBOURS.format(side=">", order="ASC")
_LOOKED_AT = 4
"""Photos that are looked at for one that is shown."""

_INODE = "i.ino, i.mode, i.size, i.mtime, i.ctime, i.nlink"


class Directory:
    """The tree as the kernel asks for it, on a read-only connection that the event loop owns."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # A cursor a query: one that is kept holds its last statement open, and with it the whole
        # connection at an old state of the database.
        self._execute = connection.execute

    def lookup(self, parent: int, name: bytes) -> Inode | None:
        """The entry ``name`` of directory ``parent``."""
        row = self._execute(
            f"SELECT {_INODE} FROM inode i"
            " WHERE i.ino = (SELECT ino FROM dirent WHERE parent = ? AND name = ?)",
            (parent, name),
        ).fetchone()
        return None if row is None else Inode(*row)

    def getattr(self, ino: int) -> Inode | None:
        row = self._execute(f"SELECT {_INODE} FROM inode i WHERE i.ino = ?", (ino,)).fetchone()
        return None if row is None else Inode(*row)

    def page(self, parent: int, after: int, limit: int) -> Iterator[tuple[bytes, Inode]]:
        """Up to ``limit`` entries of a directory whose inode number is greater than ``after``.

        The inode number is the cursor: unique in a directory, and it survives whatever is added or
        removed between two pages.
        """
        # A cursor of its own: the caller may stop half-way, and other requests run in between.
        for name, *inode in self._connection.cursor().execute(
            f"SELECT d.name, {_INODE} FROM dirent d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ? AND d.ino > ? ORDER BY d.ino LIMIT ?",
            (parent, after, limit),
        ):
            yield name, Inode(*inode)

    def at(self, path: str) -> Inode | None:
        """The file or directory at ``path`` below the mount's root; slashes at its ends do not count."""
        inode = self.getattr(ROOT)
        for name in path.split("/"):
            if name and inode is not None:
                inode = self.lookup(inode.ino, name.encode("utf-8", "surrogateescape"))
        return inode

    def directories_below(self, ino: int) -> Iterator[int]:
        """A directory and every directory in it, however deep."""
        yield ino
        below = self._connection.cursor().execute(
            "SELECT ino FROM dirent WHERE parent = ? AND ino >= ?", (ino, numbers.FIRST_DIRECTORY)
        )
        for (child,) in below.fetchall():
            yield from self.directories_below(int(str(child)))

    def files_below(self, ino: int) -> Iterator[File]:
        """Every file in a directory, however deep, or the one file that ``ino`` is."""
        if not numbers.is_directory(ino):
            file = self.file(ino)
            if file is not None:
                yield file
            return
        for directory in self.directories_below(ino):
            for _, inode in self.page(directory, 0, -1):
                file = self.file(inode.ino)
                if file is not None:
                    yield file

    def parent(self, ino: int) -> int | None:
        """The directory that holds directory ``ino``; any one of them for a file."""
        row = self._execute("SELECT parent FROM dirent WHERE ino = ? LIMIT 1", (ino,)).fetchone()
        return None if row is None else row[0]

    def entries_of(self, ino: int) -> list[tuple[int, bytes]]:
        """Every directory that holds ``ino``, and its name there."""
        found = self._execute("SELECT parent, name FROM dirent WHERE ino = ?", (ino,)).fetchall()
        return msgspec.convert(found, list[tuple[int, bytes]])

    def places(self, ino: int) -> list[str]:
        """Every path of a file or directory, relative to the mount, sorted."""
        if ino == ROOT:
            return [""]
        paths = []
        for parent, name in self._connection.cursor().execute(
            "SELECT parent, name FROM dirent WHERE ino = ?", (ino,)
        ):
            assert isinstance(parent, int) and isinstance(name, bytes)
            shown = name.decode("utf-8", "surrogateescape")
            paths += [f"{above}/{shown}".lstrip("/") for above in self.places(parent)]
        return sorted(paths)

    def places_of_asset(self, asset: int) -> list[str]:
        """Every path of every file of a photo, by its row id."""
        inodes = (
            self._connection.cursor()
            .execute("SELECT ino FROM inode WHERE asset = ?", (asset,))
            .fetchall()
        )
        return sorted(path for (ino,) in inodes for path in self.places(int(str(ino))))

    def files_of_asset(self, name: str) -> list[File]:
        """Every file of the photos with this record name; empty if there is none."""
        # By the index of (zone, name): by the name alone there is none.
        inodes = self._connection.cursor().execute(
            f"SELECT i.ino FROM {NAMED.format('?')} CROSS JOIN inode i ON i.asset = a.id", (name,)
        )
        found = [self.file(int(str(ino))) for (ino,) in inodes.fetchall()]
        return [file for file in found if file is not None]

    def newest(self, limit: int) -> list[int]:
        """The files of the photos that were added last, the last first: fewer than ``limit`` if most of the
        last are hidden, since only so many times as many are looked at."""
        rows = self._connection.cursor().execute(
            "SELECT i.ino FROM (SELECT id, added, hidden, deleted, expunged FROM asset"
            " INDEXED BY asset_by_added ORDER BY added DESC LIMIT ?) a"
            f" CROSS JOIN inode i ON i.asset = a.id WHERE {is_visible('a')} LIMIT ?",
            (limit * _LOOKED_AT, limit),
        )
        return [int(str(ino)) for (ino,) in rows.fetchall()]

    def albums(self) -> Iterator[tuple[str, int]]:
        """Every album that is shown, by its path below ``Albums``, and how many photos its directory holds:
        a folder that has albums alone holds none, and is left out."""
        rows = self._connection.cursor().execute(
            "SELECT z.name, b.name FROM album b JOIN zone z ON z.id = b.zone WHERE NOT b.deleted"
        )
        for zone, album in rows.fetchall():
            ino = numbers.of_album(str(zone), str(album))
            photos = self._photos_in(ino)
            for path in self.places(ino) if photos else ():
                yield path.removeprefix("Albums/"), photos

    def _photos_in(self, ino: int) -> int:
        """How many photos have files in a directory; those of directories in it do not count."""
        row = self._execute(
            "SELECT count(DISTINCT i.asset) FROM dirent d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ?",
            (ino,),
        ).fetchone()
        return 0 if row is None else int(str(row[0]))

    def file(self, ino: int) -> File | None:
        """What it takes to read file ``ino``; None for a directory or an unknown number."""
        row = self._execute(f"{_FILE} WHERE i.ino = ?", (ino,)).fetchone()
        return None if row is None else _file(row)

    def nearby(self, ino: int, each_way: int) -> list[File]:
        """The files of the photos that arrived just before and just after that of ``ino``.

        Photos are listed in the order in which they were taken, and come one by one after that: so these are
        mostly the ones that were taken before and after it, whatever the directory. At most ``each_way`` photos
        on either side are looked at, whether they have files or not.
        """
        before = self._execute(_BEFORE, (ino, each_way)).fetchall()
        after = self._execute(_AFTER, (ino, each_way)).fetchall()
        return [_file(row) for row in (*reversed(before), *after)]

    def checksum(self, ino: int) -> str | None:
        """Of the content that file ``ino`` has now; None for a directory or an unknown number."""
        row = self._execute("SELECT checksum FROM inode WHERE ino = ?", (ino,)).fetchone()
        return None if row is None else row[0]

    def file_of(self, checksum: str) -> File | None:
        """Any file whose content is ``checksum``."""
        row = self._execute(
            "SELECT ino FROM inode WHERE checksum = ? LIMIT 1", (checksum,)
        ).fetchone()
        return None if row is None else self.file(row[0])


def _file(row: tuple[apsw.SQLiteValue, ...]) -> File:
    ino, size, checksum, rendition, area, zone, owner, master, asset = row
    return msgspec.convert(
        {
            "ino": ino,
            "size": size,
            "checksum": checksum,
            "rendition": rendition,
            "zone": Zone(_area(area), str(zone), str(owner)),
            "master": master,
            "asset": asset,
        },
        File,
    )


def _area(value: apsw.SQLiteValue) -> Area:
    return "shared" if value == "shared" else "private"
