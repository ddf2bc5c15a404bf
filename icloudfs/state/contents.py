"""What is on this disk: the ``content`` table.

Functions on a connection; the caller chooses the transaction. Nothing here touches a file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import apsw
import msgspec

from icloudfs.state import metadata

Ranges = list[tuple[int, int]]
"""Half-open byte ranges, ascending, neither touching nor overlapping."""


class Content(msgspec.Struct, frozen=True):
    """One row: a content that is partly or wholly here, or could not be had."""

    checksum: str
    size: int
    status: str
    """'partial', 'downloaded' or 'failed'."""
    path: str
    """Below the cache directory, or absolute for an imported file."""
    identity: str = ""
    sha256: str = ""
    verified: bool = False
    ranges: Ranges = []
    attempts: int = 0
    last_error: str | None = None
    downloaded_at: int | None = None
    """Milliseconds since the epoch."""
    accessed: int = 0
    """Seconds since the epoch."""
    pinned: bool = False

    @property
    def imported(self) -> bool:
        return self.path.startswith("/")


_COLUMNS = (
    "checksum, size, status, path, identity, sha256, verified, ranges, attempts, last_error,"
    " downloaded_at, accessed, pinned"
)


def get(connection: apsw.Connection, checksum: str) -> Content | None:
    """The row for ``checksum``, or None if nothing of it is here."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM content WHERE checksum = ?", (checksum,)
    ).fetchone()
    return None if row is None else _content(row)


def _content(row: tuple[apsw.SQLiteValue, ...]) -> Content:
    values = dict(zip(Content.__struct_fields__, row, strict=True))
    ranges = values["ranges"]
    assert isinstance(ranges, str)
    values["ranges"] = msgspec.json.decode(ranges, type=Ranges)
    return msgspec.convert(values, Content, strict=False)


def save_ranges(
    connection: apsw.Connection, checksum: str, size: int, path: str, ranges: Ranges, now: int
) -> None:
    """Some of the content is on disk at ``path``; ``now`` in seconds. Attempts and errors stay."""
    connection.execute(
        "INSERT INTO content (checksum, size, status, path, ranges, accessed)"
        " VALUES (?, ?, 'partial', ?, ?, ?)"
        " ON CONFLICT (checksum) DO UPDATE SET size = excluded.size, status = 'partial',"
        " path = excluded.path, identity = '', sha256 = '', verified = 0,"
        " ranges = excluded.ranges, downloaded_at = NULL",
        (checksum, size, path, msgspec.json.encode(ranges).decode(), now),
    )


def set_downloaded(
    connection: apsw.Connection,
    checksum: str,
    size: int,
    path: str,
    *,
    sha256: str,
    verified: bool,
    now: int,
    identity: str = "",
) -> None:
    """The content is whole at ``path``; ``now`` in milliseconds. Clears the last error."""
    connection.execute(
        "INSERT INTO content (checksum, size, status, path, identity, sha256, verified, attempts,"
        " downloaded_at, accessed) VALUES (?, ?, 'downloaded', ?, ?, ?, ?, 1, ?, ?)"
        " ON CONFLICT (checksum) DO UPDATE SET size = excluded.size, status = 'downloaded',"
        " path = excluded.path, identity = excluded.identity, sha256 = excluded.sha256,"
        " verified = excluded.verified, ranges = '[]', attempts = attempts + 1,"
        " last_error = NULL, downloaded_at = excluded.downloaded_at, accessed = excluded.accessed",
        (checksum, size, path, identity, sha256, verified, now, now // 1000),
    )


def set_failed(connection: apsw.Connection, checksum: str, size: int, reason: str) -> None:
    """Nothing usable is here; ``reason`` is a sentence for ``status --failed``."""
    connection.execute(
        "INSERT INTO content (checksum, size, status, path, attempts, last_error)"
        " VALUES (?, ?, 'failed', '', 1, ?)"
        " ON CONFLICT (checksum) DO UPDATE SET status = 'failed', path = '', identity = '',"
        " sha256 = '', verified = 0, ranges = '[]', attempts = attempts + 1,"
        " last_error = excluded.last_error, downloaded_at = NULL",
        (checksum, size, reason),
    )


def note_error(
    connection: apsw.Connection, checksum: str, size: int, path: str, reason: str
) -> None:
    """A try failed, but what is there is still good: the network went away half-way."""
    connection.execute(
        "INSERT INTO content (checksum, size, status, path, attempts, last_error)"
        " VALUES (?, ?, 'partial', ?, 1, ?)"
        " ON CONFLICT (checksum) DO UPDATE SET attempts = attempts + 1,"
        " last_error = excluded.last_error",
        (checksum, size, path, reason),
    )


def forget(connection: apsw.Connection, checksum: str) -> None:
    """Nothing of the content is here any more. A pin stays, as a wish to have it back."""
    connection.execute("DELETE FROM content WHERE checksum = ? AND NOT pinned", (checksum,))
    connection.execute(
        "UPDATE content SET status = 'partial', path = '', identity = '', sha256 = '',"
        " verified = 0, ranges = '[]', downloaded_at = NULL WHERE checksum = ?",
        (checksum,),
    )


def remove(connection: apsw.Connection, checksum: str) -> None:
    """The content is nobody's any more: the row goes, with its pin."""
    connection.execute("DELETE FROM content WHERE checksum = ?", (checksum,))


def set_checked(
    connection: apsw.Connection,
    checksum: str,
    path: str,
    sha256: str,
    identity: str,
    *,
    proven: bool,
) -> None:
    """The whole file at ``path``, which has that ``identity``, was read and is the content: as Apple's
    checksum says if ``proven``, or else its SHA-256 of before."""
    connection.execute(
        "UPDATE content SET verified = max(verified, ?), sha256 = ?, identity = ?"
        " WHERE checksum = ? AND path = ? AND status = 'downloaded'",
        (proven, sha256, identity, checksum, path),
    )


def set_pinned(connection: apsw.Connection, checksums: Iterable[str], pinned: bool) -> None:
    """Pin contents that some file shows, here or not; or no longer."""
    for checksum in checksums:
        if pinned:
            connection.execute(
                "INSERT INTO content (checksum, size, status, path, pinned)"
                " SELECT checksum, size, 'partial', '', 1 FROM inode WHERE checksum = ? LIMIT 1"
                " ON CONFLICT (checksum) DO UPDATE SET pinned = 1",
                (checksum,),
            )
        else:
            connection.execute("UPDATE content SET pinned = 0 WHERE checksum = ?", (checksum,))
            # What was only a wish. A partial content without a path has no bytes.
            connection.execute(
                "DELETE FROM content WHERE checksum = ? AND status = 'partial' AND path = ''",
                (checksum,),
            )


def downloaded_page(connection: apsw.Connection, after: str, limit: int) -> list[Content]:
    """Up to ``limit`` downloaded contents whose checksum is greater than ``after``, by checksum."""
    # + keeps SQLite from the index by status, which would have it sort them all for each page.
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM content WHERE checksum > ? AND +status = 'downloaded'"
        " ORDER BY checksum LIMIT ?",
        (after, limit),
    )
    return [_content(row) for row in rows]


def here_page(connection: apsw.Connection, after: str, limit: int) -> list[Content]:
    """Up to ``limit`` contents whose checksum is greater than ``after`` and of which something is below the
    cache directory, by checksum."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM content WHERE checksum > ? AND path <> '' AND path NOT LIKE '/%'"
        " ORDER BY checksum LIMIT ?",
        (after, limit),
    )
    return [_content(row) for row in rows]


def downloaded_after(connection: apsw.Connection, after: str) -> tuple[int, int]:
    """How many downloaded contents have a checksum greater than ``after``, and their bytes."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM content"
        " WHERE checksum > ? AND +status = 'downloaded'",
        (after,),
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def failed(connection: apsw.Connection) -> list[str]:
    """Checksums of what could not be had."""
    rows = connection.execute("SELECT checksum FROM content WHERE status = 'failed'")
    return [str(checksum) for (checksum,) in rows]


def unreferenced(
    connection: apsw.Connection, after: str, limit: int
) -> tuple[list[str], str | None]:
    """Those of ``limit`` contents after a checksum that no file shows, and where to go on, if there is more."""
    page = connection.execute(
        "SELECT checksum, EXISTS (SELECT 1 FROM inode WHERE inode.checksum = content.checksum)"
        " FROM content WHERE checksum > ? ORDER BY checksum LIMIT ?",
        (after, limit),
    ).fetchall()
    gone = [str(checksum) for checksum, shown in page if not shown]
    return gone, str(page[-1][0]) if len(page) == limit else None


def left_behind(connection: apsw.Connection, after: str, limit: int) -> list[tuple[str, bool]]:
    """Up to ``limit`` contents that some file turned away from, and whether another still shows them."""
    rows = connection.execute(
        "SELECT checksum, EXISTS (SELECT 1 FROM inode WHERE inode.checksum = left_behind.checksum)"
        " FROM left_behind WHERE checksum > ? ORDER BY checksum LIMIT ?",
        (after, limit),
    )
    return [(str(checksum), bool(shown)) for checksum, shown in rows]


def forget_left_behind(connection: apsw.Connection, checksums: Iterable[str]) -> None:
    """Those of them that a file shows again, or of which nothing is here any more."""
    connection.executemany(
        "DELETE FROM left_behind WHERE checksum = ?1"
        " AND (EXISTS (SELECT 1 FROM inode WHERE checksum = ?1)"
        " OR NOT EXISTS (SELECT 1 FROM content WHERE checksum = ?1))",
        ((checksum,) for checksum in checksums),
    )


def is_catalogue_complete(connection: apsw.Connection) -> bool:
    """Whether every library was listed to its end once: only then is what no file shows nobody's."""
    row = connection.execute("SELECT count(*), coalesce(min(listed), 0) FROM zone").fetchone()
    assert row is not None
    return bool(row[0] and row[1])


def touch(connection: apsw.Connection, accessed: Iterable[tuple[str, int]]) -> None:
    """Note when contents were last read: (checksum, seconds since the epoch)."""
    connection.executemany(
        "UPDATE content SET accessed = max(accessed, ?) WHERE checksum = ?",
        ((when, checksum) for checksum, when in accessed),
    )


def cached_bytes(connection: apsw.Connection) -> int:
    """Bytes that count against the cache limit: everything but imported files."""
    (whole,) = connection.execute(
        # +: along the table, not along the index and from there into the table.
        "SELECT coalesce(sum(size), 0) FROM content"
        " WHERE +status = 'downloaded' AND path <> '' AND path NOT LIKE '/%'"
    ).fetchall()[0]
    assert isinstance(whole, int)
    parts = connection.execute(
        "SELECT ranges FROM content"
        " WHERE status IN ('partial', 'failed') AND path <> '' AND path NOT LIKE '/%'"
    )
    return whole + sum(
        stop - start
        for (ranges,) in parts
        for start, stop in msgspec.json.decode(str(ranges), type=Ranges)
    )


def least_recently_used(connection: apsw.Connection) -> Iterator[Content]:
    """What may be evicted, oldest first: neither imported nor pinned nor failed."""
    # Two walks along the index, merged. One query for both would sort everything there is, for a few.
    return heapq.merge(
        *(_by_age(connection, status) for status in ("downloaded", "partial")),
        key=lambda content: (content.accessed, content.checksum),
    )


def _by_age(connection: apsw.Connection, status: str) -> Iterator[Content]:
    for row in connection.cursor().execute(
        f"SELECT {_COLUMNS} FROM content WHERE status = ?"
        " AND path <> '' AND path NOT LIKE '/%' AND NOT pinned ORDER BY accessed, checksum",
        (status,),
    ):
        yield _content(row)


def set_directory(connection: apsw.Connection, directory: str, which: str) -> bool:
    """Where the relative paths lead from now on; whether they led there before.

    ``which`` tells apart what was at one path: a directory that was deleted and made anew, or a disk that is
    not mounted at the moment. One that was used before that was noted is believed to be the same.
    """
    is_known = metadata.get(connection, metadata.CACHE_DIRECTORY) == directory and metadata.get(
        connection, metadata.CACHE_WHICH
    ) in (which, None)
    metadata.put(connection, metadata.CACHE_DIRECTORY, directory)
    metadata.put(connection, metadata.CACHE_WHICH, which)
    return is_known
