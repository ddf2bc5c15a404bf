"""Inode numbers: the same ones for the same library, however often its database is rebuilt.

A number is computed from iCloud's own identity of the thing, never counted up, so a backup tool that
remembers inode numbers finds them again on any machine. They are kept in the database all the same: once
given, a number stays, whatever happens to the date it was derived from.

A file's number begins with the second in which the photo was added to the library. Photos of one month
were mostly added in one month, so a directory's inodes lie side by side in the table (a page of readdir is
a walk, not a hunt), and an unsorted listing comes in the order in which the photos came.

    file       (added seconds + 4) << 30 | 30 bits of a hash      from 2^32 to below 2^62
    directory  1 << 62 | 62 bits of a hash                        from 2^62 to below 2^63

Readdir's cursor is the inode number, a signed 64-bit offset, hence the 63 bits. Below 2^32 lie the root
(1) and the few files that the mount invents itself.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from icloudfs.apple.records import Rendition

_SECONDS_BITS = 32
_HASH_BITS = 30
_FIRST_SECOND = 4  # lifts the smallest file number to 2^32
FIRST_DIRECTORY = 1 << 62


def of_file(zone: str, asset: str, rendition: Rendition, added: int | None) -> int:
    """The number of one rendition of an asset; ``added`` in milliseconds since the epoch."""
    seconds = min(max((added or 0) // 1000, 0), (1 << _SECONDS_BITS) - 1 - _FIRST_SECOND)
    return (seconds + _FIRST_SECOND) << _HASH_BITS | _hash(
        _HASH_BITS, "file", zone, asset, rendition
    )


def first_added_in(second: int) -> int:
    """Below it lie the numbers of all files that were added before a second since the epoch."""
    return (second + _FIRST_SECOND) << _HASH_BITS


def of_directory(*identity: str) -> int:
    """The number of a directory, by what it stands for: its view and month, or its album record."""
    return FIRST_DIRECTORY | _hash(62, "directory", *identity)


@lru_cache(maxsize=4096)
def of_path(*path: str) -> int:
    """The number of a directory that is not an album's, by its path below the root."""
    return of_directory("path", *path)


@lru_cache(maxsize=4096)
def of_album(zone: str, album: str) -> int:
    """The number of an album's or a folder's directory, by the names of both records."""
    return of_directory("album", zone, album)


def is_directory(ino: int) -> bool:
    """Whether a number is that of a directory of the tree. The root is one, too."""
    return ino == 1 or ino >= FIRST_DIRECTORY


def _hash(bits: int, *parts: str) -> int:
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - bits)
