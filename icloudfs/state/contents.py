"""What is on this disk: the ``content`` table.

Functions on a connection; the caller chooses the transaction. Nothing here touches a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apsw
import msgspec

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


def touch(connection: apsw.Connection, accessed: Iterable[tuple[str, int]]) -> None:
    """Note when contents were last read: (checksum, seconds since the epoch)."""
    connection.executemany(
        "UPDATE content SET accessed = max(accessed, ?) WHERE checksum = ?",
        ((when, checksum) for checksum, when in accessed),
    )


def cached_bytes(connection: apsw.Connection) -> int:
    """Bytes that count against the cache limit: everything but imported files."""
    total = 0
    for status, ranges, size in connection.execute(
        "SELECT status, ranges, size FROM content WHERE path <> '' AND path NOT LIKE '/%'"
    ):
        assert isinstance(ranges, str) and isinstance(size, int)
        if status == "downloaded":
            total += size
        else:
            total += sum(stop - start for start, stop in msgspec.json.decode(ranges, type=Ranges))
    return total


def least_recently_used(connection: apsw.Connection) -> Iterator[Content]:
    """What may be evicted, oldest first: neither imported nor pinned nor failed."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM content WHERE status IN ('downloaded', 'partial')"
        " AND path <> '' AND path NOT LIKE '/%' AND NOT pinned ORDER BY accessed, checksum"
    ):
        yield _content(row)


def set_directory(connection: apsw.Connection, directory: str) -> bool:
    """Where the relative paths lead from now on; whether they led there before."""
    before = connection.execute(
        "SELECT value FROM metadata WHERE key = 'cache_directory'"
    ).fetchone()
    connection.execute(
        "INSERT INTO metadata (key, value) VALUES ('cache_directory', ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (directory,),
    )
    return before is not None and before[0] == directory
