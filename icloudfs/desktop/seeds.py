"""Thumbnails laid into the desktop's own cache before anybody asks: seeds.

    $XDG_CACHE_HOME/thumbnails/normal/<md5 of the file's URI>.png
    $XDG_CACHE_HOME/thumbnails/large/<the same>                       one file, hard-linked
    $XDG_CACHE_HOME/thumbnails/{x,xx}-large/<the same>                the same, where KDE asks

All file managers that were tried take them and leave the original alone (facts/desktop.md §0.1). A seed holds
for one path with one mtime and one size, and shows one content; mtime may stay when the content changes, so
the content's checksum is remembered in a database of our own, beside the cached content.

Invariant: there is a row for every seed on disk, and the row says what it shows. An old seed is unlinked before
its row is changed, and a new one appears, whole, after it; so ``kill -9`` leaves at worst a row without a seed.

Everything here but ``draw`` waits for the disk: it is for one thread that has time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import apsw
import msgspec

from icloudfs import ours, pathtext, xdg
from icloudfs.desktop import pictures
from icloudfs.desktop.uris import entry, gwenview_uri, uris

DATABASE = "seeds.db"
"""Its name, in an account's part of the cache."""

MOST = 10_000
MOST_BYTES = 256 << 20
"""Seeds, and their bytes: about 25 KB each (facts/desktop.md §1.3)."""

_SIZES = ("normal", "large")
_ALL_SIZES = (*_SIZES, "x-large", "xx-large")
"""What others may have made of a photo that is gone or another one now; and what KDE wants for large icons on a
fine screen. It takes no smaller one, where GLib does, which would make a sharper one of its own if it can."""

_NEW = ".icloudfs-"
"""What a seed that is being written is called."""

_SEVERAL = 64
"""Seeds that leave at once."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seed (
    path     BLOB NOT NULL PRIMARY KEY,  -- below the mount
    checksum TEXT NOT NULL,
    mtime    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,           -- of the PNGs
    used     INTEGER NOT NULL            -- ns since the epoch
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seed_by_use ON seed (used);
CREATE TABLE IF NOT EXISTS mounted_on (path BLOB NOT NULL) STRICT;
"""


_OPEN = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI

Drawn = dict[str, bytes]
"""PNGs by the URI that each is for."""


class Seed(msgspec.Struct, frozen=True):
    """What a thumbnail is of: the file at ``path`` below the mount, with these attributes and content."""

    path: bytes
    checksum: str
    mtime: int
    size: int


def thumbnails_directory() -> Path | None:
    """The desktop's thumbnail cache; None for who has no home of his own, such as a service."""
    home = xdg.home()
    with suppress(OSError):
        if (
            home is not None
            and home.is_dir()
            and home.stat().st_uid == os.getuid()
            and os.access(home, os.W_OK)
        ):
            return xdg.directory("XDG_CACHE_HOME", ".cache") / "thumbnails"
    return None


def take_away(database: Path, thumbnails: Path) -> None:
    """Everything that was laid, with nothing mounted now. Raises OSError, apsw.Error."""
    if database.exists():
        seeds = Seeds(
            database, thumbnails, Path()
        )  # nowhere: all of them are another mount point's
        try:
            seeds.open()
        finally:
            seeds.close()


class Seeds:
    """The seeds of one mount."""

    def __init__(
        self,
        database: Path,
        thumbnails: Path,
        mount_point: Path,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        *,
        gwenview: bool = False,
    ) -> None:
        """``gwenview``: whether somebody has it, who asks for names of its own."""
        self._path = database
        self._thumbnails = thumbnails
        self._mount_point = os.fsencode(mount_point)
        self._most = most
        self._most_bytes = most_bytes
        self._has_gwenview = gwenview
        self._opened: apsw.Connection | None = None
        self.in_every_size = False
        """Whether there are larger sizes than two; if so, those that have two get the others by and by."""
        self.count = 0
        self.bytes = 0

    def open(self) -> None:
        """Begin. Seeds of another mount point go: nobody will look there. Raises OSError, apsw.Error."""
        try:
            self._connect()
        except (apsw.NotADBError, apsw.CorruptError):
            self._path.unlink()  # it is no more than a cache
            self._connect()
        for size in _ALL_SIZES:
            for left in (self._thumbnails / size).glob(f"{_NEW}*"):
                left.unlink(missing_ok=True)
        self._leave_other_mount_points()
        self._count()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def missing(self, wanted: Iterable[Seed]) -> list[Seed]:
        """Those that are not there, or not so any more. The others count as used just now."""
        missing = []
        with self._database:
            for seed in wanted:
                if self._row(seed.path) == seed and self._is_there(seed.path):
                    self._database.execute(
                        "UPDATE seed SET used = ? WHERE path = ?", (time.time_ns(), seed.path)
                    )
                else:
                    missing.append(seed)
        return missing

    def draw(self, seed: Seed, jpeg: bytes) -> Drawn:
        """What is to be laid down. Needs a processor and no disk, and may be done by any thread.

        Raises ContentError if the JPEG cannot be drawn.
        """
        wanted = self._wanted(seed.path)
        pngs = pictures.pngs(jpeg, [self._texts(seed, uri) for uri in wanted])
        return dict(zip(wanted, pngs, strict=True))

    def lay(self, seed: Seed, drawn: Drawn) -> None:
        """Lay it down, and let the least recently used go to make room. Raises OSError."""
        size = sum(map(len, drawn.values()))
        if self._row(seed.path) is not None:
            self._unlink(seed.path)
        # Else what lies there was made by somebody who may be about to show it: it is replaced in one step.
        self._database.execute(
            "REPLACE INTO seed VALUES (?, ?, ?, ?, ?, ?)",
            (seed.path, seed.checksum, seed.mtime, seed.size, size, time.time_ns()),
        )
        try:
            for uri, png in drawn.items():
                self._place(entry(uri), png)
        finally:
            self._count()
        self._make_room()

    def forget(self, path: bytes) -> list[bytes]:
        """The file at ``path``, or the directory and all in it, is gone or another one now: so is what shows
        it, whoever made that. The paths that had seeds."""
        rows = self._database.execute(
            "SELECT path FROM seed WHERE path = ? OR (path > ? AND path < ?)",
            (path, path + b"/", path + b"0"),  # 0 comes after /
        ).fetchall()
        found = [bytes(row[0]) for row in rows]  # type: ignore[arg-type]
        self._remove([path, *(below for below in found if below != path)])
        return found

    def stale(self, now: Iterable[Seed]) -> list[bytes]:
        """Paths with a seed that is not of what is there now."""
        return [
            seed.path for seed in now if (row := self._row(seed.path)) is not None and row != seed
        ]

    def page(self, after: bytes, limit: int) -> list[Seed]:
        """Seeds in the order of their paths, to be compared with what is there."""
        rows = self._database.execute(
            "SELECT path, checksum, mtime, size FROM seed WHERE path > ? ORDER BY path LIMIT ?",
            (after, limit),
        )
        return [msgspec.convert(dict(zip(_FIELDS, row, strict=True)), Seed) for row in rows]

    # -- rows ------------------------------------------------------------------------------------

    @property
    def _database(self) -> apsw.Connection:
        assert self._opened is not None, "open comes first"
        return self._opened

    def _connect(self) -> None:
        ours.make_directory(self._path.parent)
        # It names photos. SQLite gives -wal and -shm the same mode.
        os.close(ours.open_file(self._path, os.O_RDWR | os.O_NOFOLLOW))
        self._opened = apsw.Connection(pathtext.uri(self._path), flags=_OPEN)
        self._opened.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
        self._opened.execute(_SCHEMA)

    def _leave_other_mount_points(self) -> None:
        row = self._database.execute("SELECT path FROM mounted_on").fetchone()
        here = self._mount_point
        if row is not None and row[0] != here:
            self._mount_point = bytes(row[0])
            while page := self.page(b"", _SEVERAL):
                self._remove([seed.path for seed in page])
            self._mount_point = here
        with self._database:
            self._database.execute("DELETE FROM mounted_on")
            self._database.execute("INSERT INTO mounted_on VALUES (?)", (here,))

    def _row(self, path: bytes) -> Seed | None:
        row = self._database.execute(
            "SELECT path, checksum, mtime, size FROM seed WHERE path = ?", (path,)
        ).fetchone()
        return None if row is None else msgspec.convert(dict(zip(_FIELDS, row, strict=True)), Seed)

    def _remove(self, paths: Sequence[bytes]) -> None:
        for path in paths:
            self._unlink(path)
        with self._database:
            self._database.executemany("DELETE FROM seed WHERE path = ?", ((p,) for p in paths))
        self._count()

    def _make_room(self) -> None:
        while self.count > self._most or (self.bytes > self._most_bytes and self.count > 1):
            several = max(min(self.count - self._most, _SEVERAL), 1)
            rows = self._database.execute("SELECT path FROM seed ORDER BY used LIMIT ?", (several,))
            self._remove([bytes(row[0]) for row in rows.fetchall()])  # type: ignore[arg-type]

    def _count(self) -> None:
        row = self._database.execute("SELECT count(*), total(bytes) FROM seed").fetchone()
        assert row is not None
        self.count, self.bytes = int(str(row[0])), int(float(str(row[1])))

    # -- files -----------------------------------------------------------------------------------

    def _uris(self, path: bytes, *, gwenview: bool) -> list[str]:
        whole = self._mount_point + b"/" + path
        read = [gwenview_uri(whole)] if gwenview else []
        return list(dict.fromkeys([*uris(whole), *read]))

    def _wanted(self, path: bytes) -> list[str]:
        """Those that somebody on this machine may ask for."""
        return self._uris(path, gwenview=self._has_gwenview)

    def _texts(self, seed: Seed, uri: str) -> dict[str, str]:
        """Integers, since GLib reads nothing else; and the size must be right or missing."""
        return {
            "Thumb::URI": uri,
            "Thumb::MTime": str(seed.mtime),
            "Thumb::Size": str(seed.size),
            "Software": "icloudfs",
        }

    def _is_there(self, path: bytes) -> bool:
        return all(self._is_in_all_sizes(entry(uri)) for uri in self._wanted(path))

    def _is_in_all_sizes(self, name: str) -> bool:
        first, *others = self._places(name)
        return first.exists() and all(
            place.exists() or (self.in_every_size and _linked(first, place)) for place in others
        )

    def _unlink(self, path: bytes) -> None:
        for uri in self._uris(path, gwenview=True):
            for size in _ALL_SIZES:
                (self._thumbnails / size / entry(uri)).unlink(missing_ok=True)

    def _place(self, name: str, png: bytes) -> None:
        """In all sizes, each whole or not at all."""
        written: Path | None = None
        for place in self._places(name):
            _make(place.parent.parent)
            _make(place.parent)
            new = place.with_name(_NEW + name)
            try:
                if written is None or not _linked(written, new):
                    _write(new, png)
                new.rename(place)
            except OSError:
                new.unlink(missing_ok=True)
                raise
            written = place

    def _places(self, name: str) -> list[Path]:
        sizes = _ALL_SIZES if self.in_every_size else _SIZES
        return [self._thumbnails / size / name for size in sizes]


_FIELDS = ("path", "checksum", "mtime", "size")


def _make(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _linked(path: Path, new: Path) -> bool:
    """False where there are no hard links, or the two directories lie on two disks."""
    try:
        _make(new.parent)
        new.hardlink_to(path)
    except OSError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
