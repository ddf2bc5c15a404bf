"""Files in the cache directory that no row speaks of: left by a crash, or put there by somebody.

Only names that could be ours count; anything else in the directory is not ours to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import apsw
import msgspec

from icloudfs.cache.places import Places, checksum_of, content_name
from icloudfs.errors import CacheUnusable
from icloudfs.state import contents

_ODD_NAME = re.compile(r"~[0-9a-f]{64}")
"""Of a checksum that is no base64 (places.py)."""


class Orphan(msgspec.Struct, frozen=True):
    """One file, as it was found."""

    path: Path
    relative: str
    """As it would stand in a row."""
    size: int
    checksum: str | None
    """That it is named after, if the name tells."""


class OrphanSearch:
    """One look through the directory. ``next`` blocks and belongs in a thread."""

    def __init__(self, places: Places, connection: apsw.Connection) -> None:
        self._places = places
        self._connection = connection
        self._found = self._search()

    def next(self, most: int) -> list[Orphan]:
        """Up to ``most`` files more that have no row; none at the end. Raises CacheUnusable."""
        try:
            return list(islice(self._found, most))
        except OSError as error:
            raise CacheUnusable(
                f"The cache directory {self._places.directory} cannot be read: {error.strerror}."
            ) from error

    def _search(self) -> Iterator[Orphan]:
        for path in self._files():
            if not is_ours(path.name):
                continue
            checksum = checksum_of(path.name)
            relative = str(path.relative_to(self._places.directory))
            if not has_row(self._connection, relative, checksum):
                try:
                    yield Orphan(path, relative, path.lstat().st_size, checksum)
                except FileNotFoundError:
                    continue  # it was a part, and has become a content

    def _files(self) -> Iterator[Path]:
        for directory in _entries(self._places.content):
            if directory.is_dir() and not directory.is_symlink():
                yield from _entries(directory)
        yield from _entries(self._places.partial)


def _entries(directory: Path) -> list[Path]:
    """None of a directory that somebody has deleted: it is made anew when something is to be kept."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return list(directory.iterdir())
    return []


def is_ours(name: str) -> bool:
    """Whether a file of that name may be a content or a part of one."""
    return checksum_of(name) is not None or _ODD_NAME.fullmatch(content_name(name)) is not None


def has_row(connection: apsw.Connection, relative: str, checksum: str | None) -> bool:
    """Whether a row says that the file at ``relative`` is a content or a part of one."""
    if checksum is not None:
        row = contents.get(connection, checksum)
        return row is not None and row.path == relative
    # No index: Apple's checksums are base64, so there is no such file.
    found = connection.execute("SELECT 1 FROM content WHERE path = ? LIMIT 1", (relative,))
    return found.fetchone() is not None
