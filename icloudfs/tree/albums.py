"""Where albums and folders lie, and what their directories are called.

An album is shown if the way up through its folders ends at a root and nothing on it is deleted. One whose
folder is not known (yet) is not: Apple's own lists do not lead to it either, and it would only move when
the folder comes. A folder that contains itself leads nowhere, and neither does one in too many others.

A directory is named once (DESIGN §10.3): its name is claimed among all that lie in the same directory, and
kept until the album is renamed, moved or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from icloudfs.apple.records import ROOT_FOLDERS
from icloudfs.tree import names, numbers
from icloudfs.tree.claims import Claims
from icloudfs.tree.directories import Directories
from icloudfs.tree.layout import View

Path = list[tuple[int, str]]
"""(inode, name) from the top folder down to the album."""

MOST_DEEP = 64
"""Folders in each other. Each look for the way up goes through them all, so that ten thousand would keep the
database for minutes."""

ALBUM, FOLDER = 0, 3
"""``albumType`` of what is shown; a smart album (6) is kept by the device that made it."""


class Albums:
    """The directories below ``Albums``, in the caller's transaction."""

    def __init__(
        self, execute: Callable[..., Any], claims: Claims, directories: Directories
    ) -> None:
        self._execute = execute
        self._claims = claims
        self._directories = directories
        self._zone_names: dict[int, str] = {}
        self._shown: dict[tuple[int, str], int | None] = {}

    def number(self, zone: int, album: str) -> int:
        """The inode number of an album's directory, shown or not: its scope for names."""
        if zone not in self._zone_names:
            (name,) = self._execute("SELECT name FROM zone WHERE id = ?", (zone,)).fetchone()
            self._zone_names[zone] = name
        return numbers.of_album(self._zone_names[zone], album)

    def directory(self, zone: int, album: str) -> int | None:
        """The directory of an album that has a photo to show, made if need be; None if it is not shown."""
        key = zone, album
        if key not in self._shown:
            path = self._path(zone, album)
            self._shown[key] = None if path is None else self._make(path)
        return self._shown[key]

    def settle_in(self, zone: int, album: str) -> None:
        """Name or rename the directory of an album whose record changed; move it if it is there.

        A name is given up only when no directory bears it any more.
        """
        self._shown.clear()
        path = self._path(zone, album)
        if path is None:
            return
        ino, name = path[-1]
        there = self._there(ino)
        if there is not None:
            parent = self._make(path[:-1])
            if there != (parent, name.encode()):
                self._directories.move(ino, there, parent, name)
        self._claims.release_all(ino, but=names.fold(name))

    def forget_name(self, zone: int, album: str) -> None:
        """A deleted album leaves its name to others, when its directory is gone; one in a deleted
        folder keeps it, as nobody else can want it."""
        row = self._execute(
            "SELECT deleted, dirname FROM album WHERE zone = ? AND name = ?", (zone, album)
        ).fetchone()
        if row is None or row[0] or not row[1]:
            self._claims.release_all(self.number(zone, album))
            self._execute(
                "UPDATE album SET dirname = '' WHERE zone = ? AND name = ?", (zone, album)
            )

    def is_shown(self, zone: int, album: str) -> bool:
        """Whether the way up from an album ends at a root."""
        return self._path(zone, album) is not None

    def _there(self, ino: int) -> tuple[int, bytes] | None:
        row: tuple[int, bytes] | None = self._execute(
            "SELECT parent, name FROM dirent WHERE ino = ?", (ino,)
        ).fetchone()
        return row

    def below(self, zone: int, album: str) -> Iterator[str]:
        """The album, and every album and folder in it."""
        seen: set[str] = set()
        waiting = [album]
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                yield here
                waiting += [
                    child
                    for (child,) in self._execute(
                        "SELECT name FROM album WHERE zone = ? AND parent = ?", (zone, here)
                    )
                ]

    def _make(self, path: Path) -> int:
        parent = self._directories.make_path(View.ALBUMS)
        for ino, name in path:
            self._directories.make(ino, parent, name)
            parent = ino
        return parent

    def _path(self, zone: int, album: str) -> Path | None:
        chain: list[tuple[str, str, str]] = []  # (record, title, dirname) from the album upwards
        seen: set[str] = set()
        while not is_root(album):
            row = self._execute(
                "SELECT parent, deleted, title, dirname FROM album WHERE zone = ? AND name = ?",
                (zone, album),
            ).fetchone()
            if row is None or row[1] or album in seen or len(seen) > MOST_DEEP:
                return None
            seen.add(album)
            parent, _, title, dirname = row
            chain.append((album, title, dirname))
            album = parent
        path: Path = []
        above = numbers.of_path(View.ALBUMS)
        for record, title, dirname in reversed(chain):
            ino = self.number(zone, record)
            path.append((ino, dirname or self._name(zone, record, title, ino, above)))
            above = ino
        return path or None

    def _name(self, zone: int, album: str, title: str, ino: int, above: int) -> str:
        """Give an album its directory name: its title, numbered if anything beside it has that."""
        base = names.sanitise(title) or "Untitled"
        for number in count(1):
            dirname = names.numbered(base, number)
            key = names.fold(dirname)
            if self._claims.take(above, key, ino) or self._claims.holder(above, key) == ino:
                break
        self._execute(
            "UPDATE album SET dirname = ? WHERE zone = ? AND name = ?", (dirname, zone, album)
        )
        return dirname


def is_root(album: str) -> bool:
    """The system's own folders; one that nobody has seen yet is called like them."""
    return album in ROOT_FOLDERS or album.startswith("----")
