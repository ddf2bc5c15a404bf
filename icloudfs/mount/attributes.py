"""What ``stat`` shows: a row of the tree as the kernel wants it."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pyfuse3

from icloudfs.mount.settings import MountSettings
from icloudfs.tree.directory import Inode

TIMEOUT = 7 * 86_400.0
"""Seconds the kernel keeps entries, missing entries and attributes without asking again.

Long, because every change is pushed (kernel.py): a warm ``stat`` is 50 times faster than one that
reaches Python (facts/fuse.md §2.3).
"""

BLOCK_SIZE = 128 * 1024
"""``st_blksize``, bytes: what programs read at a time, the kernel's own read-ahead."""

_NANOSECONDS = 1_000_000_000


class Attributes:
    """Makes the kernel's attributes from inodes, for one owner and one umask."""

    def __init__(self, settings: MountSettings, generations: Mapping[int, int]) -> None:
        """``generations`` of the inodes that are not the first under their number (replay.py)."""
        self._generations = generations
        self.uid = settings.uid
        self.gid = settings.gid
        self._permitted = ~settings.umask

    def mode(self, inode: Inode) -> int:
        """Type and permission bits as shown, after the umask."""
        return inode.mode & self._permitted

    def of(self, inode: Inode, entry_timeout: float = TIMEOUT) -> pyfuse3.EntryAttributes:
        """The attributes of ``inode``; its name is good for ``entry_timeout`` seconds."""
        # Straight-line assignments: this runs once an entry, 100,000 times in a large `find`.
        entry = pyfuse3.EntryAttributes()
        entry.entry_timeout = entry_timeout
        entry.attr_timeout = TIMEOUT
        entry.st_ino = inode.ino
        if self._generations:
            entry.generation = self._generations.get(inode.ino, 0)
        entry.st_mode = inode.mode & self._permitted
        entry.st_nlink = inode.nlink
        entry.st_uid = self.uid
        entry.st_gid = self.gid
        size = inode.size
        entry.st_size = size
        # Never 0 for a file with bytes: `tar -S` would take it for one hole (facts/desktop.md §0.5).
        entry.st_blocks = (size + 511) >> 9
        entry.st_blksize = BLOCK_SIZE
        # Whole seconds, or thumbnailers find every thumbnail outdated (facts/desktop.md §0.4).
        entry.st_atime_ns = entry.st_mtime_ns = inode.mtime * _NANOSECONDS
        entry.st_ctime_ns = inode.ctime * _NANOSECONDS
        return entry


def missing_entry() -> pyfuse3.EntryAttributes:
    """ "There is no such name", for the kernel to remember: file managers ask for the same few names
    again and again (facts/desktop.md §2.3); 50 times faster than ENOENT each time."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = TIMEOUT
    return entry


def is_directory(inode: Inode) -> bool:
    return stat.S_ISDIR(inode.mode)
