"""What files of this machine were found to contain, so that none is read twice: ``hashed_file``.

A file is the one that was read for as long as its path, size, time of change and inode are the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from icloudfs.cache.verify import Digests
from icloudfs.cache.walking import Seen


class Hashed(msgspec.Struct, frozen=True):
    """A file and its content."""

    seen: Seen
    salted_sha1: bytes
    sha256: str


def recall(connection: apsw.Connection, seen: Seen) -> Hashed | None:
    """What is known of a file, if it was read before and is still the same."""
    row = connection.execute(
        "SELECT salted_sha1, sha256 FROM hashed_file WHERE path = ? AND identity = ?",
        (seen.path, seen.identity),
    ).fetchone()
    if row is None:
        return None
    salted_sha1, sha256 = row
    assert isinstance(salted_sha1, bytes)
    return Hashed(seen, salted_sha1, str(sha256))


def remember(connection: apsw.Connection, files: Iterable[Hashed]) -> None:
    """For the next run."""
    connection.executemany(
        "INSERT OR REPLACE INTO hashed_file (path, identity, salted_sha1, sha256)"
        " VALUES (?, ?, ?, ?)",
        ((file.seen.path, file.seen.identity, file.salted_sha1, file.sha256) for file in files),
    )


def hashed(seen: Seen, found: Digests) -> Hashed:
    """What reading a file gave."""
    return Hashed(seen, found.salted_sha1, found.sha256)
