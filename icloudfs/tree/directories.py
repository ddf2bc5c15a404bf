"""Directories come when something is put into them, go when the last thing leaves, and are dated.

Invariants, after ``finish``:

* a directory has an entry if and only if it has children; the root always is;
* ``nlink`` of a directory is 2 and one for each directory in it;
* its times moved if an entry of it came or went: updatedb and NFS clients look at nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icloudfs.tree import layout, modes, numbers
from icloudfs.tree.directory import ROOT
from icloudfs.tree.journal import Journal

_SIZE = 4096


class Directories:
    """The directories that a transaction has to do with. Entries of files are written by others,
    who tell of them by ``entry_came`` and ``entry_left``."""

    def __init__(
        self, execute: Callable[..., Any], journal: Journal, *, now: int, first_listing: bool
    ) -> None:
        """``now`` in milliseconds since the epoch. During a ``first_listing`` the times of
        directories are those of their youngest photo; later they grow with every change."""
        self._execute = execute
        self._journal = journal
        self._now = now
        self._first_listing = first_listing
        self._parents: dict[int, int] = {}  # directories known to exist
        self._seconds: dict[int, int] = {}  # directories that changed, and when
        self._left: set[int] = set()  # directories that lost an entry: they may be empty now
        made = self._execute(
            "INSERT OR IGNORE INTO inode VALUES (?, ?, ?, 0, 0, 2, NULL, NULL, NULL) RETURNING ino",
            (ROOT, modes.DIRECTORY, _SIZE),
        ).fetchone()
        if made is not None:
            self._journal.inode_created(ROOT, (modes.DIRECTORY, _SIZE, 0, 0, 2, None))

    def make_path(self, *path: str) -> int:
        """The directory at this path below the root, made if need be."""
        ino = numbers.of_path(*path)
        if ino not in self._parents:
            parent = self.make_path(*path[:-1]) if len(path) > 1 else ROOT
            self.make(ino, parent, path[-1])
        return ino

    def make(self, ino: int, parent: int, name: str) -> None:
        """A directory whose parent exists already; nothing if it is there."""
        if ino in self._parents:
            return
        self._parents[ino] = parent
        if self._execute("SELECT 1 FROM inode WHERE ino = ?", (ino,)).fetchone() is not None:
            return
        private = parent == ROOT and name in layout.PRIVATE_VIEWS
        mode = modes.PRIVATE_DIRECTORY if private else modes.DIRECTORY
        self._execute(
            "INSERT INTO inode VALUES (?, ?, ?, 0, 0, 2, NULL, NULL, NULL)", (ino, mode, _SIZE)
        )
        self._journal.inode_created(ino, (mode, _SIZE, 0, 0, 2, None))
        self._add_entry(parent, name.encode(), ino)

    def move(self, ino: int, there: tuple[int, bytes], parent: int, name: str) -> None:
        """Give a directory that is ``there`` another parent or another name."""
        self._remove_entry(*there, ino)
        self._parents[ino] = parent
        self._add_entry(parent, name.encode(), ino)

    def entry_came(self, parent: int, when: int) -> None:
        """``when`` in milliseconds since the epoch."""
        second = when // 1000
        if second > self._seconds.get(parent, -1):
            self._seconds[parent] = max(second, 0)

    def entry_left(self, parent: int, when: int) -> None:
        self.entry_came(parent, when)
        self._left.add(parent)

    def remove_empty(self) -> None:
        """Remove the directories that have nothing in them any more."""
        while self._left:
            self._remove_if_empty(self._left.pop())

    def finish(self) -> None:
        """Remove directories that became empty; count and date the others."""
        self.remove_empty()
        if self._first_listing:
            self._date_ancestors()
        for ino, second in self._seconds.items():
            self._update(ino, second)
        self._seconds.clear()

    def _add_entry(self, parent: int, name: bytes, ino: int) -> None:
        self._execute("INSERT INTO dirent VALUES (?, ?, ?)", (parent, name, ino))
        self._journal.entry_added(parent, name, ino)
        self.entry_came(parent, 0 if self._first_listing else self._now)

    def _remove_entry(self, parent: int, name: bytes, ino: int) -> None:
        self._execute("DELETE FROM dirent WHERE parent = ? AND name = ?", (parent, name))
        self._journal.entry_removed(parent, name, ino)
        self.entry_left(parent, self._now)

    def _remove_if_empty(self, directory: int) -> None:
        row = self._execute(
            "SELECT parent, name, EXISTS (SELECT 1 FROM dirent WHERE parent = ?1)"
            " FROM dirent WHERE ino = ?1",
            (directory,),
        ).fetchone()
        if row is None or row[2]:
            return
        parent, name, _ = row
        self._remove_entry(parent, name, directory)
        before = self._execute(
            "DELETE FROM inode WHERE ino = ? RETURNING mode, size, mtime, ctime, nlink, checksum",
            (directory,),
        ).fetchone()
        self._journal.inode_removed(directory, before)
        self._parents.pop(directory, None)
        self._seconds.pop(directory, None)

    def _date_ancestors(self) -> None:
        """In a first listing the years are as young as their months, and so up to the root."""
        for directory, second in list(self._seconds.items()):
            ino = directory
            while ino != ROOT:
                ino = self._parent(ino)
                self.entry_came(ino, second * 1000)

    def _parent(self, ino: int) -> int:
        if ino not in self._parents:
            row = self._execute("SELECT parent FROM dirent WHERE ino = ?", (ino,)).fetchone()
            self._parents[ino] = ROOT if row is None else row[0]
        return self._parents[ino]

    def _update(self, ino: int, second: int) -> None:
        mode, size, mtime, ctime, nlink, inside = self._execute(
            "SELECT mode, size, mtime, ctime, nlink,"
            " (SELECT count(*) FROM dirent WHERE parent = ?1 AND ino >= ?2)"
            " FROM inode WHERE ino = ?1",
            (ino, numbers.FIRST_DIRECTORY),
        ).fetchone()
        step = 0 if self._first_listing else 1
        before = (mode, size, mtime, ctime, nlink, None)
        mtime, ctime, nlink = max(mtime + step, second), max(ctime + step, second), 2 + inside
        after = (mode, size, mtime, ctime, nlink, None)
        if after != before:
            self._execute(
                "UPDATE inode SET mtime = ?, ctime = ?, nlink = ? WHERE ino = ?",
                (mtime, ctime, nlink, ino),
            )
            self._journal.inode_changed(ino, before, after)
