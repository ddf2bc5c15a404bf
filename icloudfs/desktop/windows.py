"""What the windows of file managers show: which files want a thumbnail, and by what path.

A window shows the files of a folder by their names, and on the icons of the folders in it the first few
files of each. Which folders were opened last is remembered: a photo that arrives there may be looked at in
that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from icloudfs.tree.directory import Directory
from icloudfs.tree.numbers import is_directory

MOST_FILES = 500
"""Of one folder that are seeded."""
_LOOKED_AT = 2000
"""Entries of a folder among which the first by name are found."""
_ON_ICON = 4
"""Files of a folder that Dolphin draws on its icon."""
_FOLDERS_SHOWN = 100
"""Folders in a folder whose icons are drawn."""
_NEWEST = 60
"""Photos that are likely to be looked at next."""
_MOST_COVERS = 2000
_REMEMBERED = 64
"""Folders that were opened last."""

Place = tuple[bytes, int]
"""A path below the mount point, and the inode number of the file there."""


class Windows:
    """Of the owner of the mount. Everything reads the tree as it is at that moment, inline."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._opened: dict[int, None] = {}

    def opened(self, folder: int) -> None:
        """A window shows ``folder``."""
        self._opened.pop(folder, None)
        self._opened[folder] = None
        while len(self._opened) > _REMEMBERED:
            del self._opened[next(iter(self._opened))]

    def show(self, folder: int) -> bool:
        """Whether a window may show ``folder`` still."""
        return folder in self._opened

    def places_shown(self, ino: int) -> Iterator[Place]:
        """Where a file is, of the folders that were opened last."""
        for parent, name in self._directory.entries_of(ino):
            if self.show(parent):
                yield self.path_in(parent, name), ino

    def everything_in(self, folder: int) -> Iterator[Place]:
        """The files of a folder, and the few that are on the icons of the folders in it."""
        entries = self._entries(folder)
        yield from _files(entries)
        folders = (entry for entry in entries if is_directory(entry[1]))
        for path, ino in islice(folders, _FOLDERS_SHOWN):
            yield from self._first_in(path, ino)

    def files_in(self, folder: int) -> Iterator[Place]:
        """The files of a folder, by the order of their names."""
        return _files(self._entries(folder))

    def on_icon(self, folder: int) -> Iterator[Place]:
        """The files that are drawn on the icon of a folder."""
        return self._first_in(self._path(folder), folder)

    def _first_in(self, path: bytes, folder: int) -> Iterator[Place]:
        """Dolphin takes the first ones in the directory's own order."""
        for name, inode in list(self._directory.page(folder, 0, _ON_ICON)):
            if not is_directory(inode.ino):
                yield _joined(path, name), inode.ino

    def likely(self) -> Iterator[Place]:
        """What is likely to be looked at next: the newest photos, and the first ones of each album."""
        for ino in self._directory.newest(_NEWEST):
            for path in self.paths(ino):
                yield path, ino
        albums = self._directory.at("Albums")
        if albums is not None:
            below = self._directory.directories_below(albums.ino)
            for folder in islice(below, _MOST_COVERS // _ON_ICON):
                yield from self.on_icon(folder)

    def paths(self, ino: int) -> list[bytes]:
        """Every path of a file or folder; empty if it is nowhere any more."""
        return [place.encode("utf-8", "surrogateescape") for place in self._directory.places(ino)]

    def path_in(self, folder: int, name: bytes) -> bytes:
        """The path of ``name`` in ``folder``."""
        return _joined(self._path(folder), name)

    def _entries(self, folder: int) -> list[Place]:
        above = self._path(folder)
        entries = ((name, inode.ino) for name, inode in self._directory.page(folder, 0, _LOOKED_AT))
        return [(_joined(above, name), ino) for name, ino in sorted(entries)]

    def _path(self, folder: int) -> bytes:
        return next(iter(self.paths(folder)), b"")


def _files(entries: Iterable[Place]) -> Iterator[Place]:
    return islice((entry for entry in entries if not is_directory(entry[1])), MOST_FILES)


def _joined(above: bytes, name: bytes) -> bytes:
    return above + b"/" + name if above else name
