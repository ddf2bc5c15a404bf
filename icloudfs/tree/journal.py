"""What a transaction did to the tree, for whoever serves it: exactly the difference, nothing in between."""

from __future__ import annotations

from collections.abc import Iterator

from icloudfs.tree.changes import Change, EntryAdded, EntryRemoved, InodeChanged

Attributes = tuple[object, ...]
"""(mode, size, mtime, ctime, nlink, checksum): what a caller of ``stat`` or ``read`` can tell."""


class Journal:
    """Takes note of every step; what is undone within the transaction cancels out."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, bytes], list[int | None]] = {}  # [before, after]
        self._inodes: dict[int, list[Attributes | None]] = {}  # [before, after]

    def entry_added(self, parent: int, name: bytes, ino: int) -> None:
        self._entries.setdefault((parent, name), [None, None])[1] = ino

    def entry_removed(self, parent: int, name: bytes, ino: int) -> None:
        self._entries.setdefault((parent, name), [ino, None])[1] = None

    def inode_created(self, ino: int, after: Attributes) -> None:
        self._inodes.setdefault(ino, [None, None])[1] = after

    def inode_changed(self, ino: int, before: Attributes, after: Attributes) -> None:
        self._inodes.setdefault(ino, [before, None])[1] = after

    def inode_removed(self, ino: int, before: Attributes) -> None:
        self._inodes.setdefault(ino, [before, None])[1] = None

    def changes(self) -> list[Change]:
        """Removals, then additions, parents before what is in them, then attributes."""
        return [*self._removed(), *self._added(), *self._changed()]

    def _removed(self) -> Iterator[Change]:
        for (parent, name), (before, after) in self._entries.items():
            if before is not None and before != after:
                yield EntryRemoved(parent, name, before)

    def _added(self) -> Iterator[Change]:
        for (parent, name), (before, after) in self._entries.items():
            if after is not None and before != after:
                yield EntryAdded(parent, name, after)

    def _changed(self) -> Iterator[Change]:
        for ino, (before, after) in self._inodes.items():
            if before and after and before != after:
                yield InodeChanged(ino, content=before[-1] != after[-1])
