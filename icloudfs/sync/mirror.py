"""Which photos a sync also downloads: the mirror policy, as a walk over files.

Newest first, a page at a time, so that a million files are never in memory; what is here already is
passed over by the query itself. A file's inode number begins with the second its photo was added
(tree/numbers.py), so the walk is along the table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Literal

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
  FROM inode i JOIN asset a ON a.id = i.asset
  LEFT JOIN content c ON c.checksum = i.checksum AND c.status = 'downloaded'
 WHERE i.nlink > 0 AND c.checksum IS NULL AND {condition}
"""


def need(connection: apsw.Connection, mirror: Mirror, now: int) -> Need:
    """How much is to be downloaded; ``now`` in milliseconds since the epoch."""
    condition, values = _condition(connection, mirror, now)
    query: Callable[..., Any] = connection.execute
    files, size = query(
        "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT DISTINCT i.checksum, i.size"
        + _WANTING.format(condition=condition)
        + ")",
        values,
    ).fetchone()
    return Need(files, size)


async def wanting(database: Database, mirror: Mirror, now: int) -> AsyncIterator[File]:
    """The files that the policy asks for and that are not here, newest first."""
    below = (1 << 63) - 1
    while page := await database.read(partial(_page, mirror=mirror, now=now, below=below)):
        for file in page:
            yield file
        below = page[-1].ino


def _page(connection: apsw.Connection, mirror: Mirror, now: int, below: int) -> list[File]:
    condition, values = _condition(connection, mirror, now)
    query: Callable[..., Any] = connection.execute
    inodes = query(
        "SELECT i.ino"
        + _WANTING.format(condition=condition)
        + " AND i.ino < ? ORDER BY i.ino DESC LIMIT ?",
        (*values, below, _PAGE),
    ).fetchall()
    directory = Directory(connection)
    files = (directory.file(ino) for (ino,) in inodes)
    return [file for file in files if file is not None]


def unknown_albums(connection: apsw.Connection, mirror: Mirror) -> list[str]:
    """Those of ``mirror.albums`` that there are none of."""
    directory = Directory(connection)
    return [album for album in mirror.albums if directory.at(f"Albums/{album}") is None]


def _condition(
    connection: apsw.Connection, mirror: Mirror, now: int
) -> tuple[str, tuple[int, ...]]:
    match mirror.what:
        case "everything":
            return "1", ()
        case "favorites":
            return "a.favorite", ()
        case "newest":
            return "a.taken > ?", (now - mirror.days * 86_400_000,)
        case "albums":
            directories = tuple(_album_directories(connection, mirror.albums))
            marks = ", ".join("?" * len(directories))
            return f"i.ino IN (SELECT ino FROM dirent WHERE parent IN ({marks}))", directories
    return "0", ()


def _album_directories(connection: apsw.Connection, albums: tuple[str, ...]) -> Iterator[int]:
    """The directories of these albums, with those below: a folder means all albums in it."""
    directory = Directory(connection)
    for album in albums:
        inode = directory.at(f"Albums/{album}")
        if inode is not None:
            yield from directory.directories_below(inode.ino)
