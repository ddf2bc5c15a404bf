"""A small library in a state database, written with plain SQL: the mount reads rows, whoever made them."""

from __future__ import annotations

import hashlib
import itertools
import stat
from pathlib import Path

import apsw

from icloudfs.state import completeness, database
from icloudfs.tree.directory import ROOT
from icloudfs.tree.numbers import FIRST_DIRECTORY

DIRECTORY = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644
TAKEN = 1_700_000_000
FIRST_INO = 1 << 32
ZONE = 1


class Library:
    """Builds a database at ``path``, with one zone and an empty root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = database.create(path)
        self._inos = itertools.count(FIRST_INO)
        self._directories = itertools.count(FIRST_DIRECTORY)
        self._assets = itertools.count(1)
        self.insert("zone", id=ZONE, area="private", name="PrimarySync")
        self.complete(True)
        self._inode(ROOT, DIRECTORY, 4096, TAKEN)

    def complete(self, whole: bool) -> None:
        """Whether iCloud has told of everything that it has."""
        self.connection.execute("UPDATE zone SET complete = ?1, albums_complete = ?1", (whole,))
        completeness.note(self.connection, [], heard_of_all=True)

    def refuse(self, part: str) -> None:
        """iCloud refuses a part of the library."""
        self.insert("refused_part", area="private", zone="PrimarySync", part=part, code="BUSY")

    def directory(self, parent: int, name: str, mode: int = 0o755) -> int:
        return self.directory_numbered(next(self._directories), parent, name, mode)

    def directory_numbered(self, ino: int, parent: int, name: str, mode: int = 0o755) -> int:
        self._inode(ino, stat.S_IFDIR | mode, 4096, TAKEN)
        self._entry(parent, name, ino)
        return ino

    def file(
        self,
        parent: int,
        name: str,
        size: int = 1000,
        *,
        mtime: int = TAKEN,
        mode: int = 0o644,
        checksum: str | None = None,
    ) -> int:
        """A photo in ``parent``. Its checksum tells the test's daemon how to serve it (daemon.py)."""
        ino, asset = next(self._inos), next(self._assets)
        self.insert("master", zone=ZONE, name=f"M{asset}", filename=f"original of {name}")
        self.insert(
            "asset",
            id=asset,
            zone=ZONE,
            name=f"A{asset}",
            master=f"M{asset}",
            taken=mtime * 1000,
            added=TAKEN * 1000,
            zone_offset=7200,
            time_zone="Europe/Berlin",
            width=4032,
            height=3024,
            keywords="[]",
            checksum=checksum or "",
        )
        self._inode(ino, stat.S_IFREG | mode, size, mtime, asset, checksum or f"sum-{ino}")
        self._entry(parent, name, ino)
        return ino

    def link(self, ino: int, parent: int, name: str) -> None:
        """One more place for a file."""
        self._entry(parent, name, ino)
        self.connection.execute("UPDATE inode SET nlink = nlink + 1 WHERE ino = ?", (ino,))

    def many(self, parent: int, count: int) -> None:
        """``count`` photos in ``parent``, fast."""
        inos = list(itertools.islice(self._inos, count))
        with self.connection:
            self.connection.executemany(
                "INSERT INTO inode (ino, mode, size, mtime, ctime, nlink) VALUES (?, ?, 65536, ?, ?, 1)",
                ((ino, FILE, TAKEN + number, TAKEN + number) for number, ino in enumerate(inos)),
            )
            self.connection.executemany(
                "INSERT INTO dirent (parent, name, ino) VALUES (?, ?, ?)",
                ((parent, b"IMG_%06d.HEIC" % number, ino) for number, ino in enumerate(inos)),
            )

    def close(self) -> None:
        self.connection.close()

    def insert(self, table: str, **values: apsw.SQLiteValue) -> None:
        """One row; what is not given and must not be null is 0 or ''."""
        for _, name, kind, needed, default, _ in self.connection.execute(
            f"SELECT * FROM pragma_table_info('{table}')"
        ):
            if needed and default is None and name not in values:
                values[str(name)] = "" if kind == "TEXT" else 0
        self.connection.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )

    def _inode(
        self,
        ino: int,
        mode: int,
        size: int,
        mtime: int,
        asset: int | None = None,
        checksum: str | None = None,
    ) -> None:
        nlink = 2 if stat.S_ISDIR(mode) else 1
        self.insert(
            "inode",
            ino=ino,
            mode=mode,
            size=size,
            mtime=mtime,
            ctime=TAKEN + 1,
            nlink=nlink,
            asset=asset,
            rendition=None if asset is None else "original",
            checksum=checksum,
        )

    def _entry(self, parent: int, name: str, ino: int) -> None:
        self.connection.execute("INSERT INTO dirent VALUES (?, ?, ?)", (parent, name.encode(), ino))


def bytes_of(checksum: str, size: int) -> bytes:
    """What the test's daemon serves for a content: text, so that any program's output can hold it."""
    block = hashlib.sha256(checksum.encode()).hexdigest().encode()
    return (block * (size // len(block) + 1))[:size]
