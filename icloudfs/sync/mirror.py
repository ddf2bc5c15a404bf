"""Which photos a sync also downloads: the mirror policy, as a walk over files.

Newest first, a page at a time, so that a million files are never in memory; what is here already is
passed over by the query itself. A file's inode number begins with the second its photo was added
(tree/numbers.py), so the walk is along the table. It takes seconds to pass over a million files that are
here: all of this belongs in a thread (``Database.read``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import apsw
import msgspec

from icloudfs.state.database import Database
from icloudfs.tree.directory import Directory, File

Policy = Literal["demand", "newest", "albums", "favorites", "everything"]

_PAGE = 200


class Mirror(msgspec.Struct, frozen=True):
    """Which photos a sync also downloads."""

    what: Policy = "demand"
    """demand: none of them, they are fetched when they are read."""
    days: int = 0
    """For ``newest``: those taken in so many days."""
    albums: tuple[str, ...] = ()
    """For ``albums``: their paths below ``Albums``."""


class Need(msgspec.Struct, frozen=True):
    """What a policy asks for that is not here yet. Contents that several files share count once."""

    files: int
    bytes: int


_WANTING = """
  FROM {files} LEFT JOIN content c ON c.checksum = i.checksum AND c.status = 'downloaded'
 WHERE i.nlink > 0 AND i.checksum IS NOT NULL AND c.checksum IS NULL AND {condition}
"""
_NEED = (
    "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT i.checksum, i.size"
    + _WANTING
    + " GROUP BY i.checksum)"
)
_NEXT = "SELECT i.ino" + _WANTING + " AND i.ino < ? ORDER BY i.ino DESC LIMIT ?"


class _Choice(NamedTuple):
    """What a policy asks for, in SQL."""

    condition: str
    values: tuple[int, ...] = ()
    files: str = "inode i"
    counted: str = "inode i"
    """The same for counting, which wants every content once."""


def need(connection: apsw.Connection, mirror: Mirror, now: int) -> Need:
    """How much is to be downloaded; ``now`` in milliseconds since the epoch."""
    choice = _choice(connection, mirror, now)
    query: Callable[..., Any] = connection.execute
    asked = _NEED.format(files=choice.counted, condition=choice.condition)
    files, size = query(asked, choice.values).fetchone()
    return Need(files, size)


async def wanting(database: Database, mirror: Mirror, now: int) -> AsyncGenerator[File, None]:
    """The files that the policy asks for and that are not here, newest first."""
    below = _ABOVE_ALL
    while below:
        files, below = await database.read(partial(_page, mirror=mirror, now=now, below=below))
        for file in files:
            yield file


_ABOVE_ALL = (1 << 63) - 1


def _page(
    connection: apsw.Connection, mirror: Mirror, now: int, below: int
) -> tuple[list[File], int]:
    """The next files, and where to go on; 0 at the end."""
    choice = _choice(connection, mirror, now)
    query: Callable[..., Any] = connection.execute
    asked = _NEXT.format(files=choice.files, condition=choice.condition)
    page = query(asked, (*choice.values, below, _PAGE)).fetchall()
    directory = Directory(connection)
    found = [directory.file(ino) for (ino,) in page]
    files = [file for file in found if file is not None]
    return files, page[-1][0] if len(page) == _PAGE else 0


# CROSS JOIN: first the photos, as they are few, then their files.
_OF_PHOTOS = "asset a CROSS JOIN inode i ON i.asset = a.id"


def _choice(connection: apsw.Connection, mirror: Mirror, now: int) -> _Choice:
    match mirror.what:
        case "everything":
            # By checksum both tables are walked side by side, and none has to be remembered.
            return _Choice("1", counted="inode i INDEXED BY inode_by_checksum")
        case "favorites":
            return _Choice("a.favorite", (), _OF_PHOTOS, _OF_PHOTOS)
        case "newest":
            since = now - mirror.days * 86_400_000
            return _Choice("a.taken > ?", (since,), _OF_PHOTOS, _OF_PHOTOS)
        case "albums":
            directories = tuple(_album_directories(connection, mirror.albums))
            marks = ", ".join("?" * len(directories))
            there = f"i.ino IN (SELECT ino FROM dirent WHERE parent IN ({marks}))"
            return _Choice(there, directories)
    return _Choice("0")


def unknown_albums(connection: apsw.Connection, mirror: Mirror) -> list[str]:
    """Those of ``mirror.albums`` that there are none of."""
    directory = Directory(connection)
    return [album for album in mirror.albums if directory.at(f"Albums/{album}") is None]


def _album_directories(connection: apsw.Connection, albums: tuple[str, ...]) -> Iterator[int]:
    """The directories of these albums, with those below: a folder means all albums in it."""
    directory = Directory(connection)
    for album in albums:
        inode = directory.at(f"Albums/{album}")
        if inode is not None:
            yield from directory.directories_below(inode.ino)
