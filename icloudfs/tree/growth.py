"""Which directories may still grow, because iCloud has not told of everything yet.

    Library           until the personal library is complete
    Shared Library    until every other library is, and all are known
    Albums            until all libraries are, with their albums; and where one is refused, for as long as it is
    all others        until all libraries are: the views collect photos of each

A directory that does not exist yet is missing in the one above it, so the root is among the others.
"""

from __future__ import annotations

import apsw

from icloudfs.state import completeness
from icloudfs.tree import numbers
from icloudfs.tree.directory import ROOT
from icloudfs.tree.layout import View

_LIBRARY = numbers.of_path(View.LIBRARY.value)
_SHARED = numbers.of_path(View.SHARED.value)
_ALBUMS = numbers.of_path(View.ALBUMS.value)


class Growth:
    """Asked when a listing begins: one query of a few rows, where everything is known."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def may_grow(self, directory: int) -> bool:
        """Whether photos or directories may still appear in ``directory`` that iCloud has had all along."""
        if completeness.misses_nothing(self._connection):
            return False
        match self._path(directory):
            case (view, *_) if view == _LIBRARY:
                return not completeness.own_library_is_complete(self._connection)
            case (view, *_) if view == _SHARED:
                return not completeness.shared_libraries_are_complete(self._connection)
            case path:
                return self._libraries_may_grow() or self._misses_albums(path)

    def _libraries_may_grow(self) -> bool:
        return not completeness.is_complete(self._connection)

    def _misses_albums(self, path: list[int]) -> bool:
        """Whether an album, or photos of one, are refused that belong below ``path``, from the top down."""
        if path and path[0] != _ALBUMS:
            return False
        for zone, part in completeness.refused_albums(self._connection):
            kind, _, album = part.partition(":")
            ino = numbers.of_album(zone, album)
            if kind != "members" or ino in path[-1:] or not self._exists(ino):
                return True
        return False

    def _path(self, directory: int) -> list[int]:
        """The directories from the one at the top down to ``directory``; none for the root."""
        path = []
        while directory != ROOT:
            path.append(directory)
            row = self._connection.execute(
                "SELECT parent FROM dirent WHERE ino = ?", (directory,)
            ).fetchone()
            if row is None:
                break  # gone since it was opened
            directory = int(str(row[0]))
        return path[::-1]

    def _exists(self, ino: int) -> bool:
        row = self._connection.execute("SELECT 1 FROM dirent WHERE ino = ?", (ino,)).fetchone()
        return row is not None
