"""What iCloud announces of its contents, looked up by what can be told of a file that lies here.

One indexed query each, on any connection.
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw
from cachetools import LRUCache

from icloudfs.apple import checksum as apple
from icloudfs.tree.names import fold, sanitise

_KINDS = (0x01, 0x02, 0x0B, 0x81, 0x82, 0x8B)
"""Types of checksums that are the salted SHA-1 of the content (apple/checksum.py)."""


class Announced:
    """The look-ups of one run."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._uncheckable: LRUCache[int, bool] = LRUCache(10_000)

    def has_size(self, size: int) -> bool:
        """Whether a file of that size can be any content at all."""
        row = self._connection.execute(
            "SELECT 1 FROM inode WHERE size = ? AND checksum IS NOT NULL LIMIT 1", (size,)
        ).fetchone()
        return row is not None

    def with_digest(self, size: int, salted_sha1: bytes) -> list[str]:
        """The checksums that a content of that size and digest was announced with; mostly one or none."""
        return [
            checksum
            for kind in _KINDS
            for checksum in apple.spellings(salted_sha1, kind)
            if self._is_announced(checksum, size)
        ]

    def _is_announced(self, checksum: str, size: int) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM inode WHERE checksum = ? AND size = ? LIMIT 1", (checksum, size)
        ).fetchone()
        return row is not None

    def with_name(self, size: int, name: str) -> set[str]:
        """Checksums of contents of that size that go by ``name``, in the mount or in iCloud.

        Upper and lower case are the same, as are composed and decomposed letters.
        """
        wanted = fold(sanitise(name))
        return {
            checksum
            for checksum, known_as in self._names_of_size(size)
            if wanted and fold(sanitise(known_as)) == wanted
        }

    def _names_of_size(self, size: int) -> Iterator[tuple[str, str]]:
        for checksum, rendition, filename, original, shown in self._connection.execute(
            "SELECT i.checksum, i.rendition, a.filename, m.filename, d.name FROM inode i"
            " LEFT JOIN asset a ON a.id = i.asset"
            " LEFT JOIN master m ON m.zone = a.zone AND m.name = a.master"
            " LEFT JOIN dirent d ON d.ino = i.ino"
            " WHERE i.size = ? AND i.checksum IS NOT NULL",
            (size,),
        ):
            if isinstance(shown, bytes):
                yield str(checksum), shown.decode("utf-8", "surrogateescape")
            if rendition == "original":
                yield str(checksum), str(filename or "")
                yield str(checksum), str(original or "")

    def is_uncheckable(self, size: int) -> bool:
        """Whether some content of that size has a checksum that nothing can be checked against."""
        known = self._uncheckable.get(size)
        if known is None:
            known = self._uncheckable[size] = any(
                not apple.is_checkable(str(checksum))
                for (checksum,) in self._connection.execute(
                    "SELECT checksum FROM inode WHERE size = ? AND checksum IS NOT NULL", (size,)
                )
            )
        return known
