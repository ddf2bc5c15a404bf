"""Which photos a sync also downloads: the mirror policy, as a walk over files.

Newest first, a page at a time, so that a million files are never in memory; what is here already is
passed over by the query itself. A file's inode number begins with the second its photo was added
(tree/numbers.py), so the walk is along the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import apsw
import msgspec

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


def wanting(connection: apsw.Connection, mirror: Mirror, now: int) -> Iterator[File]:
    """The files that the policy asks for and that are not here, newest first."""
    condition, values = _condition(connection, mirror, now)
    directory = Directory(connection)
    query: Callable[..., Any] = connection.execute
    below = (1 << 63) - 1
    while True:
        page = query(
            "SELECT i.ino"
            + _WANTING.format(condition=condition)
            + " AND i.ino < ? ORDER BY i.ino DESC LIMIT ?",
            (*values, below, _PAGE),
        ).fetchall()
        for (ino,) in page:
            file = directory.file(ino)
            if file is not None:
                yield file
            below = ino
        if len(page) < _PAGE:
            return


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
