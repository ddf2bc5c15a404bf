"""A disk that loses what was written to a database and not synced when its power goes: any of it."""

# ruff: noqa: N802 (SQLite's names)

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

_SECTOR = 512
_Change = tuple[int, bytes | None]
"""Offset and bytes of a write; offset and None: the file was cut off there."""


class LosingDisk:
    """Every database that is opened while it is ``installed``."""

    def __init__(self) -> None:
        self._kept: dict[Path, bytearray] = {}
        self._lost: dict[Path, list[_Change]] = {}
        self.watch: Callable[[], None] = lambda: None
        """Called after each change."""

    def changed(self, path: Path, change: _Change) -> None:
        self._kept.setdefault(path, bytearray())
        self._lost.setdefault(path, []).append(change)
        self.watch()

    def synced(self, path: Path) -> None:
        kept = self._kept.setdefault(path, bytearray())
        for change in self._lost.pop(path, []):
            _apply(kept, change)

    def deleted(self, path: Path) -> None:
        self._kept.pop(path, None)
        self._lost.pop(path, None)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Put into ``folder`` what is left of each database if the power goes now."""
        folder.mkdir()
        for path, kept in self._kept.items():
            left = bytearray(kept)
            for change in self._lost.get(path, []):
                if chance.random() < 0.5:
                    _apply(left, _torn(change, chance))
            (folder / path.name).write_bytes(left)


def _apply(content: bytearray, change: _Change) -> None:
    offset, written = change
    if written is None:
        del content[offset:]
        return
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(written)] = written


def _torn(change: _Change, chance: random.Random) -> _Change:
    """Now and then some sectors of a write alone."""
    offset, written = change
    if written is None or chance.random() < 0.7:
        return change
    return offset, written[: _SECTOR * chance.randrange(len(written) // _SECTOR + 1)]


@contextmanager
def installed(patch: pytest.MonkeyPatch) -> Iterator[LosingDisk]:
    """Under all that opens a database from now on; ``os.fsync`` reaches it, too."""
    disk = LosingDisk()

    class File(apsw.VFSFile):
        def __init__(self, name: str | apsw.URIFilename, flags: list[int]) -> None:
            super().__init__("unix", name, flags)
            self._path = Path(name if isinstance(name, str) else name.filename())

        def xWrite(self, data: bytes, offset: int) -> None:
            super().xWrite(data, offset)
            disk.changed(self._path, (offset, bytes(data)))

        def xTruncate(self, size: int) -> None:
            super().xTruncate(size)
            disk.changed(self._path, (size, None))

        def xSync(self, flags: int) -> None:
            super().xSync(flags)
            disk.synced(self._path)

    class Below(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("losing", "unix", makedefault=True)

        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
            assert name is not None
            return File(name, flags)

        def xDelete(self, name: str, sync: bool) -> None:
            super().xDelete(name, sync)
            disk.deleted(Path(name))

    sync = os.fsync

    def fsync(number: int) -> None:
        sync(number)
        disk.synced(Path(f"/proc/self/fd/{number}").readlink())

    patch.setattr(os, "fsync", fsync)
    below = Below()
    try:
        yield disk
    finally:
        below.unregister()
